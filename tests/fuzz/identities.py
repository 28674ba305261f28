"""Random identities against their verdicts: `python -m tests.fuzz.identities --count N --seed S --json FILE`.

Half are true, half false by one changed operation. An oracle of 1000 bits decides which: it evaluates both programs at
many points. A violation is a proof of programs that differ somewhere, a refutation of programs that are equal, or a
counterexample at which they do not differ. Exit status 1 where one is found.
"""

import argparse
import json
import os
import re
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import numpy as np
from rich.progress import Progress, TextColumn, TimeElapsedColumn

from dualform.prove import identical
from tests.fuzz.oracle import Difference, Oracle
from tests.fuzz.pairs import Pair, generated


@dataclass
class Tally:
    """What a run has seen."""

    pairs: int = 0
    verdicts: Counter = field(default_factory=Counter)
    undecided: Counter = field(default_factory=Counter)
    true: Counter = field(default_factory=Counter)
    reasons: Counter = field(default_factory=Counter)
    violations: list = field(default_factory=list)
    crashes: list = field(default_factory=list)
    skipped: Counter = field(default_factory=Counter)
    unkept: Counter = field(default_factory=Counter)
    conditional: list = field(default_factory=list)
    slowest: list = field(default_factory=list)
    seconds: Counter = field(default_factory=Counter)

    @property
    def failed(self) -> bool:
        return bool(self.violations or self.crashes)

    def to_dict(self) -> dict:
        rates = {kind: {"true": n, "undecided": self.undecided[kind] / n} for kind, n in self.true.most_common()}
        return {
            "jax": jax.__version__,
            "pairs": self.pairs,
            "verdicts": {f"{truth}: {verdict}": n for (truth, verdict), n in sorted(self.verdicts.items())},
            "undecided among true": rates,
            "reasons": dict(self.reasons.most_common()),
            "violations": self.violations,
            "crashes": self.crashes,
            "skipped": dict(self.skipped),
            "meant otherwise than the oracle finds": dict(self.unkept),
            "proved under a condition, different elsewhere": self.conditional,
            "slowest": sorted(self.slowest, key=lambda x: -x[0])[:10],
            "seconds": dict(self.seconds),
        }


def explore(count: int, seed: int, prove: Callable = identical, progress=None) -> Tally:
    """Runs the fuzzer on some prover."""
    tally = Tally()
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        with warnings.catch_warnings(), jax.numpy_rank_promotion("allow"):
            warnings.simplefilter("ignore")
            judge(rng, generated(rng), prove, tally, (seed, number), progress)
        if progress is not None:
            progress.update(progress.task_ids[0], completed=number + 1, violating=len(tally.violations))
    return tally


def judge(rng, pair: Pair, prove: Callable, tally: Tally, place: Any = None, progress=None) -> None:
    """One pair: the verdict against the oracle."""
    tally.pairs += 1
    start = time.perf_counter()
    try:
        f, g, inputs = pair.build()
        oracle = Oracle(f, g, inputs)
        difference = oracle.search(rng)
    except Exception as error:
        tally.skipped[f"{type(error).__name__}: {str(error)[:80]}"] += 1
        return
    middle = time.perf_counter()
    tally.seconds["oracle"] += middle - start
    trials, seed = int(rng.choice([3, 3, 3, 2, 5])), int(rng.integers(100))
    truth = "different" if difference else "equal"
    if pair.meant is not None and pair.meant == (difference is not None):
        tally.unkept[f"{pair.kind}, meant {'true' if pair.meant else 'false'}"] += 1
    try:
        certificate = prove(f, g, *inputs, trials=trials, seed=seed)
    except ValueError as error:
        tally.verdicts[truth, "refused input"] += 1
        tally.reasons[f"ValueError: {str(error)[:90]}"] += 1
        return
    except Exception as error:
        at = traceback.extract_tb(error.__traceback__)[-1]
        message = f"{type(error).__name__}: {str(error)[:200]} at {Path(at.filename).name}:{at.lineno}"
        if message not in {c["error"] for c in tally.crashes}:
            tally.crashes.append({"error": message, "program": pair.source(trials, seed)})
        tally.verdicts[truth, "crash"] += 1
        return
    seconds = time.perf_counter() - middle
    tally.seconds["prover"] += seconds
    tally.slowest = sorted([*tally.slowest, (round(seconds, 2), pair.f, pair.g)], key=lambda x: -x[0])[:10]
    verdict = {True: "proved", False: "refuted", None: "undecided"}[certificate.equal]
    tally.verdicts[truth, verdict] += 1
    if difference is None:
        tally.true[pair.kind] += 1
        if certificate.equal is None:
            tally.undecided[pair.kind] += 1
            tally.reasons[f"{pair.kind}: {re.sub(' [(].*', '', str(certificate.reason))[:90]}"] += 1
    if certificate.equal is True and difference is not None:
        tally.conditional.append([pair.f, pair.g, list(getattr(certificate, "conditions", ()))])
    broken = _broken(rng, oracle, difference, certificate)
    if broken is not None:
        text = f"{pair.source(trials, seed)}\n# {broken[0]}: {broken[1]}\n# {certificate}"
        tally.conditional = [c for c in tally.conditional if c[:2] != [pair.f, pair.g]]
        tally.violations.append({"kind": pair.kind, "what": broken[0], "at": place, "program": text})
        if progress is not None:
            progress.console.print(f"\n--- {pair.kind}, pair {place}\n{text}", markup=False, soft_wrap=True)


def _broken(rng, oracle: Oracle, difference: Difference | None, certificate) -> tuple[str, str] | None:
    """What is wrong with a certificate, if anything."""
    if certificate.equal is True and difference is not None:
        if getattr(certificate, "complete", True) is False:  # proved on cells of its inputs only
            return None
        if getattr(certificate, "conditions", ()):  # proved where nothing is singular
            difference = oracle.search(rng, 24, regular=True)
        if difference is None:
            return None
        point = [np.asarray(x).tolist() for x in difference.inputs]
        return "proved although different", f"f = {difference.f}, g = {difference.g} at {point} ({difference.where})"
    if certificate.equal is False:
        point = certificate.counterexample.inputs if certificate.counterexample is not None else None
        if point is None:
            return None if difference else ("refuted although equal", "no counterexample")
        leaves = [
            np.asarray(x, None if np.asarray(x).dtype.kind in "iubc" else float)
            for x in jax.tree.leaves(point, is_leaf=_array)
        ]
        try:
            there = oracle.differs(leaves, True)
        except Exception as error:
            return ("counterexample is no point", repr(error)) if difference is None else None
        if there is None:
            what = "refuted although equal" if difference is None else "a counterexample at which nothing differs"
            return what, f"{[x.tolist() for x in leaves]}"
    return None


def _array(x) -> bool:
    """A nested list of numbers is one input."""
    while isinstance(x, list) and x:
        x = x[0]
    return not isinstance(x, tuple | dict)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.identities", description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="where to write what was seen")
    options = parser.parse_args(arguments)
    columns = "{task.description} {task.completed}/{task.total} pairs, {task.fields[violating]} violations"
    with Progress(TextColumn(columns), TimeElapsedColumn(), disable=not sys.stderr.isatty()) as progress:
        progress.add_task("identities", total=options.count, violating=0)
        tally = explore(options.count, options.seed, progress=progress)
    report = {"seed": options.seed, **tally.to_dict()}
    if options.json:
        part = options.json.with_suffix(".part")
        part.write_text(json.dumps(report, indent=1, default=str))
        part.replace(options.json)
    for crash in tally.crashes:
        print(f"--- crash: {crash['error']}\n{crash['program']}")
    print(
        f"jax {jax.__version__}: {tally.pairs} pairs, {len(tally.violations)} violations, {len(tally.crashes)} crashes"
    )
    for name in ("verdicts", "undecided among true", "skipped", "seconds"):
        print(f"{name}: {report[name]}")
    return int(tally.failed)


if __name__ == "__main__":
    sys.exit(main())
