r"""Are two programs the same rational function?

Both are evaluated at the same random point modulo the same random prime $p$. By Schwartz and Zippel two different
functions whose difference has a numerator of degree at most $D$ agree there with probability at most $D / |S|$, where
$S$ is the set that inputs are drawn from: all of $\mathbb{F}_p$, or its squares where exponentials are involved. Hence

$$ P[\text{false proof}] \le \left( \frac{D + Z + C}{|S|} \right)^{\text{trials}}, \tag{P3} $$

with $Z$ the total degree of all denominators (a draw that hits a zero is drawn again) and $C$ the chance, times $|S|$,
that two different arguments of exponentials or unknown functions coincide at the point.
"""

from collections.abc import Callable

import numpy as np

from dualform.prove import counterexample, relations
from dualform.prove.certificate import Certificate
from dualform.prove.degree import Degree, Logarithm
from dualform.prove.draw import draw
from dualform.prove.errors import ProofError
from dualform.prove.interpreter import Interpreter
from dualform.prove.primes import SAFE_PRIMES
from dualform.prove.programs import Input, Program, Signature, trace_both
from dualform.prove.rational import ZERO, Bound

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
        trials: independent draws, each with its own prime.
        seed: of all draws.

    Returns:
        A `Certificate`: proved with a failure probability of at most 1e-12, refuted with a counterexample that float64
        confirms, or undecided with the reason.

    Raises:
        ValueError: inputs that are no shapes, or results of different structure.

    Cost: trials times a few evaluations in numpy, about 30 array operations for each product.

    >>> import jax.numpy as jnp
    >>> bool(identical(lambda x, y: (x + y) ** 2, lambda x, y: x * x + 2 * x * y + y * y, (3,), (3,)))
    True
    >>> identical(lambda x: x * 2.0**61, lambda x: x, ()).counterexample.f
    2.305843009213694e+18

    References: Schwartz 1980; Zippel 1979; Ax 1971, for exponentials.
    """
    if not isinstance(trials, (int, np.integer)) or trials < 1:
        raise ValueError(f"trials: expected a positive integer, got {trials!r}; 3 gives about 1e-40 for small programs")
    signature = Signature.of(inputs)
    programs = trace_both(f, g, signature)
    rng = np.random.default_rng(seed)
    primes = [SAFE_PRIMES[i] for i in rng.permutation(len(SAFE_PRIMES))[:trials]]
    try:
        leaves, inferred = infer_logs(programs, signature.leaves, primes[0], rng)
        agree, method, found, opaque = _compare(programs, leaves, primes, rng)
        size = _sizes(programs, leaves, found)
    except (ProofError, OverflowError) as error:
        return Certificate(None, 1.0, 0, reason=str(error), primes=tuple(primes), trials=trials, seed=seed)
    known = dict(
        primes=tuple(primes), trials=trials, seed=seed, method=method, opaque=tuple(sorted(opaque)), inferred=inferred,
        log_inputs=tuple(i for i, x in enumerate(leaves) if x.domain == "log"), height_bits=size.height,
    )  # fmt: skip
    if not agree:
        where = Signature(leaves, signature.tree)
        example = counterexample.find(f, g, where, np.random.default_rng(seed))
        if example is not None:
            return Certificate(False, 0.0, size.degree, example, "the programs differ", **known)
        reason = "the programs differ modulo a prime, but no small counterexample shows it in float64"
        if method == FRESH or opaque:
            reason += "; unknown functions or exponentials may be related in ways that were not searched"
        return Certificate(None, 1.0, size.degree, None, reason, **known)
    rate = size.rate
    if rate > RATE or rate**trials > CERTAIN:
        more = "" if rate > RATE else f"; {int(np.ceil(np.log(CERTAIN) / np.log(rate)))} trials would do"
        reason = f"degree bound too large: {float(size.degree):.3g}, so a trial fails with probability {rate:.1e}{more}"
        return Certificate(None, min(1.0, rate**trials), size.degree, None, reason, **known)
    rational = size.height < sum(np.log2(p) for p in primes)
    return Certificate(True, rate**trials, size.degree, None, "", over_rationals=bool(rational), **known)


def infer_logs(programs, leaves, prime, rng) -> tuple[tuple[Input, ...], tuple[int, ...]]:
    """Field inputs that reach the results only through sums inside exp become log inputs."""
    _, run = draw_or_error(programs, prime, leaves, rng)
    if run is not None and not run.fresh.count:
        return leaves, ()
    inferred = []
    for i, x in enumerate(leaves):
        if x.domain == "field":
            trial = (*leaves[:i], Input(x.shape, "log"), *leaves[i + 1 :])
            _, run = draw_or_error(programs, prime, trial, rng)
            if run is not None and run.gates_used:
                inferred.append(i)
    new = tuple(Input(x.shape, "log") if i in inferred else x for i, x in enumerate(leaves))
    return new, tuple(inferred)


def draw_or_error(programs, prime, leaves, rng):
    try:
        return draw(programs, prime, leaves, rng)
    except ProofError:
        return None, None


def _compare(programs, leaves, primes, rng):
    """(whether all trials agree, treatment of exponentials, relations used, opaque functions)."""
    opaque: set[str] = set()
    found, method = None, POLYNOMIAL
    for prime in primes:
        point, run = draw(programs, prime, leaves, rng)
        opaque |= run.fresh.functions
        method = FRESH if run.fresh.count and method == POLYNOMIAL else method
        if found is None and run.agree():
            continue
        if not run.fresh.count:
            return False, method, None, opaque
        if found is None:
            found = relations.find(programs, prime, leaves, rng)
            if found is None:
                return False, FRESH, None, opaque
        again = relations.related(found, programs, point, np.concatenate(run.fresh.arguments))
        method = RELATED
        if again is None or not again.agree():
            return False, FRESH if again is None else RELATED, found, opaque
    return True, method, found, opaque


class _Sizes:
    """D, Z and C of (P3), the number of points drawn from, and the height of the identity."""

    def __init__(self, degree: float, zeros: float, collisions: float, points: float, height: float):
        self.degree = int(degree)
        self.rate = min(1.0, (degree + zeros + collisions) / points)
        self.height = float(height)


def measure(program: Program, leaves, found=None) -> tuple[Degree, list]:
    """A program in the arithmetic of degrees, in units that make every exponent whole."""
    gates = sum(int(np.prod(x.shape)) for x in leaves if x.domain == "log")
    span, basis = ((1.0, 0.0), 0) if found is None else (found.span, len(found.basis) + 1)

    def run(unit: int):
        arithmetic = Degree(gates=gates, unit=unit, span=span, basis=basis)
        values = [arithmetic.gate(x.mask) if x.domain == "log" else arithmetic.symbols.variable(x.shape) for x in leaves]
        out = Interpreter(arithmetic).run(program.jaxpr, values)
        out = [arithmetic.lift(x) if isinstance(x, np.ndarray) and x.dtype == np.float64 else x for x in out]
        return arithmetic, out

    arithmetic, out = run(1)
    return run(2 ** int(arithmetic.places)) if arithmetic.places else (arithmetic, out)


def _sizes(programs, leaves, found) -> _Sizes:
    (one, a), (two, b) = (measure(p, leaves, found) for p in programs)
    degree, height = 1.0, 0.0
    for x, y in zip(a, b, strict=True):
        if isinstance(x, Bound) and isinstance(y, Bound):
            (nx, dx, hx, cx), (ny, dy, hy, cy) = one.symbols.fraction(x), two.symbols.fraction(y)
            degree = max(degree, float(np.max(np.maximum(nx + dy, ny + dx), initial=0.0)))
            height = max(height, float(np.max(np.logaddexp2(hx + cy, hy + cx), initial=0.0)))
    zeros = sum(one.symbols.n) + sum(two.symbols.n)
    asked = one.asked + two.asked
    argument = 2 * max(one.argument, two.argument)
    logs = any(x.domain == "log" for x in leaves) or asked
    points = (SAFE_PRIMES[-1] - 1) / 2 if logs else SAFE_PRIMES[-1]
    return _Sizes(degree, zeros, asked * asked / 2 * argument, points, height)


def degrees(f: Callable, *inputs):
    """Bounds on the total degree, element by element: of the numerator or the denominator, whichever is larger.

    Args:
        f: a function of arrays that JAX can trace.
        *inputs: one per argument, as for `identical`.

    Returns:
        Integer arrays (Python integers where a bound passes 2**63) in the structure of f's result. A constant zero has
        degree 0.

    Raises:
        ProofError: a primitive has no exact meaning.

    >>> degrees(lambda x, y: x * y / (1 + x), (), ())
    array(2)
    """
    import jax

    signature = Signature.of(inputs)
    program = Program.trace(f, signature)
    arithmetic, out = measure(program, signature.leaves)
    return jax.tree.unflatten(program.tree, [_largest(arithmetic, x) for x in out])


def degree(f: Callable, *inputs) -> int:
    """The largest of `degrees`.

    >>> degree(lambda x, y: x * y * y, (2,), (2,))
    3
    """
    import jax

    return max((int(n) for x in jax.tree.leaves(degrees(f, *inputs)) for n in np.ravel(x)), default=0)


def _largest(arithmetic: Degree, x) -> np.ndarray:
    if isinstance(x, Logarithm):
        return np.ones(x.shape, np.int64)
    if not isinstance(x, Bound):
        return np.zeros(np.shape(x), np.int64)
    above, below, _, _ = arithmetic.symbols.fraction(x)
    n = np.maximum(np.where(above == ZERO, 0.0, above), below)
    whole = np.array([int(v) for v in np.ravel(n)], dtype=np.int64 if np.all(n < 2.0**62) else object)
    return whole.reshape(n.shape)
