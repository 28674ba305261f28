r"""Longhorn: the layer takes an implicit step on its reading error, which is stable at every step size.

Instead of stepping down the gradient at the old state, the new state minimises the loss and the distance moved:

$$ S_t = \arg\min_{S'}\; \tfrac12 |S' - S_{t-1}|^2 + \tfrac{\beta_t}{2} |S' k_t - v_t|^2.                  \tag{H1} $$

The objective is quadratic, so one Newton step from anywhere solves it. Its Hessian, the same for each row of $S'$, is
$I + \beta_t k_t k_t^\top$, of which the gradient at $S_{t-1}$ is an eigenvector, with eigenvalue $1 + \beta_t |k_t|^2$:
the implicit step is the delta rule (D1) with another step size.

$$ S_t = S_{t-1} + \Delta_t (v_t - S_{t-1} k_t) k_t^\top, \qquad \Delta_t = \frac{\beta_t}{1 + \beta_t |k_t|^2},
   \qquad o_t = \mathrm{scale} \cdot S_t q_t.                                                              \tag{H2} $$

Since $0 \le \Delta_t |k_t|^2 < 1$ for every $\beta_t \ge 0$, the state can neither blow up nor overshoot. The dual form
is (D2), with error signals from the system (D3) for $\Delta$ in place of $\beta$:

$$ (I + \mathrm{tril}(\mathrm{diag}(\Delta) K K^\top, -1))\, E = \mathrm{diag}(\Delta)\, (V - K S_0^\top).  \tag{H3} $$

Trap: the published kernel replaces $k k^\top$ by its diagonal, which is another rule; this one is exact.

References: Liu et al. 2024, Longhorn: state space models are amortized online learners (arXiv 2407.14207).
"""

from dataclasses import replace

import jax
import jax.numpy as jnp

from dualform._numerics import dot
from dualform.rules import delta
from dualform.rules.forms import forms
from dualform.rules.record import BETA, Rule


def descend(S, k, v, beta):
    """(H1) as it is meant: one Newton step, gradient and Hessian by JAX."""
    gradient = jax.grad(proximal)(S, S, k, v, beta)
    # The rows of S' do not meet in (H1), and all have the Hessian of the first.
    hessian = jax.hessian(lambda row: proximal(row[None], S[:1], k, v[:1], beta))(S[0])
    return S - jnp.linalg.solve(hessian, gradient.T).T


def proximal(new, S, k, v, beta):
    """The objective of (H1): distance moved and reading error."""
    return 0.5 * jnp.sum((new - S) ** 2) + 0.5 * beta * jnp.sum((dot(new, k) - v) ** 2)


def write(S, k, v, beta):
    """One token of (H2)."""
    return delta.write(S, k, v, explicit_steps(beta, k))


def block(S, q, k, v, beta, resets=None):
    """(D2) with (H3) for a block of tokens: unscaled output [T, V] and final state."""
    return delta.block(S, q, k, v, explicit_steps(beta, k), resets)


def unroll(S, q, k, v, beta, resets=None):
    """The dual form: error signals by (H3), each of weight 1 from its own token on, within its segment."""
    return delta.unroll(S, q, k, v, explicit_steps(beta, k), resets)


def explicit_steps(beta, k):
    """The step sizes with which the delta rule takes the implicit steps, Delta of (H2)."""
    return beta / (1 + beta * jnp.sum(k * k, axis=-1))


WEIGHT = replace(
    BETA, least=0.0,
    meaning="weight of the reading error against the distance moved; 0 leaves the state alone, and as it grows the "
    "value is stored exactly",
)  # fmt: skip

RULE = Rule(
    "longhorn", write, descend, block, unroll, gates=(WEIGHT,), marks=("resets",), erases=True,
    loss=r"\tfrac12 |S' - S|^2 + \tfrac{\beta}{2} |S' k - v|^2", optimiser="implicit (proximal) step",
    recurrence=r"S_t = S_{t-1} + \tfrac{\beta}{1 + \beta |k|^2} (v - S_{t-1} k) k^\top", update="H2", label="H3",
    paper="Liu et al. 2024, Longhorn (arXiv 2407.14207)", costs={"descent": "O(T (K^3 + K^2 V)) time."},
    example="""
>>> k, v = jnp.ones((2, 1)), jnp.array([[4.0], [5.0]])
>>> print(recurrent(k, k, v, beta=jnp.array([1.0, 2.0]))[0].ravel())
[2. 4.]
""",
)  # fmt: skip


descent, recurrent, parallel, chunked, step, errors = forms(RULE)
