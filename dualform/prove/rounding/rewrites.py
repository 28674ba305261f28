r"""What XLA's algebraic simplifier does to a program before it is compiled, and what that costs.

`jax.jit` does not run the program as written. On real numbers the rewrites below change nothing; in floating point they
move a rounding, or form a product that the program never forms and that may overflow or underflow where the program's
own would not. Each has a term in the local bounds. They were read in XLA's `algebraic_simplifier.cc` and are seen in
the compiled programs of the tests.

| rewrite | extra charge |
|---|---|
| (x + c1) + c2 -> x + (c1 + c2), constants c1, c2 | u (abs c1 + abs c2) |
| a c + b c -> (a + b) c, c a power of two | underflow 2 eta abs c; overflow of a + b |
| x + scatter_add(y, v) -> scatter_add(x + y, v) | one more rounding an update of the whole sum |
| sum(sum(x)) -> one sum in any order | (n - 1) u of the whole sum (in `contractions`) |
| (x c1) c2 -> x (c1 c2); (x c) y -> x (c y); (x c1)(y c2) -> (x y)(c1 c2) | range of the new products |
| (a/b)/c -> a/(b c); a/(b/c) -> (a c)/b; (a/b)/(c/d) -> (a d)/(b c) | range of the new products |
| x/c -> x (1/c); x/broadcast(b) -> x broadcast(1/b) | one more rounding; eta abs x (in `elementwise.div`) |
| prod(x c) -> prod(x) c^n, by LLVM inside a fused reduction | range of both products |
| prod(x^y) -> prod(x)^y, by LLVM inside a fused reduction | range of the product; n u abs y of the result |
| a^-n / b -> 1 / (a^n b) | range of the new product |
| exp(a) exp(b) -> exp(a + b); a/exp(b) -> a exp(-b); exp(a)^n -> exp(n a) | u (abs a + abs b) of the result |

Where a new product may leave the range, the bound is infinite (overflow) or pays for the flush (underflow).

A node's `origin` remembers what it was made of, as magnitudes (largest possible):
shift = (sum of added constants,), scale = (abs x, abs c), quotient = (numerator, divisor's least and largest),
exponent = (abs a,), power = (abs x, least abs x, abs y), scatter = (roundings, sum of magnitudes), total = (summands,
sum of magnitudes). What XLA removes (x + 0, x 1, a sum of one element, a choice between equal values) keeps the origin
of its operand, and what is put together from several values keeps that of each element.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from dualform.prove.rounding.charges import Unit


def sums(a, b, unit: Unit):
    """The extra charge of a + b, or None."""
    extra = None
    shift = _shift(a, b)
    if shift is not None and ("shift" in a.origin or "shift" in b.origin):
        extra = 2 * unit.u * shift
    if "scale" in a.origin and "scale" in b.origin:
        (x, c), (y, d) = a.origin["scale"], b.origin["scale"]
        same = c == d
        more = np.where(same & (x + y > unit.largest), np.inf, np.where(same, 2 * unit.tiny * c, 0.0))
        extra = more if extra is None else extra + more
    if "scatter" in a.origin or "scatter" in b.origin:
        count, total = _scatter(a, b)
        more = count * (unit.u * total + unit.tiny)
        extra = more if extra is None else extra + more
    return extra


def nothing(x) -> bool:
    """Whether an operand is the constant 0."""
    return x.constant and bool(np.all((x.z == 0) & (x.r == 0)))


def unit_factor(x) -> bool:
    """Whether an operand is the constant 1 or -1, by which XLA does not multiply."""
    return x.constant and bool(np.all((np.abs(x.z) == 1) & (x.r == 0)))


def alike(a, b) -> bool:
    """Whether two operands may be one value to XLA, which merges equal expressions."""
    if a is b:
        return True
    if not a.origin or a.origin.keys() != b.origin.keys() or not np.array_equal(a.z, b.z):
        return False
    pairs = ((x, y) for name, parts in a.origin.items() for x, y in zip(parts, b.origin[name], strict=True))
    return all(np.array_equal(x, y) for x, y in pairs)


NEUTRAL: dict[str, Callable] = {
    "shift": lambda p: (np.zeros(p.shape),),
    "scale": lambda p: (p.high, np.ones(p.shape)),
    "quotient": lambda p: (p.high, np.ones(p.shape), np.ones(p.shape)),
    "exponent": lambda p: (np.zeros(p.shape),),
    "power": lambda p: (p.high, p.low, np.ones(p.shape)),
    "scatter": lambda p: (np.zeros(p.shape), p.high),
    "total": lambda p: (np.ones(p.shape), p.high),
}
"""What an origin says of a value that has none of its kind."""


def joined(operands, flat: np.ndarray, shape: tuple[int, ...]) -> dict:
    """The origin of a value that is put together from elements of several."""
    origin = {}
    for name in dict.fromkeys(name for p in operands for name in p.origin):
        parts = zip(*(p.origin.get(name) or NEUTRAL[name](p) for p in operands), strict=True)
        whole = (np.concatenate([np.broadcast_to(x, p.shape).ravel() for x, p in zip(part, operands, strict=True)])
                 for part in parts)  # fmt: skip
        origin[name] = tuple(x[flat].reshape(shape) for x in whole)
    return origin


def alone(x, shape: tuple[int, ...]) -> dict:
    """What a sum or product of one element for each result leaves: the origin of that element."""
    if x.z.size != int(np.prod(shape)):
        return {}
    return {
        name: tuple(np.reshape(np.broadcast_to(v, x.shape), shape) for v in parts) for name, parts in x.origin.items()
    }


def sum_origin(a, b) -> dict:
    """What a + b leaves for the next rewrite."""
    origin = {**a.origin} if nothing(b) else {**b.origin} if nothing(a) else {}
    shift = _shift(a, b)
    if shift is not None:
        origin["shift"] = (shift,)
    if "scatter" in a.origin or "scatter" in b.origin:
        origin["scatter"] = _scatter(a, b)
    return origin


def _shift(a, b):
    """Sum of the constants added so far, where one operand is a constant."""
    if a.constant == b.constant:
        return None
    x, c = (b, a) if a.constant else (a, b)
    return np.abs(c.z) + (x.origin["shift"][0] if "shift" in x.origin else 0.0)


def _scatter(a, b):
    parts = [p.origin.get("scatter", (np.zeros(p.shape), p.high)) for p in (a, b)]
    return parts[0][0] + parts[1][0] + 1, parts[0][1] + parts[1][1]


def products(a, b, unit: Unit):
    """The extra charge of a b as a function of the result's magnitude, or None."""
    terms = []
    if "scale" in a.origin or "scale" in b.origin:
        terms.append(_regrouped(a, b, unit))
    exponents = _exponents(a, b)
    if exponents is not None:
        return lambda m: sum(terms) + unit.u * exponents * m
    return (lambda m: terms[0]) if terms else None


def _regrouped(a, b, unit: Unit):
    """Range of c y, x y and c1 c2 for x c times y (or y c2)."""
    extra: Any = 0.0
    for p, q in ((a, b), (b, a)):
        if "scale" in p.origin:
            x, c = p.origin["scale"]
            y, d = q.origin.get("scale", (q.high, np.ones(())))
            overflow = (c * q.high > unit.largest) | (x * y > unit.largest) | (c * d > unit.largest)
            flush = unit.tiny * (x + c * d + x * y)
            extra = extra + np.where(overflow & (c != 1), np.inf, np.where(c == 1, 0.0, flush))
    return extra


def product_origin(a, b) -> dict:
    """What a b leaves: a scaled value where a factor is a constant or scaled."""
    origin: dict[str, tuple] = {}
    if a.constant != b.constant:
        x, c = (b, a) if a.constant else (a, b)
        y, d = x.origin.get("scale", (x.high, np.ones(())))
        origin = {**x.origin} if unit_factor(c) else {}
        origin["scale"] = (np.broadcast_to(y, x.shape), np.broadcast_to(np.abs(c.z) * d, x.shape))
        if "power" in x.origin:
            origin["power"] = x.origin["power"]
    elif "scale" in a.origin or "scale" in b.origin:
        (x, c), (y, d) = (p.origin.get("scale", (p.high, np.ones(p.shape))) for p in (a, b))
        origin["scale"] = (x * y, c * d)
    exponents = _exponents(a, b)
    if exponents is not None:
        origin["exponent"] = (exponents,)
    return origin


def exponent(x) -> dict:
    """What exp(x) leaves."""
    return {"exponent": (np.where(np.isinf(x.z), 0.0, x.high),)}


def _exponents(a, b):
    if "exponent" in a.origin and "exponent" in b.origin:
        return a.origin["exponent"][0] + b.origin["exponent"][0]
    return None


def powers(x, n: int, unit: Unit):
    """The extra charge of x^n: exponents are added |n| - 1 times, scales are regrouped."""
    extra: Any = 0.0
    if "exponent" in x.origin:
        extra = 2 * unit.u * abs(n) * x.origin["exponent"][0] * np.abs(x.high) ** float(n)
    if "scale" in x.origin:
        k = abs(n)
        y, c = x.origin["scale"]
        large = np.maximum(y, 1) ** k, np.maximum(c, 1) ** k
        small = (np.minimum(y, 1) * np.minimum(c, 1)) ** k
        overflow = np.maximum(*large) > unit.largest
        lost = (n < 0) & (small < 4 * unit.tiny)
        extra = extra + np.where(overflow | lost, np.inf, k * unit.tiny * sum(large) if n > 0 else 0.0)
    return extra


def many(x, along, unit: Unit):
    """The extra charge of a product of many elements x = y c or y^n: the parts are multiplied among themselves."""
    extra: Any = 0.0
    if "scale" in x.origin:
        y, c = x.origin["scale"]
        large = along(np.maximum(y, 1)), along(np.maximum(c, 1))
        extra = np.where(np.maximum(*large) > unit.largest, np.inf, y.size * unit.tiny * sum(large))
    if "power" in x.origin:
        y, least, n = x.origin["power"]
        out = (along(np.maximum(y, 1)) > unit.largest) | ~(along(np.minimum(least, 1)) > unit.tiny)
        rounded = 2 * unit.u * y.size * (1 + np.max(n, initial=0.0)) * along(x.high)
        extra = extra + np.where(out, np.inf, rounded)
    return extra


def raised(x, y) -> dict:
    """What x^y leaves, for a constant y."""
    origin: dict = {}
    if y.constant:
        origin["power"] = (x.high, x.low, np.abs(y.z))
        whole = (y.z == np.trunc(y.z)) & (y.z < 0)
        if whole.all():
            origin["quotient"] = _reciprocal(x, -y.z)
    return origin


def _reciprocal(x, n) -> tuple:
    """x^-n as a quotient."""
    return np.ones(x.shape), x.low ** np.asarray(n, float), x.high ** np.asarray(n, float)


def power_origin(x, n: int) -> dict:
    origin: dict = {"exponent": (abs(n) * x.origin["exponent"][0],)} if "exponent" in x.origin else {}
    return {**origin, "quotient": _reciprocal(x, -n)} if n < 0 else origin


def quotients(a, b, unit: Unit):
    """The extra charge of a / b as a function of the result's magnitude, or None."""
    fixed: Any = 0.0
    relative: Any = 0.0
    if "scale" in a.origin:
        x, c = a.origin["scale"]
        ratio = c / np.where(b.low > 0, b.low, unit.tiny)
        fixed = np.where((ratio > unit.largest) & (c != 1), np.inf, unit.tiny * x * (1 + c))
    if "quotient" in a.origin or "quotient" in b.origin:
        numerator, least, most = _crossed(a, b)
        bad = (numerator > unit.largest) | (least < unit.tiny)
        fixed = fixed + np.where(bad, np.inf, unit.tiny / np.where(least > 0, least, 1.0))
        relative = np.where(most > unit.largest, 1.0, 0.0)
    exponents = _exponents(a, b)
    if exponents is not None:
        relative = relative + unit.u * exponents
    known = {"scale", "quotient", "exponent"} & {*a.origin, *b.origin}
    return (lambda m: fixed + relative * m) if known else None


def _crossed(a, b):
    """(a / b) as one quotient: numerator's largest, divisor's least and largest magnitude."""
    an, al, ah = a.origin.get("quotient", (a.high, np.ones(a.shape), np.ones(a.shape)))
    bl, bh = b.low, b.high
    if "quotient" in b.origin:
        bn, ql, qh = b.origin["quotient"]
        # b = bn / q: the new numerator is an q, the new divisor al bn; bn's least is at least b's least times q's
        return an * qh, al * b.low * ql, ah * bn
    return an, al * bl, ah * bh


def quotient_origin(a, b) -> dict:
    origin: dict = {**a.origin} if unit_factor(b) else {}
    if b.constant:
        x, c = a.origin.get("scale", (a.high, np.ones(())))
        with np.errstate(all="ignore"):
            origin["scale"] = (np.broadcast_to(x, a.shape), np.broadcast_to(c / np.abs(b.z), a.shape))
    else:
        origin["quotient"] = _crossed(a, b)
    if "exponent" in b.origin and ("exponent" in a.origin or a.constant):
        origin["exponent"] = (b.origin["exponent"][0] + (a.origin["exponent"][0] if "exponent" in a.origin else 0.0),)
    return origin
