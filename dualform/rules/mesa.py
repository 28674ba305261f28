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

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dualform import _check
from dualform._numerics import dot
from dualform.linear import linear_attn
from dualform.rules import base
from dualform.rules.base import Dual, Tokens, Values
from dualform.rules.chunks import over_chunks
from dualform.rules.conjugate import conjugate_gradients

Gates = Float[Array, " T"]
Ridge = float | Float[Array, " K"]

SOLVERS = ("exact", "cg")


class State(NamedTuple):
    """Sums over the past: values with keys, keys with keys."""

    G: Float[Array, "V K"]
    H: Float[Array, "K K"]


def descent(
    q: Tokens, k: Tokens, v: Values, *, beta: Gates, g: Gates, lam: Ridge, solver: str = "exact",
    iterations: int | None = None, initial_state=None, segment_ids=None,
) -> tuple[Values, State]:  # fmt: skip
    """(Z1) as it is meant: its gradient and Hessian by `jax.grad` and `jax.hessian`, and one Newton step per token.

    `solver` and `iterations` are accepted and unused: the step is taken on the weight, by elimination.
    """

    def loss(W, k_t, v_t):
        return 0.5 * jnp.sum((dot(W, k_t) - v_t) ** 2)

    def update(state, k_t, v_t, beta_t, g_t):
        keep, zero = jnp.exp(g_t), jnp.zeros_like(state.G)
        curvature = jax.hessian(loss)(zero[:1], k_t, v_t[:1])[0, :, 0, :]  # that of every row of W
        G = keep * state.G - beta_t * jax.grad(loss)(zero, k_t, v_t)
        return State(G, keep * state.H + beta_t * curvature)

    def newton(state, q_t):
        W = -jnp.linalg.solve((state.H + jnp.diag(ridge)).T, -state.G.T).T  # from W = 0, where the gradient is -G
        return dot(W, q_t)

    call, state, ridge = _call(q, k, v, beta, g, lam, solver, iterations, initial_state, segment_ids)
    return base.over_tokens(update, newton, state, call, _tokens(call)[1:])


def recurrent(
    q: Tokens, k: Tokens, v: Values, *, beta: Gates, g: Gates, lam: Ridge, solver: str = "exact",
    iterations: int | None = None, initial_state=None, segment_ids=None,
) -> tuple[Values, State]:  # fmt: skip
    """(Z2) written out.

    Args:
        q, k: [T, K] queries and keys.
        v: [T, V] values.
        beta: [T] input gate, the weight of each token, at least 0.
        g: [T] log decay before each token's write, at most 0; -inf forgets everything.
        lam: ridge, above 0: one number, or [K], one per channel of the keys.
        solver: "exact" or "cg".
        iterations: of "cg"; K if None. Rounding may ask for a few more where H + diag(lam) is badly conditioned.
        initial_state: `State` (G [V, K], H [K, K] symmetric and not negative), zero if None.
        segment_ids: int [T] of packed sequences, -1 for padding.

    Returns:
        o [T, V] in the dtype of q, and the final `State`, in float32 or wider.

    Raises:
        ValueError: shapes, dtypes, concrete values that are not finite, g above 0 or NaN, beta below 0, lam not above
            0, an unknown solver.

    Cost: O(T (K V + K^3)) time, with "cg" O(T (K V + iterations K^2)); O(K (K + V)) memory, T sequential steps.

    >>> k = jnp.array([[1.0, 0.0], [0.0, 1.0]])
    >>> v = jnp.array([[4.0], [6.0]])
    >>> print(recurrent(k, k, v, beta=jnp.ones(2), g=jnp.zeros(2), lam=1.0)[0].ravel())
    [2. 3.]
    """
    call, state, ridge = _call(q, k, v, beta, g, lam, solver, iterations, initial_state, segment_ids)

    def read(state, q_t):
        return _read(state, q_t, ridge, solver, iterations)

    return base.over_tokens(write, read, state, call, _tokens(call)[1:])


def write(state, k_t, v_t, beta_t, g_t):
    """One token of (Z2)."""
    keep = jnp.exp(g_t)
    return State(keep * state.G + jnp.outer(beta_t * v_t, k_t), keep * state.H + jnp.outer(beta_t * k_t, k_t))


def step(
    state: State, q_t, k_t, v_t, *, beta, g, lam: Ridge, solver: str = "exact", iterations: int | None = None
) -> tuple[Array, State]:
    """(Z2) for one token from a state: the form that serves. Returns (o_t [V], state)."""
    state = base.wide(state)
    _known(solver, iterations)
    state = State(*state)
    q_t, k, v, beta, g, lam = (jnp.asarray(x, state.G.dtype) for x in (q_t, k_t, v_t, beta, g, lam))
    state = write(state, k, v, beta, g)
    return _read(state, q_t, jnp.broadcast_to(lam, k.shape), solver, iterations).astype(v_t.dtype), state


def errors(
    q: Tokens, k: Tokens, v: Values, *, beta: Gates, g: Gates, lam: Ridge, solver: str = "exact",
    iterations: int | None = None, initial_state=None, segment_ids=None,
) -> Dual:  # fmt: skip
    """The dual form (Z3): gated values as they are, weights the decay since each, queries in the metric of the keys."""
    call, state, ridge = _call(q, k, v, beta, g, lam, solver, iterations, initial_state, segment_ids)
    q, k, v, beta, g = _tokens(call)
    weights = jnp.exp(base.spans(g))
    query = _queries(state.H, q, k, beta, g, weights, ridge, solver, iterations)
    return Dual(beta[:, None] * v, weights, k, query)


def parallel(
    q: Tokens, k: Tokens, v: Values, *, beta: Gates, g: Gates, lam: Ridge, solver: str = "exact",
    iterations: int | None = None, initial_state=None, segment_ids=None,
) -> tuple[Values, State]:  # fmt: skip
    """(Z3) over the whole sequence at once.

    Cost: "exact" O(T^2 K^2 + T K^3) time and O(T (T + K^2)) memory; "cg" O(iterations T^2 K) time, O(T^2) memory.
    """
    call, state, ridge = _call(q, k, v, beta, g, lam, solver, iterations, initial_state, segment_ids)
    o, state = block(state, *_tokens(call), ridge, solver, iterations)
    return call.finish(o), state


def chunked(
    q: Tokens, k: Tokens, v: Values, *, beta: Gates, g: Gates, lam: Ridge, solver: str = "exact",
    iterations: int | None = None, initial_state=None, segment_ids=None, chunk_size: int = 64,
) -> tuple[Values, State]:  # fmt: skip
    """`parallel` inside chunks, both sums carried between them.

    Cost: that of `parallel` with chunk in place of T, T / chunk times; backward keeps one state per chunk.
    """
    call, state, ridge = _call(q, k, v, beta, g, lam, solver, iterations, initial_state, segment_ids)
    more = {"solver": solver, "iterations": iterations}
    o, state = over_chunks(block, state, _tokens(call), chunk_size, shared={"ridge": ridge}, **more)
    return call.finish(o), state


def block(state, q, k, v, beta, g, ridge, solver, iterations):
    """(Z3) for a block of tokens: output [T, V] and final state."""
    weights, start = jnp.exp(base.spans(g)), jnp.exp(base.from_start(g))[:, None]
    query = _queries(state.H, q, k, beta, g, weights, ridge, solver, iterations)
    o = start * dot(query, state.G.T) + linear_attn(beta[:, None] * v, k, query, weights)
    keep, left = jnp.exp(jnp.sum(g)), (jnp.exp(base.to_end(g)) * beta)[:, None] * k
    return o, State(keep * state.G + dot(v.T, left), keep * state.H + dot(k.T, left))


def _queries(H, q, k, beta, g, weights, ridge, solver, iterations):
    """The queries of (Z3), [T, K]."""
    (T, K), start = q.shape, jnp.exp(base.from_start(g))[:, None]
    if solver == "cg":

        def matvec(x):
            past = linear_attn(beta[:, None] * k, k, x, weights)
            return start * dot(x, H.T) + past + ridge[None] * x

        return conjugate_gradients(matvec, q, K if iterations is None else iterations)
    pairs = (beta[:, None, None] * k[:, :, None] * k[:, None, :]).reshape(T, K * K)
    A = (start * H.reshape(1, K * K) + dot(weights, pairs)).reshape(T, K, K) + jnp.diag(ridge)[None]
    return jax.vmap(jnp.linalg.solve)(A, q)


def _read(state, q_t, ridge, solver, iterations):
    """(Z2) at one token."""
    if solver == "cg":
        count = len(q_t) if iterations is None else iterations
        query = conjugate_gradients(lambda x: dot(state.H, x) + ridge * x, q_t, count)
    else:
        query = jnp.linalg.solve(state.H + jnp.diag(ridge), q_t)
    return dot(state.G, query)


def _known(solver, iterations):
    if solver not in SOLVERS:
        raise ValueError(f"solver: got {solver!r}, expected one of {SOLVERS}")
    if iterations is not None:
        _check.count("iterations", iterations, least=1)


def _call(q, k, v, beta, g, lam, solver, iterations, initial_state, segment_ids):
    """The call, the initial state, and the ridge [K]."""
    _known(solver, iterations)
    call = base.arguments(q, k, v, {"beta": (beta, "T"), "g": (g, "T")}, segment_ids)
    V, K = call.v.shape[1], call.k.shape[1]
    lam = float(lam) if isinstance(lam, int) and not isinstance(lam, bool) else lam
    lam = _check.array("lam", lam, "| K", {"K": (K, "k")})
    _positive("beta", beta, call.gates["beta"], least=True)
    _positive("lam", lam, lam, least=False)
    state = base.initial_pair(initial_state, State, ((V, K), (K, K)), call.v.dtype)
    call = call.beside(*state)
    call.gates["g"] = base.resets(call.gates["g"], call.starts, call.k)
    return call, state, jnp.broadcast_to(lam.astype(call.v.dtype), (K,))


def _positive(name, given, value, *, least):
    if _check.is_concrete(value) and not np.all(np.asarray(value) >= 0 if least else np.asarray(value) > 0):
        bound = "at least" if least else "above"
        raise ValueError(
            f"{name}: got {np.min(np.asarray(value)):g}, expected {bound} 0, or the ridge objective has no minimum; "
            f"pass its size, e.g. jax.nn.softplus({name})"
        )


def _tokens(call):
    return call.q, call.k, call.v, call.gates["beta"], call.gates["g"]
