r"""Vectorised exact arithmetic modulo a prime $m = 2^{61} - c$ or $m = 2^{60} - c/2$, on numpy `uint64` arrays.

Products are taken in limbs, so nothing overflows 64 bits, and reduced with $2^{61} \equiv f$ (`fold`), $f < 2^{18}$.
Matrix products run in float64 BLAS: residues are cut in three limbs of 21 bits, whose products sum exactly below
$2^{53}$ for up to 2,048 terms. Sequential Python loops over scalars would cost a thousand times more.
"""

import numpy as np

M21, M29, M30, M31, M32, M40, M61 = (np.uint64((1 << k) - 1) for k in (21, 29, 30, 31, 32, 40, 61))
S21, S29, S30, S31, S32, S40, S42, S61 = (np.uint64(k) for k in (21, 29, 30, 31, 32, 40, 42, 61))
BLOCK = 2048
"""Terms of a dot product whose 42-bit limb products sum below 2**53."""


class PrimeField:
    """The integers modulo the prime `modulus`, where `2**61 % modulus == fold` is small.

    Every method takes and returns `uint64` arrays of residues in `[0, modulus)` and broadcasts like numpy.
    """

    def __init__(self, modulus: int):
        self.modulus = modulus
        self.fold = (1 << 61) % modulus
        if not (1 << 59) < modulus < (1 << 61) or self.fold >= 1 << 18:
            raise ValueError(f"modulus: expected a prime just below 2**60 or 2**61, got {modulus}")
        self._m, self._f, self._2f = np.uint64(modulus), np.uint64(self.fold), np.uint64(2 * self.fold)

    def __repr__(self) -> str:
        return f"PrimeField({self.modulus})"

    def reduce(self, x: np.ndarray) -> np.ndarray:
        """Any `uint64` to its residue."""
        x = (x & M61) + (x >> S61) * self._f
        x = x - self._m * (x >= self._m)
        return x - self._m * (x >= self._m)

    def add(self, a, b) -> np.ndarray:
        s = a + b
        return s - self._m * (s >= self._m)

    def sub(self, a, b) -> np.ndarray:
        return self.add(a, self._m - b)

    def neg(self, a) -> np.ndarray:
        return np.where(a == 0, a, self._m - a)

    def mul(self, a, b) -> np.ndarray:
        """Schoolbook product in limbs of 30 and 31 bits, folded at 2**61."""
        a1, a0, b1, b0 = a >> S31, a & M31, b >> S31, b & M31
        high, middle, low = a1 * b1, a1 * b0 + a0 * b1, a0 * b0
        top = (high >> S40) * self._2f
        x = low + (high & M40) * self._2f + (top >> S21) * self._f + ((top & M21) << S40)
        x = self._once(x)
        return self.reduce(x + (middle >> S30) * self._f + ((middle & M30) << S31))

    def _once(self, x) -> np.ndarray:
        return (x & M61) + (x >> S61) * self._f

    def _shift21(self, x) -> np.ndarray:
        """x * 2**21 for x < 2**61 + 2**21, unreduced below 2**62."""
        return (x >> S40) * self._f + ((x & M40) << S21)

    def matmul(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Batched matrix product [..., m, k] @ [..., k, n]."""
        k = a.shape[-1]
        if k > BLOCK:
            parts = [self.matmul(a[..., i : i + BLOCK], b[..., i : i + BLOCK, :]) for i in range(0, k, BLOCK)]
            return self.sum(np.stack(parts), (0,))
        m, n = a.shape[-2], b.shape[-1]
        left = np.concatenate([x.astype(np.float64) for x in _limbs(a)], axis=-2)
        right = np.concatenate([x.astype(np.float64) for x in _limbs(b)], axis=-1)
        c = np.matmul(left, right).astype(np.uint64)

        def part(i, j):
            return c[..., i * m : (i + 1) * m, j * n : (j + 1) * n]

        x = part(2, 2)
        for s in (3, 2, 1, 0):
            terms = [part(i, s - i) for i in range(3) if 0 <= s - i < 3]
            x = self._once(self._shift21(self._once(x)) + sum(terms[1:], terms[0]))
        return self.reduce(x)

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
        """high * 2**32 + low from sums of half words."""
        carried = (high >> S29) * self._f + ((high & M29) << S32)
        return self.reduce(carried + self._once(low))

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
