r"""Scalar decay: the layer forgets at every token, then takes a Hebbian step. RetNet, Mamba-2 (SSD), simple GLA.

The inner loss is $\ell_t(S) = -v_t \cdot S k_t$, whose gradient is $-v_t k_t^\top$, and weight decay multiplies the
state before the step:

$$ S_t = e^{g_t} S_{t-1} + v_t k_t^\top, \qquad o_t = \mathrm{scale} \cdot S_t q_t.                        \tag{E1} $$

Unrolled, the values are the error signals themselves, and a token's weight is the decay since it was written:

$$ o_t = \mathrm{scale} \Bigl( e^{g_1 + \dots + g_t} S_0 q_t
       + \sum_{i \le t} e^{g_{i+1} + \dots + g_t}\, v_i\, (k_i \cdot q_t) \Bigr).                          \tag{E2} $$

Every sum of log decays is summed as it stands, so a reset ($g = -\infty$) is exact and spans between resets keep their
digits. RetNet has $g$ constant per head, Mamba-2 $g_t = -\Delta_t A$ with $v_t$ scaled by $\Delta_t$.

References: Sun et al. 2023, Retentive Network (arXiv 2307.08621); Dao, Gu 2024, Transformers are SSMs (arXiv
2405.21060).
"""

import jax
import jax.numpy as jnp

from dualform._numerics import dot
from dualform.linear import linear_attn
from dualform.rules.decay import from_start, spans, to_end
from dualform.rules.forms import forms
from dualform.rules.record import DECAY, HEBBIAN, Dual, Rule


def loss(S, k, v):
    """The inner loss of (E1), and of the other Hebbian rules."""
    return -dot(v, dot(S, k))


def descend(S, k, v, g):
    """(E1) as it is meant: decay, then a step down the gradient."""
    A = jnp.exp(g) * S
    return A - jax.grad(loss)(A, k, v)


def write(S, k, v, g):
    """One token of (E1)."""
    return jnp.exp(g) * S + jnp.outer(v, k)


def block(S, q, k, v, g):
    """(E2) for a block of tokens from the state S: unscaled output [T, V] and final state."""
    o = jnp.exp(from_start(g))[:, None] * dot(q, S.T) + linear_attn(v, k, q, jnp.exp(spans(g)))
    left = jnp.exp(to_end(g))[:, None]
    return o, jnp.exp(jnp.sum(g)) * S + dot((left * v).T, k)


def unroll(S, q, k, v, g) -> Dual:
    """The dual form (E2): values as they are, weights the decay since each was written."""
    return Dual(v, jnp.exp(spans(g)), k, q)


RULE = Rule(
    "retention", write, descend, block, unroll, gates=(DECAY,),
    loss=HEBBIAN, optimiser="SGD with weight decay", recurrence=r"S_t = e^{g} S_{t-1} + v k^\top",
    update="E1", label="E2",
    paper="Sun et al. 2023, Retentive Network (arXiv 2307.08621); Dao, Gu 2024, Mamba-2 (arXiv 2405.21060)",
    aliases=("fla retention, simple_gla", "jax-linear-attention simple_gla", "mamba2 ssd"),
    example="""
>>> q = k = v = jnp.ones((2, 1))
>>> print(recurrent(q, k, v, g=jnp.log(jnp.array([1.0, 0.5])))[0].ravel())
[1.  1.5]
""",
)  # fmt: skip


descent, recurrent, parallel, chunked, step, errors = forms(RULE)
