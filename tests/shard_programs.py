"""What the tests of `dualform.shard` run: every rule, on one device and on many, here and in processes of their own.

python tests/shard_programs.py devices                      with 8 simulated devices
python tests/shard_programs.py process PORT COUNT NUMBER    one of COUNT processes
"""

import math
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from dualform import linear, shard
from dualform.prove import rounding_bound
from dualform.rules import RULES, Rule

V, K, T, MINIBATCH = 2, 3, 16, 2
START = {
    ("V", "K"): lambda number: number(V, K),
    ("K",): lambda number: 1 + np.abs(number(K)),
    ("K", "K"): lambda number: (H := number(K, K)) @ H.T,
}
"""Arrays of an initial state by their axes: a layer, a positive normaliser, a sum of outer products."""
FAST_COMPILE = {"xla_backend_optimization_level": 0}


@dataclass(frozen=True)
class Case:
    """A rule with its options; programs are functions of (q, k, v, gates, state)."""

    name: str
    rule: Rule
    options: dict[str, Any] = field(default_factory=dict)

    def one(self, form="chunked", **more) -> Callable:
        """On one device."""

        def f(q, k, v, gates, state):
            return self.rule.form(form)(q, k, v, **gates, initial_state=state, **self.options, **more)

        return f

    def many(self, run: Callable, **more) -> Callable:
        """On many: `run` is `shard.run` or `shard.simulate` with its devices."""

        def f(q, k, v, gates, state):
            return run(self.rule.name, q, k, v, **gates, initial_state=state, **self.options, **more)

        return f

    @property
    def exact(self) -> bool:
        """Whether integers do not round: longhorn's steps are 1/2, but normalized and mesa divide by more."""
        return not self.rule.quotient

    def inputs(self, T: int, seed: int, *, integers: bool = False) -> tuple:
        """Arguments, and cotangents for the output and the final state."""
        arguments = self.draw(T, seed, integers=integers)
        rng = np.random.default_rng(seed + 1)
        number = (lambda s: rng.integers(-2, 3, s)) if integers else rng.standard_normal
        shapes = jax.eval_shape(self.one(), *arguments)
        return arguments, jax.tree.map(lambda x: np.asarray(number(x.shape), np.float32), shapes)

    def draw(self, T: int, seed: int, *, integers: bool = False) -> tuple:
        """Arguments in float32: keys of length 1 and gates from the inside of their domains, or integers.

        Integer keys have at most one entry, and step sizes are 0 and 1, so that no squared loss grows.
        """
        rng = np.random.default_rng(seed)
        if integers:
            k = np.eye(K)[rng.integers(0, K, T)] * rng.integers(-1, 2, (T, 1))
            some = {"g": lambda s: rng.choice([0.0, 0.0, 0.0, -np.inf], s), "a": lambda s: -k, "b": lambda s: k}
            number, gate = (lambda *s: rng.integers(-3, 4, s)), lambda s: rng.integers(0, 2, s)
        else:
            k = rng.standard_normal((T, K))
            k /= np.linalg.norm(k, axis=1, keepdims=True)
            some = {"g": lambda s: -rng.exponential(size=s), "lam": lambda s: rng.uniform(1, 2, K)}
            some |= {"a": lambda s: -rng.uniform(0, 1, (T, 1)) * k, "b": lambda s: k}
            number, gate = (lambda *s: rng.standard_normal(s)), lambda s: rng.uniform(0, 0.95, s)
        gates = {g.name: some.get(g.name, gate)([{"T": T, "K": K}[a] for a in g.layouts[0]]) for g in self.rule.gates}
        state = self.rule.state.build(lambda axes: START[axes](number))
        return jax.tree.map(lambda x: np.asarray(x, np.float32), (number(T, K), k, number(T, V), gates, state))


CASES = {
    name: Case(name, rule, {"minibatch": MINIBATCH} if "minibatch" in rule.tried else {})
    for name, rule in RULES.items()
}
CASES["momentum-delta"] = Case("momentum-delta", RULES["momentum"], {"rule": "delta"})


def with_gradients(f: Callable) -> Callable:
    """(arguments, cotangents) -> f's results and the gradients with respect to all its arguments."""

    def g(arguments, cotangents):
        results, pull = jax.vjp(f, *arguments)
        return results, pull(cotangents)

    return g


def compiled(f: Callable, arguments: tuple):
    return jax.jit(f).lower(*arguments).compile(compiler_options=FAST_COMPILE)


def apart(computed, expected, bound=None) -> float:
    """The largest error/bound of all elements; without a bound, whether any differs."""
    worst = 0.0
    bounds = jax.tree.map(np.zeros_like, computed) if bound is None else bound
    for c, e, b in zip(*map(jax.tree.leaves, (computed, expected, bounds)), strict=True):
        c, e = np.asarray(c, np.float64), np.asarray(e, np.float64)
        assert c.shape == e.shape and np.isfinite(c).all()
        error = np.abs(c - e)
        ratio = np.divide(error, b, out=np.where(error > 0, np.inf, 0.0), where=b > 0)
        worst = max(worst, float(ratio.max(initial=0)))
    return worst


SIZES = {"f32": 4, "f64": 8, "bf16": 2, "s32": 4, "pred": 1}
COLLECTIVE = re.compile(
    r" = (\S.*?) (all-gather|all-reduce|all-to-all|collective-broadcast|collective-permute|ragged-all-to-all"
    r"|reduce-scatter|send|recv)(-start)?\("
)


def crossing(program) -> int:
    """Bytes that cross devices: the results of all collective operations of a compiled program. Each must run once."""
    text = program.as_text()
    found = COLLECTIVE.findall(text)
    assert found and len(found) == len(COLLECTIVE.findall(text[text.index("\nENTRY") :])), "a collective is in a loop"
    arrays = (array for shape, *_ in found for array in re.findall(r"([a-z]+\d*)\[([\d,]*)\]", shape))
    return sum(SIZES[dtype] * math.prod(int(d) for d in dims.split(",") if d) for dtype, dims in arrays)


# On 8 simulated devices -----------------------------------------------------------------------------------------------


SHARED = {"state", *(gate.name for rule in RULES.values() for gate in rule.gates if not gate.per_token)}
"""Arguments that all devices have."""


def placed(mesh: Mesh, tree, shared=SHARED):
    """Arrays of a global shape as they lie on a mesh: along "time", or all of it everywhere."""

    def put(path, x):
        everywhere = any(getattr(key, "key", getattr(key, "name", None)) in shared for key in path)
        sharding = NamedSharding(mesh, PartitionSpec() if everywhere else PartitionSpec("time"))
        return jax.make_array_from_callback(x.shape, sharding, lambda index: x[index])

    return jax.tree_util.tree_map_with_path(put, tree)


def spread(mesh: Mesh, arguments: tuple, seeds: tuple) -> tuple:
    """Arguments and cotangents of a rule, the states on all devices."""
    *tokens, state = arguments
    o, last = seeds
    *tokens, state, o, last = placed(mesh, (*tokens, {"state": state}, o, {"state": last}))
    return (*tokens, state["state"]), (o, last["state"])


def on_devices(mesh: Mesh, case: Case) -> str:
    """One rule, gradients included: within the bounds of both programs, exact on integers, the same bytes at any T."""
    devices = mesh.shape["time"]
    one = case.one()
    many = case.many(lambda name, *a, **more: shard.run(name, mesh, "time", *a, **more), chunk_size=1)
    alike = case.many(lambda name, *a, **more: shard.simulate(name, devices, *a, **more), chunk_size=1)
    f, g = with_gradients(one), with_gradients(many)

    inputs = case.inputs(T, seed=1)
    single, whole = compiled(f, inputs), compiled(g, spread(mesh, *inputs))
    computed, expected = whole(*spread(mesh, *inputs)), single(*inputs)
    (o, last), _ = computed
    assert o.sharding.spec == PartitionSpec("time")
    assert all(x.sharding.is_fully_replicated for x in jax.tree.leaves(last))
    bounds = [rounding_bound(with_gradients(h), *inputs) for h in (one, alike)]
    both = jax.tree.map(np.add, *(bound for _, bound in bounds))
    worst = apart(computed, expected, both)
    sizes = [np.max(b) / np.max(np.abs(x)) for b, x in zip(*map(jax.tree.leaves, (both, bounds[0][0])), strict=True)]
    assert worst <= 1 and max(sizes) < 0.1, f"{case.name}: error/bound {worst}, bound/value {max(sizes)}"

    if case.exact:
        inputs = case.inputs(T, seed=3, integers=True)
        assert apart(whole(*spread(mesh, *inputs)), single(*inputs)) == 0, f"{case.name}: integers"

    longer = compiled(g, spread(mesh, *case.inputs(4 * T, seed=5)))
    sent, forward = crossing(whole), 4 * shard.traffic(case.rule.name, devices, K, V, **case.options)
    assert sent == crossing(longer), f"{case.name}: {sent} bytes at T = {T}, {crossing(longer)} at {4 * T}"
    back = forward + 4 * sum(x.size for n, x in inputs[0][3].items() if n in SHARED)
    assert sent == forward + back, f"{case.name}: {sent} bytes, where (Y5) has {forward} forward and {back} backward"
    exact = ", exact on integers" if case.exact else ""
    return f"error/bound {worst:.2f}, bound/value {max(sizes):.0e}{exact}; {sent} bytes with gradients"


def packed(mesh: Mesh, case: Case) -> str:
    """Segments that begin and end anywhere, padding, T that the devices do not divide: exact on integers."""
    ids = np.array([0, 0, 0, -1, 2, 2, 2, 2, 3, -1, -1, 4, 4, 4, 4], np.int32)
    one = case.one(segment_ids=ids)
    many = case.many(lambda name, *a, **more: shard.run(name, mesh, "time", *a, **more), segment_ids=ids)
    inputs = case.inputs(len(ids), seed=6, integers=True)
    f, g = with_gradients(one), with_gradients(many)
    assert apart(compiled(g, inputs)(*inputs), compiled(f, inputs)(*inputs)) == 0
    return "exact on integers"


def patterns(mesh: Mesh) -> str:
    """The frozen dual form: exact on integers, gradients included, with every kind of weights."""
    rng, M = np.random.default_rng(0), 4
    whole = partial(shard.linear_attn, mesh, "time")
    for n, shape in ((13, None), (13, (13,)), (16, (M, 16)), (13, (M, 13, K)), (0, None)):
        E, X, x = (np.asarray(rng.integers(-3, 4, s), np.float32) for s in ((n, V), (n, K), (M, K)))
        weights = None if shape is None else np.asarray(rng.integers(0, 3, shape), np.float32)
        inputs = (E, X, x, weights, np.float32(2)), np.asarray(rng.integers(-2, 3, (M, V)), np.float32)
        expected = compiled(with_gradients(linear.linear_attn), inputs)(*inputs)
        assert apart(compiled(with_gradients(whole), inputs)(*inputs), expected) == 0, (n, shape)
    sent = set()
    for n in (16, 64):
        given = placed(mesh, {"E": np.ones((n, V)), "X": np.ones((n, K)), "x": np.ones((M, K))}, shared="x")
        sent.add(crossing(compiled(lambda given: whole(**given), (given,))))
    assert sent == {4 * M * V}
    half = [jnp.asarray(y, jnp.bfloat16) for y in (np.full((16, 1), 1 / 256), np.ones((16, 1)), np.ones(1))]
    half[0] = half[0].at[0].set(1)  # added one by one in bfloat16, or in two steps, the small ones would be lost
    assert shard.linear_attn(mesh, "time", *half) == linear.linear_attn(*half) == jnp.bfloat16(1 + 15 / 256)
    return f"exact on integers; {sent.pop()} bytes"


def heads(devices: np.ndarray) -> str:
    """Heads along another axis of the mesh: vmapped calls send nothing along it."""
    mesh = Mesh(devices.reshape(2, 4), ("heads", "time"))
    case, H = CASES["gated_delta"], 4
    arguments = jax.tree.map(lambda *x: np.stack(x), *(case.draw(T, seed, integers=True) for seed in range(H)))
    many = jax.vmap(case.many(lambda name, *a, **more: shard.run(name, mesh, "time", *a, **more)))
    along = jax.device_put(arguments[:4], NamedSharding(mesh, PartitionSpec("heads", "time")))
    state = jax.device_put(arguments[4], NamedSharding(mesh, PartitionSpec("heads")))
    whole = compiled(many, (*along, state))
    o, last = whole(*along, state)
    assert apart((o, last), jax.vmap(case.one())(*arguments)) == 0
    assert o.sharding.spec == PartitionSpec("heads", "time") and last.sharding.spec == PartitionSpec("heads")
    assert crossing(whole) == 4 * (H // 2) * shard.traffic("gated_delta", 4, K, V)
    return "exact on integers, nothing sent between heads"


def explicit(devices: np.ndarray) -> str:
    """A mesh whose axis has type Explicit, with tokens placed on it and not, and with tokens that do not fit."""
    mesh = jax.make_mesh((8,), ("time",), axis_types=(AxisType.Explicit,))
    case = CASES["kda"]
    one = case.one()
    many = case.many(lambda name, *a, **more: shard.run(name, mesh, "time", *a, **more))
    for n in (T, T - 3):
        inputs = case.inputs(n, seed=7, integers=True)
        expected = compiled(one, inputs[0])(*inputs[0])
        assert apart(compiled(many, inputs[0])(*inputs[0]), expected) == 0, n
    inputs = case.inputs(T, seed=7, integers=True)
    placed_inputs = spread(mesh, *inputs)
    f, g = with_gradients(one), with_gradients(many)
    assert apart(compiled(g, placed_inputs)(*placed_inputs), compiled(f, inputs)(*inputs)) == 0
    return "exact on integers"


def devices(names):
    """All of it, one line each."""
    mesh = Mesh(np.array(jax.devices()), ("time",))
    assert len(jax.devices()) == 8
    for name in names or CASES:
        print(f"{name}: {on_devices(mesh, CASES[name])}", flush=True)
    for name in () if names else ("gla", "momentum"):
        print(f"{name}, packed: {packed(mesh, CASES[name])}", flush=True)
    if not names:
        print(f"patterns: {patterns(mesh)}")
        print(f"heads: {heads(np.array(jax.devices()))}")
        print(f"explicit axes: {explicit(np.array(jax.devices()))}", flush=True)


# In processes of their own --------------------------------------------------------------------------------------------


def process(port: str, count: str, number: str):
    """One of several processes with one device each: what it holds is what one process alone computes, exactly."""
    jax.distributed.initialize(f"127.0.0.1:{port}", int(count), int(number), initialization_timeout=60)
    mesh = Mesh(np.array(jax.devices()), ("time",))
    assert jax.process_count() == int(count) == len(jax.devices()) and len(jax.local_devices()) == 1

    def mine(computed, expected):
        for x, e in zip(jax.tree.leaves(computed), jax.tree.leaves(expected), strict=True):
            assert x.shape == e.shape
            for part in x.addressable_shards:
                np.testing.assert_array_equal(part.data, np.asarray(e)[part.index])

    for name in ("gla", "gated_delta"):
        case = CASES[name]
        inputs = case.inputs(T, seed=8, integers=True)
        many = case.many(lambda name, *a, **more: shard.run(name, mesh, "time", *a, **more))
        given = spread(mesh, *inputs)
        mine(compiled(with_gradients(many), given)(*given), compiled(with_gradients(case.one()), inputs)(*inputs))
        print(f"{name}: exact on integers, gradients included", flush=True)
    E, X, x = (np.asarray(np.random.default_rng(9).integers(-3, 4, s), np.float32) for s in ((T, V), (T, K), (2, K)))
    given = placed(mesh, {"E": E, "X": X, "x": x}, shared="x")
    mine(shard.linear_attn(mesh, "time", **given), linear.linear_attn(E, X, x))
    print("patterns: exact on integers", flush=True)
    jax.distributed.shutdown()


if __name__ == "__main__":
    {"devices": lambda *names: devices(names), "process": process}[sys.argv[1]](*sys.argv[2:])
