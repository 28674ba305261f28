r"""Batches and heads: every rule on arrays `[B, T, H, ...]`, one head of one sequence at a time.

The rules know one head of one sequence. Heads share nothing but, where there are fewer of them, queries and keys: with
$H$ heads of values and $H_k$ of keys, $H = G H_k$, heads $0$ to $G - 1$ read those of key head 0, and so on:

$$ o_{bth} = f\bigl(q_{b,:,j},\ k_{b,:,j},\ v_{b,:,h},\ \ldots\bigr)_t, \qquad j = \lfloor h / G \rfloor.   \tag{F7} $$
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from dualform import _check
from dualform.rules import tokens as of_tokens
from dualform.rules.record import Rule, as_rule
from dualform.rules.ttt import LayerNorm

TOKENS, EACH, SHARED = "tokens", "each", "shared"
"""How an argument meets the heads: [B, T, H, ...], [H, ...], or the same for all."""


def over_heads(
    rule: Rule | str,
    /,
    q: Float[Array, "B T Hk K"],
    k: Float[Array, "B T Hk K"],
    v: Float[Array, "B T H V"],
    *,
    form: str = "auto",
    initial_state: Any = None,
    segment_ids: Int[Array, "B T"] | None = None,
    **arguments: Any,
) -> tuple[Float[Array, "B T H V"], Any]:
    """A rule on a batch of sequences with several heads (F7).

    Args:
        rule: one of `RULES`, or its name.
        q, k: [B, T, Hk, K] queries and keys. Hk divides H; it is H, or less where heads of values share keys.
        v: [B, T, H, V] values.
        form: as for the rule.
        initial_state: [B, H, V, K], or the rule's pair of such arrays; zero if None.
        segment_ids: int [B, T] of packed sequences, -1 for padding: shorter sequences of a batch end in -1.
        **arguments: gates [B, T, H] or [B, T, H, K] as the rule has them per token, or one number for all tokens where
            it takes one. A ridge `lam` is one number, [K], or [H, K]; a `norm` has weights [V], or [H, V] for one of
            each head. Everything else (scale, minibatch, chunk_size, ...) is shared.

    Returns:
        o [B, T, H, V], and the final states [B, H, ...].

    Raises:
        ValueError: shapes, dtypes, concrete values that are not finite, log decays above 0, and what the rule refuses
            of the shared arguments. (Values that differ between heads are not concrete inside the rule.)

    Cost: B H times the rule's time and, in the forms that use matrix products, memory.

    >>> from dualform.rules import RULES
    >>> q = k = jnp.ones((1, 2, 1, 1))
    >>> v = jnp.array([[1.0, 2.0], [3.0, 4.0]]).reshape(1, 2, 2, 1)
    >>> o, states = over_heads(RULES["linear_attn"], q, k, v)
    >>> print(o[0, :, :, 0])
    [[1. 2.]
     [4. 6.]]
    >>> states.shape
    (1, 2, 1, 1)
    """
    rule = as_rule(rule)
    q, k, v, sizes = _tokens(q, k, v)
    state = _state(initial_state, sizes)
    ids = _ids(segment_ids, sizes)
    kinds = {name: _kind(rule, name, value, sizes) for name, value in arguments.items()}
    tokens, each, shared = ({n: x for n, x in arguments.items() if kinds[n] == kind} for kind in (TOKENS, EACH, SHARED))

    def one_head(tokens, each, state, ids):
        q, k, v, gates = tokens
        more = {**gates, **each, **shared}
        return rule(q, k, v, form=form, initial_state=state, segment_ids=ids, **more)

    gates = {name: jnp.asarray(x) for name, x in tokens.items()}
    each = {name: _per_head(x, sizes["H"][0]) for name, x in each.items()}
    return _map(one_head, (q, k, v, gates), each, state, ids)


def _map(one_head, tokens, each, state, ids):
    """`one_head` of every sequence and head. Tokens are [B, T, H, ...], states [B, H, ...], `each` [H, ...]."""
    # One axis for sequences and heads, in front, where the chunks expect it: each array is transposed once.
    B, _, H = tokens[2].shape[:3]

    def by_head(x):
        return jnp.swapaxes(x, 1, 2).reshape(B * H, x.shape[1], *x.shape[3:])

    merged = jax.tree.map(lambda x: x.reshape(B * H, *x.shape[2:]), state)
    each = jax.tree.map(lambda x: jnp.tile(x, (B,) + (1,) * (x.ndim - 1)), each)
    ids = None if ids is None else jnp.repeat(ids, H, axis=0)
    o, states = jax.vmap(one_head)(jax.tree.map(by_head, tokens), each, merged, ids)
    return jnp.swapaxes(o.reshape(B, H, *o.shape[1:]), 1, 2), jax.tree.map(
        lambda x: x.reshape(B, H, *x.shape[1:]), states
    )


def _tokens(q, k, v):
    """q, k, v with as many heads as v has, and the sizes of the axes."""
    sizes: _check.Sizes = {}
    v = _check.array("v", v, "batch T H V", sizes)
    k = _check.array("k", k, "batch T Hk K", sizes)
    q = _check.array("q", q, "batch T Hk K", sizes)
    (H, _), (Hk, _) = sizes["H"], sizes["Hk"]
    if Hk != H and (Hk == 0 or H % Hk):
        raise ValueError(
            f"k: got {Hk} heads and {H} of v, expected the heads of v to be a multiple of those of k; "
            "repeat or drop heads"
        )
    if Hk != H:
        q, k = (jnp.repeat(x, H // Hk, axis=2) for x in (q, k))
    return q, k, v, sizes


def _state(state, sizes):
    """States of every sequence and head; what is inside them the rule checks."""
    B, H = sizes["batch"][0], sizes["H"][0]
    for x in jax.tree.leaves(state):
        if jnp.shape(x)[:2] != (B, H):
            raise ValueError(
                f"initial_state: got shape {jnp.shape(x)}, expected [{B}, {H}, ...] (sequences, heads); "
                "add the two axes in front of those of the rule"
            )
        _check.require_finite("initial_state", _check.float_array("initial_state", x))
    return jax.tree.map(jnp.asarray, state)


def _ids(ids, sizes):
    if ids is None:
        return None
    ids = jnp.asarray(ids)
    (B, _), (T, _) = sizes["batch"], sizes["T"]
    if ids.shape != (B, T):
        raise ValueError(f"segment_ids: got shape {ids.shape}, expected [{B}, {T}] (sequences, tokens)")
    if _check.is_concrete(ids):
        for row in np.asarray(ids):
            of_tokens.boundaries(row, T)
    return ids


def _kind(rule: Rule, name: str, value, sizes) -> str:
    """How an argument meets the heads; gates per token are checked here, since inside the map they have no values."""
    gate = rule.gate(name)
    if gate is not None and gate.per_token and not _is_number(value):
        of_tokens.gate_value(gate, value, gate.axes.replace("T", "batch T H"), sizes)
        return TOKENS
    if gate is not None and not gate.per_token and jnp.ndim(value) == 1 + len(gate.full):
        of_tokens.gate_value(gate, value, " ".join(("H", *gate.full)), sizes)
        return EACH
    if isinstance(value, LayerNorm):
        parts = {"norm.weight": value.weight, "norm.bias": value.bias}
        if any(_check.array(part, x, "V | H V", sizes).ndim == 2 for part, x in parts.items()):
            return EACH
    return SHARED


def _per_head(value, H):
    """A ridge [H, K] as it is; a layer norm with the axis of the heads on all its parts."""
    if not isinstance(value, LayerNorm):
        return jnp.asarray(value)
    weight, bias = (jnp.broadcast_to(x, (H, jnp.shape(x)[-1])) for x in value[:2])
    return LayerNorm(weight, bias, jnp.broadcast_to(value.eps, (H,)))


def _is_number(value) -> bool:
    return jnp.ndim(value) == 0
