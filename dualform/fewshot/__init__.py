"""Real data for chapters 5 to 7: a small attention network that learns to follow demonstrations of handwritten digits.

`train` makes it in a quarter of a minute; `measure` asks what the exact split, the gate, the three gaps of first order
and the context patch are on the queries, keys, values and streams that it really has.
"""

from dualform.fewshot.measure import FirstOrder as FirstOrder
from dualform.fewshot.measure import Patches as Patches
from dualform.fewshot.measure import Splits as Splits
from dualform.fewshot.measure import first_order as first_order
from dualform.fewshot.measure import patches as patches
from dualform.fewshot.measure import splits as splits
from dualform.fewshot.network import Weights as Weights
from dualform.fewshot.network import forward as forward
from dualform.fewshot.network import initial as initial
from dualform.fewshot.task import Episodes as Episodes
from dualform.fewshot.task import draw as draw
from dualform.fewshot.train import Trained as Trained
from dualform.fewshot.train import train as train
