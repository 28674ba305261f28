r"""The final state of every sequence that is packed into a call, not of the last one alone.

A rule hands on one state, that of the last segment. Where the others are wanted too (to serve each packed sequence
from its state, or to train on it) every segment becomes a row of its own,

$$ \mathrm{states}_n = \mathrm{state}\bigl( f(x_t : \mathrm{segment}(t) = n) \bigr),                        \tag{F8} $$

with the tokens of padding left out, shorter segments filled up with padding at the end, and all rows run at once.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from dualform import _check
from dualform.rules.record import Rule, as_rule
from dualform.rules.tokens import Tokens, Values, boundaries
from dualform.rules.tokens import arguments as checked_arguments


def final_states(
    rule: Rule | str,
    /,
    q: Tokens,
    k: Tokens,
    v: Values,
    *,
    segment_ids: Int[Array, " T"] | np.ndarray,
    form: str = "auto",
    initial_state: Any = None,
    num_segments: int | None = None,
    max_length: int | None = None,
    **arguments: Any,
) -> Any:
    """The final state of every packed sequence (F8), as calls of their own would return them.

    Args:
        rule: one of `RULES`, or its name.
        q, k, v: [T, K], [T, K], [T, V], as for the rule.
        segment_ids: int [T], non-decreasing, -1 for padding. Segments are counted as they come: ids may have gaps.
        form: as for the rule.
        initial_state: of the first segment, as for the rule; the others begin with zeros.
        num_segments: how many states to return, static; needed under `jit`, where it may be too large (the states left
            over are zero) but should not be too small (those of later segments are not returned). None counts them.
        max_length: the most tokens of a segment, padding aside, static; useful under `jit`, where None stands for T. A
            segment that turns out longer gets a state of NaN.
        **arguments: gates and options of the rule.

    Returns:
        The rule's state, each array with the axis of the segments in front: [num_segments, V, K], or a pair.

    Raises:
        ValueError: what the rule refuses; under `jit` no `num_segments`; where the ids are concrete, segments that are
            more or longer than these numbers say.

    Cost: as num_segments calls of max_length tokens each; the gathered tokens take as much memory.

    >>> from dualform.rules import RULES
    >>> v = jnp.array([[1.0], [2.0], [4.0]])
    >>> states = final_states(RULES["linear_attn"], jnp.ones((3, 1)), jnp.ones((3, 1)), v, segment_ids=[0, 0, 1])
    >>> print(states.ravel())
    [3. 4.]
    """
    rule, ids = as_rule(rule), jnp.asarray(segment_ids)
    of_tokens = [gate for gate in rule.gates if gate.per_token and jnp.ndim(arguments.get(gate.name, 0.0))]
    gates = {gate.name: arguments[gate.name] for gate in of_tokens}
    shared = {name: x for name, x in arguments.items() if name not in gates}
    checked_arguments(tuple(of_tokens), q, k, v, gates, ids)  # inside the map no value is known
    count, length = _sizes(segment_ids, num_segments, max_length)
    places, too_long = rows(ids, count, length)
    real = places < len(ids)

    def gathered(x):
        x = jnp.asarray(x)
        return jnp.concatenate([x, jnp.zeros_like(x, shape=(1, *x.shape[1:]))])[places]

    def one_segment(tokens, gates, ids, state):
        q, k, v = tokens
        return rule(q, k, v, form=form, segment_ids=ids, initial_state=state, **gates, **shared)[1]

    def first_alone(x):
        return jnp.concatenate([x[None], jnp.zeros((count, *x.shape), x.dtype)])[:count]

    state = jax.tree.map(lambda x: first_alone(_check.float_array("initial_state", x)), initial_state)
    tokens, gates = jax.tree.map(gathered, ((q, k, v), gates))
    states = jax.vmap(one_segment)(tokens, gates, jnp.where(real, 0, -1), state)
    return jax.tree.map(lambda x: jnp.where(too_long.reshape(-1, *(1,) * (x.ndim - 1)), jnp.nan, x), states)


def rows(ids: Int[Array, " T"], count: int, length: int) -> tuple[Array, Array]:
    """Where the tokens of each segment are: places [count, length], T where there is none; and which are longer."""
    T = len(ids)
    places, tokens = jnp.full((count, length), T), jnp.zeros(count, int)
    if not T:
        return places, tokens > length
    starts, padding = boundaries(ids, T)
    number = jnp.where(padding, count, jnp.cumsum(starts))  # of the segment; out of bounds, so dropped, for padding
    seen = jnp.cumsum(~padding) - 1
    position = seen - jax.lax.cummax(jnp.where(starts, seen, 0))
    places = places.at[number, position].set(jnp.arange(T), mode="drop")
    return places, tokens.at[number].add(1, mode="drop") > length


def _sizes(ids, num_segments, max_length) -> tuple[int, int]:
    if not _check.is_concrete(ids):
        if num_segments is None:
            raise ValueError(
                "num_segments: got None while segment_ids are traced, expected how many states to return; "
                "under jit pass it as a static number"
            )
        length = len(ids) if max_length is None else _check.count("max_length", max_length)
        return _check.count("num_segments", num_segments), length
    known = np.asarray(ids)
    lengths = np.unique(known[known != -1], return_counts=True)[1]
    found = {"num_segments": len(lengths), "max_length": int(np.max(lengths, initial=0))}
    for name, given in (("num_segments", num_segments), ("max_length", max_length)):
        if given is None:
            continue
        if _check.count(name, given) < found[name]:
            raise ValueError(f"{name}: got {given}, expected at least {found[name]}, as segment_ids have; pass that")
        found[name] = given
    return found["num_segments"], found["max_length"]
