"""One process of a benchmark: `python -m dualform.bench.worker`, a task as JSON on stdin, lines of JSON on stdout.

A process of its own, because the number of threads and the peak of memory belong to a process.
"""

import json
import os
import sys
from collections.abc import Iterator

from dualform.bench import memory, ours, peers, timing
from dualform.bench.flops import product_flops
from dualform.bench.problems import BOTH, FORWARD, Problem, inputs, useful_flops
from dualform.bench.subjects import jax_function


def main() -> None:
    task = json.load(sys.stdin)
    one_thread = task["threads"] == 1
    if one_thread:  # before any backend counts its processors
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    if "torch" in task["frameworks"]:
        import torch

        torch.set_num_threads(1 if one_thread else len(os.sched_getaffinity(0)))
    for line in {"speed": _speed, "lengths": _lengths, "memory": _memory}[task["kind"]](task):
        print(json.dumps(line), flush=True)


def _speed(task) -> Iterator[dict]:
    """Every subject of one rule in both directions."""
    rule, sizes = task["rule"], task["sizes"]
    subjects = [s for s in (*ours.SUBJECTS, *(peers.installed() if task["peers"] else ())) if rule in s.rules]
    arrays = inputs(Problem(rule, **sizes))
    expected = ours.SUBJECTS[0].output(Problem(rule, **sizes), arrays)
    for direction in (FORWARD, BOTH):
        problem = Problem(rule, **sizes, direction=direction)
        chosen = [s for s in subjects if direction == FORWARD or s.differentiable]
        square, flops = timing.matmul()
        programs = {"matmul": square} | {s.name: s.program(problem, arrays) for s in chosen}
        times = timing.in_turns(programs, seconds=task["seconds"])
        rate = flops / times["matmul"].best / 1e6
        yield {**_row(problem, task, "matmul", None, times["matmul"], rate, product=flops), "differs": None}
        for subject in chosen:
            off = None
            if subject.package is not None and direction == FORWARD:
                off = float(abs(subject.output(problem, arrays) - expected).max() / abs(expected).max())
            product = _products(subject, problem, arrays) if subject.framework == "jax" else None
            row = _row(problem, task, subject.name, subject.version, times[subject.name], rate, product=product)
            yield {**row, "package": subject.package, "differs": off}


def _products(subject, problem, arrays) -> int:
    """The flops of matrix products in the program that was timed."""
    timed = jax_function(subject.load(problem.rule), problem.direction == BOTH)
    return product_flops(timed, subject.arrays(arrays))


def _row(problem, task, name, version, times, rate, product=None) -> dict:
    useful = useful_flops(problem)
    return {
        **problem._asdict(), "subject": name, "version": version, "threads": task["threads"],
        "best_ms": times.best, "median_ms": times.median, "rounds": times.rounds, "matmul_gflops": rate,
        "useful_flops": useful, "product_flops": product,
        "of_matmul": None if product is None else product / times.best / 1e6 / rate,
    }  # fmt: skip


def _lengths(task) -> Iterator[dict]:
    """Time per token of one head at every length, with the same working memory at all of them, and from warm caches.

    Cold: the tokens of the longest sequence, cut into as many sequences as they make, are gone through in order, and
    all outputs are kept. One sequence over and over, hot, would stay in the caches if it is short.
    """
    rule, sizes = task["rule"], {**task["sizes"], "H": 1}
    most = max(task["lengths"])
    whole = inputs(Problem(rule, **{**sizes, "T": most}))
    for T in task["lengths"]:
        problem = Problem(rule, **{**sizes, "T": T})
        cuts = [{name: x[:, at : at + T] for name, x in whole.items()} for at in range(0, most - T + 1, T)]
        cold, hot = ours.SUBJECTS[0].one_after_another(problem, cuts), ours.SUBJECTS[0].program(problem, cuts[0])
        in_order, again = (timing.in_turns({"": program}, seconds=task["seconds"] / 4)[""] for program in (cold, hot))
        yield {**problem._asdict(), "threads": task["threads"], "sequences": len(cuts),
               "best_ms": in_order.best / len(cuts), "median_ms": in_order.median / len(cuts),
               "cold_ns_per_token": 1e6 * in_order.best / len(cuts) / T,
               "hot_ns_per_token": 1e6 * again.best / T}  # fmt: skip


def _memory(task) -> Iterator[dict]:
    problem = Problem(task["rule"], **{**task["sizes"], "H": 1, "T": task["T"], "direction": task["direction"]})
    yield {**problem._asdict(), **memory.peak(problem)}


if __name__ == "__main__":
    main()
