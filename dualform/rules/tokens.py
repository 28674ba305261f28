r"""The tokens of a call: arguments checked and widened, packed sequences, the state, and a fold over single tokens.

**Packed sequences.** `segment_ids` [T] tell where one sequence ends and the next begins; the state is reset there,
which is a log decay of minus infinity. Tokens with id -1 are padding: their inputs are replaced by zeros, so that they
neither write, nor decay, nor receive a gradient, and their output is zero.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from dualform import _check
from dualform.rules.record import Gate, StateKind

Tokens = Float[Array, "T K"]
Values = Float[Array, "T V"]


class Call(NamedTuple):
    """Checked and widened arguments of a rule."""

    q: Array
    k: Array
    v: Array
    gates: dict[str, Array]
    starts: Array | None  # [T] the first token of every segment but the first
    padding: Array | None  # [T]
    dtype: Any  # of the output

    def beside(self, *states: Array) -> "Call":
        """The same call, at least as wide as the states that it meets."""
        wide = jnp.result_type(self.v, *states)
        q, k, v, gates = jax.tree.map(lambda x: x.astype(wide), (self.q, self.k, self.v, self.gates))
        return self._replace(q=q, k=k, v=v, gates=gates)

    def blank(self, x: Array) -> Array:
        """Zeros at padding."""
        return x if self.padding is None else jnp.where(self.padding.reshape(-1, *(1,) * (x.ndim - 1)), 0, x)

    def finish(self, o: Array) -> Array:
        """The output in the dtype of the input, zero at padding."""
        return self.blank(o).astype(self.dtype)


def arguments(gates: tuple[Gate, ...], q, k, v, given: dict[str, Any], segment_ids=None) -> Call:
    """Checks and widens the arguments that all forms share.

    Args:
        gates: of the rule.
        q, k: [T, K]. v: [T, V]. One dtype.
        given: the gates' values by name.
        segment_ids: int [T] or None.

    Raises:
        ValueError: shapes, dtypes, concrete values that are not finite or outside of a gate's domain.
    """
    sizes: _check.Sizes = {}
    k = _check.array("k", k, "T K", sizes)
    q, v = _check.array("q", q, "T K", sizes), _check.array("v", v, "T V", sizes)
    dtype = _check.same_dtype(q=q, k=k, v=v)
    checked = {gate.name: gate_value(gate, given[gate.name], gate.axes, sizes) for gate in gates}
    for name, x in checked.items():
        if x.ndim:
            _check.no_narrower(dtype, **{name: x})
    wide = _check.compute_dtype(q, *checked.values())
    q, k, v = (x.astype(wide) for x in (q, k, v))
    full = {gate.name: _filled(gate, checked[gate.name].astype(wide), k) for gate in gates}
    if segment_ids is None:
        return Call(q, k, v, full, None, None, dtype)
    call = Call(q, k, v, full, *boundaries(segment_ids, len(k)), dtype)
    own = {gate.name: _packed(gate, full[gate.name], call) for gate in gates}
    return call._replace(q=call.blank(q), k=call.blank(k), v=call.blank(v), gates=own)


def gate_value(gate: Gate, value, axes: str, sizes: _check.Sizes) -> Array:
    """A gate's value as an array of one of the layouts `axes`, in its domain where that can be seen.

    Raises:
        ValueError: shape, dtype, a concrete value outside of the domain.
    """
    name = gate.name
    if "|" in axes and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    x = _check.array(name, value, axes, sizes, finite=not gate.log)
    if not _check.is_concrete(x):
        return x
    known = np.asarray(x, np.float64)
    if gate.log and not np.all(known <= 0):
        raise ValueError(
            f"{name}: got {np.max(known):g}, expected log decays of at most 0 "
            "(-inf is a hard reset); pass logarithms, e.g. jax.nn.log_sigmoid(x)"
        )
    if gate.least is not None and not np.all(known > gate.least if gate.above else known >= gate.least):
        limit = f"above {gate.least:g}" if gate.above else f"of at least {gate.least:g}"
        raise ValueError(
            f"{name}: got {np.min(known):g}, expected values {limit}; make them so, e.g. by jax.nn.softplus({name})"
        )
    return x


def _filled(gate: Gate, x: Array, k: Array) -> Array:
    """One number for all as the array that it stands for."""
    sizes = {"T": len(k), "K": k.shape[1]}
    return x if x.ndim == len(gate.full) else jnp.broadcast_to(x, tuple(sizes[axis] for axis in gate.full))


def _packed(gate: Gate, x: Array, call: Call) -> Array:
    """A gate without what stands at padding, and with what the first token of a segment needs."""
    if not gate.per_token:
        return x
    x = call.blank(x)
    if gate.at_start is None:
        return x
    return jnp.where(call.starts.reshape(-1, *(1,) * (x.ndim - 1)), gate.at_start, x)


def boundaries(segment_ids: Int[Array, " T"], T: int) -> tuple[Array, Array]:
    """(first token of every segment but the first, padding), both [T].

    Raises:
        ValueError: not integers [T], or concrete ids that decrease.
    """
    ids = jnp.asarray(segment_ids)
    if not jnp.issubdtype(ids.dtype, jnp.integer) or ids.shape != (T,):
        raise ValueError(f"segment_ids: got {ids.dtype}{list(ids.shape)}, expected integers [{T}], one per token")
    padding = ids == -1
    seen = jax.lax.cummax(ids) if T else ids
    before = jnp.concatenate([jnp.full((1,), -1, ids.dtype), seen[:-1]]) if T else ids
    if _check.is_concrete(ids):
        known = np.asarray(ids)
        real = known[known != -1]
        if (known < -1).any() or (np.diff(real) < 0).any():
            raise ValueError(
                "segment_ids: got ids that decrease, expected non-decreasing ids and -1 for padding; sort them"
            )
    return ~padding & (ids > before) & (before != -1), padding


def resets(call: Call) -> Float[Array, " T"] | None:
    """Log decays of a rule without any: -inf where a segment starts, else 0; None for one sequence."""
    if call.starts is None:
        return None
    return jnp.where(call.starts, -jnp.inf, jnp.zeros(len(call.k), call.k.dtype))


def real(call: Call) -> Bool[Array, " T"]:
    """The tokens that are not padding."""
    return jnp.ones(len(call.k), bool) if call.padding is None else ~call.padding


MARKS: dict[str, Callable[[Call], Array | None]] = {"resets": resets, "starts": lambda call: call.starts, "real": real}
"""What a rule's block may ask to know of the packing; `begins`, of rules with minibatches, stands in `minibatch`."""


# The state ------------------------------------------------------------------------------------------------------------


def initial(kind: StateKind, given, call: Call) -> Any:
    """The state before the first token: what was given, zero where nothing was; all arrays in one dtype.

    Raises:
        ValueError: no pair where one is expected, shapes, dtypes, concrete values that are not finite.
    """
    sizes = {"V": call.v.shape[1], "K": call.k.shape[1]}
    if kind.make is None:
        given = (given,)
    elif given is None:
        given = (None,) * len(kind.axes)
    elif not isinstance(given, tuple) or len(given) != len(kind.axes):
        got = f"shape {given.shape}" if hasattr(given, "shape") else f"a {type(given).__name__}"
        raise ValueError(
            f"initial_state: got {got}, expected a pair ({', '.join(kind.names)}); pass what another call returned"
        )
    names = [f"initial_state.{name}" if kind.make else "initial_state" for name in kind.names]
    arrays = [
        _array_of_state(name, x, tuple(sizes[a] for a in axes.split()), call.v.dtype)
        for name, x, axes in zip(names, given, kind.axes, strict=True)
    ]
    return kind.of([x.astype(jnp.result_type(*arrays)) for x in arrays])


def _array_of_state(name: str, given, shape: tuple[int, ...], dtype) -> Array:
    if given is None:
        return jnp.zeros(shape, dtype)
    x = _check.float_array(name, given)
    if x.shape != shape:
        hint = "; it looks transposed: states here are [V, K]" if x.shape == shape[::-1] else ""
        raise ValueError(f"{name}: got shape {x.shape}, expected {shape}{hint}")
    _check.require_finite(name, x)
    return x.astype(jnp.promote_types(dtype, x.dtype))


def wide(state):
    """A serving state in float32 or wider: 16 bits would lose small writes beside a large state, token after token."""

    def widen(x):
        x = jnp.asarray(x)
        return x.astype(_check.compute_dtype(x)) if jnp.issubdtype(x.dtype, jnp.floating) else x

    return jax.tree.map(widen, state)


def over_tokens(update: Callable, read: Callable, state, call: Call, tokens: tuple):
    """Folds `update(state, *token) -> (state, the state that is read)` over tokens, with `read(state, q_t)` after each.

    Returns (what was read [T, ...], final state). The first token of a segment finds a state of zeros; padding leaves
    it alone.
    """

    def token(state, x):
        start, padding, q_t, rest = x
        if start is not None:
            state = jax.tree.map(lambda S: jnp.where(start, 0, S), state)
        new, seen = update(state, *rest)
        if padding is not None:
            new = jax.tree.map(lambda after, before: jnp.where(padding, before, after), new, state)
        return new, read(seen, q_t)

    state, reads = jax.lax.scan(token, state, (call.starts, call.padding, call.q, tokens))
    return reads, state
