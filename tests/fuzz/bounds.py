"""Random programs against their bounds: `python -m tests.fuzz.bounds --programs N --evaluations M --seed S`.

Every program runs jitted (some programs to a compilation), one in twelve vmapped and one in eighty step by step; every
result, and the value that comes with the bound, must lie within the bound of an exact reference. Failures are shrunk
and printed as Python. Exit status 1 where one is found.
"""

import argparse
import json
import os
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import numpy as np
from rich.progress import Progress, TextColumn, TimeElapsedColumn

from dualform.prove import rounding_bound
from tests.fuzz import data, generate
from tests.fuzz.judge import Case, Finding, compiled, stepwise, vmapped, x64
from tests.fuzz.programs import Program
from tests.fuzz.reference import Unknown

GROUPS = (1, 8, 8, 16)
"""Programs to a compilation."""

BLAMED = 60
"""Infinite bounds that are traced to a statement."""


@dataclass
class Tally:
    """What a run has seen."""

    programs: int = 0
    evaluations: int = 0
    refused: int = 0
    infinite: int = 0
    violating: int = 0
    seen: Counter = field(default_factory=Counter)
    refusals: Counter = field(default_factory=Counter)
    refused_by: Counter = field(default_factory=Counter)
    infinite_by: Counter = field(default_factory=Counter)
    unjudged: Counter = field(default_factory=Counter)
    blamed: Counter = field(default_factory=Counter)
    broken: str = ""
    crashes: list = field(default_factory=list)
    findings: list = field(default_factory=list)
    seconds: Counter = field(default_factory=Counter)

    @property
    def failed(self) -> bool:
        return bool(self.findings or self.crashes)

    def to_dict(self) -> dict:
        rates = {
            kind: {"evaluations": n, "refused": self.refused_by[kind] / n, "infinite": self.infinite_by[kind] / n}
            for kind, n in self.seen.most_common()
        }
        return {
            "jax": jax.__version__,
            "programs": self.programs,
            "evaluations": self.evaluations,
            "refused": self.refused,
            "infinite though finite when run": self.infinite,
            "programs in violation": self.violating,
            "by kind": rates,
            "refusals": dict(self.refusals.most_common()),
            "statement where the bound becomes infinite": dict(self.blamed.most_common()),
            "unjudged": dict(self.unjudged),
            "crashes": self.crashes,
            "violations": self.findings,
            "seconds": dict(self.seconds),
        }


class Clock:
    """Seconds of the processor by part, so that a busy machine does not count."""

    def __init__(self, seconds: Counter):
        self.seconds, self.last = seconds, time.process_time()

    def __call__(self, part: str) -> None:
        now = time.process_time()
        self.seconds[part] += now - self.last
        self.last = now


def cases(rng: np.random.Generator, count: int, x64_: bool, tally: Tally, bounding: Callable) -> list[Case]:
    """Programs of one width that trace; the reference must know their primitives, or they are counted as unjudged."""
    made: list[Case] = []
    while len(made) < count:
        program = generate.program(rng, "float64" if x64_ else None)
        if program.x64 != x64_:
            continue
        try:
            made.append(Case(program, bounding))
        except Exception as error:
            tally.unjudged[f"does not trace: {type(error).__name__}: {str(error)[:90]}"] += 1
            if tally.unjudged.total() > 50 + tally.programs:
                raise
    return made


def explore(
    programs: int, evaluations: int, seed: int, shrink: int = 40, progress=None, bounding: Callable = rounding_bound
) -> Tally:
    """Runs the fuzzer on some `bounding`; `shrink` failures are shrunk, but none that holds all the operations of an
    earlier one."""
    with warnings.catch_warnings(), jax.numpy_rank_promotion("allow"):
        warnings.simplefilter("ignore")
        return _explore(programs, evaluations, seed, shrink, progress, bounding)


def _explore(programs: int, evaluations: int, seed: int, shrink: int, progress, bounding: Callable) -> Tally:
    tally, number = Tally(), 0
    known: list[tuple[frozenset, str]] = []
    draws = max(1, -(-evaluations // programs))
    while tally.programs < programs:
        rng = np.random.default_rng([seed, number])
        number += 1
        count = min(int(rng.choice(GROUPS)), programs - tally.programs)
        group = cases(rng, count, bool(rng.random() < 0.1), tally, bounding)
        for case, found in _group(rng, group, draws, tally):
            tally.violating += 1
            kinds = case.program.kinds | {case.program.dtype}
            if len(known) < shrink and not any(k <= kinds for k, _ in known):
                small = shrunk(found, bounding)
                known.append((small.program.kinds | {small.program.dtype}, small.report()))
                tally.findings.append({"after": tally.programs, "seed": [seed, number - 1], "program": small.report()})
                if progress is not None:
                    progress.console.print(
                        f"\n--- after {tally.programs} programs\n{small.report()}", markup=False, soft_wrap=True
                    )
        if progress is not None:
            progress.update(progress.task_ids[0], completed=tally.programs, violating=tally.violating)
    if tally.violating and not tally.findings:
        tally.findings.append({"program": "not shrunk"})
    return tally


def _group(rng, group: Sequence[Case], draws: int, tally: Tally) -> Iterator[tuple[Case, Finding]]:
    """The first violation of every program of a group."""
    clock = Clock(tally.seconds)
    kinds = [data.KINDS[i % len(data.KINDS)] for i in rng.permutation(len(data.KINDS))[:draws]]
    kinds += [str(rng.choice(data.KINDS)) for _ in range(draws - len(kinds))]
    rows = [[data.draw(rng, case.program.inputs, kind) for case in group] for kind in kinds]
    with x64(group[0].program):
        run = compiled(group)
        results = [run(row) for row in rows]
    clock("compile and run")
    for i, case in enumerate(group):
        tally.programs += 1
        together = vmapped(case, [row[i] for row in rows]) if rng.random() < 1 / 12 else None
        slowly = rng.random() < 1 / 80
        first = None
        clock("variants")
        for j, row in enumerate(rows):
            runs = {"jit": results[j][i]}
            if together is not None:
                runs["vmap"] = together[j]
            if slowly and j == 0:
                runs["step by step"] = stepwise(case, row[i])
                clock("variants")
            found = _evaluate(case, row[i], runs, tally, clock)
            first = first or found
        if first is not None:
            yield case, first
        clock("shrink")


def _evaluate(case: Case, inputs, runs: dict, tally: Tally, clock: Clock) -> Finding | None:
    tally.evaluations += 1
    tally.seen.update(case.program.kinds)
    try:
        answer = case.bound(inputs)
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        message = f"{type(error).__name__}: {error} at {Path(place.filename).name}:{place.lineno}"
        if message not in {c["error"] for c in tally.crashes}:
            tally.crashes.append({"error": message, "after": tally.programs, "program": case.program.source()})
        clock("bound")
        return None
    clock("bound")
    if answer is None:
        tally.refused += 1
        tally.refused_by.update(case.program.kinds)
        tally.refusals[case.refusal.split(" (")[0][:110]] += 1
        return None
    value, bound = answer
    if (~np.isfinite(bound) & np.isfinite(runs["jit"])).any():
        tally.infinite += 1
        tally.infinite_by.update(case.program.kinds)
        if tally.blamed.total() < BLAMED:
            tally.blamed[_first_infinite(case, inputs)] += 1
    try:
        found = case.findings(inputs, value, bound, runs)
    except Unknown as error:
        tally.unjudged[f"the reference does not know {error}"] += 1
        found = []
    except Exception as error:
        tally.unjudged[f"the reference failed: {type(error).__name__}: {str(error)[:200]}"] += 1
        tally.broken = case.program.source()
        found = []
    clock("reference")
    return found[0] if found else None


def _first_infinite(case: Case, inputs) -> str:
    """The first statement whose value is finite although its bound is not."""
    for s in case.program.statements:
        try:
            part = Case(replace(case.program, result=s.out, wrap=None).pruned(), case.bounding)
            answer = part.bound(inputs)
        except Exception:
            return f"? {s.text}"
        if answer is not None and (~np.isfinite(answer[1]) & np.isfinite(answer[0])).any():
            return f"{s.out.dtype}: {s.text}"
    return "the gradient"


def violation(program: Program, inputs, variant: str, bounding: Callable) -> Finding | None:
    """The violation of one program at one point, compiled by itself."""
    try:
        case = Case(program, bounding)
        answer = case.bound(inputs)
        if answer is None:
            return None
        if variant == "vmap":
            runs = {"vmap": vmapped(case, [inputs, inputs])[0]}
        elif variant == "step by step":
            runs = {variant: stepwise(case, inputs)}
        else:
            with x64(program):
                runs = {"jit": compiled([case])([inputs])[0]}
        found = [x for x in case.findings(inputs, *answer, runs) if x.variant == variant]
    except Exception:
        return None
    return found[0] if found else None


def shrunk(found: Finding, bounding: Callable, tries: int = 150) -> Finding:
    """A smaller program that still violates its bound: greedy, one change at a time."""
    alone = violation(found.program, found.inputs, found.variant, bounding)
    if alone is None:
        return found
    found, progress = alone, True
    while progress and tries > 0:
        progress = False
        for smaller in found.program.smaller():
            if len(smaller.statements) >= len(found.program.statements) and smaller.wrap == found.program.wrap:
                continue
            tries -= 1
            simpler = violation(smaller, found.inputs, found.variant, bounding) if smaller.statements else None
            if simpler is not None:
                found, progress = simpler, True
                break
            if tries <= 0:
                break
    return _without_idle_inputs(found, bounding)


def _without_idle_inputs(found: Finding, bounding: Callable) -> Finding:
    read = {x.name for s in found.program.statements for x in s.operands} | {found.program.result.name}
    kept = [i for i, v in enumerate(found.program.inputs) if v.name in read]
    program = replace(found.program, inputs=tuple(found.program.inputs[i] for i in kept))
    return violation(program, [found.inputs[i] for i in kept], found.variant, bounding) or found


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.bounds", description=__doc__.split("\n")[0])
    parser.add_argument("--programs", type=int, default=200)
    parser.add_argument("--evaluations", type=int, default=2000, help="of bounds, in all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shrink", type=int, default=40, help="distinct failures to shrink")
    parser.add_argument("--json", type=Path, help="where to write what was seen")
    options = parser.parse_args(arguments)
    columns = "{task.description} {task.completed}/{task.total} programs, {task.fields[violating]} in violation"
    with Progress(TextColumn(columns), TimeElapsedColumn(), disable=not sys.stderr.isatty()) as progress:
        progress.add_task("bounds", total=options.programs, violating=0)
        tally = explore(options.programs, options.evaluations, options.seed, options.shrink, progress)
    report = {"seed": options.seed, **tally.to_dict()}
    if options.json:
        part = options.json.with_suffix(".part")
        part.write_text(json.dumps(report, indent=1))
        part.replace(options.json)
    print(
        f"jax {jax.__version__}: {tally.programs} programs, {tally.evaluations} evaluations, "
        f"{tally.violating} programs in violation, {len(tally.crashes)} kinds of crash, {tally.refused} refused, "
        f"{tally.infinite} infinite though the run is finite"
    )
    if tally.broken:
        print("--- the reference failed on\n" + tally.broken)
    print("seconds:", {k: round(v) for k, v in tally.seconds.items()}, "unjudged:", dict(tally.unjudged))
    for crash in tally.crashes:
        print(f"--- crash: {crash['error']}\n{crash['program']}")
    return int(tally.failed)


if __name__ == "__main__":
    sys.exit(main())
