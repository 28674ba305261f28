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

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dualform import _check
from dualform._numerics import dot
from dualform.rules import base, delta
from dualform.rules.base import Dual, State, Tokens, Values
from dualform.rules.chunks import over_chunks

Steps = Float[Array, " T"]


def descent(
    q: Tokens, k: Tokens, v: Values, *, beta: Steps, scale=1.0, initial_state=None, segment_ids=None
) -> tuple[Values, State]:
    """(H1) as it is meant: one Newton step per token, gradient and Hessian by JAX. Cost: O(T (K^3 + K^2 V)) time."""

    def update(S, k_t, v_t, beta_t):
        gradient = jax.grad(proximal)(S, S, k_t, v_t, beta_t)
        # The rows of S' do not meet in (H1), and all have the Hessian of the first.
        hessian = jax.hessian(lambda row: proximal(row[None], S[:1], k_t, v_t[:1], beta_t))(S[0])
        return S - jnp.linalg.solve(hessian, gradient.T).T

    return _by_token(update, q, k, v, beta, scale, initial_state, segment_ids)


def proximal(new, S, k_t, v_t, beta_t):
    """The objective of (H1): distance moved and reading error."""
    return 0.5 * jnp.sum((new - S) ** 2) + 0.5 * beta_t * jnp.sum((dot(new, k_t) - v_t) ** 2)


def recurrent(
    q: Tokens, k: Tokens, v: Values, *, beta: Steps, scale=1.0, initial_state=None, segment_ids=None
) -> tuple[Values, State]:
    """(H2) written out.

    Args:
        q, k: [T, K] queries and keys.
        v: [T, V] values.
        beta: [T] weight of the reading error against the distance moved, at least 0; 0 leaves the state alone, and as
            it grows the value is stored exactly.
        scale: multiplies the output, never the state.
        initial_state: [V, K], zero if None.
        segment_ids: int [T] of packed sequences, -1 for padding.

    Returns:
        o [T, V] in the dtype of q, and the final state [V, K], in float32 or wider.

    Raises:
        ValueError: shapes, dtypes, concrete values that are not finite, negative beta.

    Cost: O(T K V) time, O(K V) memory, T sequential steps.

    >>> k, v = jnp.ones((2, 1)), jnp.array([[4.0], [5.0]])
    >>> print(recurrent(k, k, v, beta=jnp.array([1.0, 2.0]))[0].ravel())
    [2. 4.]
    """
    return _by_token(write, q, k, v, beta, scale, initial_state, segment_ids)


def write(S, k_t, v_t, beta_t):
    """One token of (H2)."""
    return S + jnp.outer(beta_t / (1 + beta_t * dot(k_t, k_t)) * (v_t - dot(S, k_t)), k_t)


def step(state: State, q_t, k_t, v_t, *, beta, scale=1.0) -> tuple[Array, State]:
    """(H2) for one token from a state: the form that serves. Returns (o_t [V], state)."""
    state = base.wide(state)
    S = write(state, k_t.astype(state.dtype), v_t.astype(state.dtype), jnp.asarray(beta, state.dtype))
    return (scale * dot(S, q_t.astype(S.dtype))).astype(v_t.dtype), S


def errors(q: Tokens, k: Tokens, v: Values, *, beta: Steps, initial_state=None, segment_ids=None) -> Dual:
    """The dual form: error signals by (H3), each of weight 1 from its own token on, within its segment."""
    _, S, tokens = _explicit(q, k, v, beta, initial_state, segment_ids)
    return delta.unroll(S, *tokens)


def parallel(
    q: Tokens, k: Tokens, v: Values, *, beta: Steps, scale=1.0, initial_state=None, segment_ids=None
) -> tuple[Values, State]:
    """(D2) with (H3) over the whole sequence at once. Cost: O(T^2 (K + V)) time, O(T^2) memory."""
    call, S, tokens = _explicit(q, k, v, beta, initial_state, segment_ids)
    o, S = delta.block(S, *tokens)
    return call.finish(scale * o), S


def chunked(
    q: Tokens,
    k: Tokens,
    v: Values,
    *,
    beta: Steps,
    scale=1.0,
    initial_state=None,
    segment_ids=None,
    chunk_size: int = 64,
) -> tuple[Values, State]:
    """`parallel` inside chunks, the state carried between them.

    Cost: O(T (K V + chunk (K + V))) time, T / chunk sequential steps; backward keeps one state per chunk.
    """
    call, S, tokens = _explicit(q, k, v, beta, initial_state, segment_ids)
    o, S = over_chunks(delta.block, S, tokens, chunk_size)
    return call.finish(scale * o), S


def explicit_steps(beta: Steps, k: Tokens) -> Steps:
    """The step sizes with which the delta rule takes the implicit steps, Delta of (H2)."""
    return beta / (1 + beta * jnp.sum(k * k, axis=-1))


def _call(q, k, v, beta, initial_state, segment_ids):
    call = base.arguments(q, k, v, {"beta": (beta, "T")}, segment_ids)
    if _check.is_concrete(beta := call.gates["beta"]) and np.any(np.asarray(beta) < 0):
        least = float(np.min(np.asarray(beta)))
        raise ValueError(f"beta: got {least:g}, expected weights of at least 0; make them so, e.g. by jax.nn.softplus")
    S = base.initial(initial_state, (call.v.shape[1], call.k.shape[1]), call.v.dtype)
    return call.beside(S), S


def _explicit(q, k, v, beta, initial_state, segment_ids):
    """The call as one of the delta rule."""
    call, S = _call(q, k, v, beta, initial_state, segment_ids)
    steps = explicit_steps(call.gates["beta"], call.k)
    return call, S, (call.q, call.k, call.v, steps, base.resets(None, call.starts, call.k))


def _by_token(update, q, k, v, beta, scale, initial_state, segment_ids):
    call, S = _call(q, k, v, beta, initial_state, segment_ids)
    tokens = (call.k, call.v, call.gates["beta"])
    return base.over_tokens(update, lambda S, q_t: scale * dot(S, q_t), S, call, tokens)
