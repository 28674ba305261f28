"""What a benchmark found, as plain data with versions, and the ratios that it is for."""

import os
import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from dualform.bench import ours, peers

Row = dict[str, Any]
"""One measurement: the fields of `Problem`, and what its list in `Report` says."""

AGREES = 1e-4
"""A peer whose output differs by more (relative to the largest) computes something else; its time is not compared."""


@dataclass
class Report:
    """All rows of a run.

    Args:
        settings: what `bench` was called with.
        speed: of each subject and of "matmul": version, package, threads, rounds; best_ms, median_ms; matmul_gflops of
            the same rounds; useful_flops of the recurrence, product_flops of the program that ran, of_matmul, the part
            of the matrix product's rate that it reached; differs, the distance from our output relative to the largest.
        lengths: of one head at each length: threads; sequences, how many were gone through in order, as many as make
            the longest; best_ms, median_ms of one of them; cold_ns_per_token, of these, the time to compare lengths
            by; hot_ns_per_token, of one sequence over and over, which lies in the caches if it is short.
        memory: of one head: bytes at the peak, of what is given and returned; ratio of the first to the other two.
    """

    settings: dict[str, Any]
    speed: list[Row] = field(default_factory=list)
    lengths: list[Row] = field(default_factory=list)
    memory: list[Row] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Plain data: versions, machine, settings and all rows, with the ratio of each time to the fastest peer's."""
        packages = sorted({s.package for s in peers.installed() if s.package} | {"jax", "jaxlib", "numpy"})
        return {
            "dualform": version("dualform"),
            "versions": {name: version(name) for name in packages},
            "python": platform.python_version(),
            "machine": {"processor": _processor(), "cores": os.cpu_count()},
            "settings": self.settings,
            "speed": [{**row, "ratio": ratio(row, self.speed)} for row in self.speed],
            "lengths": self.lengths,
            "memory": self.memory,
        }


def ratio(row: Row, rows: list[Row]) -> float | None:
    """A time divided by that of the fastest other library on the same problem; None where there is none."""
    others = [other["best_ms"] for other in rows if is_peer(other, rows) and _problem(other) == _problem(row)]
    return row["best_ms"] / min(others) if others and row["subject"] != "matmul" else None


def is_peer(row: Row, rows: list[Row]) -> bool:
    """Whether a row is another library's, and that library computes the same."""
    if row["subject"] in ("matmul", *(s.name for s in ours.SUBJECTS)):
        return False
    off = [
        r["differs"]
        for r in rows
        if (r["subject"], r["rule"]) == (row["subject"], row["rule"]) and r["differs"] is not None
    ]
    return all(x <= AGREES for x in off)


def tables(report: dict[str, Any]) -> Iterator[tuple[str, tuple[str, ...], Sequence[tuple[str, ...]]]]:
    """(title, columns, rows) of a report's dictionary, as text: one table a problem, then lengths and memory."""
    for problem in dict.fromkeys(map(_problem, report["speed"])):
        rows = [row for row in report["speed"] if _problem(row) == problem]
        rule, T, B, H, K, V, direction, threads = problem
        rate = next(row["matmul_gflops"] for row in rows if row["subject"] == "matmul")
        title = f"{rule}, {direction}: T = {T}, B = {B}, H = {H}, K = {K}, V = {V}, {_threads(threads)}, "
        title += f"matrix product {rate:.0f} GFLOP/s"
        columns = ("subject", "best ms", "median ms", "to fastest peer", "GFLOP", "of matrix product")
        yield title, columns, [_speed_row(row) for row in rows if row["subject"] != "matmul"]
    if report["lengths"]:
        columns = ("rule", "T", "sequences", "ns a token", "to the shortest", "from warm caches")
        yield "time per token, forward, one head, one thread", columns, _length_rows(report["lengths"])
    if report["memory"]:
        peaks = [
            (r["rule"], r["direction"], f"{r['T']:,}", f"{r['bytes'] / 2**20:.0f}", f"{r['ratio']:.2f}")
            for r in report["memory"]
        ]
        yield "peak memory, one head", ("rule", "", "T", "peak MiB", "peak / (inputs + results)"), peaks


def _length_rows(lengths: Sequence[Row]) -> Sequence[tuple[str, ...]]:
    """With the ratio to the rule's shortest sequences; a report from before both times were taken has the warm one."""
    first = {r["rule"]: r for r in sorted(lengths, key=lambda r: -r["T"])}
    rows = []
    for r in lengths:
        cold, hot = r.get("cold_ns_per_token"), r.get("hot_ns_per_token", r.get("ns_per_token"))
        ratio = cold and cold / first[r["rule"]]["cold_ns_per_token"]
        times = _number(cold, ".0f"), _number(ratio, ".2f"), _number(hot, ".0f")
        rows.append((r["rule"], f"{r['T']:,}", str(r.get("sequences", "")), *times))
    return rows


def _number(x: float | None, form: str) -> str:
    return "" if x is None else format(x, form)


def _speed_row(row: Row) -> tuple[str, ...]:
    name = row["subject"] if row["differs"] is None or row["differs"] <= AGREES else f"{row['subject']} (differs)"
    flops = None if row["product_flops"] is None else row["product_flops"] / 1e9
    return (
        name, f"{row['best_ms']:.1f}", f"{row['median_ms']:.1f}", _number(row["ratio"], ".2f"), _number(flops, ".2f"),
        _number(row["of_matmul"], ".0%"),
    )  # fmt: skip


def _threads(count: int) -> str:
    return "one thread, pinned" if count == 1 else f"{count} threads"


def _problem(row: Row) -> tuple:
    return tuple(row[name] for name in ("rule", "T", "B", "H", "K", "V", "direction", "threads"))


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
