"""Wrong recurrences for the rules whose state is the layer alone: what happens to a token in which order.

`descent` and `step` are the same function of a token as `recurrent`, so that a mistake is planted where people make it:
signs and halves in descent, states and reads in step.
"""

import jax
import jax.numpy as jnp

from dualform.testing.mutant import Mutant
from mutants.precision import rounded
from mutants.rules.common import (
    CHANNELS,
    LAYERS,
    across,
    decayed,
    generalised,
    plant,
    scan,
    signal,
    step_size,
    token,
    whole,
)

# A token, wrong: functions of the rule's name, and updates of (S, k, v, gates of the token)


def decay_last(rule):
    """The decay after the write instead of before it."""

    def update(S, k, v, now):
        if rule == "rwkv7":
            return decayed(S + jnp.outer(S @ now["a"], now["b"]) + jnp.outer(v, k), now)
        return decayed(S + jnp.outer(signal(rule, S, k, v, now), k), now)

    return update


def error_first(rule):
    """The error of the state that has not decayed."""
    return lambda S, k, v, now: decayed(S, now) + jnp.outer(signal(rule, S, k, v, now), k)


def value_alone(rule):
    """The step size on the value, the whole of what the layer returns removed."""

    def update(S, k, v, now):
        A = decayed(S, now)
        return A + jnp.outer(step_size(rule, k, now) * v - A @ k, k)

    return update


def removal_alone(rule):
    def update(S, k, v, now):
        A = decayed(S, now)
        return A + jnp.outer(v - step_size(rule, k, now) * (A @ k), k)

    return update


def hebbian(rule):
    """Values written as they are."""

    def update(S, k, v, now):
        return decayed(S, now) + jnp.outer(now["beta"] * v, k)

    return update


def along_values(rule):
    """The decay of a key channel applied to a row of the state."""

    def update(S, k, v, now):
        return token(rule)(S, k, v, {**now, "g": 0 * now["g"]}) + (jnp.exp(now["g"][: len(S), None]) - 1) * S

    return update


def mean_decay(rule):
    """One decay for all channels."""
    return lambda S, k, v, now: token(rule)(S, k, v, {**now, "g": jnp.mean(now["g"])})


def column_major(rule):
    """The outer product written column by column and read row by row."""

    def update(S, k, v, now):
        A = decayed(S, now)
        return A + jnp.outer(k, signal(rule, A, k, v, now)).reshape(S.shape)

    return update


def linear_decay(rule):
    """1 + g for exp g."""

    def update(S, k, v, now):
        A = S * jnp.broadcast_to(1 + now["g"], S.shape)
        return A + jnp.outer(signal(rule, A, k, v, now), k)

    return update


def ascent(rule):
    """Up the gradient."""

    def update(S, k, v, now):
        A = decayed(S, now)
        return A - jnp.outer(signal(rule, A, k, v, now), k)

    return update


def stepping(rule, factor):
    """The gradient times a factor that the loss has not."""

    def update(S, k, v, now):
        A = decayed(S, now)
        return A + factor(S) * jnp.outer(signal(rule, A, k, v, now), k)

    return update


def decay_in_gradient(rule):
    """Coupled weight decay, with the step size: S + beta ((v - S k) k' - (1 - e^g) S)."""

    def update(S, k, v, now):
        return S + now["beta"] * (jnp.outer(v - S @ k, k) - (S - decayed(S, now)))

    return update


def read_decayed(rule):
    """The state after the decay, before the write."""

    def form(q, k, v, gates, state, scale):
        def one(S, x):
            q_t, k_t, v_t, now = x
            return token(rule)(S, k_t, v_t, now), scale * decayed(S, now) @ q_t

        state, o = jax.lax.scan(one, state, (q, k, v, gates))
        return o, state

    return form


def narrow(rule, dtype=jnp.bfloat16):
    """The state kept in bfloat16 between tokens."""
    return lambda S, k, v, now: rounded(token(rule)(S, k, v, now), dtype)


def one_backward_step(rule):
    """Truncated backpropagation: the state held constant."""
    return lambda S, k, v, now: token(rule)(jax.lax.stop_gradient(S), k, v, now)


def error_held(rule):
    """What the layer returns held constant, as a target is."""

    def update(S, k, v, now):
        A = decayed(S, now)
        return A + jnp.outer(step_size(rule, k, now) * (v - jax.lax.stop_gradient(A @ k)), k)

    return update


def rows(rules, form, *mistakes, **settings):
    """`(name, description, rule -> update)` for every rule."""
    return across(rules, mistakes, lambda rule, name, why, make: plant(
        rule, form, name, why, scan(make(rule), **settings)))  # fmt: skip


RECURRENT = (
    *rows((*LAYERS[::2], "rwkv7"), "recurrent", ("read before write", "o_t = S_{t-1} q_t", token), before=True),
    *rows(("retention", "kda", "rwkv7"), "recurrent", ("decay after the write", "a token decays at once", decay_last)),
    *rows(("gated_delta", "kda"), "recurrent", ("error before the decay", "of a state that was", error_first)),
    *rows(("delta", "kda"), "recurrent", ("step size on the value", "all is removed", value_alone)),
    *rows(("longhorn",), "recurrent", ("step size on the removal", "the value written whole", removal_alone)),
    *rows(CHANNELS, "recurrent", ("decay along values", "a key channel's decay on a row", along_values)),
    *rows(("gla", "kda"), "recurrent", ("one decay", "the mean over channels", mean_decay)),
    *rows(("linear_attn",), "recurrent", ("transposed write", "k v' for v k'", column_major)),
    *rows(("retention",), "recurrent", ("linear decay", "1 + g for exp g", linear_decay)),
    *rows(("linear_attn",), "recurrent", ("one backward step", "truncated backpropagation", one_backward_step)),
    *rows(("delta", "gated_delta"), "recurrent", ("error held", "no gradient through what is read", error_held)),
)  # fmt: skip

DESCENT = (
    *rows(LAYERS[::2], "descent", ("ascent", "up the gradient", ascent)),
    *rows(("gated_delta", "longhorn"), "descent", ("without its half", "the gradient of the square",
                                                  lambda rule: stepping(rule, lambda S: 2))),
    *rows(("linear_attn", "delta"), "descent", ("mean loss", "the mean over the outputs", lambda rule: stepping(
        rule, lambda S: 1 / len(S)))),
    *rows(("retention", "gated_delta"), "descent", ("decay after the step", "weight decay last", decay_last)),
    *rows(("gated_delta", "kda"), "descent", ("gradient before the decay", "of the old state", error_first),
          ("coupled decay", "the decay is part of the gradient", decay_in_gradient)),
    *rows(("delta",), "descent", ("Hebbian", "no reading error: the loss of linear attention", hebbian)),
)  # fmt: skip

STEP = (
    *rows(LAYERS[1::2], "step", ("read before write", "the state that came in is read", token), before=True),
    *(whole(rule, "step", "bfloat16 state", "a state kept in the dtype of the tokens", scan(narrow(rule)))
      for rule in (*LAYERS, "rwkv7")),
    *rows(("retention",), "step", ("decay after the write", "a token decays at once", decay_last)),
    *(plant(rule, "step", "read between", "after the decay, before the write", read_decayed(rule))
      for rule in ("gated_delta", "kda", "rwkv7")),
)  # fmt: skip


# RWKV-7 and Longhorn alone


def swapped(S, k, v, now):
    return generalised(S, k, v, {**now, "a": now["b"], "b": now["a"]})


def full_gradient(S, k, v, now):
    """The target p differentiated too, as if it did not come from the state."""
    read, written = S @ now["a"], S @ now["b"]
    return decayed(S, now) + jnp.outer(v, k) + jnp.outer(read, now["b"]) + jnp.outer(written, now["a"])


def removed_twice(S, k, v, now):
    """Decay on what is left: diag(e^g) (I + a b')."""
    return decayed(S + jnp.outer(S @ now["a"], now["b"]), now) + jnp.outer(v, k)


def key_for_b(S, k, v, now):
    return decayed(S, now) + jnp.outer(S @ now["a"] + v, k)


def explicit(size):
    """Longhorn with another step size."""
    return lambda S, k, v, now: S + jnp.outer(size(now["beta"], k) * (v - S @ k), k)


def diagonal(S, k, v, now):
    """The published kernel: of k k' its diagonal, and one step size a channel."""
    size = now["beta"] / (1 + now["beta"] * k @ k)
    return S * (1 - size * k * k)[None] + size * jnp.outer(v, k)


SPECIAL = tuple(
    plant(rule, form, name, why, scan(update))
    for rule, form, name, why, update in (
        ("rwkv7", "recurrent", "a and b swapped", "read at b, written at a", swapped),
        ("rwkv7", "recurrent", "sign of a", "what is read is taken away",
         lambda S, k, v, now: generalised(S, k, v, {**now, "a": -now["a"]})),
        ("rwkv7", "recurrent", "written at k", "the write-back key is the key", key_for_b),
        ("rwkv7", "recurrent", "read after the decay", "a reads the decayed state",
         lambda S, k, v, now: generalised(decayed(S, now), k, v, {**now, "g": 0 * now["g"]})),
        ("rwkv7", "descent", "full gradient", "no semi-gradient: the target differentiated", full_gradient),
        ("rwkv7", "descent", "ascent", "the value subtracted", lambda S, k, v, now: generalised(S, k, -v, now)),
        ("rwkv7", "descent", "decay of the write-back", "what is written back decays too", removed_twice),
        ("rwkv7", "step", "no write-back", "a diagonal state matrix: GLA",
         lambda S, k, v, now: decayed(S, now) + jnp.outer(v, k)),
        ("longhorn", "recurrent", "no denominator", "the explicit step: the delta rule", explicit(lambda b, k: b)),
        ("longhorn", "recurrent", "unit keys", "1 + beta for 1 + beta k.k", explicit(lambda b, k: b / (1 + b))),
        ("longhorn", "recurrent", "denominator without beta", "1 + k.k", explicit(lambda b, k: b / (1 + k @ k))),
        ("longhorn", "step", "normalised step", "beta / k.k", explicit(lambda b, k: b / (k @ k))),
        ("longhorn", "step", "diagonal", "the diagonal of k k' for k k'", diagonal),
        ("longhorn", "descent", "distance halved", "2 + beta k.k", explicit(lambda b, k: b / (2 + b * k @ k))),
    )
)  # fmt: skip

MUTANTS: tuple[Mutant, ...] = (*RECURRENT, *DESCENT, *STEP, *SPECIAL)


def loop(update):
    """A Python loop over tokens."""

    def form(q, k, v, gates, S, scale):
        o = []
        for t in range(len(q)):
            S = update(S, k[t], v[t], {name: x[t] for name, x in gates.items()})
            o.append(S @ (scale * q[t]))
        return jnp.stack(o), S

    return form


def matrix(rule):
    """The update as a matrix on the right: S M + e k'."""

    def update(S, k, v, now):
        M = decayed(jnp.eye(len(k)), now)
        size = step_size(rule, k, now)
        return S @ (M - size * jnp.outer(M @ k, k)) + size * jnp.outer(v, k)

    return update


HARMLESS = (
    *(plant(rule, "step", "Python loop", "the query scaled instead", loop(token(rule)))
      for rule in ("linear_attn", "rwkv7")),
    *(plant(rule, "descent", "matrices", "each token a matrix on the right of the state", scan(matrix(rule)))
      for rule in ("delta", "kda")),
)  # fmt: skip
