"""Batteries for what times programs: fake clocks, fake rows, fake processes."""

import json
from types import SimpleNamespace

import jax
import jax.numpy as jnp

from judge.bug import bare

bare("dualform.bench")
from dualform.bench import report, run, timing, worker  # noqa: E402
from dualform.bench.flops import product_flops  # noqa: E402
from dualform.bench.problems import BOTH, FORWARD, Problem, useful_flops  # noqa: E402


def timings() -> None:
    """Times of a clock that is set by hand, in milliseconds."""
    now = [0.0]
    timing.time = SimpleNamespace(perf_counter=lambda: now[0])
    durations = {"one": iter([9.0, 9.0, 0.004, 0.001, 0.009, 0.002, 0.003]), "two": iter([9.0, 9.0] + [0.02] * 5)}
    order: list[str] = []

    def program(name):
        def runs():
            order.append(name)
            now[0] += next(durations[name])

        return runs

    warmed: list[str] = []
    found = timing.in_turns({n: program(n) for n in durations}, seconds=0.1, least=3, most=5, done=warmed.append)
    assert order == ["one", "two"] * 7 and warmed == ["one", "two"], "programs take turns, after two rounds of warm-up"
    for name, expected in (("one", (1.0, 3.0, 5)), ("two", (20.0, 20.0, 5))):
        times = found[name]
        assert abs(times.best - expected[0]) < 1e-9 and abs(times.median - expected[1]) < 1e-9, times
        assert times.rounds == expected[2], times
    durations = {"one": iter([0.0, 0.0] + [0.05] * 50)}
    short = timing.in_turns({"one": program("one")}, seconds=0.12, least=1)
    assert short["one"].rounds == 3, f"{short['one'].rounds} rounds of 50 ms in 120"
    durations = {"one": iter([0.0, 0.0] + [7.0] * 9)}
    assert timing.in_turns({"one": program("one")}, seconds=0.0, least=4)["one"].rounds == 4
    assert timing.matmul(2)[1] == 16


def row(subject: str, best: float, differs=None, direction=FORWARD, rule="delta", threads=1, T=8) -> dict:
    return {**Problem(rule, T, direction=direction)._asdict(), "subject": subject, "threads": threads, "best_ms": best,
            "median_ms": 2 * best, "matmul_gflops": 100.0, "product_flops": 10**6, "of_matmul": 0.5, "differs": differs,
            "rounds": 3, "version": None}  # fmt: skip


def ratios() -> None:
    """A time is compared with the fastest other library that computes the same problem."""
    mine = "dualform: auto"
    rows = [row("matmul", 0.1), row(mine, 2.0), row("a: scan", 4.0, 1e-7), row("b: loop", 8.0, 1e-6),
            row("c: wrong", 1.0, 0.3), row(mine, 6.0, direction=BOTH), row("a: scan", 3.0, direction=BOTH),
            row("c: wrong", 1.0, direction=BOTH), row("a: scan", 0.5, 1e-7, threads=2), row("a: scan", 0.25, 1e-7, T=4),
            row("d: half", 0.2, 1e-7, rule="retention"), row("e: nan", 0.3, float("nan"))]  # fmt: skip
    assert report.ratio(rows[1], rows) == 0.5, report.ratio(rows[1], rows)
    assert report.ratio(rows[3], rows) == 2.0 and report.ratio(rows[5], rows) == 2.0
    assert report.ratio(rows[0], rows) is None and report.ratio(row(mine, 1.0, threads=7), rows) is None
    peers = [r["subject"] for r in rows if report.is_peer(r, rows)]
    assert not {"matmul", mine, "c: wrong", "e: nan"} & set(peers) and {"a: scan", "b: loop"} <= set(peers), peers
    assert 1e-6 < report.AGREES <= 1e-3
    named = {r["subject"]: r for r in rows}
    wrong = report._speed_row({**named["c: wrong"], "differs": 0.3, "ratio": None})
    assert wrong[0] == "c: wrong (differs)" and wrong[1:3] == ("1.0", "2.0") and wrong[5] == "50%", wrong
    lengths = [{"rule": "delta", "T": n, "sequences": 8 // n, "cold_ns_per_token": c, "hot_ns_per_token": 3.0}
               for n, c in ((2, 10.0), (8, 15.0))]  # fmt: skip
    assert [r[4] for r in report._length_rows(lengths)] == ["1.00", "1.50"], "times are compared with the shortest"


def processes() -> None:
    """Tasks of a benchmark, and a process that fails."""
    asked = []

    def fake(command, *, input, env, **options):
        task = json.loads(input)
        asked.append((task["kind"], task["rule"], task["threads"], env["OMP_NUM_THREADS"]))
        failed = task["rule"] == "retention"
        return SimpleNamespace(
            returncode=int(failed), stderr="out of memory", stdout='a log\n{"subject": "x"}\n{"y": 1}\n'
        )

    run.subprocess = SimpleNamespace(run=fake)
    run.os = SimpleNamespace(environ={}, cpu_count=lambda: 6)
    run.peers = SimpleNamespace(installed=lambda: ())
    options = dict(lengths=(), memory=False, seconds=0.1)
    found = run.bench(rules=("delta",), **options)
    assert asked == [("speed", "delta", 1, "1"), ("speed", "delta", 6, "6")] and len(found.speed) == 4, asked
    asked.clear()
    run.bench(rules=("delta", "gated_delta"), threads="one", lengths=(4, 8), memory=True, seconds=0.1)
    kinds = [kind for kind, *_ in asked]
    assert [kinds.count(kind) for kind in ("speed", "lengths", "memory")] == [2, 2, 8], kinds
    assert {threads for _, _, threads, _ in asked} == {1}
    try:
        run.bench(rules=("retention",), **options)
    except RuntimeError as error:
        assert "out of memory" in str(error)
    else:
        raise AssertionError("a process that failed has results")


def rates() -> None:
    """Flops, and the part of the matrix product's rate that a program reaches."""

    def loop(a, b):
        return jax.lax.scan(lambda c, x: (c + x @ b, None), jnp.zeros((2, 4)), a)[0]

    assert product_flops(loop, jnp.ones((7, 2, 3)), jnp.ones((3, 4))) == 7 * 2 * 2 * 3 * 4
    assert product_flops(lambda a: jax.jit(lambda b: b @ b)(a) + 1, jnp.ones((3, 3))) == 2 * 27
    assert product_flops(lambda a: (a @ a, a + a)[1], jnp.ones((3, 3))) == 0, "a product that nobody asks for"
    batched = product_flops(lambda a, b: jnp.einsum("bij,bjk->bik", a, b), jnp.ones((5, 2, 3)), jnp.ones((5, 3, 4)))
    assert batched == 5 * 2 * 2 * 3 * 4
    problem = Problem("delta", T=10, B=2, H=3, K=4, V=5)
    assert useful_flops(problem) == 8 * 4 * 5 * 10 * 2 * 3
    assert useful_flops(problem._replace(rule="retention")) == 4 * 4 * 5 * 10 * 2 * 3
    assert useful_flops(problem._replace(direction=BOTH)) == 3 * useful_flops(problem)
    times = timing.Times(2.0, 3.0, 5)
    made = worker._row(problem, {"threads": 1}, "x", None, times, 50.0, product=10**7)
    assert (made["best_ms"], made["median_ms"], made["rounds"]) == (2.0, 3.0, 5)
    assert abs(made["of_matmul"] - 5.0 / 50.0) < 1e-12, "10 MFLOP in 2 ms are 5 GFLOP/s, a tenth of 50"
    worker.inputs = lambda p: {"q": jnp.zeros((1, p.T, 1, 2))}
    subject = SimpleNamespace(
        one_after_another=lambda p, cuts: None, program=lambda p, cut: None,
        output=None, name="dualform: auto",
    )  # fmt: skip
    worker.ours = SimpleNamespace(SUBJECTS=[subject])
    worker.timing = SimpleNamespace(in_turns=lambda programs, seconds: {"": timing.Times(8.0, 16.0, 3)})
    task = {
        "rule": "delta",
        "sizes": {"T": 1, "B": 1, "H": 4, "K": 2, "V": 2},
        "lengths": [4, 16],
        "seconds": 1.0,
        "threads": 1,
    }
    short, long = worker._lengths(task)
    assert (short["sequences"], long["sequences"]) == (4, 1) and short["H"] == 1
    assert (short["best_ms"], long["best_ms"]) == (2.0, 8.0)
    assert short["cold_ns_per_token"] == long["cold_ns_per_token"] == 8e6 / 16
    assert (short["hot_ns_per_token"], long["hot_ns_per_token"]) == (8e6 / 4, 8e6 / 16)
