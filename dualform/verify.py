"""The main job: every law at every stamp that it claims; `dualform verify` prints it."""

import platform
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dualform._jax import NEWEST
from dualform.laws import LAWS, Law, Result, check, find, of_rule
from dualform.laws.law import PROVED
from dualform.prove.errors import first_line
from dualform.prove.primes import system_seed

DTYPES = {"quick": ("float32",), "full": ("float64", "float32", "bfloat16", "float16")}
Progress = Callable[[int, int, str], None]
"""Called with (jobs done, jobs in all, what comes next)."""


@dataclass
class Report:
    """All results of a run, and what is needed to repeat it."""

    seed: int  # of data
    quick: bool
    thorough: bool = False
    only: str | None = None
    rule: str | None = None
    proof_seed: int | None = None
    results: list[Result] = field(default_factory=list)
    seconds: float = 0.0
    complete: bool = False  # whether the run came to its end

    @property
    def passed(self) -> bool:
        """Whether every law that was checked earned the stamp that it claims."""
        return bool(self.results) and all(r.passed for r in self.results)

    def to_dict(self) -> dict[str, Any]:
        """Plain data: versions, seed and all results. Numbers that are not finite become None."""
        return {
            "dualform": version("dualform"),
            "jax": jax.__version__,
            "jax_tried": NEWEST,
            "numpy": np.__version__,
            "python": platform.python_version(),
            "seed": self.seed,
            "proof_seed": self.proof_seed,
            "quick": self.quick,
            "thorough": self.thorough,
            "only": self.only,
            "rule": self.rule,
            "seconds": self.seconds,
            "complete": self.complete,
            "passed": self.passed,
            "results": [_plain({**asdict(r), "earned": r.earned}) for r in self.results],
        }


def verify(
    *,
    quick: bool = False,
    thorough: bool = False,
    only: str | None = None,
    rule: str | None = None,
    seed: int | None = None,
    proof_seed: int | None = None,
    runs: Path | None = None,
    progress: Progress | None = None,
    report: Report | None = None,
) -> Report:
    """Checks every law at every stamp that it claims.

    Args:
        quick: fewer cases, float32 only, no gradients, a short training.
        thorough: the laws that train networks for minutes as well.
        only: a label such as "L3", a chapter's letter, or the key of a law, such as "O9.digits".
        rule: the name of an update rule, instead of `only`.
        seed: of all random draws. None: 0 for data, so that bounds and measurements repeat, and the system's entropy
            for proofs, whose primes and points nobody may know beforehand.
        proof_seed: of the proofs alone; the report of a run states it.
        runs: a folder where the networks of a thorough run are kept, finished or not, and taken from the next time.
        progress: called before each job, and while a network trains.
        report: filled as results come, so that who stops the run has those that there are. Its settings are replaced.

    Returns:
        A `Report`.

    Raises:
        ValueError: an unknown label, or `quick` beside `thorough`.
    """
    if proof_seed is None:
        proof_seed = system_seed() if seed is None else seed
    settings = Report(seed or 0, quick, thorough, only, rule, proof_seed)
    report = settings if report is None else report
    vars(report).update(vars(settings))
    started = time.perf_counter()
    jobs = plan(quick=quick, thorough=thorough, only=only, rule=rule, seed=report.seed, proof_seed=proof_seed)
    for i, (name, job) in enumerate(jobs):
        if progress is not None:
            progress(i, len(jobs), name)
        if thorough:
            _trainings(runs, None if progress is None else partial(_beside, progress, i, len(jobs), name))
        report.results += job()
        report.seconds = time.perf_counter() - started
    report.complete = True
    if progress is not None:
        progress(len(jobs), len(jobs), "done")
    return report


def plan(
    *,
    quick: bool,
    only: str | None,
    seed: int | None,
    rule: str | None = None,
    thorough: bool = False,
    proof_seed: int | None = None,
) -> list[tuple[str, Callable[[], list[Result]]]]:
    """The jobs of a run: (what, function)."""
    if only is not None and rule is not None:
        raise ValueError(f"rule: got {rule!r} beside only={only!r}, expected one of them; leave the other out")
    if quick and thorough:
        raise ValueError("quick: got both quick and thorough, expected one of them; leave the other out")
    laws = of_rule(rule) if rule else LAWS if only is None else find(only)
    if laws and not thorough and all(law.thorough for law in laws):
        raise ValueError(f"only: the laws of {only} train networks for minutes; add --thorough (thorough=True)")
    jobs: list[tuple[str, Callable[[], list[Result]]]] = []
    for law in laws:
        if law.thorough and not thorough:
            continue
        for stamp in law.stamps:
            if quick and stamp in law.full_only:
                continue
            of_stamp = seed if stamp != PROVED or proof_seed is None else proof_seed
            jobs.append((f"{law.label} {stamp}", partial(_checked, law, stamp, of_stamp, quick)))
    return jobs


def _trainings(folder: Path | None, progress: Progress | None) -> None:
    """Where the trainings of the laws to come keep their networks, and whom they tell how far they are."""
    from dualform.regression import runs

    runs.use(folder, progress=progress)


def _beside(progress: Progress, done: int, jobs: int, name: str, step: int, steps: int, what: str) -> None:
    progress(done, jobs, f"{name}: {what}, step {step} of {steps}")


def _checked(law: Law, stamp: str, seed: int | None, quick: bool) -> list[Result]:
    started = time.perf_counter()
    try:
        return [check(law, stamp, seed=seed, quick=quick, dtypes=DTYPES["quick" if quick else "full"])]
    except Exception as error:  # it says nothing of the law; the others still run
        return [_crashed(law.key, law.title, stamp, error, started)]


def _crashed(key: str, title: str, stamp: str, error: Exception, started: float) -> Result:
    """An exception as a row of its own kind, neither earned nor failed."""
    seconds = time.perf_counter() - started
    reason, lines = first_line(error), "".join(traceback.format_exception(error))
    return Result(key, title, stamp, False, reason=reason, seconds=seconds, traceback=lines)


def script(result: Result, report: Report) -> str:
    """A program that repeats a failed check and shows why it fails."""
    mode = "quick" if report.quick else "full"
    seed = report.proof_seed if result.stamp == PROVED else report.seed
    return (
        "from dualform.laws import check, find\n\n"
        f"law = next(law for law in find({result.label!r}) if law.key == {result.key!r})\n"
        f"result = check(law, {result.stamp!r}, seed={seed}, quick={report.quick}, dtypes={DTYPES[mode]!r})\n"
        "print(result.earned, result.reason)\n"
        "for detail in result.details:\n    print(detail)\n"
    )


def _plain(x):
    if isinstance(x, dict):
        return {str(k): _plain(v) for k, v in x.items()}
    if isinstance(x, (list, tuple)):
        return [_plain(v) for v in x]
    if isinstance(x, (bool, str)) or x is None or isinstance(x, int):
        return x
    return float(x) if np.isfinite(x) else None
