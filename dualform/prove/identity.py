r"""Are two programs the same rational function?

Both are evaluated at the same random point modulo the same random prime $p$. By Schwartz and Zippel two functions that
differ modulo $p$, by a fraction whose numerator has degree at most $D$, agree there with probability at most $D / |S|$,
where $S$ is the set that inputs are drawn from: all of $\mathbb{F}_p$, or its squares where exponentials are involved.
Functions that differ over the rationals differ modulo $p$ unless $p$ divides what makes the difference. The prime is
drawn at random after the programs are fixed, so this has a probability, too: the last term of

$$ P[\text{false proof}] \le
   \left( \frac{D + Z + C}{|S|} + \frac{H}{59} \cdot \frac{A}{M} \right)^{\text{trials}} \tag{P3} $$

with $Z$ the total degree of all denominators (a draw that hits a zero is drawn again), $C$ the chance, times $|S|$,
that two different arguments of exponentials or unknown functions coincide at the point, and $H$ the height of all that
the prime must not divide. `dualform.prove.measure` has the argument, `dualform.prove.primes` the probability $A / M$.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from dualform.prove import relations, witness
from dualform.prove.certificate import LEAST, Certificate
from dualform.prove.counterexample import Search
from dualform.prove.domains import shown
from dualform.prove.draw import Leaves, Programs, draw
from dualform.prove.errors import ProofError
from dualform.prove.fingerprint import fingerprint
from dualform.prove.measure import Sizes, sizes
from dualform.prove.primes import safe_primes, system_seed
from dualform.prove.programs import Signature, trace_both
from dualform.prove.relations import Relations

CERTAIN = 1e-12
"""Largest failure probability that is called a proof."""
RATE = 1e-3
"""Largest failure probability of a single trial that further trials may mend."""

MOST_TRIALS = 1000

POLYNOMIAL, FRESH, RELATED = "none", "independent variables", "proved linear relations (P2)"


def identical(f: Callable, g: Callable, *inputs, trials: int = 3, seed: int | None = None) -> Certificate:
    """Decides whether two programs compute the same function, by exact arithmetic on their jaxprs (P3).

    Args:
        f, g: functions of the same arguments; they may return pytrees, and may be gradients or VJPs.
        *inputs: one per argument: a shape, an `Input`, an array (of which shape and dtype count), or a pytree of these.
            Programs are traced in the dtypes of arrays and of `Input`s that have one, and else in JAX's default float.
        trials: independent draws, each of a prime and a point; at most 1,000.
        seed: of all draws; None draws it from the system. The certificate holds it, and it repeats the proof exactly.
            Draws depend on the programs, too: one that is written for the primes of a seed gets other primes.

    Returns:
        A `Certificate`: proved with a failure probability of at most 1e-12 wherever its conditions hold, refuted with a
        confirmed counterexample, or undecided with the reason.

    Raises:
        ValueError: inputs that are no shapes or not of real numbers, results of different structure or type, or trials
            or a seed out of range.

    Cost: trials times a millisecond for a prime and a few evaluations in numpy, 20 array operations for each product.

    >>> import jax.numpy as jnp
    >>> bool(identical(lambda x, y: (x + y) ** 2, lambda x, y: x * x + 2 * x * y + y * y, (3,), (3,)))
    True
    >>> identical(lambda x: x * 2.0**61, lambda x: x, ()).counterexample.f
    2.305843009213694e+18

    References: Schwartz 1980; Zippel 1979; Ax 1971, for exponentials.
    """
    if not isinstance(trials, int | np.integer) or isinstance(trials, bool) or not 1 <= trials <= MOST_TRIALS:
        raise ValueError(
            f"trials: expected an integer from 1 to {MOST_TRIALS}, got {trials!r}; "
            "3 gives about 1e-40 for small programs"
        )
    seed = system_seed() if seed is None else seed
    if not isinstance(seed, int | np.integer) or isinstance(seed, bool) or seed < 0:
        raise ValueError(f"seed: expected a non-negative integer, or None for one of the system's, got {seed!r}")
    trials, seed = int(trials), int(seed)
    signature = Signature.of(inputs)
    programs = trace_both(f, g, signature)
    entropy = [seed, fingerprint(programs, signature.leaves)]
    for_primes, rng = (np.random.default_rng(s) for s in np.random.SeedSequence(entropy).spawn(2))
    spare, *primes = safe_primes(for_primes, 1 + trials)  # independent of each other: what the spare one shows is fixed
    blank = Certificate(None, 1.0, 0, primes=tuple(primes), trials=trials, seed=seed)
    try:
        leaves, inferred = infer_logs(programs, signature.leaves, spare, rng)
        trial = _compare(programs, leaves, primes, spare, rng)
        comparisons = 1
        if inferred and not trial.agree:  # a result that is an input itself is no exponent
            leaves, inferred, comparisons = signature.leaves, (), 2
            trial = _compare(programs, leaves, primes, spare, rng)
        size = sizes(programs, leaves, trial.found)
    except (ProofError, OverflowError) as error:
        return _refuted(Search(programs, signature, seed), replace(blank, reason=str(error)))
    known = replace(
        blank,
        degree=int(size.degree),
        height_bits=size.height,
        method=trial.method,
        opaque=tuple(sorted(trial.opaque)),
        inferred=inferred,
        log_inputs=tuple(i for i, x in enumerate(leaves) if x.domain == "log"),
        conditions=size.conditions,
        unrounded=tuple(sorted(programs[0].narrow | programs[1].narrow)),
    )
    if trial.agree:
        return _somewhere(_weighed(known, size, comparisons), size, programs, leaves, rng)
    search = Search(programs, Signature(leaves, signature.tree), seed)
    return _refuted(search, replace(known, reason=trial.reason))


def _weighed(known: Certificate, size: Sizes, comparisons: int = 1) -> Certificate:
    """The verdict on programs that agreed in every trial: over the rationals, if any number of trials could show that.

    Where heights are beyond all bounds (`RATE`), agreement modulo the drawn primes is all that is claimed.
    """
    rational = size.rate <= RATE
    rate, trials = size.rate if rational else size.modular, known.trials
    chance = min(1.0, comparisons * max(rate**trials, LEAST))
    if rate <= RATE and chance <= CERTAIN:
        return replace(known, equal=True, failure_probability=chance, over_rationals=rational)
    large = f"degree bound too large: {size.degree:.3g}"
    if size.modular < 0.5 * rate:
        large = f"too few trials for coefficients of up to {size.height:.3g} bits"
    reason = f"{large}, so a trial fails with probability {rate:.1e}"
    if rate <= RATE:
        reason += f"; trials={int(np.ceil(np.log(CERTAIN) / np.log(rate)))} would do"
    return replace(known, failure_probability=chance, reason=reason)


def _somewhere(verdict: Certificate, size: Sizes, programs: Programs, leaves: Leaves, rng) -> Certificate:
    """Undecided, where no point is known at which the conditions of a proof hold."""
    if not verdict.equal or not size.witnessed or witness.exists(programs, leaves, rng):
        return verdict
    return replace(verdict, equal=None, reason=f"no point was found {shown(size.conditions)}")


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
            run = _tried(programs, (*leaves[:i], replace(x, domain="log"), *leaves[i + 1 :]), prime, rng)
            if run is not None and run.gates_used:
                inferred.append(i)
    new = tuple(replace(x, domain="log") if i in inferred else x for i, x in enumerate(leaves))
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


def _compare(programs: Programs, leaves: Leaves, primes: Sequence[int], spare: int, rng) -> _Trials:
    """One trial for each prime, up to the first in which the programs disagree; `spare` is to find relations with."""
    seen = _Trials()
    for prime in primes:
        point, run = draw(programs, prime, leaves, rng)
        seen.opaque |= run.fresh.functions
        seen.steady &= run.steady()
        if run.fresh.count and seen.method == POLYNOMIAL:
            seen.method = FRESH
        if seen.found is None and run.agree():
            continue
        relatable = run.fresh.count or run.fresh.logs
        seen.agree = bool(relatable) and _agree_related(seen, programs, spare, leaves, point, run, rng)
        if not seen.agree:
            break
    return seen


def _agree_related(seen: _Trials, programs: Programs, spare: int, leaves: Leaves, point, run, rng) -> bool:
    """Whether the programs agree at a point once exponentials respect the relations between their arguments.

    Relations found with the trial's own prime would pass its check for the reason that they were found.
    """
    if seen.found is None:
        seen.found = relations.find(programs, spare, leaves, rng)
    if seen.found is None:
        return False
    again = relations.related(seen.found, programs, point, run)
    seen.method = FRESH if again is None else RELATED
    return again is not None and again.agree()
