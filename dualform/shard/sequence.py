r"""Rules over sequences whose tokens lie on many devices."""

import math
from functools import partial
from numbers import Real
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Bool, Int

from dualform import _check
from dualform.rules import RULES, Rule
from dualform.rules.minibatch import MINIBATCH
from dualform.rules.record import as_rule
from dualform.rules.tokens import Tokens, Values
from dualform.shard.devices import from_last, from_left, up_to
from dualform.shard.maps import View, after, constant, through
from dualform.shard.placing import axis_size, checked, pad, place, rounded_up


class Call(NamedTuple):
    """A rule's arguments: of every token, of all of them, and those that are no arrays (hashable)."""

    name: str
    view: View
    options: tuple[tuple[str, Any], ...]
    tokens: dict[str, Array]
    shared: dict[str, Any]


def run(
    rule: Rule | str, mesh: Mesh, axis: str, q: Tokens, k: Tokens, v: Values, /, *, initial_state=None,
    segment_ids=None, **arguments,
) -> tuple[Values, Any]:  # fmt: skip
    """A rule over tokens that are sharded along an axis of a mesh (Y4), equal to the rule on one device.

    Args:
        rule: one of `dualform.rules.RULES`, or its name.
        mesh, axis: the devices; other axes of the mesh are left to the compiler (batches, heads).
        q, k: [T, K] queries and keys, sharded along T.
        v: [T, V] values, likewise.
        initial_state: that of the rule, on all devices; zero if None.
        segment_ids: int [T] of packed sequences, -1 for padding; not for rules with minibatches.
        arguments: gates [T, ...], sharded like q, k, v; `scale`, `lam` and the like, on all devices; options and
            `chunk_size`, all as in the rule's chunked form.

    Returns:
        o [T, V], sharded along T, and the final state of the whole sequence, on all devices.

    Raises:
        ValueError: as the rule; a rule, mesh or axis that does not exist; ttt with a layer norm, which has no such
            form; segment_ids beside minibatches.

    Cost: on each of P devices the chunked form over T / P tokens, twice, once with m more values (Y3); (Y5) bytes. Any
    T will do, but unless P, and P times the minibatch, divide it, tokens are padded, and move between devices.

    >>> mesh = Mesh(jax.devices()[:1], ("time",))
    >>> q = k = v = jnp.eye(2)
    >>> print(run("delta", mesh, "time", q, k, v, beta=jnp.ones(2))[1])
    [[1. 0.]
     [0. 1.]]
    """
    devices = axis_size(mesh, axis)
    call = _call(as_rule(rule), q, k, v, initial_state, segment_ids, arguments)
    T, call = len(call.tokens["q"]), _cut(call, devices)
    o, state = _on_devices(*call[:3], mesh, axis, call.tokens, call.shared)
    return (o if len(o) == T else place(o, mesh, axis, PartitionSpec())[:T]), state


def simulate(
    rule: Rule | str,
    devices: int,
    q: Tokens,
    k: Tokens,
    v: Values,
    /,
    *,
    initial_state=None,
    segment_ids=None,
    **arguments,
) -> tuple[Values, Any]:
    """The program of `run` with its devices as an axis of arrays on one device, to prove, bound and debug it.

    Args, Returns and Raises are those of `run`; devices: their number, at least 1.

    >>> q = k = v = jnp.eye(3)
    >>> print(simulate("linear_attn", 2, q, k, v)[1])
    [[1. 0. 0.]
     [0. 1. 0.]
     [0. 0. 1.]]
    """
    devices = _check.count("devices", devices, least=1)
    call = _call(as_rule(rule), q, k, v, initial_state, segment_ids, arguments)
    T, call = len(call.tokens["q"]), _cut(call, devices)
    tokens = {name: x.reshape(devices, len(x) // devices, *x.shape[1:]) for name, x in call.tokens.items()}
    work = jax.vmap(partial(_part, *call[:3], "devices", devices), (0, None), axis_name="devices", axis_size=devices)
    o, state = jax.jit(work)(tokens, call.shared)
    return o.reshape(-1, o.shape[-1])[:T], jax.tree.map(lambda x: x[-1], state)


def traffic(name: Rule | str, devices: int, K: int, V: int, **options) -> int:
    """Numbers that each device sends or adds to a sum over devices, forward (Y5); four bytes each in float32.

    Args:
        name: of a rule, in `dualform.rules.RULES`, or its record.
        devices: their number.
        K, V: features of keys (for normalized, of their feature map) and values.
        options: those of the rule that its form depends on: `rule` of momentum.

    >>> traffic("retention", 1024, K=128, V=128), traffic("delta", 1024, K=128, V=128)
    (197888, 360448)
    """
    rule = as_rule(name)
    if MINIBATCH in rule.options:
        options = {"minibatch": 1, **options}
    number = partial(jax.ShapeDtypeStruct, dtype=jnp.float32)
    gates = {gate.name: number(gate.shape(T=1, K=K)) for gate in rule.gates}
    _, like = jax.eval_shape(
        lambda x, v, gates: rule.form("recurrent")(x, x, v, **gates, **options), number((1, K)), number((1, V)), gates
    )
    view = View.of(rule, like, **options)
    b, R, m = jax.eval_shape(view.rows, like).shape
    return b * m * (math.ceil(math.log2(devices)) * (m + R) + 2 * R)


@partial(jax.jit, static_argnums=(0, 1, 2, 3, 4))
def _on_devices(name, view, options, mesh, axis, tokens, shared):
    def work(tokens, shared):
        # Gradients of what all devices share are summed over devices where it becomes a device's own: here, once, and
        # not inside the loop over chunks, where it would first be used.
        shared = jax.tree.map(lambda x: jax.lax.pcast(x, axis, to="varying"), shared)
        o, state = _part(name, view, options, axis, mesh.shape[axis], tokens, shared)
        return o, from_last(state, axis, mesh.shape[axis])

    along, everywhere = PartitionSpec(axis), PartitionSpec()
    tokens, shared = place(tokens, mesh, axis, along), place(shared, mesh, axis, everywhere)
    specs = (along, everywhere)
    return jax.shard_map(work, mesh=mesh, axis_names={axis}, in_specs=specs, out_specs=specs)(tokens, shared)


def _part(name, view, options, axis, devices, tokens, shared):
    """(Y4) on one device: outputs and final state of its part."""
    shared = dict(shared)
    given, known = view.rows(shared.pop("initial_state")), jax.lax.axis_index(axis) == 0
    form = partial(RULES[name].form("chunked"), **tokens, **shared, **dict(options))
    if "segment_ids" in tokens:
        begins = _begins(tokens["segment_ids"], axis, devices)
        given, known = jnp.where(begins, 0, given), known | begins
    # A device that knows its state starts from it: its map is the constant one, and nothing before it counts.
    own = after(form, view, jnp.where(known, constant(given), view.unit()), tokens["v"])
    total = up_to(through, own, axis, devices)
    before = from_left(total[:, total.shape[2] :], axis, devices)
    return form(initial_state=view.state(jnp.where(known, given, before)))


def _begins(ids: Int[Array, " T"], axis: str, devices: int) -> Bool[Array, ""]:
    """Whether a segment begins with the first token of this device that is not padding."""
    real, none = ids != -1, jnp.iinfo(ids.dtype).max
    seen = from_left(up_to(jnp.maximum, jnp.max(ids, initial=-1), axis, devices), axis, devices)
    seen = jnp.where(jax.lax.axis_index(axis) == 0, -1, seen)
    return jnp.any(real) & (jnp.min(jnp.where(real, ids, none), initial=none) > seen) & (seen != -1)


def _call(rule: Rule, q, k, v, initial_state, segment_ids, arguments) -> Call:
    """The arguments, sorted, after the rule itself has checked them as a whole."""
    if arguments.pop("norm", None) is not None:
        raise ValueError(
            "norm: got a layer norm, expected None: the state enters the error signals through it, so that no part of "
            "a sequence is an affine map of the state (T3); run the rule itself, with heads and batches sharded instead"
        )
    if segment_ids is not None and "minibatch" in arguments:
        raise ValueError(
            "segment_ids: got some, expected None: minibatches count from the start of each segment, which may lie on "
            "another device; call once per sequence"
        )
    tokens = {"q": _check.float_array("q", q), "k": _check.float_array("k", k), "v": _check.float_array("v", v)}
    if segment_ids is not None:
        tokens["segment_ids"] = jnp.asarray(segment_ids)
    gates = {gate.name: gate for gate in rule.gates}
    shared: dict[str, Any] = {}
    options: dict[str, Any] = {}
    for key, value in arguments.items():
        if key not in gates and (value is None or isinstance(value, Real | str) or callable(value)):
            options[key] = value
            continue
        x = _check.float_array(key, float(value) if isinstance(value, Real) else value)
        (tokens if key in gates and gates[key].per_token and x.ndim else shared)[key] = x
    initial_state = jax.tree.map(lambda x: _check.float_array("initial_state", x), initial_state)
    form = partial(rule.form("chunked"), **options)
    _, like = checked(form, **tokens, **shared, initial_state=initial_state)
    shared["initial_state"] = _state(initial_state, like)
    return Call(rule.name, View.of(rule, like, **options), tuple(sorted(options.items())), tokens, shared)


def _state(given, like):
    """An initial state in the type and dtype of the final one, zero where it is not given."""
    fields, tree = jax.tree.flatten(like)
    values = [None] * len(fields) if given is None else given if isinstance(like, tuple) else [given]
    arrays = [
        jnp.zeros(x.shape, x.dtype) if y is None else jnp.asarray(y, x.dtype)
        for x, y in zip(fields, values, strict=True)
    ]
    return jax.tree.unflatten(tree, arrays)


def _cut(call: Call, devices: int) -> Call:
    """The call with as many tokens for each device: tokens of padding at the end, which every rule passes over."""
    T = len(call.tokens["q"])
    size = devices * rounded_up(-(-T // devices), dict(call.options).get("minibatch", 1))
    if size == T:
        return call
    ids = call.tokens.get("segment_ids", jnp.zeros(T, jnp.int32))
    tokens = {name: pad(x, 0, size) for name, x in call.tokens.items()}
    return call._replace(tokens={**tokens, "segment_ids": pad(ids, 0, size, -1)})
