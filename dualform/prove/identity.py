r"""Are two programs the same rational function?

Both are evaluated at the same random point modulo the same random prime $p$. By Schwartz and Zippel two different
functions whose difference has a numerator of degree at most $D$ agree there with probability at most $D / |S|$, where
$S$ is the set that inputs are drawn from: all of $\mathbb{F}_p$, or its squares where exponentials are involved. Hence

$$ P[\text{false proof}] \le \left( \frac{D + Z + C}{|S|} \right)^{\text{trials}}, \tag{P3} $$

with $Z$ the total degree of all denominators (a draw that hits a zero is drawn again) and $C$ the chance, times $|S|$,
that two different arguments of exponentials or unknown functions coincide at the point.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from dualform.prove import relations
from dualform.prove.certificate import Certificate
from dualform.prove.counterexample import Search
from dualform.prove.draw import Leaves, Programs, draw
from dualform.prove.errors import ProofError
from dualform.prove.measure import Sizes, sizes
from dualform.prove.primes import SAFE_PRIMES
from dualform.prove.programs import Input, Signature, trace_both
from dualform.prove.relations import Relations

CERTAIN = 1e-12
"""Largest failure probability that is called a proof."""
RATE = 1e-3
"""Largest failure probability of a single trial that further trials may mend."""

POLYNOMIAL, FRESH, RELATED = "none", "independent variables", "proved linear relations (P2)"


def identical(f: Callable, g: Callable, *inputs, trials: int = 3, seed: int = 0) -> Certificate:
    """Decides whether two programs compute the same function, by exact arithmetic on their jaxprs (P3).

    Args:
        f, g: functions of the same arguments; they may return pytrees, and may be gradients or VJPs.
        *inputs: one per argument: a shape, an `Input`, or a pytree of these.
        trials: independent draws, each with its own prime; at most 96.
        seed: of all draws.

    Returns:
        A `Certificate`: proved with a failure probability of at most 1e-12, refuted with a confirmed counterexample, or
        undecided with the reason.

    Raises:
        ValueError: inputs that are no shapes of real numbers, or results of different structure or type.

    Cost: trials times a few evaluations in numpy, about 30 array operations for each product.

    >>> import jax.numpy as jnp
    >>> bool(identical(lambda x, y: (x + y) ** 2, lambda x, y: x * x + 2 * x * y + y * y, (3,), (3,)))
    True
    >>> identical(lambda x: x * 2.0**61, lambda x: x, ()).counterexample.f
    2.305843009213694e+18

    References: Schwartz 1980; Zippel 1979; Ax 1971, for exponentials.
    """
    if not isinstance(trials, int | np.integer) or isinstance(trials, bool) or not 1 <= trials <= len(SAFE_PRIMES):
        raise ValueError(
            f"trials: expected an integer from 1 to {len(SAFE_PRIMES)}, got {trials!r}; "
            "3 gives about 1e-50 for small programs"
        )
    if not isinstance(seed, int | np.integer) or seed < 0:
        raise ValueError(f"seed: expected a non-negative integer, got {seed!r}")
    signature = Signature.of(inputs)
    programs = trace_both(f, g, signature)
    rng = np.random.default_rng(seed)
    primes = tuple(SAFE_PRIMES[i] for i in rng.permutation(len(SAFE_PRIMES))[:trials])
    blank = Certificate(None, 1.0, 0, primes=primes, trials=trials, seed=seed)
    try:
        leaves, inferred = infer_logs(programs, signature.leaves, primes[0], rng)
        trial = _compare(programs, leaves, primes, rng)
        size = sizes(programs, leaves, trial.found)
    except (ProofError, OverflowError) as error:
        return _refuted(Search(f, g, programs, signature, seed), replace(blank, reason=str(error)))
    known = replace(
        blank,
        degree=int(size.degree),
        height_bits=size.height,
        method=trial.method,
        opaque=tuple(sorted(trial.opaque)),
        inferred=inferred,
        log_inputs=tuple(i for i, x in enumerate(leaves) if x.domain == "log"),
    )
    if trial.agree:
        return _weighed(known, size)
    search = Search(f, g, programs, Signature(leaves, signature.tree), seed)
    return _refuted(search, replace(known, reason=trial.reason))


def _weighed(known: Certificate, size: Sizes) -> Certificate:
    """The verdict on programs that agreed in every trial."""
    rate, trials = size.rate, known.trials
    if rate <= RATE and rate**trials <= CERTAIN:
        rational = size.over_rationals(known.primes)
        return replace(known, equal=True, failure_probability=rate**trials, over_rationals=rational)
    reason = f"degree bound too large: {float(size.degree):.3g}, so a trial fails with probability {rate:.1e}"
    if rate <= RATE:
        reason += f"; trials={int(np.ceil(np.log(CERTAIN) / np.log(rate)))} would do"
    return replace(known, failure_probability=min(1.0, rate**trials), reason=reason)


def _refuted(search: Search, undecided: Certificate) -> Certificate:
    """The verdict on programs that differ or have no exact meaning: refuted only by a confirmed counterexample."""
    example = search.find()
    if example is None and search.stopped:
        stopped = f"{undecided.reason}; no counterexample was sought in floats: {search.stopped[0]}"
        return replace(undecided, reason=stopped)
    if example is None:
        return undecided
    return replace(
        undecided, equal=False, failure_probability=0.0, counterexample=example, reason="the programs differ"
    )


def infer_logs(programs: Programs, leaves: Leaves, prime: int, rng) -> tuple[Leaves, tuple[int, ...]]:
    """Field inputs that reach the results only through sums inside exp become log inputs."""
    run = _tried(programs, leaves, prime, rng)
    if run is not None and not run.fresh.count:
        return leaves, ()
    inferred = []
    for i, x in enumerate(leaves):
        if x.domain == "field":
            run = _tried(programs, (*leaves[:i], Input(x.shape, "log"), *leaves[i + 1 :]), prime, rng)
            if run is not None and run.gates_used:
                inferred.append(i)
    new = tuple(Input(x.shape, "log") if i in inferred else x for i, x in enumerate(leaves))
    return new, tuple(inferred)


def _tried(programs: Programs, leaves: Leaves, prime: int, rng):
    try:
        return draw(programs, prime, leaves, rng)[1]
    except ProofError:
        return None


@dataclass
class _Trials:
    """What the trials showed."""

    agree: bool = True
    method: str = POLYNOMIAL
    found: Relations | None = None
    opaque: set[str] = field(default_factory=set)
    steady: bool = True

    @property
    def reason(self) -> str:
        """Why nothing was decided, where they disagree and no counterexample was found."""
        if not self.steady:
            return "a result depends on which pivots a factorisation chooses, and in floats rounding decides that"
        reason = "the programs differ modulo a prime, but no small counterexample could be confirmed"
        if self.method == FRESH or self.opaque:
            reason += "; unknown functions or exponentials may be related in ways that were not searched"
        return reason


def _compare(programs: Programs, leaves: Leaves, primes, rng) -> _Trials:
    """One trial for each prime, up to the first in which the programs disagree."""
    seen = _Trials()
    for prime in primes:
        point, run = draw(programs, prime, leaves, rng)
        seen.opaque |= run.fresh.functions
        seen.steady &= run.steady()
        if run.fresh.count and seen.method == POLYNOMIAL:
            seen.method = FRESH
        if seen.found is None and run.agree():
            continue
        seen.agree = run.fresh.count > 0 and _agree_related(seen, programs, prime, leaves, point, run, rng)
        if not seen.agree:
            break
    return seen


def _agree_related(seen: _Trials, programs: Programs, prime: int, leaves: Leaves, point, run, rng) -> bool:
    """Whether the programs agree at a point once exponentials respect the relations between their arguments."""
    if seen.found is None:
        seen.found = relations.find(programs, prime, leaves, rng)
    if seen.found is None:
        return False
    again = relations.related(seen.found, programs, point, np.concatenate(run.fresh.arguments))
    seen.method = FRESH if again is None else RELATED
    return again is not None and again.agree()
