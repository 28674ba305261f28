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
from dualform.rules import over_heads as over_heads  # isort: skip

# 5  attention as implicit finetuning
from dualform.attention import ft_update as ft_update  # isort: skip
from dualform.attention import icl_split as icl_split  # isort: skip
from dualform.attention import moattn as moattn  # isort: skip
from dualform.attention import softmax_attn as softmax_attn  # isort: skip
from dualform.attention import softmax_split as softmax_split  # isort: skip

# 6  softmax in feature space
from dualform.features import softmax_gaps as softmax_gaps  # isort: skip
from dualform.features import surrogate as surrogate  # isort: skip

# 7  a context as a patch
from dualform.patch import context_patch as context_patch  # isort: skip
