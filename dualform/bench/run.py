"""The benchmark: one process after another, each with its task."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence

from dualform import _check
from dualform.bench import peers
from dualform.bench.problems import BOTH, FORWARD, RULES
from dualform.bench.report import Report

LENGTHS = (4096, 16384, 65536, 262144, 1048576)
MILLION = 1048576

Progress = Callable[[int, int, str], None]


def bench(
    *,
    rules: Sequence[str] = RULES,
    T: int = 4096,
    B: int = 1,
    H: int = 8,
    K: int = 64,
    V: int = 64,
    threads: str = "both",
    with_peers: bool = True,
    lengths: Sequence[int] = LENGTHS,
    memory: bool = True,
    seconds: float = 10.0,
    progress: Progress | None = None,
) -> Report:
    """Times rules beside other libraries and the machine's matrix product, in turns.

    Args:
        rules: of `dualform.bench.problems.RULES`.
        T, B, H, K, V: tokens, sequences, heads, widths of keys and values.
        threads: "one" (pinned to one processor), "all", or "both".
        with_peers: time every other library that is installed.
        lengths: at which one head's time per token is measured; empty to leave out.
        memory: measure peak memory of a million tokens (Linux).
        seconds: for the rounds of one rule in one direction.
        progress: called before each task.

    Returns:
        A `Report`.

    Raises:
        ValueError: unknown rules, sizes below 1, threads.
        RuntimeError: a process failed; its own message is given.

    Cost: about (8 + 4 seconds) for each rule and number of threads, and four minutes for lengths and memory.
    """
    unknown = [rule for rule in rules if rule not in RULES]
    if unknown or not rules:
        raise ValueError(f"rules: got {', '.join(unknown) or 'none'}, expected some of {', '.join(RULES)}")
    if threads not in ("one", "all", "both"):
        raise ValueError(f"threads: got {threads!r}, expected 'one', 'all' or 'both'")
    sizes = {"T": T, "B": B, "H": H, "K": K, "V": V}
    for name, size in sizes.items():
        _check.count(name, size, least=1)
    counts = {"one": [1], "all": [os.cpu_count() or 1], "both": [1, os.cpu_count() or 1]}[threads]
    common = {"sizes": sizes, "seconds": seconds, "peers": with_peers, "threads": counts[0]}
    tasks: list[dict] = [
        {**common, "kind": "speed", "rule": rule, "threads": n} for n in dict.fromkeys(counts) for rule in rules
    ]
    if lengths:
        tasks += [{**common, "kind": "lengths", "rule": rule, "lengths": list(lengths)} for rule in rules]
    if memory:
        plans = [(direction, length) for direction in (FORWARD, BOTH) for length in (MILLION // 4, MILLION)]
        tasks += [{**common, "kind": "memory", "rule": r, "direction": d, "T": n} for r in rules for d, n in plans]
    report = Report({**sizes, "rules": list(rules), "threads": counts, "seconds": seconds, "peers": with_peers})
    for i, task in enumerate(tasks):
        if progress is not None:
            progress(i, len(tasks), f"{task['kind']} {task['rule']}")
        getattr(report, str(task["kind"])).extend(_rows(task))
    if progress is not None:
        progress(len(tasks), len(tasks), "done")
    return report


def _rows(task: dict) -> Iterator[dict]:
    """What a worker prints for a task."""
    frameworks = sorted({s.framework for s in peers.installed()}) if task["peers"] else []
    environment = {**os.environ, "OMP_NUM_THREADS": str(task["threads"])}
    done = subprocess.run(
        [sys.executable, "-m", "dualform.bench.worker"],
        input=json.dumps({**task, "frameworks": frameworks}),
        capture_output=True, text=True, env=environment, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{task['kind']} of {task['rule']} failed:\n{done.stderr[-2000:]}")
    for line in done.stdout.splitlines():
        if line.startswith("{"):
            yield json.loads(line)
