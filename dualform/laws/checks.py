"""How each stamp is earned: by proof, by a derived bound, by measurement, by a counterexample that stands."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dualform.laws.law import BOUNDED, MEASURED, PROVED, REFUTED, Case, Comparison, Law
from dualform.prove import Input, ProofError, identical, rounding_bound
from dualform.prove.certificate import RATIONALS
from dualform.prove.programs import Signature
from dualform.prove.rounding import VACUOUS

UNIT = {"float64": 2.0**-53, "float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}
"""Unit roundoff of each dtype."""
HALF = ("bfloat16", "float16")


@dataclass
class Result:
    """What checking one stamp of one law gave."""

    key: str
    title: str
    stamp: str
    passed: bool
    worst: float | None = None  # bounded: largest error / bound
    failure_probability: float | None = None  # proved: over all its identities
    vacuous: bool = False
    reason: str = ""
    seconds: float = 0.0
    details: list[dict[str, Any]] = field(default_factory=list)
    traceback: str = ""  # of an exception that ended the check: nothing is known of the law
    label: str = field(init=False)

    def __post_init__(self):
        self.label = self.key.partition(".")[0]

    @property
    def conditions(self) -> tuple[str, ...]:
        """Where what was proved holds, in words without lines."""
        found = (condition for detail in self.details for condition in detail.get("conditions", ()))
        return tuple(dict.fromkeys(condition.partition(" (")[0] for condition in found))

    @property
    def earned(self) -> str:
        if self.traceback:
            return "error"
        if self.passed:
            return self.stamp
        return "vacuous" if self.vacuous and (self.worst or 0.0) <= 1.0 else "failed"


def check(
    law: Law, stamp: str, *, seed: int | None = None, quick: bool = False, dtypes: Iterable[str] = ("float32",)
) -> Result:
    """One stamp of one law.

    Args:
        law, stamp: which.
        seed: of all draws. None: proofs draw from the system, whatever else is random has the seed 0.
        quick: the first case only that the stamp checks, no gradients.
        dtypes: for the bounded stamp.

    Returns:
        A `Result`; a law that fails says why in `reason`.
    """
    started = time.perf_counter()
    cases = tuple(case for case in law.cases if case.bounded or stamp != BOUNDED)
    if quick:
        cases = tuple(case.only(law.quick) for case in cases[:1])
    dtypes = tuple(d for d in dtypes if d in (law.dtypes or UNIT))
    if stamp not in law.stamps:
        raise ValueError(f"stamp: {law.key} claims {law.stamps}, got {stamp!r}")
    result = Result(law.key, law.title, stamp, True)
    if stamp == PROVED:
        _prove(cases, result, seed, gradients=not quick)
    elif stamp == BOUNDED:
        _bound(cases, result, seed or 0, dtypes, draws=1 if quick else law.draws)
        for comparison in law.observe(seed or 0, quick) if law.observe is not None else ():
            _weigh(comparison, result)
    elif stamp == REFUTED:
        _refute(cases, result, seed or 0)
    elif stamp == MEASURED:
        _measure(law, result, seed or 0)
    if not result.details:
        _fail(result, f"nothing was compared: {len(cases)} cases, dtypes {dtypes}")
    result.seconds = time.perf_counter() - started
    return result


def _fail(result: Result, reason: str) -> None:
    result.passed = False
    result.reason = result.reason or reason


def _prove(cases: Iterable[Case], result: Result, seed: int | None, gradients: bool) -> None:
    """Every form of every case, and its vector-Jacobian products, against the first form."""
    total = 0.0
    for case in cases:
        (reference, first), *others = case.forms.items()
        differentiated = gradients and case.gradient and others
        cotangents = output_shapes(first, case.inputs) if differentiated else None
        value, gradient = traced_once(first), traced_once(pullback(first))
        for name, form in others:
            pairs = [("value", value, form, case.inputs)]
            if differentiated:
                pairs.append(("gradient", gradient, pullback(form), (case.inputs, cotangents)))
            for what, f, g, inputs in pairs:
                certificate = identical(f, g, *inputs, seed=seed)
                entry = {"case": case.name, "forms": [reference, name], "of": what, **certificate.to_dict()}
                result.details.append(entry)
                total += certificate.failure_probability if certificate.equal else 0.0
                if certificate.holds != RATIONALS:
                    # A law is about numbers: what holds modulo the primes that were drawn is not what it claims.
                    _fail(result, f"{case.name}: {what} of '{name}' against '{reference}': {certificate}")
    result.failure_probability = total or None  # of nothing proved there is none


def traced_once(f: Callable) -> Callable:
    """The same program for every comparison with it."""
    return jax.jit(f)


def pullback(f: Callable) -> Callable:
    """(arguments, cotangent) -> the vector-Jacobian product of f with respect to all arguments."""

    def vjp(arguments, cotangent):
        return jax.vjp(f, *arguments)[1](cotangent)

    return vjp


def output_shapes(f: Callable, inputs: tuple):
    """The structure of f's result, with an `Input` for every array."""
    signature = Signature.of(inputs)
    shapes = jax.eval_shape(f, *jax.tree.unflatten(signature.tree, signature.structs))
    return jax.tree.map(lambda s: Input(s.shape, dtype=s.dtype), shapes)


def normal(case: Case, rng: np.random.Generator) -> tuple:
    """Standard normal entries; log-domain inputs are negative."""
    signature = Signature.of(case.inputs)
    leaves = [
        np.where(x.mask, -np.inf, -rng.exponential(size=x.shape)) if x.domain == "log" else rng.standard_normal(x.shape)
        for x in signature.leaves
    ]
    return jax.tree.unflatten(signature.tree, leaves)


def _bound(cases: Iterable[Case], result: Result, seed: int, dtypes: tuple[str, ...], draws: int) -> None:
    """Every form, in every dtype, against the definition in float64: within the bounds derived from both programs."""
    result.worst = 0.0
    for case in cases:
        rng = np.random.default_rng(seed)
        for _ in range(draws):
            arguments = normal(case, rng) if case.sample is None else case.sample(rng)
            for dtype in dtypes if not case.exact else ("float32",):
                _compare_forms(case, arguments, dtype, result)


def _compare_forms(case: Case, arguments: tuple, dtype: str, result: Result) -> None:
    reference, definition = next(iter(case.forms.items()))
    # a definition says what is computed, not in how many bits
    forms = {name: form for name, form in case.forms.items() if name != reference or dtype not in HALF}
    with jax.enable_x64(dtype == "float64"):
        rounded = jax.tree.map(lambda x: jnp.asarray(x).astype(dtype), arguments)
        outputs = {name: jax.tree.map(np.asarray, jax.jit(form)(*rounded)) for name, form in forms.items()}
    rounded = jax.tree.map(np.asarray, rounded)
    try:
        # The definition at the very same inputs; its own rounding in float64 is allowed for.
        exact, slack = (outputs[reference], None) if case.exact else _float64(definition, rounded)
        allowed = None if case.within is None else _float64(case.within, rounded)
        for name, form in forms.items():
            bound = None if case.exact else jax.tree.map(np.add, rounding_bound(form, *rounded)[1], slack)
            if allowed is not None and name != reference:  # the allowed difference, and its own rounding
                bound = jax.tree.map(lambda b, *more: b + sum(more), bound, *allowed)
            entry = _difference(outputs[name], exact) if bound is None else _ratio(outputs[name], exact, bound)
            ratio, error, size, relative = (entry[what] for what in ("ratio", "error", "bound", "relative"))
            _weigh(Comparison(case.name, name, dtype, ratio, error, size, relative), result)
    except ProofError as reason:
        _fail(result, f"{case.name}: no bound in {dtype}: {reason}")


def _weigh(found: Comparison, result: Result) -> None:
    """Whether an error is within its bound, and the bound says something."""
    result.details.append(found.to_dict())
    result.worst = max(result.worst or 0.0, found.ratio)
    result.vacuous |= found.relative > VACUOUS
    what = f"'{found.form}' in {found.dtype}"
    if found.relative > VACUOUS:
        _fail(result, f"{found.case}: the bound of {what} is {found.relative:.2g} of the output")
    if not found.ratio <= 1.0:
        _fail(result, f"{found.case}: {what} is off by {found.error:.3g}, bound {found.bound:.3g}")


def _float64(form: Callable, arguments: tuple):
    """Value in float64 and the bound on its error."""
    return rounding_bound(form, *jax.tree.map(lambda x: x.astype(np.float64), arguments))


def _difference(output, exact) -> dict[str, float]:
    """Where no form may round, the bound is zero and any error exceeds it."""
    error = _distance(output, exact)
    return {"error": error, "bound": 0.0, "ratio": float("inf") if error else 0.0, "relative": 0.0}


def _distance(a, b) -> float:
    """Largest difference; infinite where NaN, or where shapes differ."""
    worst = 0.0
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        if np.shape(x) != np.shape(y):
            return float("inf")
        gap = np.abs(np.asarray(x, np.float64) - np.asarray(y, np.float64))
        worst = max(worst, float(np.max(np.where(np.isnan(gap), np.inf, gap), initial=0.0)))
    return worst


def _ratio(computed, value, bound) -> dict[str, float]:
    """Element by element: the largest error/bound, and where it occurs; the largest bound relative to the output."""
    worst = {"ratio": 0.0, "error": 0.0, "bound": 0.0, "relative": 0.0}
    for c, v, b in zip(*(jax.tree.leaves(x) for x in (computed, value, bound)), strict=True):
        c, v, b = (np.ravel(np.asarray(x, np.float64)) for x in (c, v, b))
        if not c.size:
            continue
        error = np.abs(c - v)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(error == 0, 0.0, error / b)
        ratio = np.where(np.isnan(ratio), np.inf, ratio)
        i = int(np.argmax(ratio))
        if ratio[i] >= worst["ratio"]:
            worst.update(ratio=float(ratio[i]), error=float(error[i]), bound=float(b[i]))
        size = float(np.max(np.abs(v)))
        worst["relative"] = max(worst["relative"], float(np.max(b)) / size if size else 0.0)
    return worst


def _refute(cases: Iterable[Case], result: Result, seed: int) -> None:
    """A claim is refuted while its counterexample stands."""
    for case in cases:
        (name, claimed), (other, truth) = case.forms.items()
        certificate = identical(claimed, truth, *case.inputs, seed=seed)
        result.details.append({"case": case.name, "forms": [name, other], **certificate.to_dict()})
        if certificate.equal is not False:
            _fail(result, f"{case.name}: no counterexample to '{name}' = '{other}': {certificate}")


def _measure(law: Law, result: Result, seed: int) -> None:
    if law.measure is None:
        return _fail(result, "the law claims to be measured but has no experiment")
    m = law.measure(np.random.default_rng(seed))
    result.details.append({"value": m.value, "interval": [m.low, m.high], "control": m.control, "meaning": m.meaning})
    if not m.holds:
        _fail(result, f"measured {m.value:.4g} in [{m.low:.4g}, {m.high:.4g}], control {m.control:.4g}: {m.meaning}")
