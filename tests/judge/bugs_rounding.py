"""Bugs in rounding bounds."""

from judge.bug import Bug

ROUNDING = (
    Bug(
        'prove/rounding/charges.py', 'u = float(info.eps) / 2',
        'u = float(info.eps) / 4', 'half a unit is a quarter', 'roundings.operations',
    ),
    Bug(
        'prove/rounding/charges.py', 'np.where(nu < 1, nu / np.where(nu < 1, 1 - nu, 1), np.inf)',
        'np.where(nu < 1, nu, np.inf)', 'many roundings are as many as the first order says', 'roundings.operations',
    ),
    Bug(
        'prove/rounding/charges.py', '"exp": (6.0, 12.0, 2.0),',
        '"exp": (6.0, 1.0, 2.0),', 'exp is charged what a sum is', 'roundings.charges',
    ),
    Bug(
        'prove/rounding/charges.py', '"tanh": (16.0, 10.0, 2.0),',
        '"tanh": (16.0, 1.0, 2.0),', 'tanh is charged what a sum is', 'roundings.charges',
    ),
    Bug(
        'prove/rounding/charges.py', '2 if unit.narrow else 0 if unit.u == U64 else 1',
        '2 if unit.narrow else 1 if unit.u == U64 else 0', 'float32 has the charges of float64', 'roundings.charges',
    ),
    Bug(
        'prove/rounding/charges.py', 'u = 2.0 ** -(mantissa_bits + 1)',
        'u = 2.0 ** -(mantissa_bits + 2)', 'reduced precision has a bit more', 'roundings.operations',
    ),
    Bug(
        'prove/rounding/tape.py', 'if p.own is not None and not p.stored]',
        'if p.own is not None and p.stored]', 'values that are computed again bring no rounding along', 'roundings.copies',
    ),
    Bug(
        'prove/rounding/tape.py', 'parts += [] if local is None else [local]',
        'parts = parts or ([] if local is None else [local])', 'a value that inherits a rounding adds none', 'roundings.operations',
    ),
    Bug(
        'prove/rounding/tape.py', 'if operand.own is None or operand.stored:\n            return operand',
        'operand.stored = True\n        if True:\n            return operand', 'a value that one reader stores is stored for all', 'roundings.copies',
    ),
    Bug(
        'prove/rounding/tape.py', 'operand.buffer = self.store(operand)',
        'operand.stored, operand.buffer = True, operand', 'a value that one product reads is stored for all', 'roundings.copies',
    ),
    Bug(
        'prove/rounding/tape.py', 'pending[operand.index] = pending[operand.index] + part',
        'pending[operand.index] = part', 'the last path to a value is the only one', 'roundings.sweeps',
    ),
    Bug(
        'prove/rounding/tape.py', 'if current.stored and current.own is not None:',
        'if current.own is None:', 'roundings of stored values are not swept up', 'roundings.sweeps',
    ),
    Bug(
        'prove/rounding/tape.py', 'total = np.zeros(stop - start) if node.stored or node.own is None else weigh(seed, node.own)',
        'total = np.zeros(stop - start)', "a result's own rounding is left out", 'roundings.operations',
    ),
    Bug(
        'prove/rounding/tape.py', 'spread = push + rest + self.pair * eps',
        'spread = rest + self.pair * eps', 'errors of operands are not carried on', 'roundings.switches',
    ),
    Bug(
        'prove/rounding/tape.py', 'x = np.where(np.isfinite(z), np.broadcast_to(x, z.shape), np.inf)',
        'x = np.where(np.isfinite(z), np.broadcast_to(x, z.shape), 0.0)', 'an overflow in float64 is exact', 'roundings.second_order',
    ),
    Bug(
        'prove/rounding/tape.py', 'return np.abs(self.z) + self.r',
        'return np.abs(self.z)', 'the largest magnitude is that of float64', 'roundings.second_order',
    ),
    Bug(
        'prove/rounding/maps.py', 'return self.k > 1 and self.m * self.n > 1',
        'return self.k > 1', 'inner products are computed once', 'roundings.copies',
    ),
    Bug(
        'prove/rounding/maps.py', 'return running(ct, self.axis + 1, not self.reverse)',
        'return running(ct, self.axis + 1, self.reverse)', 'a running sum is its own transpose', 'roundings.sweeps',
    ),
    Bug(
        'prove/rounding/maps.py', 'moved[self.order] = np.repeat(flat[self.source], np.diff([*self.starts, len(self.order)]))',
        'moved = np.repeat(flat[self.source], np.diff([*self.starts, len(self.order)]))', 'repeated elements err in the order of their sources', 'roundings.tape',
    ),
    Bug(
        'prove/rounding/elementwise.py', 'eps = c * unit.u * m + unit.tiny',
        'eps = c * unit.u * m', 'underflow costs nothing', 'roundings.operations',
    ),
    Bug(
        'prove/rounding/elementwise.py', 'return np.where(m > unit.largest, np.inf, eps) if (m > unit.largest).any() else eps',
        'return eps', 'overflow is a rounding', 'roundings.operations',
    ),
    Bug(
        'prove/rounding/elementwise.py', 'lambda: 2 * a.r * b.r, still',
        'None, still', 'a product of two errors is none', 'roundings.second_order',
    ),
    Bug(
        'prove/rounding/elementwise.py', 'rounding(unit, 2.0), rewrites.quotients',
        'rounding(unit, 1.0), rewrites.quotients', 'nobody divides by multiplying', 'roundings.operations',
    ),
    Bug(
        'prove/rounding/elementwise.py', 'count = max(abs(n) - 1, 0) + (2 if n < 0 else 0)',
        'count = max(abs(n) - 2, 0) + (2 if n < 0 else 0)', 'a cube is one product', 'roundings.operations',
    ),
    Bug(
        'prove/rounding/elementwise.py', 'node = elementwise(tape, a.z + sign * b.z, (a, b), (1.0, sign), local)',
        'node = elementwise(tape, a.z + sign * b.z, (a, b), (1.0, 1.0), local)', 'a difference has the derivative of a sum', 'roundings.sweeps',
    ),
    Bug(
        'prove/rounding/functions.py', 'np.maximum(rate * function(x.z + x.r)',
        'np.maximum(rate * function(x.z)', 'exp does not grow', 'roundings.second_order',
    ),
    Bug(
        'prove/rounding/functions.py', 'return lambda x, d: np.maximum(slope(x.low) - d, d - slope(x.high))',
        'return lambda x, d: d - slope(x.high)', 'a slope never grows towards zero', 'roundings.second_order',
    ),
    Bug(
        'prove/rounding/functions.py', 'return np.minimum(x.r, 2.0)',
        'return np.minimum(x.r, 0.0)', 'a sine is a straight line', 'roundings.second_order',
    ),
    Bug(
        'prove/rounding/functions.py', 'scaled=lambda x: argument(x, 1.5),  # XLA',
        'scaled=lambda x: 0.0,  # XLA', 'exp2 does not round its argument', 'roundings.rewrites',
    ),
    Bug(
        'prove/rounding/functions.py', 'return lambda x, d: np.where(x.z - x.r > 0, np.abs(slope(np.maximum(x.z - x.r, 0.0)) - d), np.inf)',
        'return lambda x, d: np.abs(slope(np.abs(x.z - x.r)) - d)', 'a logarithm may cross zero', 'roundings.second_order',
    ),
    Bug(
        'prove/rounding/roots.py', 'near = np.sqrt(x.r) if inside else np.where(x.r > 0, np.inf, 0.0)',
        'near = x.r if inside else np.where(x.r > 0, np.inf, 0.0)', 'a root near zero is smooth', 'roundings.second_order',
    ),
    Bug(
        'prove/rounding/roots.py', 'inside = known_nonnegative(x)',
        'inside = True', 'no operand of a root is negative', 'roundings.second_order',
    ),
    Bug(
        'prove/rounding/roots.py', 'np.where(known, spread, 2 * np.pi)',
        'np.where(known, spread, 0.0)', 'an angle does not turn on the cut', 'roundings.second_order',
    ),
    Bug(
        'prove/rounding/piecewise.py', 'far = np.abs(a.z - b.z) > a.r + b.r',
        'far = np.abs(a.z - b.z) > a.r', 'the second operand of a comparison is exact', 'roundings.switches',
    ),
    Bug(
        'prove/rounding/piecewise.py', 'half = lambda: np.where(clear, 0.0, (a.r + b.r) / 2)',
        'half = lambda: np.zeros(z.shape)', 'a maximum knows which is larger', 'roundings.switches',
    ),
    Bug(
        'prove/rounding/piecewise.py', 'remainder = lambda: np.where(clear, 0.0, x.r)',
        'remainder = lambda: np.zeros(z.shape)', 'an absolute value knows its sign', 'roundings.switches',
    ),
    Bug(
        'prove/rounding/piecewise.py', 'return np.where(doubt, np.where(same, 0.0, np.nan_to_num(hull, nan=np.inf)), 0.0)',
        'return np.where(doubt, first.r + second.r, 0.0)', 'a doubtful selection is between equals', 'roundings.switches',
    ),
    Bug(
        'prove/rounding/piecewise.py', 'f(x.z + x.r) - f(x.z - x.r))]',
        '0.0 * x.z)]', 'a rounded number does not jump', 'roundings.switches',
    ),
    Bug(
        'prove/rounding/piecewise.py', 'np.where(clear, 0.0, 2.0))]',
        'np.where(clear, 0.0, 1.0))]', 'a sign jumps by one', 'roundings.switches',
    ),
    Bug(
        'prove/rounding/piecewise.py', 'saturated(x.z - x.r, new) == saturated(x.z + x.r, new), x).all():',
        'saturated(x.z, new) == saturated(x.z, new), x).all():', 'rounding does not change an integer part', 'roundings.switches',
    ),
    Bug(
        'prove/rounding/piecewise.py', 'return [doubtful(~value, ~high, ~low)]',
        'return [doubtful(~value, ~value, ~value)]', 'not makes certain', 'roundings.switches',
    ),
    Bug(
        'prove/rounding/piecewise.py', 'or (str(new) == "float32" and old != "float64"):',
        'or str(new) == "float32":', 'float32 holds what float64 does', 'roundings.operations',
    ),
    Bug(
        'prove/rounding/piecewise.py', 'clear = decided(tape, known, a, b)',
        'clear = decided(tape, lambda: b.r == 0, a, b)', 'a remainder does not wrap', 'roundings.switches',
    ),
    Bug(
        'prove/rounding/order.py', 'lambda m: np.zeros(shape), lambda: spread, settled=still',
        'lambda m: np.zeros(shape), lambda: 0.0 * spread, settled=still', 'a doubtful maximum does not err', 'roundings.switches',
    ),
    Bug(
        'prove/rounding/order.py', 'if ((candidates.sum(axis=-1) > 1) & (np.where(candidates, r, 0.0).max(axis=-1) > 0)).any():',
        'if False:', 'an index of doubtful maxima is answered', 'roundings.switches',
    ),
    Bug(
        'prove/rounding/order.py', 'clear = (first - error > rest[0]) | (',
        'clear = (first > rest[0] - error) | (', 'a doubtful order is fixed', 'roundings.switches',
    ),
    Bug(
        'prove/rounding/contractions.py', 'eps = count * (unit.u * total + 2 * unit.tiny)',
        'eps = (count - 1) * (unit.u * total + 2 * unit.tiny)', 'a product of n terms rounds n - 1 times', 'roundings.sums',
    ),
    Bug(
        'prove/rounding/contractions.py', 'count = (1.0 - zero(x)).sum(axis=axes)',
        'count = (1.0 - zero(x)).sum(axis=axes) - 1', 'a sum of two does not round', 'roundings.sums',
    ),
    Bug(
        'prove/rounding/contractions.py', 'gamma, more = product(count - 1, unit.u)',
        'gamma, more = product(count - 2, unit.u)', 'a product of two does not round', 'roundings.sums',
    ),
    Bug(
        'prove/rounding/contractions.py', 'np.where(most > unit.largest, np.inf, count * (unit.u * most + unit.tiny))',
        'np.where(most > unit.largest, np.inf, np.minimum(count, 1) * (unit.u * most + unit.tiny))', 'many updates are one', 'roundings.sums',
    ),
    Bug(
        'prove/rounding/contractions.py', 'np.where((total > unit.largest) & (np.asarray(count) > 0), np.inf, eps)',
        'eps', 'a dot product does not overflow', 'roundings.sums',
    ),
    Bug(
        'prove/rounding/contractions.py', 'count = running(1.0 - zero(x), axis, reverse)',
        'count = np.minimum(running(1.0 - zero(x), axis, reverse), 2)', 'a running sum is a sum of two', 'roundings.sums',
    ),
    Bug(
        'prove/rounding/contractions.py', 'return 2 * dims.dot(a.r, b.r) if',
        'return 0 * dims.dot(a.r, b.r) if', 'a dot product of errors is none', 'roundings.second_order',
    ),
    Bug(
        'prove/rounding/solves.py', 'entries.sum(axis=-1, keepdims=True) + 1.0, unit.u)',
        'entries.sum(axis=-1, keepdims=True) - 1.0, unit.u)', 'substitution does not round the diagonal', 'roundings.solves',
    ),
    Bug(
        'prove/rounding/solves.py', 'product(3 * n + 1, unit.u)',
        'product(n - 1, unit.u)', 'elimination of one unknown does not round', 'roundings.solves',
    ),
    Bug(
        'prove/rounding/solves.py', 'lower = p["lower"] == (left != p["transpose_a"])',
        'lower = True', 'every triangle is a lower one', 'roundings.solves',
    ),
    Bug(
        'prove/rounding/rewrites.py', 'extra = 2 * unit.u * shift',
        'extra = 0 * shift', 'constants are not added before the program runs', 'roundings.rewrites',
    ),
    Bug(
        'prove/rounding/rewrites.py', 'np.where(overflow & (c != 1), np.inf,',
        'np.where(overflow & (c < 1), np.inf,', 'constants are not multiplied before the program runs', 'roundings.rewrites',
    ),
    Bug(
        'prove/rounding/rewrites.py', 'return lambda m: sum(terms) + unit.u * exponents * m',
        'return lambda m: sum(terms) + 0 * exponents * m', 'exponents are not added', 'roundings.rewrites',
    ),
    Bug(
        'prove/rounding/rewrites.py', 'extra = 2 * unit.u * abs(n) * x.origin["exponent"][0]',
        'extra = 0 * x.origin["exponent"][0]', 'exponents are not multiplied', 'roundings.rewrites',
    ),
    Bug(
        'prove/rounding/rewrites.py', 'relative = relative + unit.u * exponents',
        'relative = relative + 0 * exponents', 'exponents are not subtracted', 'roundings.rewrites',
    ),
    Bug(
        'prove/rounding/rewrites.py', 'np.where(bad, np.inf, unit.tiny / np.where(least > 0, least, 1.0))',
        '0.0 * least', 'divisors are not multiplied', 'roundings.rewrites',
    ),
    Bug(
        'prove/rounding/rewrites.py', 'np.where(same & (x + y > unit.largest), np.inf,',
        'np.where(same & (x + y < 0), np.inf,', 'a sum of multiples is not a multiple of a sum', 'roundings.rewrites',
    ),
    Bug(
        'prove/rounding/bound.py', 'return arithmetic.tape.source(z, flushed(z, str(x.dtype)))',
        'return arithmetic.tape.source(z)', 'subnormal inputs are read as they are', 'roundings.operations',
    ),
    Bug(
        'prove/rounding/bound.py', 'np.maximum(error, flushed(x, str(dtype))), True)',
        'error, True)', 'subnormal constants are read as they are', 'roundings.operations',
    ),
    Bug(
        'prove/rounding/bound.py', 'return x.value.astype(np.float64), x.doubt.astype(np.float64)',
        'return x.value.astype(np.float64), np.zeros(x.shape)', 'a doubtful truth value is certain', 'roundings.tape',
    ),
    Bug(
        'prove/rounding/result.py', 'return float(np.max(bound) / size)',
        'return float(np.min(bound) / size)', 'the best element speaks for all', 'roundings.verdicts',
    ),
    Bug(
        'prove/rounding/result.py', 'if self.share > VACUOUS else',
        'if self.share > 10 * VACUOUS else', 'a bound of half the output is rigorous', 'roundings.verdicts',
    ),
)
