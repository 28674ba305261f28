"""Contractions, convolutions, triangular systems and factorisations of exact numbers."""

import math

import jax
import jax.numpy as jnp
import numpy as np


def dot_general(self, eqn, a, b):
    (ca, cb), (ba, bb) = eqn.params["dimension_numbers"]
    fa = [i for i in range(a.ndim) if i not in (*ca, *ba)]
    fb = [i for i in range(b.ndim) if i not in (*cb, *bb)]
    batch, rows, columns = [a.shape[i] for i in ba], [a.shape[i] for i in fa], [b.shape[i] for i in fb]
    terms = math.prod(a.shape[i] for i in ca)
    left = a.transpose(*ba, *fa, *ca).reshape(math.prod(batch), math.prod(rows), terms)
    right = b.transpose(*bb, *cb, *fb).reshape(math.prod(batch), terms, math.prod(columns))
    out = np.sum(left[:, :, :, None] * right[:, None, :, :], axis=2)
    return np.asarray(out).reshape((*batch, *rows, *columns))


def convolution(self, eqn, lhs, rhs):
    """Each element of the kernel meets one element of the image at each place: JAX tells which."""
    key = (id(eqn),)
    if key not in self.maps:
        numbers = jnp.arange(1, lhs.size + 1, dtype=jnp.float32).reshape(lhs.shape)
        params = {**eqn.params, "preferred_element_type": np.dtype(np.float32)}
        eye = jnp.eye(rhs.size, dtype=jnp.float32).reshape(rhs.size, *rhs.shape)
        one = jax.vmap(lambda k: eqn.primitive.bind(numbers, k, **params))
        self.maps[key] = np.rint(np.asarray(one(eye))).astype(int) - 1
    out = self.numbers.array(np.zeros(eqn.outvars[0].aval.shape))
    for index, k in zip(self.maps[key], rhs.ravel(), strict=True):
        out = np.where(index < 0, out, out + lhs.ravel()[np.maximum(index, 0)] * k)
    return out


def triangular_solve(self, eqn, a, b):
    p = eqn.params
    if not p["left_side"]:
        turned = triangular(self, np.swapaxes(a, -1, -2), np.swapaxes(b, -1, -2), not p["lower"], p)
        return np.swapaxes(turned, -1, -2)
    return triangular(self, a, b, p["lower"], p)


def triangular(self, a, b, lower: bool, p):
    if p["transpose_a"]:
        a, lower = np.swapaxes(a, -1, -2), not lower
    n = a.shape[-1]
    x = np.array(b)
    for i in range(n) if lower else reversed(range(n)):
        others = range(i) if lower else range(i + 1, n)
        row = x[..., i, :]
        for j in others:
            row = row - a[..., i, j][..., None] * x[..., j, :]
        if not p["unit_diagonal"]:
            row = self.numbers.divide(row, np.broadcast_to(a[..., i, i][..., None], row.shape))
        x[..., i, :] = row
    return x


def lu(self, eqn, a) -> list:
    m, n = a.shape[-2:]
    flat = np.array(a).reshape(-1, m, n)
    pivots, orders = [], []
    for x in flat:
        perm, pivot = list(range(m)), []
        for k in range(min(m, n)):
            best = max(range(k, m), key=lambda i, k=k: abs(x[i, k]))
            pivot.append(best)
            x[[k, best]] = x[[best, k]]
            perm[k], perm[best] = perm[best], perm[k]
            for i in range(k + 1, m) if x[k, k] != 0 else ():  # LAPACK passes a column of zeros over
                x[i, k] = self.numbers.divide(x[i, k], x[k, k])[()]
                x[i, k + 1 :] = x[i, k + 1 :] - x[i, k] * x[k, k + 1 :]
        pivots.append(pivot)
        orders.append(perm)
    batch = a.shape[:-2]
    return [flat.reshape(a.shape), np.array(pivots).reshape(*batch, min(m, n)), np.array(orders).reshape(*batch, m)]


def cholesky(self, eqn, a):
    n = a.shape[-1]
    flat = np.array(a).reshape(-1, n, n)
    root = self.numbers.functions["sqrt"]
    for x in flat:
        for j in range(n):
            x[j, j] = root(np.asarray(x[j, j] - sum(x[j, k] * x[j, k] for k in range(j))))[()]
            for i in range(j + 1, n):
                x[i, j] = self.numbers.divide(x[i, j] - sum(x[i, k] * x[j, k] for k in range(j)), x[j, j])[()]
                x[j, i] = x[j, i] * 0
    return flat.reshape(a.shape)
