r"""RWKV-7: a delta rule whose removal key, write-back key and rates are free, per channel. Generalised delta, DPLR.

The state decays per channel, what it holds at $a_t$ is written back at $b_t$, and the value is added at the key:

$$ S_t = S_{t-1} (\mathrm{diag}(e^{g_t}) + a_t b_t^\top) + v_t k_t^\top,
   \qquad o_t = \mathrm{scale} \cdot S_t q_t.                                                              \tag{W1} $$

RWKV-7 itself sets $a = -\hat\kappa$ and $b = \hat\kappa \odot \alpha$ with a unit removal key $\hat\kappa$ and rates
$\alpha \in (0, 1)$. With $a = -\beta k \odot e^{g}$, $b = k$ and $\beta v$ for $v$ it is KDA (K1).

A token writes two outer products, so the dual form has 2T patterns: $v_i$ at key $k_i$, and $p_i = S_{i-1} a_i$ at key
$b_i$. With $w$ of (U3):

$$ o_t = \mathrm{scale} \Bigl( S_0\, \mathrm{diag}(w_{t0})\, q_t
       + \sum_{i \le t} v_i\, (k_i \cdot \mathrm{diag}(w_{ti})\, q_t)
       + \sum_{i \le t} p_i\, (b_i \cdot \mathrm{diag}(w_{ti})\, q_t) \Bigr),                              \tag{W2} $$

and the signals $p$, which read the state one token earlier, solve the unit-triangular system (U1)

$$ p_t - \sum_{i<t} p_i\, (b_i \cdot \mathrm{diag}(w_{t-1,i})\, a_t)
   = S_0\, \mathrm{diag}(w_{t-1,0})\, a_t + \sum_{i<t} v_i\, (k_i \cdot \mathrm{diag}(w_{t-1,i})\, a_t).    \tag{W3} $$

As descent this is a *semi-gradient*: a step on $-v_t \cdot S k_t - p_t \cdot S b_t$ with the target $p_t$ held fixed,
although it depends on the state. For general $a, b$ no loss has this update as its gradient: $S \mapsto S a b^\top$
has the Jacobian $I \otimes b a^\top$, which is symmetric only where a and b are parallel.

Trap: $g_t = -\infty$ is no reset here. The state before it returns through $S_{t-1} a_t b_t^\top$ unless $a_t = 0$ too;
`segment_ids` cut both. Weights of pairs take T^2 K numbers, so the default chunk is 16, as in KDA.

References: Peng et al. 2025, RWKV-7 "Goose" with expressive dynamic state evolution (arXiv 2503.14456).
"""

import jax
import jax.numpy as jnp
import numpy as np

from dualform._numerics import dot
from dualform.rules.decay import decays, one_earlier, scores
from dualform.rules.forms import forms
from dualform.rules.gla import PAIRS_OF_CHANNELS
from dualform.rules.record import CHANNEL_DECAY, SQUARED, Dual, Gate, Rule
from dualform.rules.triangular import solve_unit_lower


def loss(S, p, k, v, b):
    """The inner loss of (W1), whose second target p came from the state before."""
    return -dot(v, dot(S, k)) - dot(p, dot(S, b))


def descend(S, k, v, g, a, b):
    """(W1) as a semi-gradient: decay, then a step down the gradient at a target that is held fixed.

    The target is held fixed by passing it in beside S: `stop_gradient` would do the same for the inner gradient, but it
    would cut the outer ones, through which the layer learns its gates, as well.
    """
    p = dot(S, a)
    A = S * jnp.exp(g)[None, :]
    return A - jax.grad(loss)(A, p, k, v, b)


def write(S, k, v, g, a, b):
    """One token of (W1)."""
    return S * jnp.exp(g)[None, :] + jnp.outer(dot(S, a), b) + jnp.outer(v, k)


def block(S, q, k, v, g, a, b):
    """(W2) for a block of tokens from the state S: unscaled output [T, V] and final state."""
    decay = decays(g, k)
    p = carried(S, k, v, a, b, decay)
    o = dot(decay.start * q, S.T)
    o = o + dot(scores(q, k, decay.pairs), v) + dot(scores(q, b, decay.pairs), p)
    return o, decay.all * S + dot(v.T, decay.end * k) + dot(p.T, decay.end * b)


def unroll(S, q, k, v, g, a, b) -> Dual:
    """The dual form (W2): E = [v; p] by (W3), X = [k; b], both 2T long, and weights [T, 2T, K]."""
    decay = decays(g, k)
    p = carried(S, k, v, a, b, decay)
    weights = jnp.concatenate([decay.pairs, decay.pairs], axis=1)
    return Dual(jnp.concatenate([v, p]), weights, jnp.concatenate([k, b]), q)


def carried(S, k, v, a, b, decay):
    """The signals p_t = S_{t-1} a_t of a block, by the system (W3): every decay is that of one token earlier."""
    start, pairs = one_earlier(decay)
    right = dot(start * a, S.T) + dot(scores(a, k, pairs), v)
    return solve_unit_lower(-scores(a, b, pairs), right)


READ_AT = Gate(
    "a", "T K", "any", "where the state is read before it decays; minus the removal key in RWKV-7",
    draw=lambda rng, shape, k: -rng.uniform(0, 1, (shape[0], 1)) * k, whole=lambda t, k: -np.roll(k, 1, 1),
    at_start=0.0,  # the state before a segment is read neither by k nor by a
)  # fmt: skip
WRITE_AT = Gate(
    "b", "T K", "any", "where what was read is written",
    draw=lambda rng, shape, k: k, whole=lambda t, k: np.roll(k, 1, 1),
)  # fmt: skip

RULE = Rule(
    "rwkv7", write, descend, block, unroll, gates=(CHANNEL_DECAY, READ_AT, WRITE_AT), rotates=False, erases=True,
    loss=SQUARED + " and a semi-gradient", optimiser="generalised delta",
    recurrence=r"S_t = S_{t-1} (\mathrm{diag}(e^{g}) + a b^\top) + v k^\top", update="W1", label="W2",
    stability="|diag(e^g) + a b'| <= 1", paper="Peng et al. 2025, RWKV-7 (arXiv 2503.14456)",
    aliases=("fla rwkv7, generalized_delta_rule.dplr",), chunk_size=16, chunk=8, costs=PAIRS_OF_CHANNELS,
    example="""
>>> k, v, g = jnp.array([[1.0, 0.0], [0.0, 1.0]]), jnp.array([[4.0], [1.0]]), jnp.zeros((2, 2))
>>> print(recurrent(k, k, v, g=g, a=-0.5 * k[::-1], b=k[::-1])[1])
[[2. 1.]]
""",
)  # fmt: skip


descent, recurrent, parallel, chunked, step, errors = forms(RULE)
