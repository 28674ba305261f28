"""dualform: a linear layer updated by outer products is linear attention over its training data.

Public names by chapter; everything else is in the modules.
"""

# 1  the linear layer and linear attention
from dualform.linear import delta_w as delta_w
from dualform.linear import dual as dual
from dualform.linear import linear_attn as linear_attn
from dualform.linear import primal as primal

# 2  where outer products come from
from dualform.descent import Optimizer as Optimizer  # isort: skip
from dualform.descent import coefficients as coefficients  # isort: skip

# 3  proof and rounding
from dualform.prove import Certificate as Certificate  # isort: skip
from dualform.prove import Input as Input  # isort: skip
from dualform.prove import degree as degree  # isort: skip
from dualform.prove import identical as identical  # isort: skip
from dualform.prove import rounding_bound as rounding_bound  # isort: skip

# 4  the family of update rules
from dualform.rules import RULES as RULES  # isort: skip
