r"""Vectorised exact arithmetic modulo any odd $m$ in $[2^{59}, 2^{61})$, on numpy `uint64` arrays.

A product does not fit in 64 bits, its remainder does. So the quotient is estimated in float64, and what is left is
computed modulo $2^{64}$, where it is exact: with $b = 2^{30} b_1 + b_0$

$$ r_1 = a b_1 - \hat q_1 m, \qquad r = 2^{30} r_1 + a b_0 - \hat q_2 m, \qquad
   \hat q \in \{ Q - 1, Q \}, \quad Q = \lfloor \text{exact quotient} \rfloor. $$

Every quotient here is below $2^{43}$ and is estimated with at most 8 roundings, $2^{-50}$ of it. The factor $1/m$ is
pushed down by $2^{-48}$ of itself: so no estimate exceeds the exact quotient, none falls short of it by $1/16$, what is
left lies between 0 and $(1 + 1/16) m$, and one conditional subtraction ends it. The form of the modulus is of no
consequence.

Matrix products run in float64 BLAS: residues are cut in three limbs of 21 bits, whose products sum exactly below
$2^{53}$ for up to 2,048 terms. Sequential Python loops over scalars would cost a thousand times more.
"""

import numpy as np

M21, M30, M32 = (np.uint64((1 << k) - 1) for k in (21, 30, 32))
S21, S30, S32, S42 = (np.uint64(k) for k in (21, 30, 32, 42))
LOWEST, HIGHEST = 59, 61
"""Moduli lie between these powers of two."""
BLOCK = 2048
"""Terms of a dot product whose 42-bit limb products sum below 2**53."""


class PrimeField:
    """The integers modulo the odd prime `modulus`, between 2**59 and 2**61.

    Every method takes and returns `uint64` arrays of residues in `[0, modulus)` and broadcasts like numpy.
    """

    def __init__(self, modulus: int):
        self.modulus = modulus
        if not (1 << LOWEST) < modulus < (1 << HIGHEST) or not modulus & 1:
            raise ValueError(f"modulus: expected an odd prime between 2**{LOWEST} and 2**{HIGHEST}, got {modulus}")
        self._m = np.uint64(modulus)
        self._over = (1 - 2.0**-48) / modulus  # 1/m, pushed down

    def __repr__(self) -> str:
        return f"PrimeField({self.modulus})"

    # numpy's functions instead of its operators where a result may wrap: these warn for scalars

    def _low(self, x):
        """x in [0, 2 m) to its residue: of x and x - m, the one that did not wrap is smaller."""
        return np.minimum(x, np.subtract(x, self._m))

    def _left(self, x, estimate):
        """x, modulo 2**64, less `estimate` times m: below (1 + 1/16) m. The estimate is cut to a whole number."""
        return np.subtract(x, np.multiply(_whole(estimate), self._m))

    def reduce(self, x: np.ndarray) -> np.ndarray:
        """Any `uint64` to its residue."""
        return self._low(self._left(x, x * self._over))

    def add(self, a, b) -> np.ndarray:
        return self._low(a + b)

    def sub(self, a, b) -> np.ndarray:
        d = np.subtract(a, b)
        return np.minimum(d, np.add(d, self._m))

    def neg(self, a) -> np.ndarray:
        return np.where(a == 0, a, self._m - a)

    def mul(self, a, b) -> np.ndarray:
        """Two digits of b, 31 and 30 bits, one after the other."""
        share = _float(a) * self._over
        low = b & M30
        high = b >> S30
        x = self._left(np.multiply(a, high), share * _float(high))
        estimate = _float(x) * (self._over * 2.0**30) + share * _float(low)
        return self._low(self._left(np.add(np.left_shift(x, S30), np.multiply(a, low)), estimate))

    def matmul(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Batched matrix product [..., m, k] @ [..., k, n]."""
        k = a.shape[-1]
        if k > BLOCK:
            parts = [self.matmul(a[..., i : i + BLOCK], b[..., i : i + BLOCK, :]) for i in range(0, k, BLOCK)]
            return self.sum(np.stack(parts), (0,))
        m, n = a.shape[-2], b.shape[-1]
        left = np.concatenate([_float(x) for x in _limbs(a)], axis=-2)
        right = np.concatenate([_float(x) for x in _limbs(b)], axis=-1)
        c = np.matmul(left, right)
        digits = [_digit(c, s, m, n) for s in range(5)]
        x, x_float = digits[4]
        for steps in ((3, 2), (1, 0)):  # two digits a step: quotients below 2**43
            for s in steps:
                x = np.add(np.left_shift(x, S21), digits[s][0])
                x_float = x_float * 2.0**21 + digits[s][1]
            x = self._left(x, x_float * self._over)
            x_float = _float(x)
        return self._low(x)

    def sum(self, a: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
        return self._join(*(half.sum(axis=axes, dtype=np.uint64) for half in (a >> S32, a & M32)))

    def cumsum(self, a: np.ndarray, axis: int) -> np.ndarray:
        return self._join(*(np.cumsum(half, axis=axis, dtype=np.uint64) for half in (a >> S32, a & M32)))

    def add_at(self, a: np.ndarray, index: np.ndarray, values: np.ndarray) -> np.ndarray:
        """A vector with values[i] added to its element index[i]; an element may occur many times."""
        high, low = a >> S32, a & M32
        np.add.at(high, index, values >> S32)
        np.add.at(low, index, values & M32)
        return self._join(high, low)

    def _join(self, high, low) -> np.ndarray:
        """high * 2**32 + low from sums of half words, fewer than 2**34 of them."""
        estimate = (_float(high) * 2.0**32 + _float(low)) * self._over
        return self._low(self._left(np.add(np.left_shift(high, S32), low), estimate))

    def prod(self, a: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
        """Product along axes, pairing halves: log depth."""
        keep = [i for i in range(a.ndim) if i not in axes]
        shape = tuple(a.shape[i] for i in keep)
        x = np.transpose(a, [*axes, *keep]).reshape(-1, *shape)
        while len(x) > 1:
            tail = x[len(x) & ~1 :]
            x = np.concatenate([self.mul(x[0 : len(x) & ~1 : 2], x[1::2]), tail])
        return x[0] if len(x) else np.ones(shape, np.uint64)

    def cumprod(self, a: np.ndarray, axis: int) -> np.ndarray:
        """Inclusive products along an axis, by doubling: log depth."""
        x, step = np.moveaxis(a, axis, 0).copy(), 1
        while step < len(x):
            x[step:] = self.mul(x[step:], x[:-step])
            step *= 2
        return np.moveaxis(x, 0, axis)

    def power(self, a: np.ndarray, n: int) -> np.ndarray:
        """a**n for a non-negative integer n."""
        out = np.ones(np.shape(a), np.uint64)
        while n:
            if n & 1:
                out = self.mul(out, a)
            n >>= 1
            if n:
                a = self.mul(a, a)
        return out

    def inverse(self, a: np.ndarray) -> np.ndarray:
        """1/a, elementwise: one modular inversion and about three products an element.

        Raises:
            ZeroDivisionError: an element is zero.
        """
        flat = np.ravel(a)
        if not flat.all():
            raise ZeroDivisionError("a residue is zero")
        levels = [flat]
        while len(levels[-1]) > 1:
            x = levels[-1]
            if len(x) & 1:
                levels[-1] = x = np.append(x, np.uint64(1))
            levels.append(self.mul(x[0::2], x[1::2]))
        if not len(flat):
            return a
        inverse = np.array([pow(int(levels[-1][0]), -1, self.modulus)], np.uint64)
        for x in levels[-2::-1]:
            swapped = x.reshape(-1, 2)[:, ::-1].ravel()
            inverse = self.mul(np.repeat(inverse[: len(x) // 2], 2), swapped)
        return inverse[: len(flat)].reshape(np.shape(a))

    def from_float(self, x: np.ndarray) -> np.ndarray:
        """Finite floats as the dyadic rationals m 2**e that they are."""
        mantissa, exponent = np.frexp(np.asarray(x, np.float64))
        whole = np.ldexp(mantissa, 53).astype(np.int64)
        residue = self.from_int(whole)
        exponents, where = np.unique(exponent - 53, return_inverse=True)
        powers = np.array([pow(2, int(e), self.modulus) for e in exponents], np.uint64)
        return self.mul(residue, powers[where].reshape(residue.shape)) if residue.size else residue

    def from_int(self, x: np.ndarray) -> np.ndarray:
        x = np.asarray(x)
        if x.dtype == np.uint64:
            return self.reduce(x)
        x = x.astype(np.int64)
        size = self.reduce(np.where(x < 0, -(x + 1), x).astype(np.uint64))
        return np.where(x < 0, self.sub(self.neg(size), np.uint64(1)), size)

    def random(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """Uniform residues."""
        return rng.integers(0, self.modulus, size=shape, dtype=np.uint64)


def _limbs(x: np.ndarray) -> list[np.ndarray]:
    return [x & M21, (x >> S21) & M21, x >> S42]


def _digit(c: np.ndarray, s: int, m: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Digit s, to the base 2**21, of a product of matrices [m, n] of limbs: below 3 * 2**53, exactly and as a float."""
    blocks = [c[..., i * m : (i + 1) * m, (s - i) * n : (s - i + 1) * n] for i in range(3) if 0 <= s - i < 3]
    words = [_whole(x) for x in blocks]
    return sum(words[1:], words[0]), sum(blocks[1:], blocks[0])


def _float(x):
    """Words below 2**63, rounded to float64. Signed integers convert several times faster than unsigned ones."""
    return np.asarray(x).view(np.int64).astype(np.float64)


def _whole(x):
    """Floats from 0 to 2**63, cut to whole numbers."""
    return np.asarray(x, np.int64).view(np.uint64)
