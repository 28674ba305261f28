"""Wrong programs for the rules whose optimiser remembers: momentum, ttt, titans."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from dualform.laws.rules.laws import MINIBATCH
from dualform.rules.momentum import State as Moving
from dualform.testing.mutant import Mutant
from mutants.precision import rounded
from mutants.rules.common import plant, scan, whole

DELTA_ERROR = "delta error"


def layer_times(state, q):
    return state[0] @ q


# Momentum: an update of (S, Z) by (k, v, now)


def heavy_ball(error=lambda S, Z, k, v, now: now["beta"] * v, velocity=None, move=lambda S, old, new, now: S + new):
    """(M1) with parts that may be wrong."""
    velocity = velocity or (lambda Z, push, now: now["mu"] * Z + push)

    def update(state, k, v, now):
        push = jnp.outer(error(*state, k, v, now), k)
        Z = velocity(state.Z, push, now)
        return Moving(move(state.S, state.Z, Z, now), Z)

    return scan(update, layer_times)


def squared(S, Z, k, v, now):
    return now["beta"] * (v - S @ k)


def ahead(S, Z, k, v, now):
    """Nesterov's gradient, where the velocity leads."""
    return now["beta"] * (v - (S + now["mu"] * Z) @ k)


MOMENTUM = (
    ("recurrent", "velocity kept", "it does not decay", None, heavy_ball(velocity=lambda Z, push, now: Z + push)),
    ("recurrent", "dampened", "an average of gradients", None, heavy_ball(
        velocity=lambda Z, push, now: now["mu"] * Z + (1 - now["mu"]) * push)),
    ("recurrent", "old velocity", "the layer moves before the velocity", None, heavy_ball(
        move=lambda S, old, new, now: S + old)),
    ("descent", "decay of the push", "mu (Z + e k')", None, heavy_ball(
        velocity=lambda Z, push, now: now["mu"] * (Z + push))),
    ("descent", "Nesterov", "the step looks ahead", None, heavy_ball(
        move=lambda S, old, new, now: S + now["mu"] * new + (new - now["mu"] * old))),
    ("step", "layer decays too", "mu on the layer", None, heavy_ball(
        move=lambda S, old, new, now: now["mu"] * S + new)),
    ("parallel", "Hebbian", "the error of the other loss", DELTA_ERROR, heavy_ball()),
    ("chunked", "Nesterov's gradient", "taken ahead", DELTA_ERROR, heavy_ball(ahead)),
    ("descent", "ascent", "up the gradient", DELTA_ERROR, heavy_ball(lambda *a: -squared(*a))),
    ("step", "velocity held", "no gradient through the velocity", DELTA_ERROR, heavy_ball(
        squared, lambda Z, push, now: now["mu"] * jax.lax.stop_gradient(Z) + push)),
)  # fmt: skip


def sums(weights) -> Callable:
    """(M3) by `weights(mu) [T, T]`, what is left of the initial state by the recurrence."""

    def form(q, k, v, gates, state, scale):
        E, w = gates["beta"][:, None] * v, weights(gates["mu"])
        coasting, _ = heavy_ball()(q, k, 0 * v, gates, state, scale)
        last = heavy_ball()(q, k, v, gates, state, scale)[1]
        return coasting + scale * (w * (q @ k.T)) @ E, last

    return form


def products(mu, own=0):
    """mu_{i+1} ... mu_t at [t, i], from i + 1 + own."""
    t, i = jnp.arange(len(mu))[:, None], jnp.arange(len(mu))[None, :]
    return jnp.tril(jnp.cumprod(jnp.where(t > i - own, mu[:, None], 1), axis=0))


def geometric(mu):
    """The sum of a geometric series, as if all momenta were the query's."""
    T = len(mu)
    age = jnp.tril(jnp.arange(T)[:, None] - jnp.arange(T)[None, :] + 1)
    powers = jnp.concatenate([jnp.ones((T, 1)), jnp.cumprod(jnp.broadcast_to(mu[:, None], (T, T)), axis=1)], axis=1)
    return jnp.tril((1 - jnp.take_along_axis(powers, age, axis=1)) / (1 - mu)[:, None])


WEIGHTS = (
    ("parallel", "products alone", "no sum over the moves", products),
    ("parallel", "own momentum", "a push decays at once", lambda mu: jnp.tril(jnp.cumsum(products(mu, 1), axis=0))),
    ("parallel", "geometric series", "(1 - mu^n) / (1 - mu) for momenta that change", geometric),
)


# ttt and titans: updates of (S, Z), given the layer at the minibatch's start


def minibatched(
    begins=lambda t: t % MINIBATCH == 0, error=lambda start, S, k, v, now: now["beta"] * (v - start @ k),
    move=None, write_first=False,
) -> Callable:  # fmt: skip
    """(T1) or (J1) with parts that may be wrong.

    Args:
        begins: token -> whether a minibatch begins there.
        error: (layer at the minibatch's start, layer, k, v, now) -> error signal.
        move: titans' (S, Z, push, now) -> (S, Z); ttt if None.
        write_first: the new start is the layer after the token's write.
    """

    def form(q, k, v, gates, state, scale):
        S, Z = state if move else (state, jnp.zeros_like(state))
        start, o = S, []
        for t in range(len(q)):
            now = {name: x[t] for name, x in gates.items()}
            begin = begins(t)
            start = S if begin and not write_first else start
            push = jnp.outer(error(start, S, k[t], v[t], now), k[t])
            S, Z = move(S, Z, push, now) if move else (S + push, Z)
            start = S if begin and write_first else start
            o.append(scale * S @ q[t])
        return jnp.stack(o), Moving(S, Z) if move else S

    return form


def titan(S, Z, push, now):
    Z = now["mu"] * Z + push
    return jnp.exp(now["g"]) * S + Z, Z


def decay_last(S, Z, push, now):
    Z = now["mu"] * Z + push
    return jnp.exp(now["g"]) * (S + Z), Z


def velocity_forgets(S, Z, push, now):
    Z = jnp.exp(now["g"]) * now["mu"] * Z + push
    return jnp.exp(now["g"]) * S + Z, Z


def coupled(S, Z, push, now):
    """torch's weight decay, which enters the velocity."""
    Z = now["mu"] * Z + push - (1 - jnp.exp(now["g"])) * S
    return S + Z, Z


def no_momentum(S, Z, push, now):
    return jnp.exp(now["g"]) * S + push, push


def old_velocity(S, Z, push, now):
    return jnp.exp(now["g"]) * S + Z, now["mu"] * Z + push


def narrow_velocity(S, Z, push, now):
    Z = rounded(now["mu"] * Z + push, jnp.bfloat16)
    return jnp.exp(now["g"]) * S + Z, Z


def now_error(start, S, k, v, now):
    return now["beta"] * (v - S @ k)


STARTS = (
    ("recurrent", "start of the call", "all gradients at the initial state", dict(begins=lambda t: t == 0)),
    ("recurrent", "no minibatch", "gradients at the state itself: the delta rule", dict(error=now_error)),
    ("step", "start one token late", "after the first token's write", dict(write_first=True)),
    ("step", "minibatches of 3", "one token too many", dict(begins=lambda t: t % 3 == 0)),
    ("parallel", "shifted minibatches", "the first one is short", dict(begins=lambda t: t % MINIBATCH == 1)),
    ("descent", "ascent", "up the gradient", dict(error=lambda start, S, k, v, now: now["beta"] * (start @ k - v))),
)  # fmt: skip
TITANS = (
    ("recurrent", "decay last", "the move decays at once", decay_last),
    ("recurrent", "velocity forgets", "decay on the velocity too", velocity_forgets),
    ("descent", "coupled decay", "weight decay in the velocity", coupled),
    ("descent", "no momentum", "the velocity begins anew at every token", no_momentum),
    ("step", "old velocity", "the layer moves before the velocity", old_velocity),
)
TTT = (
    ("recurrent", "mean gradient", "the mean over the minibatch, not the sum", dict(
        error=lambda start, S, k, v, now: now["beta"] * (v - start @ k) / MINIBATCH)),
    ("descent", "without its half", "the gradient of the square", dict(
        error=lambda start, S, k, v, now: 2 * now["beta"] * (v - start @ k))),
    ("chunked", "start held", "no gradient through the state at the minibatch's start", dict(
        error=lambda start, S, k, v, now: now["beta"] * (v - jax.lax.stop_gradient(start) @ k))),
)  # fmt: skip


def through_norm(pull):
    """(T3) with the error signal `pull(norm, y, v)`."""

    def form(q, k, v, gates, state, scale):
        norm, gates = gates["norm"], {"beta": gates["beta"]}
        error = lambda start, S, k, v, now: -now["beta"] * pull(norm, start @ k, v)  # noqa: E731
        return minibatched(error=error)(q, k, v, gates, state, scale)

    return form


def jacobian_forgotten(norm, y, v):
    return norm(y) - v


def no_variance(norm, y, v):
    """The spread of y held constant."""
    e = norm.weight * (norm(y) - v)
    spread = jnp.mean((y - jnp.mean(y)) ** 2) + norm.eps
    return (e - jnp.mean(e)) * jax.lax.rsqrt(spread)


def no_weight(norm, y, v):
    return norm.pull(y, norm(y) - v) / norm.weight


def no_epsilon(norm, y, v):
    norm = norm._replace(eps=0 * norm.eps)
    return norm.pull(y, norm(y) - v)


NORMS = (
    ("chunked", "Jacobian forgotten", "the residual as the error signal", jacobian_forgotten),
    ("parallel", "spread held constant", "the norm's variance is not differentiated", no_variance),
    ("recurrent", "weight forgotten", "the gain is not pulled back", no_weight),
    ("step", "no epsilon", "nothing added to the variance", no_epsilon),
)


NARROW = (
    ("momentum", "bfloat16 velocity", heavy_ball(
        velocity=lambda Z, push, now: rounded(now["mu"] * Z + push, jnp.bfloat16))),
    ("titans", "bfloat16 velocity", minibatched(move=narrow_velocity)),
    ("ttt", "bfloat16 start", minibatched(
        error=lambda start, S, k, v, now: now["beta"] * (v - rounded(start, jnp.bfloat16) @ k))),
)  # fmt: skip

MUTANTS: tuple[Mutant, ...] = (
    *(plant("momentum", form, name, why, program, case, what=f"{case}, {form}" if case else "")
      for form, name, why, case, program in MOMENTUM),
    *(plant("momentum", form, name, why, sums(weights)) for form, name, why, weights in WEIGHTS),
    *(plant("ttt", form, name, why, minibatched(**parts)) for form, name, why, parts in (*STARTS, *TTT)),
    *(plant("titans", form, name, why, minibatched(**parts, move=titan)) for form, name, why, parts in STARTS[::2]),
    *(plant("titans", form, name, why, minibatched(move=move)) for form, name, why, move in TITANS),
    *(Mutant(f"ttt, norm, {form}: {name}", "T3", form, through_norm(pull), why, "forms")
      for form, name, why, pull in NORMS),
    *(whole(rule, "step", name, "what is carried kept in few bits", program) for rule, name, program in NARROW),
)  # fmt: skip

HARMLESS = (
    plant("momentum", "parallel", "by recurrence", "heavy ball written out", heavy_ball()),
    plant("momentum", "chunked", "by recurrence", "heavy ball written out", heavy_ball(squared), DELTA_ERROR,
          what=f"{DELTA_ERROR}, chunked"),
    plant("ttt", "parallel", "by recurrence", "a Python loop", minibatched()),
    plant("titans", "step", "by recurrence", "a Python loop", minibatched(move=titan)),
    Mutant("ttt, norm, parallel: autodiff", "T3", "parallel", through_norm(
        lambda norm, y, v: jax.vjp(norm, y)[1](norm(y) - v)[0]), "the norm pulled back by JAX", "forms"),
)  # fmt: skip
