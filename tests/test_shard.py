"""Many devices do what one does: proved, bounded, exact on integers; and what crosses them does not grow with T."""

import os
import re
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh
from shard_programs import CASES, K, V, compiled

from dualform import shard
from dualform.laws.checks import output_shapes, pullback
from dualform.laws.rules import laws
from dualform.prove import identical
from dualform.rules.ttt import LayerNorm
from dualform.shard import sequence
from dualform.shard.devices import from_left
from dualform.shard.maps import View, after, through

ROOT = Path(__file__).parents[1]
PROGRAMS = Path(__file__).with_name("shard_programs.py")

every = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


# In programs of their own ---------------------------------------------------------------------------------------------


def launch(*arguments: str, devices: int = 1) -> subprocess.Popen:
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
    more = {"XLA_FLAGS": flags, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu", "JAX_NUMPY_RANK_PROMOTION": "raise"}
    command = [sys.executable, str(PROGRAMS), *arguments]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, env={**os.environ, **more}, **streams)


def outputs(programs: list[subprocess.Popen], timeout: float) -> list[str]:
    """What they printed; if one fails or is late, all end and the test shows everything."""
    said, late = [], False
    for program in programs:
        try:
            said.append(program.communicate(timeout=1 if late else timeout)[0])
        except subprocess.TimeoutExpired:
            late = True
            program.kill()
            said.append(program.communicate()[0] + f"\n(ended after {timeout} s)")
    report = [f"--- returned {program.returncode}\n{text}" for program, text in zip(programs, said, strict=True)]
    assert not any(program.returncode for program in programs), "\n".join(report)
    return said


def test_every_rule_on_eight_devices():
    """Within the bounds of both programs, exact on integers, gradients included; the same bytes at any T (Y5)."""
    (said,) = outputs([launch("devices", devices=8)], timeout=900)
    print(said)
    lines = dict(line.split(": ", 1) for line in said.splitlines() if ": " in line)
    assert CASES.keys() <= lines.keys()
    assert {"gla, packed", "momentum, packed", "patterns", "heads", "explicit axes"} <= lines.keys()


@pytest.mark.parametrize("count", [2, 4])
def test_processes_joined_over_loopback(count):
    """Equal to one process alone, exactly, gradients included."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    programs = [launch("process", str(port), str(count), str(i)) for i in range(count)]
    for said in outputs(programs, timeout=300):
        assert re.findall(r"^(\S+): exact", said, re.M) == ["gla", "gated_delta", "patterns"], said


# Proofs ---------------------------------------------------------------------------------------------------------------


def rational(case):
    """The case with a feature map that is a polynomial."""
    return {**case.rule.tried, **case.options}


def recurrence(case, **more):
    def f(q, k, v, gates, state):
        return case.rule.form("recurrent")(q, k, v, **gates, initial_state=state, **rational(case), **more)

    return f


def on_many(case, devices, **more):
    def f(q, k, v, gates, state):
        options = {**rational(case), **more, "chunk_size": 1}
        return shard.simulate(case.rule.name, devices, q, k, v, **gates, initial_state=state, **options)

    return f


def over(devices, name, *arguments, **more):
    return shard.simulate(name, devices, *arguments, **more)


def symbols(case, T, resets=()):
    return (T, K), (T, K), (T, V), laws.gates(case.rule, resets, T), laws.state(case.rule)


def proved(f, g, inputs):
    certificate = identical(f, g, *inputs)
    assert certificate.equal is True, str(certificate)


@every
def test_the_program_for_devices_is_proved_to_be_the_recurrence(case):
    """From any state, with hard resets at a cut and elsewhere; of 5 tokens 4 devices get 2, 2, 1 and none."""
    inputs = symbols(case, 5)
    f, g = recurrence(case), on_many(case, 4)
    proved(pullback(f), pullback(g), (inputs, output_shapes(f, inputs)))
    proved(f, g, inputs)
    if any(gate.log for gate in case.rule.gates):
        proved(f, g, symbols(case, 5, (2, 3)))


@every
def test_maps_of_parts_are_proved_to_compose(case):
    """(Y2): the map of a sequence is that of its second part after that of its first; and it maps states (Y1)."""
    T, cut, options = 4, 2, rational(case)

    def map_of(q, k, v, gates, start):
        form = partial(case.rule.form("chunked"), q, k, **gates, **options, chunk_size=1)
        return after(form, view, start, v)

    def parts(q, k, v, gates):
        ends = [slice(0, cut), slice(cut, T)]
        return [
            (q[s], k[s], v[s], {n: x[s] if case.rule.gate(n).per_token else x for n, x in gates.items()}) for s in ends
        ]

    _, like = jax.eval_shape(case.one(), *case.draw(T, seed=0))
    view = View.of(case.rule, like, **case.options)

    def whole(q, k, v, gates, state):
        return map_of(q, k, v, gates, view.unit()), recurrence(case)(q, k, v, gates, state)[1]

    def pieces(q, k, v, gates, state):
        first, second = (map_of(*part, view.unit()) for part in parts(q, k, v, gates))
        return through(first, second), view.state(through(through(view.rows(state), first), second))

    resets = [(), (cut,)] if any(gate.log for gate in case.rule.gates) else [()]
    for where in resets:
        proved(whole, pieces, symbols(case, T, where))


@pytest.mark.parametrize("name", ["linear_attn", "gla", "kda", "rwkv7", "momentum-delta", "mesa", "normalized"])
def test_packed_sequences_on_devices_are_proved_to_be_the_recurrence(name):
    """Segments that begin at a cut, before it and after it, on padding, and a device with nothing but padding."""
    case = CASES[name]
    for ids in ([0, 0, 1, 1, 1, 2], [-1, 0, -1, -1, 0, 3], [0, 1, -1, -1, 2, -1]):
        more = {"segment_ids": np.array(ids, np.int32)}
        proved(recurrence(case, **more), on_many(case, 3, **more), symbols(case, 6))


@pytest.mark.parametrize("T", [0, 1])
def test_fewer_tokens_than_devices(T):
    for name in ("gla", "titans"):
        case = CASES[name]
        inputs = case.draw(T, seed=1, integers=True)
        expected = compiled(case.one(), inputs)(*inputs)
        got = compiled(case.many(partial(over, 3)), inputs)(*inputs)
        jax.tree.map(np.testing.assert_array_equal, got, expected)
        assert got[0].shape == (T, V)


# Planted mistakes -----------------------------------------------------------------------------------------------------


def swapped(original):
    return lambda x, part: original(part, x) if x.shape == part.shape else original(x, part)


def one_step(original):
    def broken(combine, x, axis, devices):
        return jnp.where(jax.lax.axis_index(axis) >= 1, combine(from_left(x, axis, devices), x), x)

    return broken


MISTAKES = {
    "maps in the wrong order": ("through", swapped),
    "maps that forget the first part": ("through", lambda original: lambda x, part: part),
    "one step too few over devices": ("up_to", one_step),
    "a device's own map beside those before": ("from_left", lambda original: lambda x, axis, devices: x),
    "an initial state that is lost": ("constant", lambda original: lambda rows: original(0 * rows)),
    "segments that begin unseen": ("_begins", lambda original: lambda ids, axis, devices: jnp.zeros((), bool)),
    "padding that is not marked": ("pad", lambda original: lambda x, axis, size, value=0: original(x, axis, size)),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_planted_mistakes_are_caught(mistake, monkeypatch):
    case, inputs = CASES["normalized"], symbols(CASES["normalized"], 5)
    if mistake in ("maps in the wrong order", "maps that forget the first part"):
        case, inputs = CASES["delta"], symbols(CASES["delta"], 5)
    more = {"segment_ids": np.array([0, 0, 1, 1, 1], np.int32)} if "segments" in mistake else {}
    name, broken = MISTAKES[mistake]
    monkeypatch.setattr(sequence, name, broken(getattr(sequence, name)))
    certificate = identical(recurrence(case, **more), on_many(case, 4, **more), *inputs)
    assert certificate.equal is False, str(certificate)


# Contract -------------------------------------------------------------------------------------------------------------


def mesh():
    return Mesh(np.array(jax.devices()[:1]), ("time",))


@pytest.mark.parametrize("case", [CASES[name] for name in ("normalized", "kda", "titans")], ids=lambda case: case.name)
def test_bfloat16_is_computed_in_float32(case):
    """The result for bfloat16 is that of the same numbers in float32, rounded once; states stay in float32."""
    q, k, v, gates, state = case.draw(5, seed=2)
    narrow = [jnp.asarray(x, jnp.bfloat16) for x in (q, k, v)]
    f = case.many(partial(over, 2))
    (o, last), (expected, last32) = (
        compiled(f, inputs)(*inputs)
        for inputs in ((*narrow, gates, state), (*(x.astype(jnp.float32) for x in narrow), gates, state))
    )
    assert o.dtype == jnp.bfloat16
    np.testing.assert_array_equal(o, expected.astype(jnp.bfloat16))
    jax.tree.map(np.testing.assert_array_equal, last, last32)


def test_traffic_by_hand():
    """(Y5): b m (ceil(log2 P) (m + R) + 2 R) for the four kinds of states."""
    assert shard.traffic("retention", 8, K=3, V=2) == 3 * (3 * (1 + 2) + 2 * 2)
    assert shard.traffic("mesa", 2, K=3, V=2) == 3 * (1 * (1 + 5) + 2 * 5)
    assert shard.traffic("delta", 5, K=3, V=2) == 3 * (3 * (3 + 2) + 2 * 2)
    assert shard.traffic("momentum", 8, K=3, V=2) == 3 * 2 * (3 * (2 + 2) + 2 * 2)
    assert shard.traffic("momentum", 8, K=3, V=2, rule="delta") == 6 * (3 * (6 + 2) + 2 * 2)


x, b = np.eye(3, dtype=np.float32), np.ones(3, np.float32)
WRONG = {
    "rule: got 'gru', expected one of linear_attn": lambda m: shard.run("gru", m, "time", x, x, x),
    "axis: got 'heads', expected one of the mesh's": lambda m: shard.run("linear_attn", m, "heads", x, x, x),
    "mesh: got a list, expected a jax.sharding.Mesh": lambda m: shard.run("linear_attn", [1], "time", x, x, x),
    "norm: got a layer norm, expected None": lambda m: shard.run(
        "ttt", m, "time", x, x, x, beta=b, minibatch=1, norm=LayerNorm(b, b)
    ),
    "segment_ids: got some, expected None: minibatches": lambda m: shard.run(
        "titans", m, "time", x, x, x, beta=b, mu=b, g=-b, minibatch=2, segment_ids=np.zeros(3, int)
    ),
    "devices: got 0, expected an integer of at least 1": lambda m: shard.simulate("linear_attn", 0, x, x, x),
    r"beta: got shape \(2,\), expected \[T\]": lambda m: shard.run("delta", m, "time", x, x, x, beta=b[:2]),
    "v: got nan at": lambda m: shard.run("linear_attn", m, "time", x, x, x * np.nan),
    "g: got 1, expected log decays of at most 0": lambda m: shard.run("retention", m, "time", x, x, x, g=b),
    "beta: got -1, expected values of at least 0": lambda m: shard.run("longhorn", m, "time", x, x, x, beta=-b),
    r"initial_state: got shape \(2, 3\), expected \(3, 3\)": lambda m: shard.run(
        "delta", m, "time", x, x, x, beta=b, initial_state=x[:2]
    ),
    "q: got dtype int32, expected a float dtype": lambda m: shard.run("linear_attn", m, "time", x.astype("i4"), x, x),
    "X: got inf at": lambda m: shard.linear_attn(m, "time", x, x * np.inf, x),
    "axis: got 'n', expected one of": lambda m: shard.linear_attn(m, "n", x, x, x),
}


@pytest.mark.parametrize("message", WRONG)
def test_errors_name_the_argument_and_the_fix(message):
    with np.errstate(invalid="ignore"), pytest.raises(ValueError, match=message):
        WRONG[message](mesh())


def test_missing_fields_of_a_pair_are_zero():
    q, k, v, gates, (S, _) = CASES["momentum"].draw(4, seed=3, integers=True)
    one, many = CASES["momentum"].one(), CASES["momentum"].many(partial(over, 2))
    got, expected = (
        compiled(lambda q, k, v, S, f=f, Z=Z: f(q, k, v, gates, (S, Z)), (q, k, v, S))(q, k, v, S)
        for f, Z in ((many, None), (one, np.zeros_like(S)))
    )
    jax.tree.map(np.testing.assert_array_equal, got, expected)
