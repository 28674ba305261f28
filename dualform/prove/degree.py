"""Programs evaluated in the arithmetic of degrees: how large the rational functions can be that they compute.

The rules mirror those of `dualform.prove.modular`, and the bounds themselves are those of `dualform.prove.rational`.
Exponentials are variables; a sum of log-domain inputs is bounded by the coefficients that it can have, and negative
ones are cleared with one monomial, the product of all exponentials.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dualform.prove import concrete, structure
from dualform.prove.errors import unsupported
from dualform.prove.layout import lower_triangular, matrices
from dualform.prove.modular import OPAQUE
from dualform.prove.rational import ZERO, Bound, Symbols, binary_places

WORK = 1 << 20
"""Elements of an expanded matrix product that are kept at once."""


@dataclass
class Logarithm:
    """A sum of log-domain inputs, plus a field value, or -inf."""

    total: np.ndarray  # sum of the positive coefficients
    top: np.ndarray  # largest coefficient
    low: np.ndarray  # largest negated coefficient
    reset: np.ndarray  # -inf
    bound: Bound | None = None

    @property
    def shape(self):
        return self.total.shape

    def map(self, f: Callable) -> "Logarithm":
        parts = (f(x) for x in (self.total, self.top, self.low, self.reset))
        return Logarithm(*parts, None if self.bound is None else self.bound.map(f))


class Degree:
    """The arithmetic of bounds.

    `gates` counts the elements of log-domain inputs; exponents are counted in units of 1/`unit`. `span` bounds the
    coefficients (total, low) of related exponentials of field values, and `basis` counts their independent ones.
    """

    name = "degree"
    folds = True

    def __init__(self, *, gates: int = 0, unit: int = 1, span: tuple[float, float] = (1.0, 0.0), basis: int = 0):
        self.symbols = Symbols()
        self.gates, self.unit, self.span = gates, unit, span
        self.size = max(gates + basis, 1)
        self.places = 0.0  # binary places of the constants that logarithms were scaled by
        self.asked = 0  # exponentials and unknown functions of field values
        self.argument = 0.0  # largest degree of one of their arguments
        self.rules: dict[str, Callable] = {
            **{name: self._add for name in ("add", "add_any", "sub")},
            **{name: self._opaque for name in OPAQUE},
            **{name: self._compare for name in ("eq", "ne", "gt", "lt", "ge", "le")},
            **{name: self._same for name in ("convert_element_type", "reduce_precision")},
            "neg": self._neg, "mul": self._mul, "div": self._div, "square": self._power, "integer_pow": self._power,
            "exp": self._exp, "dot_general": self._dot, "reduce_sum": self._sum, "cumsum": self._cumsum,
            "reduce_prod": self._prod, "cumprod": self._cumprod, "scatter-add": self._scatter_add,
            "triangular_solve": self._triangular_solve, "lu": self._lu, "is_finite": self._is_finite,
            "max": self._extreme, "min": self._extreme,
        }  # fmt: skip

    def gate(self, reset: np.ndarray) -> Logarithm:
        """A log-domain input, -inf where `reset`."""
        one = np.ones(reset.shape)
        return Logarithm(one, one, np.zeros(reset.shape), reset)

    def lift(self, x: np.ndarray, dtype=None):
        finite = self.symbols.constant(np.where(np.isfinite(x), x, 0.0))
        if not np.any(x == -np.inf):
            return finite
        zero = np.zeros(x.shape)
        return Logarithm(zero, zero, zero, x == -np.inf, finite)

    def gather(self, operands, index):
        if not any(isinstance(x, Logarithm) for x in operands):
            return self.symbols.gather(operands, index)
        logs = [self._log(x) for x in operands]
        parts = (np.concatenate([np.ravel(getattr(x, k)) for x in logs])[index] for k in ("total", "top", "low", "reset"))
        bound = None
        if any(x.bound is not None for x in logs):
            zeros = [self.symbols.constant(np.zeros(x.shape)) if x.bound is None else x.bound for x in logs]
            bound = self.symbols.gather(zeros, index)
        return Logarithm(*parts, bound)

    def _field(self, eqn, *operands) -> list[Bound]:
        values = [self.lift(x) if isinstance(x, np.ndarray) else x for x in operands]
        if any(isinstance(x, Logarithm) for x in values):
            raise unsupported(eqn, self.name, "a log-domain value may only be added, scaled by constants or exponentiated")
        return [self.symbols.wide(x) for x in values]

    def _log(self, x) -> Logarithm:
        x = self.lift(x) if isinstance(x, np.ndarray) else x
        if isinstance(x, Logarithm):
            return x
        zero = np.zeros(x.shape)
        return Logarithm(zero, zero, zero, np.zeros(x.shape, bool), x)

    # elementwise ----------------------------------------------------------------------------------------------------

    def _add(self, eqn, a, b):
        a, b = (self.lift(x) if isinstance(x, np.ndarray) else x for x in (a, b))
        if isinstance(a, Bound) and isinstance(b, Bound):
            return [self.symbols.plus(a, b)]
        if eqn.primitive.name == "sub":
            (b,) = self._neg(eqn, b)
        a, b = self._log(a), self._log(b)
        bound = b.bound if a.bound is None else a.bound if b.bound is None else self.symbols.plus(a.bound, b.bound)
        return [Logarithm(a.total + b.total, a.top + b.top, a.low + b.low, a.reset | b.reset, bound)]

    def _neg(self, eqn, a):
        if isinstance(a, Logarithm):
            return [Logarithm(a.low * self.gates, a.low, a.top, a.reset, a.bound)]
        return self._same(eqn, a)

    def _same(self, eqn, a):
        return [self.lift(a) if isinstance(a, np.ndarray) else a]

    def _scaled(self, a: Logarithm, c: np.ndarray) -> Logarithm:
        """A logarithm times constants."""
        self.places = max(self.places, float(binary_places(c).max(initial=0.0)))
        size, down = np.abs(c), c < 0
        total, top, low = (np.where(down, y, x) * size for x, y in ((a.total, a.low * self.gates), (a.top, a.low), (a.low, a.top)))
        bound = None if a.bound is None else self.symbols.times(a.bound, self.symbols.constant(c))
        return Logarithm(total, top, low, np.broadcast_to(a.reset, total.shape), bound)

    def _mul(self, eqn, a, b):
        for x, c in ((a, b), (b, a)):
            if isinstance(x, Logarithm) and concrete.is_float(c):
                return [self._scaled(x, c)]
        return [self.symbols.times(*self._field(eqn, a, b))]

    def _div(self, eqn, a, b):
        if isinstance(a, Logarithm) and concrete.is_float(b):
            return [self._scaled(a, 1.0 / b)]
        (x, y) = self._field(eqn, a, b)
        return [self.symbols.times(x, self.symbols.reciprocal(y, b if isinstance(b, np.ndarray) else None))]

    def _power(self, eqn, a):
        (a,) = self._field(eqn, a)
        y = eqn.params.get("y", 2)
        return [self.symbols.power(self.symbols.reciprocal(a) if y < 0 else a, abs(y))]

    def _exp(self, eqn, a):
        a = self._log(a)
        total, low = a.total * self.unit, a.low * self.unit
        if a.bound is not None:
            varies = self._ask(a.bound)
            total, low = total + varies * self.span[0], low + varies * self.span[1]
        n = np.where(a.reset, ZERO, total + low * self.size)
        if not np.any(low):
            return [self.symbols.bound(n, np.where(a.reset, ZERO, 0.0))]
        monomial = self.symbols.new(self.size, 0.0, "monomial")
        e = np.zeros((len(self.symbols.n), *a.shape))
        e[monomial] = low
        return [self.symbols.bound(n, np.where(a.reset, ZERO, 0.0), None, e)]

    def _ask(self, a: Bound) -> np.ndarray:
        """Counts arguments that are not constant zero, and bounds their degree."""
        varies = a.n > ZERO
        above, below, _, _ = self.symbols.fraction(a)
        self.asked += int(np.sum(varies))
        self.argument = max(self.argument, float(np.max(np.where(varies, above + below, 0.0), initial=0.0)))
        return varies

    def _opaque(self, eqn, a):
        (a,) = self._field(eqn, a)
        self._ask(a)
        return [self.symbols.variable(a.shape)]

    # sums, products, contractions -----------------------------------------------------------------------------------

    def _sum(self, eqn, a):
        axes = tuple(int(i) for i in eqn.params["axes"])
        if isinstance(a, np.ndarray):
            a = self.lift(a)
        bound = a.bound if isinstance(a, Logarithm) else a
        for axis in sorted(axes, reverse=True):
            bound = None if bound is None else self.symbols.along(bound, axis)
        if not isinstance(a, Logarithm):
            return [bound]
        sums = (x.sum(axis=axes) for x in (a.total, a.top, a.low))
        return [Logarithm(*sums, a.reset.any(axis=axes), bound)]

    def _fold(self, x: Bound, axis: int, backwards: bool, step: Callable) -> Bound:
        """Running sums or products."""
        count, inner = x.shape[axis], tuple(np.delete(x.shape, axis))
        if not count:
            return x
        out: list[Bound] = []
        for i in reversed(range(count)) if backwards else range(count):
            item = self.symbols.wide(x).map(lambda y, i=i: np.take(y, i, axis))
            out.append(step(out[-1], item) if out else item)
        out = out[::-1] if backwards else out
        return self.symbols.gather(out, np.moveaxis(np.arange(x.n.size).reshape(count, *inner), 0, axis))

    def _cumsum(self, eqn, a):
        p = eqn.params
        if not isinstance(a, Logarithm):
            return [self._fold(self._field(eqn, a)[0], p["axis"], p["reverse"], self.symbols.plus)]

        def run(f, y):
            return np.flip(f(np.flip(y, p["axis"]), p["axis"]), p["axis"]) if p["reverse"] else f(y, p["axis"])

        bound = None if a.bound is None else self._fold(a.bound, p["axis"], p["reverse"], self.symbols.plus)
        # An input enters a running sum once, but one element may already hold several: coefficients add.
        sums = (run(np.cumsum, x) for x in (a.total, a.top, a.low))
        return [Logarithm(*sums, run(np.logical_or.accumulate, a.reset), bound)]

    def _cumprod(self, eqn, a):
        return [self._fold(self._field(eqn, a)[0], eqn.params["axis"], eqn.params["reverse"], self.symbols.times)]

    def _prod(self, eqn, a):
        (a,) = self._field(eqn, a)
        axes = tuple(int(i) for i in eqn.params["axes"])
        e = a.e.sum(axis=tuple(i + 1 for i in axes))
        return [self.symbols.bound(a.n.sum(axis=axes), a.h.sum(axis=axes), a.k.sum(axis=axes), e)]

    def _dot(self, eqn, a, b):
        for x, c in ((a, b), (b, a)):
            if isinstance(x, Logarithm) and concrete.is_float(c):
                return [self._log_dot(eqn, x, c)]
        a, b = self._field(eqn, a, b)
        parts = [matrices(eqn, *pair) for pair in ((a.n, b.n), (a.h, b.h), (a.k, b.k), *zip(a.e, b.e, strict=True))]
        (rows, columns, shape), symbols = parts[0], self.symbols

        def side(i) -> Bound:
            n, h, k, *e = (p[i] for p in parts)
            return Bound(n, h, k, np.stack(e) if e else np.zeros((0, *n.shape)), np.zeros(n.shape, int))

        left, right, count = side(0), side(1), rows.shape[-1]
        if not count or not int(np.prod(shape)):
            return [symbols.constant(np.zeros(shape))]
        block = max(1, WORK // (int(np.prod(shape)) * (3 + len(a.e))))
        total = None
        for i in range(0, count, block):
            x = left.map(lambda y, i=i: y[:, :, i : i + block, None])
            y = right.map(lambda y, i=i: y[:, None, i : i + block, :])
            part = symbols.along(symbols.times(x, y), 2)
            total = part if total is None else symbols.plus(total, part)
        return [total.map(lambda y: y.reshape(shape))]

    def _log_dot(self, eqn, x: Logarithm, c: np.ndarray) -> Logarithm:
        """Logarithms contracted with constants: bounded alike everywhere by the largest column of |c|."""
        shape, size = eqn.outvars[0].aval.shape, float(np.abs(c).sum())
        largest = self._scaled(x.map(lambda y: y.ravel()), np.array(1.0)) if x.bound is None else x
        if x.bound is not None:
            raise unsupported(eqn, self.name, "a score plus a gate is contracted with constants")
        self.places = max(self.places, float(binary_places(c).max(initial=0.0)))
        top = size * max(float(largest.top.max(initial=0)), float(largest.low.max(initial=0)))
        total = size * max(float(largest.total.max(initial=0)), float(largest.low.max(initial=0)) * self.gates)
        full = [np.full(shape, v) for v in (total, top, top if np.any(c < 0) or np.any(x.low) else 0.0)]
        return Logarithm(*full, np.zeros(shape, bool))

    def _scatter_add(self, eqn, a, indices, updates):
        a, updates = self._field(eqn, a, updates)
        targets = structure.scatter_targets(eqn, a.shape, indices, updates.shape).ravel()
        out, flat = a.map(np.ravel), updates.map(np.ravel)
        for i in np.flatnonzero(targets >= 0):
            old = out.map(lambda y, t=targets[i]: y[t : t + 1])
            new = self.symbols.plus(old, flat.map(lambda y, i=i: y[i : i + 1]))
            index = np.arange(out.n.size)
            index[targets[i]] = out.n.size
            out = self.symbols.gather([out, new], index)
        return [self.symbols.wide(out).map(lambda y: y.reshape(a.shape))]

    # solves ---------------------------------------------------------------------------------------------------------

    def _triangular_solve(self, eqn, a, b):
        """Substitution row by row."""
        a, b = self._field(eqn, a, b)
        s = self.symbols
        matrix = a.map(lambda y: lower_triangular(eqn, y, np.zeros(b.shape))[0])
        rhs = b.map(lambda y: lower_triangular(eqn, np.zeros(a.shape), y)[1])
        rows: list[Bound] = []
        for i in range(matrix.shape[-1]):
            x = s.wide(rhs).map(lambda y, i=i: y[..., i, :])
            for j, done in enumerate(rows):
                x = s.plus(x, s.times(s.wide(matrix).map(lambda y, i=i, j=j: y[..., i, j, None]), done))
            if not eqn.params["unit_diagonal"]:
                x = s.times(x, s.reciprocal(s.wide(matrix).map(lambda y, i=i: y[..., i, i, None])))
            rows.append(x)
        if not rows:
            return [b]
        *batch, n = rhs.shape[:-2] + rhs.shape[-1:]
        index = np.moveaxis(np.arange(rhs.n.size).reshape(len(rows), *batch, n), 0, -2)
        return [s.gather(rows, lower_triangular(eqn, np.zeros(a.shape), np.zeros(b.shape))[2](index))]

    def _lu(self, eqn, a):
        """Entries of L and U are quotients of minors, whatever the elimination: U_ij = M / m_(i-1), L_ij = M / m_j.

        m_k is the leading minor of order k. Row i is first brought over its common denominator R_i, which divides U's
        row i, and L_ij by R_i / R_j.
        """
        (a,) = self._field(eqn, a)
        *batch, m, n = a.shape
        s, flat = self.symbols, a.map(lambda y: y.reshape(-1, m, n))
        common = np.where(flat.n == ZERO, -np.inf, flat.e).max(axis=-1, keepdims=True, initial=-np.inf)
        common = np.where(np.isfinite(common), common, 0.0)  # [symbols, batch, m, 1]
        lack = np.where(flat.n == ZERO, 0.0, common - flat.e)
        degree = np.maximum((flat.n + np.tensordot(s.n, lack, 1)).max(axis=-1), 0.0)  # [batch, m]
        size = flat.h + flat.k + np.tensordot(s.h, lack, 1)
        height = np.maximum(np.logaddexp2.reduce(size, axis=-1), 0.0)
        lead_n, lead_h = np.cumsum(degree, axis=-1), np.cumsum(height, axis=-1)
        order = min(m, n)
        minors = np.array([[s.new(lead_n[b, i], lead_h[b, i]) for i in range(order)] for b in range(len(degree))], int)
        common = np.concatenate([common, np.zeros((len(s.n) - len(common), *common.shape[1:]))])
        out_n, out_h, e = np.zeros(flat.shape), np.zeros(flat.shape), np.zeros((len(s.n), *flat.shape))
        for b in range(len(degree)):
            for i in range(m):
                for j in range(n):
                    r = min(i, j)  # M has rows 0..r-1 and i
                    e[:, b, i, j] = common[:, b, i, 0] - (common[:, b, j, 0] if i > j else 0.0)
                    if i == j:  # exactly m_i / m_(i-1)
                        e[minors[b, i], b, i, j] -= 1
                    else:
                        out_n[b, i, j] = degree[b, i] + (lead_n[b, r - 1] if r else 0.0)
                        out_h[b, i, j] = height[b, i] + (lead_h[b, r - 1] if r else 0.0)
                    if i > j:
                        e[minors[b, j], b, i, j] += 1
                    elif i:
                        e[minors[b, i - 1], b, i, j] += 1
        result = s.bound(*(x.reshape(a.shape) for x in (out_n, out_h)), None, e.reshape(-1, *a.shape))
        pivots = np.broadcast_to(np.arange(order, dtype=np.int32), (*batch, order))
        return [result, pivots.copy(), np.broadcast_to(np.arange(m, dtype=np.int32), (*batch, m)).copy()]

    # questions that `Modular` answers the same way --------------------------------------------------------------------

    def _is_finite(self, eqn, a):
        return [~a.reset if isinstance(a, Logarithm) else np.ones(a.shape, bool)]

    def _compare(self, eqn, a, b):
        name = eqn.primitive.name
        if a is b:
            return [np.full(a.shape, name in ("eq", "ge", "le"))]
        flip = {"gt": "lt", "lt": "gt", "ge": "le", "le": "ge"}
        if isinstance(a, np.ndarray):
            a, b, name = b, a, flip.get(name, name)
        if isinstance(b, np.ndarray) and np.all(b == -np.inf) and not isinstance(a, np.ndarray):
            reset = a.reset if isinstance(a, Logarithm) else np.zeros(a.shape, bool)
            reset = np.broadcast_to(reset, np.broadcast_shapes(a.shape, b.shape))
            return [{"eq": reset, "le": reset, "ne": ~reset, "gt": ~reset, "ge": reset | True, "lt": reset & False}[name]]
        raise unsupported(eqn, self.name, "a comparison of data")

    def _extreme(self, eqn, a, b):
        bound = -np.inf if eqn.primitive.name == "max" else np.inf
        for x, y in ((a, b), (b, a)):
            if isinstance(y, np.ndarray) and np.all(y == bound) and not isinstance(x, np.ndarray):
                return [x]
        raise unsupported(eqn, self.name, "a comparison of data")
