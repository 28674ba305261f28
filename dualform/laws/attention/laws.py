"""The laws of attention as an update: in context and by finetuning, with a softmax, with momentum."""

from dataclasses import replace

from dualform.laws.attention.context import laws as context
from dualform.laws.attention.momentum import laws as momentum
from dualform.laws.attention.softmax import laws as softmax

LAWS = tuple(
    replace(law, dtypes=law.dtypes or ("float32", "bfloat16"), draws=1)
    for law in (*context.LAWS, *softmax.LAWS, *momentum.LAWS)
)
