r"""Mesa: the layer that minimises the ridge objective over everything read so far, found anew at every token.

The inner objective weighs the squared losses by an input gate and by decay, and adds a ridge that does not decay:

$$ f_t(W) = \tfrac12 \sum_{i \le t} e^{g_{i+1} + \dots + g_t} \beta_i |W k_i - v_i|^2
          + \tfrac12 \mathrm{tr}(W \Lambda W^\top), \qquad \Lambda = \mathrm{diag}(\lambda).               \tag{Z1} $$

It is quadratic, so that one Newton step is exact from anywhere. Two sums suffice as state:

$$ G_t = e^{g_t} G_{t-1} + \beta_t v_t k_t^\top, \quad H_t = e^{g_t} H_{t-1} + \beta_t k_t k_t^\top, \qquad
   o_t = G_t (H_t + \Lambda)^{-1} q_t.                                                                    \tag{Z2} $$

The weight itself is never formed: the dual form is decayed linear attention, read with a query that is changed to the
metric of the keys.

$$ o_t = \Bigl( e^{g_1 + \dots + g_t} G_0
       + \sum_{i \le t} e^{g_{i+1} + \dots + g_t} \beta_i v_i k_i^\top \Bigr) \hat q_t,
   \qquad \hat q_t = (H_t + \Lambda)^{-1} q_t.                                                            \tag{Z3} $$

Linear attention is this rule with $H_t$ ignored: $\lambda\, o_t \to$ (E1) as $\lambda$ grows. Two solvers for $\hat q$:
"exact", by elimination, and "cg", conjugate gradients, whose products $H_t x$ are linear attention with values
$\beta_i k_i$, so that no matrix of features by features is formed per token. CG needs at most K iterations in exact
arithmetic, far fewer when the keys are well spread, and is differentiated implicitly, by another run of itself.

There is no `scale`. Since $\Lambda$ does not decay, this is not recursive least squares, whose ridge is forgotten too.

References: von Oswald et al. 2025, MesaNet: sequence modeling by locally optimal test-time training (arXiv 2506.05233);
von Oswald et al. 2023, Uncovering mesa-optimization algorithms in transformers (arXiv 2309.05858).
"""

from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dualform import _check
from dualform._numerics import dot
from dualform.linear import linear_attn
from dualform.rules import delta
from dualform.rules.conjugate import conjugate_gradients
from dualform.rules.decay import from_start, spans, to_end
from dualform.rules.forms import forms
from dualform.rules.record import BETA, DECAY, Dual, Gate, Option, Rule, StateKind, one_of


class State(NamedTuple):
    """Sums over the past: values with keys, keys with keys."""

    G: Float[Array, "V K"]
    H: Float[Array, "K K"]


def descend(state, k, v, beta, g):
    """The sums of (Z2) as gradient and Hessian of (Z1) at W = 0."""
    keep, zero = jnp.exp(g), jnp.zeros_like(state.G)
    curvature = jax.hessian(delta.loss)(zero[:1], k, v[:1])[0, :, 0, :]  # that of every row of W
    G = keep * state.G - beta * jax.grad(delta.loss)(zero, k, v)
    return State(G, keep * state.H + beta * curvature)


def newton(state, q, *, lam):
    """(Z1) as it is meant: one Newton step from W = 0, where the gradient is -G, on the weight, by elimination."""
    W = -jnp.linalg.solve((state.H + jnp.diag(lam)).T, -state.G.T).T
    return dot(W, q)


def write(state, k, v, beta, g):
    """One token of (Z2)."""
    keep = jnp.exp(g)
    return State(keep * state.G + jnp.outer(beta * v, k), keep * state.H + jnp.outer(beta * k, k))


def read(state, q, *, lam, solver, iterations):
    """(Z2) at one token."""
    if solver == "cg":
        count = len(q) if iterations is None else iterations
        query = conjugate_gradients(lambda x: dot(state.H, x) + lam * x, q, count)
    else:
        query = jnp.linalg.solve(state.H + jnp.diag(lam), q)
    return dot(state.G, query)


def block(state, q, k, v, beta, g, *, lam, solver, iterations):
    """(Z3) for a block of tokens: output [T, V] and final state."""
    weights, start = jnp.exp(spans(g)), jnp.exp(from_start(g))[:, None]
    query = _queries(state.H, q, k, beta, g, weights, lam, solver, iterations)
    o = start * dot(query, state.G.T) + linear_attn(beta[:, None] * v, k, query, weights)
    keep, left = jnp.exp(jnp.sum(g)), (jnp.exp(to_end(g)) * beta)[:, None] * k
    return o, State(keep * state.G + dot(v.T, left), keep * state.H + dot(k.T, left))


def unroll(state, q, k, v, beta, g, *, lam, solver, iterations) -> Dual:
    """The dual form (Z3): gated values as they are, weights the decay since each, queries in the metric of the keys."""
    weights = jnp.exp(spans(g))
    query = _queries(state.H, q, k, beta, g, weights, lam, solver, iterations)
    return Dual(beta[:, None] * v, weights, k, query)


def _queries(H, q, k, beta, g, weights, lam, solver, iterations):
    """The queries of (Z3), [T, K]."""
    (T, K), start = q.shape, jnp.exp(from_start(g))[:, None]
    if solver == "cg":

        def matvec(x):
            past = linear_attn(beta[:, None] * k, k, x, weights)
            return start * dot(x, H.T) + past + lam[None] * x

        return conjugate_gradients(matvec, q, K if iterations is None else iterations)
    pairs = (beta[:, None, None] * k[:, :, None] * k[:, None, :]).reshape(T, K * K)
    A = (start * H.reshape(1, K * K) + dot(weights, pairs)).reshape(T, K, K) + jnp.diag(lam)[None]
    return jax.vmap(jnp.linalg.solve)(A, q)


WEIGHT = replace(
    BETA, least=0.0, meaning="input gate, the weight of each token; below 0 the ridge objective has no minimum",
    whole=lambda t, k: 2.0 * ((397 * t + 500) % 1024) + 1,  # odd: H has small entries once the initial one is forgotten
)  # fmt: skip
RIDGE = Gate(
    "lam", "| K", "above 0", "ridge: one for all channels of the keys, or one for each", least=0.0, above=True,
    draw=lambda rng, shape, k: rng.uniform(1, 2, shape), whole=lambda t, k: np.ones(()),
)  # fmt: skip
SOLVER = Option("solver", '"exact" or "cg"; `descent` always eliminates', "exact", one_of("solver", ("exact", "cg")))
ITERATIONS = Option(
    "iterations", 'of "cg"; K if None. Rounding may ask for a few more where H + diag(lam) is badly conditioned', None,
    lambda count, v: count if count is None else _check.count("iterations", count, least=1),
)  # fmt: skip

RULE = Rule(
    "mesa", write, descend, block, unroll, gates=(WEIGHT, DECAY, RIDGE), options=(SOLVER, ITERATIONS),
    read=read, descend_read=newton, state=StateKind(("V K", "K K"), State), quotient=True,
    loss=r"\tfrac12 \sum_i w_i |S k_i - v_i|^2 + \tfrac12 |S \Lambda^{1/2}|^2",
    optimiser="solved exactly at every token",
    recurrence=r"G_t = e^{g} G_{t-1} + \beta v k^\top,\ H_t = e^{g} H_{t-1} + \beta k k^\top,\ "
    r"o = G (H + \Lambda)^{-1} q", update="Z2", label="Z3",
    paper="von Oswald et al. 2025, MesaNet (arXiv 2506.05233)", aliases=("fla mesa_net",),
    costs={
        "recurrent": 'O(T (K V + K^3)) time, with "cg" O(T (K V + iterations K^2)); O(K (K + V)) memory, T sequential '
        "steps.",
        "parallel": '"exact" O(T^2 K^2 + T K^3) time and O(T (T + K^2)) memory; "cg" O(iterations T^2 K) time, O(T^2) '
        "memory.",
        "chunked": "that of `parallel` with chunk in place of T, T / chunk times; backward keeps one state per chunk.",
        "step": 'O(K V + K^3) time, with "cg" O(K V + iterations K^2); O(K (K + V)) memory.',
    },
    example="""
>>> k = jnp.array([[1.0, 0.0], [0.0, 1.0]])
>>> v = jnp.array([[4.0], [6.0]])
>>> print(recurrent(k, k, v, beta=jnp.ones(2), g=jnp.zeros(2), lam=1.0)[0].ravel())
[2. 3.]
""",
)  # fmt: skip


descent, recurrent, parallel, chunked, step, errors = forms(RULE)
