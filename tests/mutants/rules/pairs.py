"""Wrong parallel forms and wrong dual forms: masks, decays between two tokens, the triangular solve.

`unrolled` is the dual form of chapter 4 from its definition, each weight a sum over the tokens between, the system of
the error signals solved by elimination. Each mistake changes one of its parts.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from dualform.laws.rules.laws import left_over, scaled
from dualform.linear import linear_attn
from dualform.rules import RULES
from dualform.testing.mutant import Mutant
from mutants.rules.common import DECAYING, LAYERS, SQUARED, across, plant, whole

present, past = jnp.tril, lambda x: jnp.tril(x, -1)


def between(g, first=1, last=0):
    """The decay of every channel from token i to token t: gates from i + first up to t + last, [t, i, channel]."""
    T = len(g)
    t, i, s = jnp.meshgrid(*[jnp.arange(T)] * 3, indexing="ij")
    inside = (i + first <= s) & (s <= t + last)
    return jnp.exp(jnp.einsum("tis,sc->tic", inside.astype(g.dtype), g))


def undecayed(g):
    return jnp.ones((len(g), len(g), g.shape[1]))


def prefix_differences(g):
    """exp(b_t - b_i) of prefix sums b: equal where nothing is reset, and NaN from a reset on."""
    b = jnp.cumsum(g, axis=0)
    return jnp.exp(b[:, None] - b[None])


def substitution(L, B):
    return jnp.linalg.solve(jnp.eye(len(L)) + L, B)


def unrolled(
    rule, *, written=between, read=between, end=between, past=past, present=present, solve=substitution,
    left=lambda beta, A: beta[:, None] * A, right=lambda beta, B: beta[:, None] * B,
    start=lambda g: jnp.exp(jnp.cumsum(g, axis=0)), seen=lambda S: S, left_state=lambda start: start[-1:],
) -> Callable:  # fmt: skip
    """A rule of `LAYERS` in its dual form, with parts that may be wrong.

    Args:
        rule: its name.
        written, read, end: decays between tokens, in the system of the error signals, in the output, in the state.
        past, present: masks of the system and of the output.
        solve: (L, B) -> error signals.
        left, right: how the step sizes enter the system.
        start: decays of the initial state at every token.
        seen: the initial state that the error signals see.
        left_state: what is left of the initial state at the end, from the decays of `start`.
    """

    def form(q, k, v, gates, S, scale):
        g = gates.get("g", jnp.zeros(len(k)))
        g = g if g.ndim == 2 else jnp.broadcast_to(g[:, None], k.shape)
        E, begin = v, start(g)
        if rule in SQUARED:
            beta = gates["beta"]
            beta = beta / (1 + beta * jnp.sum(k * k, axis=1)) if rule == "longhorn" else beta
            L = left(beta, past(jnp.einsum("tc,tic,ic->ti", k, written(g), k)))
            E = solve(L, right(beta, v - (begin * k) @ seen(S).T))
        o = (begin * q) @ S.T + present(jnp.einsum("tc,tic,ic->ti", q, read(g), k)) @ E
        return scale * o, left_state(begin) * S + E.T @ (end(g)[-1] * k)

    return form


def shifted(first, last):
    return lambda g: between(g, first, last)


def everything(x):
    return x


def one_term(L, B):
    """The first term of the series of the inverse."""
    return B - L @ B


def dropped(S):
    return jnp.zeros_like(S)


DECAYS = (
    ("mask without decay", "scores are masked but not decayed", dict(read=undecayed)),
    ("decay of the own token", "a token decays when it is written", dict(read=shifted(0, 0))),
    ("decay up to the token before", "the query's own decay is missing", dict(read=shifted(1, -1))),
    ("keys undecayed in the state", "the final state takes keys as they are", dict(end=undecayed)),
    ("initial state one decay behind", "an exclusive prefix sum", dict(
        start=lambda g: jnp.exp(jnp.cumsum(g, axis=0) - g))),
)  # fmt: skip
SYSTEM = (
    ("diagonal in the solve", "a token's error sees its own write", dict(past=jnp.tril)),
    ("no mask in the solve", "errors see the future", dict(past=everything)),
    ("step sizes of columns", "beta_i for beta_t in L", dict(left=lambda beta, A: beta[None, :] * A)),
    ("no step sizes on the left", "L without beta", dict(left=lambda beta, A: A)),
    ("no step sizes on the right", "B without beta", dict(right=lambda beta, B: B)),
    ("sign of L", "(I - L) E = B", dict(left=lambda beta, A: -beta[:, None] * A)),
    ("transposed solve", "(I + L') E = B", dict(solve=lambda L, B: substitution(L.T, B))),
    ("one term of the inverse", "I - L for the inverse of I + L", dict(solve=one_term)),
    ("errors from zero", "the initial state is read, but not corrected", dict(seen=dropped)),
    ("errors held", "no gradient through the solve", dict(
        solve=lambda L, B: substitution(jax.lax.stop_gradient(L), B))),
)  # fmt: skip
GATED_SYSTEM = (
    ("no decay in the solve", "a causal mask alone in L", dict(written=undecayed)),
    ("decay of the solve one token behind", "that of the state before the decay", dict(written=shifted(1, -1))),
)
MASKS = (
    ("no mask", "outputs see the future", dict(present=everything)),
    ("strict mask", "a token is hidden from its own query", dict(present=past)),
)


def parallel(rule, name, why, parts):
    return plant(rule, "parallel", name, why, unrolled(rule, **parts))


PARALLEL = (
    *across(("retention",), DECAYS, parallel),
    *across(("gla",), DECAYS[:2], parallel), *across(("gated_delta",), DECAYS[2:3], parallel),
    *across(("kda",), DECAYS[3:4], parallel),
    *across(("delta",), SYSTEM, parallel),
    *across(("gated_delta",), SYSTEM[:1], parallel),
    *across(("kda",), SYSTEM[3:4], parallel),
    *across(("longhorn",), SYSTEM[7:8], parallel),
    *across(("gated_delta", "kda"), GATED_SYSTEM, parallel),
    *across(("linear_attn",), MASKS, parallel), *across(("gla",), MASKS[:1], parallel),
    *across(("longhorn",), MASKS[1:], parallel),
    parallel("linear_attn", "initial state once", "read at the first token only",
             dict(start=lambda g: jnp.zeros_like(g).at[0].set(1), left_state=lambda start: 1)),
    parallel("gated_delta", "whole initial state", "the final state keeps all of it",
             dict(left_state=lambda start: 1)),
    *(whole(rule, "parallel", "differences of prefix sums", "NaN from a hard reset on",
            unrolled(rule, read=prefix_differences, written=prefix_differences)) for rule in DECAYING),
)  # fmt: skip


# The dual form as data, read out as in the laws


def dual(rule, mistake) -> Callable:
    """The read-out of `mistake(dual, k, v, gates)` for the right dual form."""
    rule = RULES[rule]
    options = rule.tried

    def form(q, k, v, gates, state, scale):
        given = rule.form("errors")(q, k, v, **gates, initial_state=state, **options)
        wrong = mistake(given, q, k, v, gates)
        o = linear_attn(wrong.E, wrong.X, wrong.Q, wrong.weights, **scaled(rule, scale))
        return o + left_over(rule, wrong.Q, k, v, gates, state, scale, **options)

    return form


def on_weights(change):
    return lambda d, q, k, v, gates: d._replace(weights=change(d.weights))


def hidden(weights):
    """The causal mask without its diagonal."""
    T, N = weights.shape[:2]
    seen = jnp.arange(T)[:, None] > (jnp.arange(N) % T)[None, :]
    return jnp.where(seen.reshape(T, N, *(1,) * (weights.ndim - 2)), weights, 0)


def only_mask(weights):
    T = len(weights)
    return jnp.broadcast_to(jnp.tril(jnp.ones((T, T))).reshape(T, T, *(1,) * (weights.ndim - 2)), weights.shape)


def raw_errors(d, q, k, v, gates):
    """Error signals that were taken from a state of zeros."""
    return d._replace(E=gates["beta"][:, None] * v)


def swapped_patterns(d, q, k, v, gates):
    """Keys b, then keys k, while the signals stay v, then p."""
    return d._replace(X=jnp.concatenate([gates["b"], k]))


def p_late(d, q, k, v, gates):
    """The signal p_t taken after the token instead of before."""
    T = len(k)
    return d._replace(E=jnp.concatenate([d.E[:T], jnp.roll(d.E[T:], -1, axis=0)]))


def only_values(d, q, k, v, gates):
    T = len(k)
    return d._replace(E=d.E[:T], X=d.X[:T], weights=d.weights[:, :T])


def last_product(weights):
    """What each token pushed at the last moment, not the sum of its pushes."""
    return weights - jnp.concatenate([jnp.zeros_like(weights[:1]), weights[:-1]])


ERRORS = (
    *((rule, "strict mask", "a token is hidden from its own query", on_weights(hidden))
      for rule in ("linear_attn", "kda", "titans")),
    *((rule, "no weights of decay", "a causal mask alone", on_weights(only_mask))
      for rule in ("gla", "gated_delta", "momentum", "mesa")),
    *((rule, "error signals without the error", "values times step sizes", raw_errors)
      for rule in ("delta", "ttt")),
    *((rule, "weights transposed", "the future instead of the past", on_weights(lambda w: jnp.swapaxes(w, 0, 1)))
      for rule in ("linear_attn", "retention", "normalized")),
    *((rule, "sign", "gradients for error signals", lambda d, q, k, v, gates: d._replace(E=-d.E))
      for rule in ("delta", "longhorn", "ttt")),
    ("rwkv7", "patterns exchanged", "v at b and p at k", swapped_patterns),
    ("rwkv7", "p one token late", "what is carried is read after the write", p_late),
    ("rwkv7", "values alone", "T patterns instead of 2T", only_values),
    ("mesa", "raw queries", "queries that do not know the keys", lambda d, q, k, v, gates: d._replace(Q=q)),
    ("mesa", "no input gate", "values as they are", lambda d, q, k, v, gates: d._replace(E=v)),
    ("normalized", "raw queries", "features that are not divided",
     lambda d, q, k, v, gates: d._replace(Q=RULES["normalized"].tried["feature_map"](q))),
    ("normalized", "raw keys", "keys without features", lambda d, q, k, v, gates: d._replace(X=k)),
    ("momentum", "the last push", "products of momenta, not their sums", on_weights(last_product)),
)  # fmt: skip
DUALS = tuple(plant(rule, "errors", name, why, dual(rule, mistake)) for rule, name, why, mistake in ERRORS)

MUTANTS: tuple[Mutant, ...] = (*PARALLEL, *DUALS)

HARMLESS = (
    *(plant(rule, "parallel", "by definition", "weights summed one by one, a general solve", unrolled(rule))
      for rule in LAYERS[::2]),
    *(plant(rule, "chunked", "differences of prefix sums", "as good where nothing is reset", unrolled(
        rule, read=prefix_differences)) for rule in ("retention",)),
)  # fmt: skip
