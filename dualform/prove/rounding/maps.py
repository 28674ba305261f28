"""Linear maps between values: the exact first derivative of one result with respect to one operand.

Each knows two things: `vjp`, which carries M cotangents of the result (axis 0) to cotangents of the operand, and
`push`, which carries a bound on the operand's error to a bound on the result's: |D| r.
"""

import numpy as np


class Scale:
    """Elementwise: D = diag(weight), or the identity where there is none."""

    def __init__(self, weight: np.ndarray | float = 1.0):
        self.weight = weight

    def vjp(self, ct):
        return ct * self.weight

    def push(self, r):
        return np.abs(self.weight) * r


class Choose(Scale):
    """Elementwise choice: where the weight is zero the operand is not looked at, however wrong it is."""

    def push(self, r):
        return np.where(self.weight == 0, 0.0, np.abs(self.weight) * r)


class Take:
    """Movement of elements: element `target[j]` of the result is element `source[j]` of the operand."""

    def __init__(self, source: np.ndarray, target, in_shape: tuple, out_shape: tuple):
        self.in_shape, self.out_shape, self.target = in_shape, out_shape, target
        size = int(np.prod(in_shape))
        n = len(source)
        first = int(source[0]) if n else 0
        self.order: np.ndarray | None = None
        self.starts = np.zeros(0, int)
        if n and np.array_equal(source, np.arange(first, first + n)):
            self.source: slice | np.ndarray = slice(first, first + n)
            self.whole = n == size and target is None
            return
        self.whole = False
        self.source = source
        if n and (np.bincount(source, minlength=size) > 1).any():
            self.order = np.argsort(source, kind="stable")
            self.source, self.starts = np.unique(source[self.order], return_index=True)

    def push(self, r):
        """The operand's elements where they go; nothing elsewhere."""
        out = np.zeros(int(np.prod(self.out_shape)))
        flat = r.ravel()
        if self.order is None:
            moved = flat[self.source]
        else:
            moved = np.empty(len(self.order))
            moved[self.order] = np.repeat(flat[self.source], np.diff([*self.starts, len(self.order)]))
        out[slice(None) if self.target is None else self.target] = moved
        return out.reshape(self.out_shape)

    def vjp(self, ct):
        m = len(ct)
        if self.whole:
            return ct.reshape(m, *self.in_shape)
        flat = ct.reshape(m, -1)
        flat = flat if self.target is None else flat[:, self.target]
        if self.order is not None:
            flat = np.add.reduceat(flat[:, self.order], self.starts, axis=1)
        out = np.zeros((m, int(np.prod(self.in_shape))))
        out[:, self.source] = flat
        return out.reshape(m, *self.in_shape)


class Sum:
    """A sum over axes, weighted elementwise."""

    def __init__(self, axes: tuple, weight: np.ndarray | float = 1.0):
        self.axes, self.weight = axes, weight

    def vjp(self, ct):
        return np.expand_dims(ct, tuple(a + 1 for a in self.axes)) * self.weight

    def push(self, r):
        return (np.abs(self.weight) * r).sum(axis=self.axes)


class SumTo(Sum):
    """A sum over axes whose operand has the given shape."""

    def __init__(self, axes: tuple, shape: tuple):
        super().__init__(axes)
        self.shape = shape

    def vjp(self, ct):
        return np.broadcast_to(np.expand_dims(ct, tuple(a + 1 for a in self.axes)), (len(ct), *self.shape))


class Cumulate:
    """Running sums along an axis, forwards or backwards."""

    def __init__(self, axis: int, reverse: bool):
        self.axis, self.reverse = axis, reverse

    def vjp(self, ct):
        return running(ct, self.axis + 1, not self.reverse)

    def push(self, r):
        return running(r, self.axis, self.reverse)


def running(x, axis: int, reverse: bool):
    """Cumulative sum along an axis, from the far end where `reverse`."""
    return np.flip(np.cumsum(np.flip(x, axis), axis), axis) if reverse else np.cumsum(x, axis)


class Blocks:
    """A dense matrix on the last axis but one, batched: operand [B, n, c] -> result [B, m, c]."""

    def __init__(self, matrix: np.ndarray, in_shape: tuple, out_shape: tuple, columns: int):
        self.matrix, self.in_shape, self.out_shape, self.columns = matrix, in_shape, out_shape, columns

    def _apply(self, matrix, x, lead: tuple, shape: tuple):
        x = x.reshape(*lead, *matrix.shape[:-2], matrix.shape[-1], self.columns)
        return (matrix @ x).reshape(*lead, *shape)

    def vjp(self, ct):
        return self._apply(np.swapaxes(self.matrix, -1, -2), ct, (len(ct),), self.in_shape)

    def push(self, r):
        return self._apply(np.abs(self.matrix), r, (), self.out_shape)


class Scatter:
    """Updates added into an operand: update j goes to element `target[j]`, or nowhere (-1)."""

    def __init__(self, target: np.ndarray, in_shape: tuple, out_shape: tuple):
        self.target, self.in_shape, self.out_shape = target.ravel(), in_shape, out_shape

    def vjp(self, ct):
        flat = np.concatenate([ct.reshape(len(ct), -1), np.zeros((len(ct), 1))], axis=1)
        return flat[:, self.target].reshape(len(ct), *self.in_shape)

    def push(self, r):
        kept = self.target >= 0
        size = int(np.prod(self.out_shape))
        return np.bincount(self.target[kept], r.ravel()[kept], minlength=size).reshape(self.out_shape)


class Dims:
    """A dot_general's operands as batched matrices [B, m, k] and [B, k, n], and back."""

    def __init__(self, numbers, left: tuple, right: tuple):
        (lc, rc), (lb, rb) = numbers
        lf = [i for i in range(len(left)) if i not in lc and i not in lb]
        rf = [i for i in range(len(right)) if i not in rc and i not in rb]
        self.perms = ([*lb, *lf, *lc], [*rb, *rc, *rf])
        self.shapes = (left, right)
        size = [int(np.prod([s[i] for i in axes])) for s, axes in ((left, lb), (left, lf), (left, lc), (right, rf))]
        self.B, self.m, self.k, self.n = size
        self.sizes = ((self.B, self.m, self.k), (self.B, self.k, self.n))
        self.out = tuple([left[i] for i in lb] + [left[i] for i in lf] + [right[i] for i in rf])

    @property
    def stored(self) -> bool:
        """Whether XLA computes it once (R8): it fuses products of one term, and inner products, into their readers."""
        return self.k > 1 and self.m * self.n > 1

    def pack(self, x, side: int):
        return x.transpose(self.perms[side]).reshape(self.sizes[side])

    def unpack(self, x, side: int):
        """Cotangents [M, B, ., .] of an operand in its own layout."""
        perm, shape = self.perms[side], self.shapes[side]
        x = x.reshape(len(x), *[shape[i] for i in perm])
        return x.transpose(0, *[1 + i for i in np.argsort(perm)])

    def dot(self, left, right):
        """The contraction of two operands in their own layouts."""
        return (self.pack(left, 0) @ self.pack(right, 1)).reshape(self.out)


class Contract:
    """A dot_general as a function of one operand (side 0 or 1), the other being held."""

    def __init__(self, dims: Dims, side: int, other: np.ndarray):
        self.dims, self.side = dims, side
        self.other = dims.pack(other, 1 - side)

    def vjp(self, ct):
        d, M = self.dims, len(ct)
        ct = ct.reshape(M, d.B, d.m, d.n)
        if self.side == 0:
            rows = ct.transpose(1, 0, 2, 3).reshape(d.B, M * d.m, d.n)
            out = (rows @ self.other.transpose(0, 2, 1)).reshape(d.B, M, d.m, d.k).transpose(1, 0, 2, 3)
        else:
            columns = ct.transpose(1, 2, 0, 3).reshape(d.B, d.m, M * d.n)
            out = (self.other.transpose(0, 2, 1) @ columns).reshape(d.B, d.k, M, d.n).transpose(2, 0, 1, 3)
        return d.unpack(out, self.side)

    def push(self, r):
        d, held = self.dims, np.abs(self.other)
        r = d.pack(r, self.side)
        return (r @ held if self.side == 0 else held @ r).reshape(d.out)
