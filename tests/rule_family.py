"""All thirteen rules as variants of `rule_loops`: the delta rules and retention beside those that it has."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from rule_loops import SCALE, STEP, VARIANTS, Variant, wide

from dualform.rules import delta, gated_delta, kda, longhorn, retention, rwkv7


def decayed(xp, S, start, q, k, v, at, options):
    S = xp.exp(at["g"]) * S + xp.outer(v, k)
    return S, S @ q


def corrected(xp, S, start, q, k, v, at, options):
    """One delta step, after decay where there is any: of the whole state, or of each channel."""
    if "g" in at:
        S = S * xp.broadcast_to(xp.exp(at["g"]), S.shape)
    S = S + at["beta"] * xp.outer(v - S @ k, k)
    return S, S @ q


def generalised(xp, S, start, q, k, v, at, options):
    S = S @ (xp.diag(xp.exp(at["g"])) + xp.outer(at["a"], at["b"])) + xp.outer(v, k)
    return S, S @ q


def implicit(xp, S, start, q, k, v, at, options):
    """Where the proximal objective is smallest: S' (I + beta k k') = S + beta v k'."""
    beta = at["beta"]
    S = xp.linalg.solve(xp.eye(len(k)) + beta * xp.outer(k, k), (S + beta * xp.outer(v, k)).T).T
    return S, S @ q


FAMILY = {
    **VARIANTS,
    **{
        variant.name: variant
        for variant in (
            Variant("retention", retention, decayed, {"g": "log decay", **SCALE}),
            Variant("delta", delta, corrected, STEP),
            Variant("gated_delta", gated_delta, corrected, {"g": "log decay", **STEP}),
            Variant("kda", kda, corrected, {"g": "log decays", **STEP}),
            Variant("rwkv7", rwkv7, generalised, {"g": "log decays", "a": "direction", "b": "direction", **SCALE}),
            Variant("longhorn", longhorn, implicit, STEP, integers=False),
        )
    },
}


def pulled_back(rule: Variant, arguments: tuple, cotangent) -> tuple:
    """The loop over tokens in float64, and its vector-Jacobian product, back through it token by token.

    Returns ((o, final state), cotangents of the arguments) as numpy arrays.
    """
    with jax.enable_x64():
        arguments, (d_o, d_state) = jax.tree.map(jnp.asarray, wide((arguments, cotangent)))
        q, k, v, gates, free = arguments
        shared = {name: x for name, x in gates.items() if not rule.per_token(name)}
        per_token = {name: x for name, x in gates.items() if rule.per_token(name)}
        forward, back = _token_programs(rule.name)
        state, pull_state = jax.vjp(lambda free: rule.make_state(*free), free)
        carry, kept, outputs = (state, jax.tree.leaves(state)[0]), [], []
        for t in range(len(q)):
            begin = t % rule.options.get("minibatch", 1) == 0
            kept.append((carry, begin, _at((q, k, v, per_token), t)))
            carry, o = forward(*kept[-1], shared)
            outputs.append(o)
        d_carry = d_state, jnp.zeros_like(carry[1])
        d_shared, d_tokens = jax.tree.map(jnp.zeros_like, shared), []
        for t in reversed(range(len(q))):
            d_carry, d_token, more = back(*kept[t], shared, (d_carry, d_o[t]))
            d_tokens.append(d_token)
            d_shared = jax.tree.map(jnp.add, d_shared, more)
        d_start = jax.tree.map(jnp.add, d_carry[0], _first(d_carry[0], d_carry[1]))
        (d_free,) = pull_state(d_start)
        gradient = _stacked(d_tokens[::-1], (q, k, v, per_token))
        gradient = *gradient[:3], {**d_shared, **gradient[3]}, d_free
        o = np.stack(outputs) if outputs else np.zeros((0, rule.V))
        return jax.tree.map(np.asarray, ((o, carry[0]), gradient))


@functools.cache
def _token_programs(name):
    rule = FAMILY[name]

    def token(carry, begin, x, shared):
        state, start = carry
        start = jnp.where(begin, jax.tree.leaves(state)[0], start)
        q, k, v, gates = x
        at = {**gates, **shared}
        state, o = rule.token(jnp, state, start, q, k, v, at, rule.options)
        return (state, start), at.get("scale", 1.0) * o

    def back(carry, begin, x, shared, cotangent):
        return jax.vjp(lambda carry, x, shared: token(carry, begin, x, shared), carry, x, shared)[1](cotangent)

    return jax.jit(token), jax.jit(back)


def _at(tokens, t):
    return jax.tree.map(lambda x: np.asarray(x)[t], tokens)


def _first(state, more):
    """Zeros of a state's structure, with `more` in the place of its layer."""
    leaves, tree = jax.tree.flatten(state)
    return jax.tree.unflatten(tree, [more, *map(jnp.zeros_like, leaves[1:])])


def _stacked(parts, like):
    if not parts:
        return jax.tree.map(lambda x: np.zeros(x.shape), like)
    return jax.tree.map(lambda *x: np.stack(x), *parts)
