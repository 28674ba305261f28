"""Bugs in the arithmetic that proofs rest on, and in the judgement of proofs."""

from judge.bug import Bug

ARITHMETIC = (
    Bug(
        "prove/field.py", "(1 - 2.0**-48) / modulus", "1 / modulus", "a quotient may be estimated too large",
        "arithmetic.field",
    ),
    Bug(
        "prove/field.py", "BLOCK = 2048", "BLOCK = 1 << 14", "sums of limbs pass 2**53", "arithmetic.field"),
    Bug(
        "prove/field.py", "return np.where(x < 0, self.sub(self.neg(size), np.uint64(1)), size)",
        "return np.where(x < 0, self.neg(size), size)", "negative integers are off by one", "arithmetic.field",
    ),
    Bug("prove/field.py", "return self._low(a + b)", "return a + b", "sums are not reduced", "arithmetic.field"),
    Bug(
        "prove/field.py", "x = np.concatenate([self.mul(x[0 : len(x) & ~1 : 2], x[1::2]), tail])",
        "x = self.mul(x[0 : len(x) & ~1 : 2], x[1::2])", "an odd factor of a product is lost", "arithmetic.field",
    ),
    Bug(
        "prove/field.py", "rng.integers(0, self.modulus, size=shape", "rng.integers(0, 1 << 20, size=shape",
        "points are drawn from a small set", "arithmetic.draws",
    ),
    Bug(
        "prove/primes.py", "rng.integers(0, CANDIDATES, BLOCK", "rng.integers(0, 1 << 20, BLOCK",
        "primes are drawn from a small set", "arithmetic.draws",
    ),
    Bug(
        "prove/primes.py", "return tuple(safe_prime(rng) for _ in range(count))",
        "return (safe_prime(rng),) * count", "one prime serves all trials", "arithmetic.draws",
    ),
    Bug(
        "prove/exponential.py", "        if name not in self._keys:\n            self._keys[name] = int",
        "        name = 'exp'\n        if name not in self._keys:\n            self._keys[name] = int",
        "all unknown functions are one", "arithmetic.draws",
    ),
    Bug(
        "prove/primes.py", "pow(4, q, p) == 1 and _is_prime(q)", "_is_prime(q)", "2 q + 1 need not be a prime",
        "arithmetic.primes",
    ),
    Bug(
        "prove/primes.py", "WITNESSES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37)", "WITNESSES = (2, 3, 5, 7)",
        "too few bases for a pseudoprime", "arithmetic.primes",
    ),
    Bug(
        "prove/primes.py", "return height / (SIZE - 2) * ATTEMPTS / CANDIDATES",
        "return height / (SIZE - 2) / CANDIDATES", "a prime counts as the first candidate", "arithmetic.primes",
    ),
    Bug(
        "prove/primes.py", "return height / (SIZE - 2) * ATTEMPTS", "return height / SIZE * ATTEMPTS",
        "q is taken for as large as p", "arithmetic.primes",
    ),
    Bug(
        "prove/exponential.py", "for k in range(1, 8):", "for k in range(1, 7):", "the last byte of exponents is dropped",
        "arithmetic.exponentials",
    ),
    Bug(
        "prove/exponential.py", "residues == 0, np.uint64(0), self._draw", "residues == 0, np.uint64(1), self._draw",
        "exp(0) is 4", "arithmetic.draws",
    ),
    Bug(
        "prove/concrete.py", "np.isinf(a) | np.isinf(b) | (error == 0)", "np.isinf(a) | np.isinf(b) | (error < 1)",
        "a small rounding error of constants is none", "arithmetic.constants",
    ),
    Bug(
        "prove/concrete.py", "return p if np.all(((a1 * b1 - p) + a1 * b2 + a2 * b1) + a2 * b2 == 0) else None",
        "return p if np.all((a1 * b1 - p) + a1 * b2 + a2 * b1 == 0) else None", "the low halves are not multiplied",
        "arithmetic.constants",
    ),
    Bug(
        "prove/concrete.py", "return np.exp(x) if np.all((x == 0) | (x == -np.inf)) else None",
        "return np.exp(x)", "exp of a constant is a rational number", "arithmetic.constants",
    ),
    Bug(
        "prove/concrete.py", "if square is not None and np.array_equal(square, x) else None",
        "if square is not None else None", "the root of a negative constant is 0", "arithmetic.constants",
    ),
    Bug(
        "prove/concrete.py", "np.array_equal(x.astype(dtype).astype(np.float64), x, equal_nan=True)",
        "np.isfinite(x.astype(dtype)).all()", "constants are exact in float64, whatever the dtype",
        "arithmetic.constants",
    ),
    Bug(
        "prove/concrete.py", ".nmant + 1)\n", ".nmant + 2)\n", "sums of constants have a bit more than the dtype",
        "arithmetic.constants",
    ),
    Bug(
        "prove/concrete.py", "np.maximum(53 - exponent - zeros, 0.0)", "np.maximum(-exponent, 0.0)",
        "binary places are those of powers of two", "arithmetic.constants",
    ),
    Bug("prove/concrete.py", "for k in reversed(keys)]", "for k in keys]", "the last key weighs most", "arithmetic.constants"),
    Bug(
        "prove/structure.py", "np.transpose(x, [int(i) for i in eqn.params[\"permutation\"]])",
        "np.transpose(x, np.argsort(eqn.params[\"permutation\"]))", "a permutation is turned round", "arithmetic.moves",
    ),
    Bug(
        "prove/structure.py", "begin = [min(max(int(s), 0), n - size) for s, n, size in zip(starts, x.shape, sizes",
        "begin = [min(abs(int(s)), n - size) for s, n, size in zip(starts, x.shape, sizes",
        "a slice that starts before the array", "arithmetic.moves",
    ),
    Bug(
        "prove/structure.py", "spread[(slice(None),) * axis + (slice(None, None, interior + 1),)] = x",
        "spread[(slice(None),) * axis + (slice(0, x.shape[axis]),)] = x", "inner padding comes behind", "arithmetic.moves",
    ),
    Bug(
        "prove/structure.py", "np.cumsum(eqn.params[\"sizes\"])[:-1]", "eqn.params[\"sizes\"][:-1]",
        "sizes of pieces are taken for their ends", "arithmetic.moves",
    ),
    Bug(
        "prove/interpreter.py", "    if p[\"reverse\"]:\n        steps.reverse()\n", "",
        "a reversed loop stacks its results in the order of time", "arithmetic.moves",
    ),
    Bug(
        "prove/interpreter.py", "for i in reversed(range(p[\"length\"])) if p[\"reverse\"] else range(p[\"length\"]):",
        "for i in range(p[\"length\"]):", "a reversed loop runs forwards", "arithmetic.moves",
    ),
    Bug(
        "prove/layout.py", "upwards = lower == flipped", "upwards = not lower", "a transposed triangle is solved upwards",
        "arithmetic.moves",
    ),
    Bug(
        "prove/lowered.py", "np.tri(n, dtype=bool).T if reverse else", "np.tri(n, dtype=bool) if reverse else",
        "a reversed running maximum runs forwards", "arithmetic.moves",
    ),
    Bug(
        "prove/enclosure/balls.py", "np.abs(a.mid) * b.rad + np.abs(b.mid) * a.rad + a.rad * b.rad",
        "np.abs(a.mid) * b.rad + np.abs(b.mid) * a.rad", "the product of two radii is left out", "arithmetic.enclosures",
    ),
    Bug(
        "prove/enclosure/balls.py", "(rad + UNIT * np.abs(mid)) * (1 + 8 * UNIT) + TINY", "rad + TINY",
        "a ball forgets its own rounding", "arithmetic.enclosures",
    ),
    Bug(
        "prove/enclosure/balls.py", "zero = ~(least > 0)", "zero = ~(np.abs(a.mid) > 0)",
        "a ball with zero inside can be inverted", "arithmetic.enclosures",
    ),
    Bug(
        "prove/enclosure/balls.py", "+ a.rad @ (np.abs(b.mid) + b.rad) +", "+",
        "a matrix product forgets the radii on the left", "arithmetic.enclosures",
    ),
    Bug(
        "prove/enclosure/elementwise.py", "[_widened(DECREASING[name](high), DECREASING[name](low), bad)]",
        "[_widened(DECREASING[name](low), DECREASING[name](high), bad)]", "falling functions are taken for rising ones",
        "arithmetic.enclosed_functions",
    ),
    Bug(
        "prove/enclosure/elementwise.py", "np.where((a.low <= 0) & (a.high >= 0), 0.0, np.minimum(np.abs(a.low), np.abs(a.high)))",
        "np.minimum(np.abs(a.low), np.abs(a.high))", "cosh has no minimum inside a ball", "arithmetic.enclosed_functions",
    ),
    Bug(
        "prove/enclosure/elementwise.py", "less, more, equal = a_high < b,", "less, more, equal = a_high <= b,",
        "2 < 2", "arithmetic.enclosed_functions",
    ),
    Bug(
        "prove/enclosure/contractions.py", "m.unsure |= bool(np.any(np.delete(most, best - k) >= least[best - k]))", "pass",
        "nobody hears that rounding chooses a pivot", "arithmetic.enclosed_functions",
    ),
    Bug(
        "prove/pivots.py", "while path and path[-1][0] + 1 == path[-1][1]:", "while path and path[-1][0] + 2 >= path[-1][1]:",
        "the last choice of a pivot is never made", "arithmetic.pivots",
    ),
    Bug(
        "prove/pivots.py", "at = sum(seen in self.varied for seen, _, _ in self._trace) if", "at = len(self._trace) if",
        "choices are planned for another factorisation", "arithmetic.pivots",
    ),
    Bug(
        "prove/domains.py", "\"sqrt\": Limits(\"is not negative\", lambda x: x >= 0)",
        "\"sqrt\": Limits(\"is not negative\", lambda x: x >= -1)", "the root of -1/2 is a number", "arithmetic.limits",
    ),
    Bug(
        "prove/domains.py", "return (x > 0) | (x != np.trunc(x))", "return (x >= 0) | (x != np.trunc(x))",
        "lgamma has a value at 0", "arithmetic.limits",
    ),
)  # fmt: skip
