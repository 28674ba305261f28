r"""Linear attention: a linear layer that takes one Hebbian step per token and never forgets.

The inner loss $\ell_t(S) = -v_t \cdot S k_t$ rewards an output along the value. Its gradient is $-v_t k_t^\top$
wherever the state is, so the step, with learning rate 1, is

$$ S_t = S_{t-1} + v_t k_t^\top, \qquad o_t = \mathrm{scale} \cdot S_t q_t.                               \tag{A1} $$

This is the linear layer of (L1) with the values as error signals: unrolled, attention without softmax.

$$ o_t = \mathrm{scale} \Bigl( S_0 q_t + \sum_{i \le t} v_i\, (k_i \cdot q_t) \Bigr)                      \tag{A2} $$

The error signals depend on nothing but their own token. That is why this rule needs no solve, and also why it cannot
correct itself: a key that is written twice is read twice.

Packed sequences are scalar decay (E1) with log decays of 0 and minus infinity, and use its block.

References: Katharopoulos et al. 2020, Transformers are RNNs (arXiv 2006.16236); Schlag, Irie, Schmidhuber 2021, Linear
transformers are secretly fast weight programmers (arXiv 2102.11174).
"""

import jax
import jax.numpy as jnp

from dualform._numerics import dot
from dualform.linear import linear_attn
from dualform.rules import retention
from dualform.rules.decay import causal
from dualform.rules.forms import forms
from dualform.rules.record import HEBBIAN, Dual, Rule


def descend(S, k, v):
    """(A1) as it is meant."""
    return S - jax.grad(retention.loss)(S, k, v)


def write(S, k, v):
    """One token of (A1)."""
    return S + jnp.outer(v, k)


def block(S, q, k, v, resets=None):
    """(A2) for a block of tokens from the state S: unscaled output [T, V] and final state."""
    if resets is not None:
        return retention.block(S, q, k, v, resets)
    return dot(q, S.T) + linear_attn(v, k, q, _all_before(k)), S + dot(v.T, k)


def unroll(S, q, k, v, resets=None) -> Dual:
    """The dual form (A2): the values are the error signals, and each counts fully from its own token on."""
    return Dual(v, _all_before(k), k, q) if resets is None else retention.unroll(S, q, k, v, resets)


def _all_before(k):
    """Weight 1 for tokens up to the query's own."""
    return causal(jnp.ones((len(k), len(k)), k.dtype))


RULE = Rule(
    "linear_attn", write, descend, block, unroll, marks=("resets",),
    loss=HEBBIAN, optimiser="SGD, step 1", recurrence=r"S_t = S_{t-1} + v k^\top", update="A1", label="A2",
    paper="Katharopoulos et al. 2020, Transformers are RNNs (arXiv 2006.16236)",
    aliases=("fla linear_attn", "fast-transformers causal_dot_product"), chunk=64,
    example="""
>>> q = k = jnp.ones((3, 1))
>>> print(recurrent(q, k, jnp.array([[1.0], [2.0], [3.0]]))[0].ravel())
[1. 3. 6.]
""",
)  # fmt: skip


descent, recurrent, parallel, chunked, step, errors = forms(RULE)
