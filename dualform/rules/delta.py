r"""The delta rule: the layer takes one step of SGD per token on its own reading error. DeltaNet.

The inner loss is $\ell_t(S) = \tfrac12 |S k_t - v_t|^2$, how far what the layer returns for the key is from the value:

$$ S_t = S_{t-1} - \beta_t \nabla \ell_t(S_{t-1}) = S_{t-1} + \beta_t (v_t - S_{t-1} k_t) k_t^\top,
   \qquad o_t = \mathrm{scale} \cdot S_t q_t.                                                              \tag{D1} $$

What each step writes is an outer product of the error signal $e_t = \beta_t (v_t - S_{t-1} k_t)$ and the key. Unrolled,
the output is linear attention whose values are the error signals:

$$ o_t = \mathrm{scale} \Bigl( S_0 q_t + \sum_{i \le t} e_i\, (k_i \cdot q_t) \Bigr).                      \tag{D2} $$

An error signal depends on those before it, $e_t = \beta_t (v_t - S_0 k_t - \sum_{i<t} e_i\, (k_i \cdot k_t))$, which is
a unit-triangular system (U1), with $K$ and $V$ the keys and values as rows:

$$ (I + L)\, E = \mathrm{diag}(\beta)\, (V - K S_0^\top),
   \qquad L = \mathrm{tril}(\mathrm{diag}(\beta)\, K K^\top, -1).                                          \tag{D3} $$

Along $k_t$ a step multiplies the state by $1 - \beta_t |k_t|^2$: it is stable for $0 \le \beta_t |k_t|^2 \le 2$ and
grows without bound beyond. Trap: some libraries scale q by $K^{-1/2}$ unasked; here `scale` is 1.

References: Schlag, Irie, Schmidhuber 2021, Linear transformers are secretly fast weight programmers (arXiv 2102.11174),
eq. 24; Yang et al. 2024, Parallelizing linear transformers with the delta rule (arXiv 2406.06484).
"""

import jax
import jax.numpy as jnp

from dualform._numerics import dot
from dualform.rules.decay import decays, scores
from dualform.rules.forms import forms
from dualform.rules.record import BETA, SQUARED, Dual, Rule
from dualform.rules.triangular import solve_unit_lower


def loss(S, k, v):
    """The inner loss of (D1), and of the rules with decay."""
    return 0.5 * jnp.sum((dot(S, k) - v) ** 2)


def descend(S, k, v, beta):
    """(D1) as it is meant."""
    return S - beta * jax.grad(loss)(S, k, v)


def write(S, k, v, beta):
    """One token of (D1)."""
    return S + jnp.outer(beta * (v - dot(S, k)), k)


def block(S, q, k, v, beta, g=None):
    """(D2) for a block of tokens from the state S: unscaled output [T, V] and final state.

    With log decays g it is (B2), one for the whole state [T], or (K2), one per key channel [T, K].
    """
    decay = decays(g, k)
    E = signals(S, k, v, beta, decay)
    o = dot(decay.start * q, S.T) + dot(scores(q, k, decay.pairs), E)
    return o, decay.all * S + dot(E.T, decay.end * k)


def unroll(S, q, k, v, beta, g=None) -> Dual:
    """The dual form (D2), (B2) or (K2) of a block of tokens from the state S."""
    decay = decays(g, k)
    return Dual(signals(S, k, v, beta, decay), decay.pairs, k, q)


def signals(S, k, v, beta, decay):
    """The error signals of a block: the system (D3), (B3), (K3). Only the past of a score enters the solve."""
    L = beta[:, None] * scores(k, k, decay.pairs)
    return solve_unit_lower(L, beta[:, None] * (v - dot(decay.start * k, S.T)))


RULE = Rule(
    "delta", write, descend, block, unroll, gates=(BETA,), marks=("resets",), erases=True,
    loss=SQUARED, optimiser="SGD, one step a token", recurrence=r"S_t = S_{t-1} + \beta (v - S_{t-1} k) k^\top",
    update="D1", label="D2", stability="0 <= beta |k|^2 <= 2",
    paper="Schlag, Irie, Schmidhuber 2021 (arXiv 2102.11174); Yang et al. 2024 (arXiv 2406.06484)",
    aliases=("fla delta_rule", "jax-linear-attention delta_rule", "rwkv-ops delta_net"), chunk=64,
    example="""
>>> k, v = jnp.array([[1.0, 0.0], [1.0, 0.0]]), jnp.array([[2.0], [5.0]])
>>> print(recurrent(k, k, v, beta=jnp.array([1.0, 0.5]))[0].ravel())
[2.  3.5]
""",
)  # fmt: skip


descent, recurrent, parallel, chunked, step, errors = forms(RULE)
