r"""Programs evaluated exactly modulo a random safe prime.

A value is either a *residue* in $\mathbb{F}_p$ or an *exponent*: a quantity that only sums of logarithms reach, written
$a = \ell + s$ with $\ell \in \mathbb{Z}_q$ made of log-domain inputs, $s$ a residue, and possibly $-\infty$. Exponents
may be added, scaled by constants and moved; `exp` turns them into residues by (P1). Anything else is an error.

Floats in a program are the dyadic rationals that they are: 0.1 in float32 is 13421773 / 2**27, not one tenth.
"""

from collections.abc import Callable

import numpy as np

from dualform.prove import concrete, structure
from dualform.prove.errors import ProofError, ZeroDenominator, unsupported, where
from dualform.prove.exponential import Fresh, Powers
from dualform.prove.field import PrimeField
from dualform.prove.layout import lower_triangular, matrices

OPAQUE = ("log", "log1p", "expm1", "tanh", "logistic", "sqrt", "rsqrt", "cbrt", "sin", "cos", "tan", "erf", "erfc", "exp2")
"""Functions known only to give equal values on equal arguments."""


class Residue:
    """Elements of F_p; `bad` marks those that a division by zero spoiled (a later mask may still drop them)."""

    __slots__ = ("bad", "r")

    def __init__(self, r: np.ndarray, bad: np.ndarray | None = None):
        self.r, self.bad = r, bad if bad is not None and bad.any() else None

    @property
    def shape(self):
        return self.r.shape


class Exponent:
    """Logarithms: `e` in Z_q, plus the residue `s` (or None), minus infinity where `reset`."""

    __slots__ = ("e", "reset", "s")

    def __init__(self, e: np.ndarray, reset: np.ndarray, s: np.ndarray | None = None):
        self.e, self.reset, self.s = e, reset, s

    @property
    def shape(self):
        return self.e.shape


Value = Residue | Exponent


class Modular:
    """Arithmetic modulo p = 2q + 1; `fresh` supplies the exponents of field values."""

    name = "modular"
    folds = True

    def __init__(self, field: PrimeField, fresh: Fresh):
        self.field, self.group = field, PrimeField((field.modulus - 1) // 2)
        self.fresh, self.powers = fresh, Powers(field)
        self.gates_used = False
        self.rules: dict[str, Callable] = {
            **{name: self._add for name in ("add", "add_any")},
            **{name: self._opaque for name in OPAQUE},
            "sub": self._sub, "neg": self._neg, "mul": self._mul, "div": self._div, "square": self._power,
            "integer_pow": self._power, "exp": self._exp, "dot_general": self._dot, "reduce_sum": self._sum,
            "cumsum": self._cumsum, "reduce_prod": self._prod, "cumprod": self._cumprod,
            "scatter-add": self._scatter_add, "convert_element_type": self._convert, "reduce_precision": _identity,
            "triangular_solve": self._triangular_solve, "lu": self._lu, "max": self._extreme, "min": self._extreme,
            "is_finite": self._is_finite, "eq": self._compare, "ne": self._compare, "gt": self._compare,
            "lt": self._compare, "ge": self._compare, "le": self._compare,
        }  # fmt: skip

    def lift(self, x: np.ndarray, dtype=None) -> Value:
        if np.all(np.isfinite(x)):
            return Residue(self.field.from_float(x))
        reset = x == -np.inf
        finite = np.where(np.isfinite(x), x, 0.0)
        if np.all(np.isfinite(x) | reset):
            return Exponent(np.zeros(x.shape, np.uint64), reset, self.field.from_float(finite))
        return Residue(self.field.from_float(finite), ~np.isfinite(x))

    def gather(self, operands, index) -> Value:
        if any(isinstance(x, Exponent) for x in operands):
            logs = [self._log(x) for x in operands]
            parts = [np.concatenate([np.ravel(getattr(x, k)) for x in logs])[index] for k in ("e", "reset")]
            s = None
            if any(x.s is not None for x in logs):
                s = np.concatenate([np.zeros(x.e.size, np.uint64) if x.s is None else np.ravel(x.s) for x in logs])[index]
            return Exponent(parts[0], parts[1], s)
        bad = None
        if any(x.bad is not None for x in operands):
            bad = np.concatenate([np.zeros(x.r.size, bool) if x.bad is None else x.bad.ravel() for x in operands])[index]
        flat = operands[0].r.ravel() if len(operands) == 1 else np.concatenate([x.r.ravel() for x in operands])
        return Residue(flat[index], bad)

    def _field(self, eqn, *operands) -> list[Residue]:
        """Operands as residues, or the error for a logarithm where none may be."""
        values = [self.lift(x) if isinstance(x, np.ndarray) else x for x in operands]
        if any(isinstance(x, Exponent) for x in values):
            raise unsupported(eqn, self.name, "a log-domain value or -inf may only be added, scaled by constants or exponentiated")
        return values

    def _log(self, x) -> Exponent:
        x = self.lift(x) if isinstance(x, np.ndarray) else x
        if isinstance(x, Exponent):
            return x
        if x.bad is not None:
            raise ProofError("an infinite or undefined value reaches a sum of logarithms")
        return Exponent(np.zeros(x.shape, np.uint64), np.zeros(x.shape, bool), x.r)

    # sums, differences, scaling -------------------------------------------------------------------------------------

    def _add(self, eqn, a, b):
        if isinstance(a, Exponent) or isinstance(b, Exponent) or _has_reset(a) or _has_reset(b):
            a, b = self._log(a), self._log(b)
            s = b.s if a.s is None else a.s if b.s is None else self.field.add(a.s, b.s)
            e, reset = self.group.add(a.e, b.e), a.reset | b.reset
            return [Exponent(e, reset, None if s is None else np.broadcast_to(s, e.shape))]
        a, b = self._field(eqn, a, b)
        return [Residue(self.field.add(a.r, b.r), _bad(a, b))]

    def _sub(self, eqn, a, b):
        if isinstance(b, Exponent) or isinstance(a, Exponent) or _has_reset(a):
            return self._add(eqn, a, self._neg(eqn, b)[0])
        a, b = self._field(eqn, a, b)
        return [Residue(self.field.sub(a.r, b.r), _bad(a, b))]

    def _neg(self, eqn, a):
        if isinstance(a, Exponent):
            if a.reset.any():
                raise unsupported(eqn, self.name, "it would turn -inf into +inf")
            return [Exponent(self.group.neg(a.e), a.reset, None if a.s is None else self.field.neg(a.s))]
        (a,) = self._field(eqn, a)
        return [Residue(self.field.neg(a.r), a.bad)]

    def _scale(self, eqn, a: Exponent, c: np.ndarray):
        """A logarithm times constants: exponents may be multiplied by any dyadic rational, q being odd."""
        if (a.reset & (np.broadcast_to(c, np.broadcast_shapes(a.shape, c.shape)) <= 0)).any():
            raise unsupported(eqn, self.name, "-inf times a constant that is not positive")
        e = self.group.mul(a.e, self.group.from_float(c))
        s = None if a.s is None else self.field.mul(a.s, self.field.from_float(c))
        return [Exponent(e, np.broadcast_to(a.reset, e.shape), s)]

    def _mul(self, eqn, a, b):
        if isinstance(a, Exponent) and concrete.is_float(b):
            return self._scale(eqn, a, b)
        if isinstance(b, Exponent) and concrete.is_float(a):
            return self._scale(eqn, b, a)
        a, b = self._field(eqn, a, b)
        return [Residue(self.field.mul(a.r, b.r), _bad(a, b))]

    def _div(self, eqn, a, b):
        if isinstance(a, Exponent) and concrete.is_float(b) and np.all(b):
            inverse = self.group.inverse(self.group.from_float(b))
            s = None if a.s is None else self.field.mul(a.s, self.field.inverse(self.field.from_float(b)))
            return [Exponent(self.group.mul(a.e, inverse), a.reset, s)]
        a, b = self._field(eqn, a, b)
        zero = b.r == 0
        inverse = self.field.inverse(np.where(zero, np.uint64(1), b.r))
        spoiled = Residue(b.r, zero)
        return [Residue(self.field.mul(a.r, inverse), _bad(a, b, spoiled))]

    def _power(self, eqn, a):
        (a,) = self._field(eqn, a)
        n = eqn.params.get("y", 2)
        if n < 0:
            one = Residue(np.ones(a.shape, np.uint64))
            return self._div(eqn, one, Residue(self.field.power(a.r, -n), a.bad))
        return [Residue(self.field.power(a.r, n), a.bad)]

    def _exp(self, eqn, a):
        a = self._log(a)
        self.gates_used |= bool(a.e.any())
        h = a.e if a.s is None else self.group.add(a.e, self.fresh.exponent(a.s))
        return [Residue(np.where(a.reset, np.uint64(0), self.powers(h)))]

    def _opaque(self, eqn, a):
        (a,) = self._field(eqn, a)
        return [Residue(self.fresh.opaque(eqn.primitive.name, a.r), a.bad)]

    # sums over axes -------------------------------------------------------------------------------------------------

    def _dot(self, eqn, a, b):
        for x, c, swap in ((a, b, False), (b, a, True)):
            if isinstance(x, Exponent):
                if not concrete.is_float(c):
                    self._field(eqn, x)
                return self._log_dot(eqn, x, c, swap)
        a, b = self._field(eqn, a, b)
        left, right, shape = matrices(eqn, a.r, b.r)
        bad = None
        if a.bad is not None or b.bad is not None:
            (la, lb, _), (ra, rb, _) = (matrices(eqn, *m) for m in ((_mask(a), np.ones(b.shape, bool)), (np.ones(a.shape, bool), _mask(b))))
            bad = ((la.astype(float) @ lb) + (ra.astype(float) @ rb) > 0).reshape(shape)
        return [Residue(self.field.matmul(left, right).reshape(shape), bad)]

    def _log_dot(self, eqn, x: Exponent, c: np.ndarray, swap: bool):
        """Logarithms contracted with constants, such as a triangle of ones; -inf times zero is NaN, hence an error."""

        def dot(ring, values):
            pair = (ring.from_float(c), values) if swap else (values, ring.from_float(c))
            left, right, shape = matrices(eqn, *pair)
            return ring.matmul(left, right).reshape(shape)

        if x.reset.any():
            raise unsupported(eqn, self.name, "-inf meets a zero of the constant matrix, which is NaN in floats")
        e = dot(self.group, x.e)
        return [Exponent(e, np.zeros(e.shape, bool), None if x.s is None else dot(self.field, x.s))]

    def _sum(self, eqn, a):
        axes = tuple(eqn.params["axes"])
        if isinstance(a, Exponent) or _has_reset(a):
            a = self._log(a)
            s = None if a.s is None else self.field.sum(a.s, axes)
            return [Exponent(self.group.sum(a.e, axes), a.reset.any(axis=axes), s)]
        (a,) = self._field(eqn, a)
        return [Residue(self.field.sum(a.r, axes), None if a.bad is None else a.bad.any(axis=axes))]

    def _cumsum(self, eqn, a):
        axis, backwards = eqn.params["axis"], eqn.params["reverse"]

        def along(f, x):
            return np.flip(f(np.flip(x, axis), axis), axis) if backwards else f(x, axis)

        if isinstance(a, Exponent):
            s = None if a.s is None else along(self.field.cumsum, a.s)
            return [Exponent(along(self.group.cumsum, a.e), along(np.logical_or.accumulate, a.reset), s)]
        (a,) = self._field(eqn, a)
        bad = None if a.bad is None else along(np.logical_or.accumulate, a.bad)
        return [Residue(along(self.field.cumsum, a.r), bad)]

    def _prod(self, eqn, a):
        (a,) = self._field(eqn, a)
        axes = tuple(eqn.params["axes"])
        return [Residue(self.field.prod(a.r, axes), None if a.bad is None else a.bad.any(axis=axes))]

    def _cumprod(self, eqn, a):
        (a,) = self._field(eqn, a)
        axis = eqn.params["axis"]
        if eqn.params["reverse"]:
            return [Residue(np.flip(self.field.cumprod(np.flip(a.r, axis), axis), axis), a.bad)]
        return [Residue(self.field.cumprod(a.r, axis), a.bad)]

    def _scatter_add(self, eqn, a, indices, updates):
        a, updates = self._field(eqn, a, updates)
        targets = structure.scatter_targets(eqn, a.shape, indices, updates.shape).ravel()
        out, flat = a.r.ravel().copy(), updates.r.ravel()
        for target, value in zip(targets, flat, strict=True):
            if target >= 0:
                out[target] = (int(out[target]) + int(value)) % self.field.modulus
        return [Residue(out.reshape(a.shape), a.bad)]

    # solves ---------------------------------------------------------------------------------------------------------

    def _triangular_solve(self, eqn, a, b):
        a, b = self._field(eqn, a, b)
        if a.bad is not None or b.bad is not None:
            raise ProofError(f"an undefined value reaches a solve ({where(eqn)})")
        matrix, rhs, back = lower_triangular(eqn, a.r, b.r)
        field, x = self.field, rhs.copy()
        diagonal = np.diagonal(matrix, axis1=-2, axis2=-1)
        if not eqn.params["unit_diagonal"]:
            if not diagonal.all():
                raise ZeroDenominator(f"a triangular matrix has a zero on its diagonal ({where(eqn)})")
            inverse = field.inverse(diagonal)
        for i in range(matrix.shape[-1]):
            if i:
                done = field.matmul(matrix[..., i : i + 1, :i], x[..., :i, :])[..., 0, :]
                x[..., i, :] = field.sub(x[..., i, :], done)
            if not eqn.params["unit_diagonal"]:
                x[..., i, :] = field.mul(x[..., i, :], inverse[..., i, None])
        return [Residue(back(x))]

    def _lu(self, eqn, a):
        """Elimination with the first non-zero pivot of each column: over a field any non-zero pivot is as good."""
        (a,) = self._field(eqn, a)
        batch, (m, n) = a.shape[:-2], a.shape[-2:]
        out = a.r.reshape(-1, m, n).copy()
        pivots = np.zeros((len(out), min(m, n)), np.int32)
        orders = np.tile(np.arange(m, dtype=np.int32), (len(out), 1))
        for x, pivot, order in zip(out, pivots, orders, strict=True):
            for k in range(min(m, n)):
                rows = np.flatnonzero(x[k:, k])
                pivot[k] = k + (rows[0] if len(rows) else 0)
                x[[k, pivot[k]]], order[[k, pivot[k]]] = x[[pivot[k], k]], order[[pivot[k], k]]
                if k + 1 < m and x[k, k]:
                    x[k + 1 :, k] = self.field.mul(x[k + 1 :, k], self.field.inverse(x[k : k + 1, k]))
                    update = self.field.mul(x[k + 1 :, k, None], x[None, k, k + 1 :])
                    x[k + 1 :, k + 1 :] = self.field.sub(x[k + 1 :, k + 1 :], update)
        return [Residue(out.reshape(a.shape)), pivots.reshape(*batch, -1), orders.reshape(*batch, m)]

    # conversions, and the few questions that may be asked of data ----------------------------------------------------

    def _convert(self, eqn, a):
        if np.dtype(eqn.params["new_dtype"]).kind in "iub":
            raise unsupported(eqn, self.name, "data become integers or booleans")
        return [self.lift(a) if isinstance(a, np.ndarray) else a]

    def _is_finite(self, eqn, a):
        return [~a.reset if isinstance(a, Exponent) else np.ones(a.shape, bool)]

    def _compare(self, eqn, a, b):
        """x == x, and comparisons of a logarithm with -inf: the only ones whose answer does not depend on the draw."""
        name = eqn.primitive.name
        if a is b:
            return [np.full(a.shape, name in ("eq", "ge", "le"))]
        flip = {"gt": "lt", "lt": "gt", "ge": "le", "le": "ge"}
        if isinstance(a, np.ndarray):
            a, b, name = b, a, flip.get(name, name)
        if isinstance(b, np.ndarray) and np.all(b == -np.inf) and not isinstance(a, np.ndarray):
            reset = a.reset if isinstance(a, Exponent) else np.zeros(a.shape, bool)
            reset = np.broadcast_to(reset, np.broadcast_shapes(a.shape, b.shape))
            return [{"eq": reset, "le": reset, "ne": ~reset, "gt": ~reset, "ge": reset | True, "lt": reset & False}[name]]
        raise unsupported(eqn, self.name, "a comparison of data")

    def _extreme(self, eqn, a, b):
        """max(x, -inf) and min(x, inf) are x."""
        bound = -np.inf if eqn.primitive.name == "max" else np.inf
        for x, y in ((a, b), (b, a)):
            if isinstance(y, np.ndarray) and np.all(y == bound) and not isinstance(x, np.ndarray):
                return [x]
        raise unsupported(eqn, self.name, "a comparison of data")


def _identity(eqn, a):
    return [a]


def _has_reset(x) -> bool:
    return isinstance(x, np.ndarray) and x.dtype == np.float64 and bool(np.any(x == -np.inf))


def _mask(x: Residue) -> np.ndarray:
    return np.zeros(x.shape, bool) if x.bad is None else x.bad


def _bad(*values: Residue) -> np.ndarray | None:
    """Elements spoiled in any operand."""
    if all(x.bad is None for x in values):
        return None
    out = np.zeros(np.broadcast_shapes(*(x.shape for x in values)), bool)
    for x in values:
        if x.bad is not None:
            out = out | x.bad
    return out
