r"""The gated delta rule: the layer forgets, then takes one step of SGD on its reading error. Gated DeltaNet.

Weight decay multiplies the state before the gradient of $\ell_t(S) = \tfrac12 |S k_t - v_t|^2$ is taken, so the error
is that of the state which has decayed already:

$$ A_t = e^{g_t} S_{t-1}, \qquad S_t = A_t + \beta_t (v_t - A_t k_t) k_t^\top,
   \qquad o_t = \mathrm{scale} \cdot S_t q_t.                                                              \tag{B1} $$

Unrolled, an error signal $e_t = \beta_t (v_t - A_t k_t)$ counts with the decay since it was written, as a value does in
(E2):

$$ o_t = \mathrm{scale} \Bigl( e^{g_1 + \dots + g_t} S_0 q_t
       + \sum_{i \le t} e^{g_{i+1} + \dots + g_t}\, e_i\, (k_i \cdot q_t) \Bigr).                          \tag{B2} $$

The decays enter the unit-triangular system (U1) of the error signals too, in both of its sides. With $w_{ti}$ and
$w_{t0}$ of (U3):

$$ (I + L)\, E = \mathrm{diag}(\beta)\, (V - \mathrm{diag}(w_{\cdot 0}) K S_0^\top),
   \qquad L_{ti} = \beta_t\, w_{ti}\, (k_t \cdot k_i), \quad i < t.                                         \tag{B3} $$

Traps: a causal mask without the decays in $L$ is a widespread error, as is taking the error before the decay. At
$g = 0$ this is the delta rule (D1). A reset, $g_t = -\infty$, starts anew: nothing before it is left.

References: Yang, Kautz, Hatamizadeh 2024, Gated Delta Networks (arXiv 2412.06464), eq. 10.
"""

import jax
import jax.numpy as jnp

from dualform.rules import delta
from dualform.rules.forms import forms
from dualform.rules.record import BETA, DECAY, SQUARED, Rule


def descend(S, k, v, beta, g):
    """(B1) as it is meant: decay, then a step down the gradient."""
    A = jnp.exp(g) * S
    return A - beta * jax.grad(delta.loss)(A, k, v)


def write(S, k, v, beta, g):
    """One token of (B1)."""
    return delta.write(jnp.exp(g) * S, k, v, beta)


RULE = Rule(
    "gated_delta", write, descend, delta.block, delta.unroll, gates=(BETA, DECAY), erases=True,
    loss=SQUARED, optimiser="SGD after weight decay",
    recurrence=r"A = e^{g} S_{t-1},\ S_t = A + \beta (v - A k) k^\top", update="B1", label="B2",
    stability="0 <= beta |k|^2 <= 2", paper="Yang, Kautz, Hatamizadeh 2024, Gated Delta Networks (arXiv 2412.06464)",
    aliases=("fla gated_delta_rule", "opengdn gated_delta (alpha = exp g)"),
    example="""
>>> k, v = jnp.ones((2, 1)), jnp.array([[4.0], [4.0]])
>>> print(recurrent(k, k, v, beta=jnp.array([1.0, 0.5]), g=jnp.log(jnp.array([1.0, 0.5])))[0].ravel())
[4. 3.]
""",
)  # fmt: skip


descent, recurrent, parallel, chunked, step, errors = forms(RULE)
