"""The statements that random programs are made of.

An `Operation` takes the generator and a `Pool` of values and returns a statement, or None where no value fits.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import jax.numpy as jnp
import numpy as np

from tests.fuzz.programs import Statement, Value

LARGEST = 24
"""Elements of a value; of programs with large inputs, those of the input."""

CONSTANTS = ["2.0", "0.5", "0.25", "8.0", "-1.0", "1.0", "0.0", "-2.0", "0.3", "-0.7", "0.1", "1/3", "12**0.5", "1e3"]
EXTREME = {
    "float32": ["1e20", "1e-20", "1e30", "-1e30", "1e-30", "1e-38", "1e-40", "1e-45", "3e-39", "1e38"],
    "bfloat16": ["1e20", "1e-20", "1e30", "-1e30", "1e-30", "1e-38", "1e-39", "1e38"],
    "float16": ["300.", "6e4", "1e-5", "1e-7", "6e-8", "-3e4", "1e-4", "1e3"],
    "float64": ["1e200", "1e-200", "1e-310", "5e-324", "1e300", "1e20", "1e-30"],
}
MASKS = {"float16": ["-jnp.inf", "-6e4", "jnp.finfo(D).min"]}


@dataclass
class Pool:
    """The values at hand; readers prefer recent ones, but come back to old ones often (fan-out)."""

    rng: np.random.Generator
    dtype: str
    values: list[Value] = field(default_factory=list)
    count: int = 0
    extreme: float = 0.15
    largest: int = LARGEST

    def name(self) -> str:
        self.count += 1
        return f"v{self.count}"

    def any(self, test: Callable[[Value], bool] = lambda x: True) -> Value | None:
        fit = [x for x in self.values if test(x)]
        if not fit:
            return None
        weights = np.array([1.0 + 1.5 * i / len(fit) for i in range(len(fit))])
        return fit[self.rng.choice(len(fit), p=weights / weights.sum())]

    def like(self, x: Value) -> Value:
        """Another value of the same shape, or the same one."""
        return self.any(lambda y: y.shape == x.shape and y.dtype == x.dtype) or x

    def constant(self, dtype: str) -> str:
        extreme = self.rng.random() < self.extreme
        return str(self.rng.choice(EXTREME[dtype] if extreme else CONSTANTS))

    def array(self, shape: Sequence[int], dtype: str) -> str:
        """A constant array: plain numbers, powers of two, ones, or ties."""
        how = self.rng.integers(4)
        if how == 0:
            return f"jnp.ones({tuple(shape)}, jnp.{dtype})"
        draw = {
            1: lambda n: self.rng.normal(size=n).round(2),
            2: lambda n: 2.0 ** self.rng.integers(-3, 4, n),
            3: lambda n: self.rng.integers(-2, 3, n) / 1.0,
        }[int(how)]
        return f"jnp.asarray({draw(tuple(shape)).tolist()}, jnp.{dtype})"

    def add(self, kind: str, text: str, operands: Sequence[Value], shape: Sequence[int], dtype: str | None = None):
        out = Value(self.name(), tuple(int(n) for n in shape), dtype or operands[0].dtype)
        if out.size > self.largest or out.size == 0:
            return None
        self.values.append(out)
        return Statement(kind, text, tuple(operands), out)

    def pick(self, choices):
        return choices[int(self.rng.integers(len(choices)))]


def unary(p: Pool):
    """Functions on their natural domain, or off it one time in eight."""
    x = p.any()
    safe = p.rng.random() < 0.875
    name, text, guarded = p.pick(RARE if p.rng.random() < 0.05 else UNARY)
    return p.add(name, guarded if safe else text, (x,), x.shape)


RARE = [
    ("erfc", "lax.erfc({0})", "lax.erfc({0})"),
    ("atan", "jnp.arctan({0})", "jnp.arctan({0})"),
    ("tan", "jnp.tan({0})", "jnp.tan(jnp.tanh({0}))"),
    ("sinh", "jnp.sinh({0})", "jnp.sinh(jnp.tanh({0}))"),
    ("cosh", "jnp.cosh({0})", "jnp.cosh(jnp.tanh({0}))"),
    ("cbrt", "jnp.cbrt({0})", "jnp.cbrt({0})"),
]
UNARY = [
    ("neg", "-{0}", "-{0}"),
    ("abs", "jnp.abs({0})", "jnp.abs({0})"),
    ("exp", "jnp.exp({0})", "jnp.exp(-jnp.abs({0}))"),
    ("exp", "jnp.exp({0})", "jnp.exp({0})"),
    ("exp2", "jnp.exp2({0})", "jnp.exp2({0})"),
    ("log", "jnp.log({0})", "jnp.log(jnp.abs({0}) + 1e-3)"),
    ("log", "jnp.log({0})", "jnp.log(jnp.maximum({0}, 1e-6))"),
    ("log1p", "jnp.log1p({0})", "jnp.log1p(jnp.abs({0}))"),
    ("expm1", "jnp.expm1({0})", "jnp.expm1({0})"),
    ("sqrt", "jnp.sqrt({0})", "jnp.sqrt(jnp.abs({0}))"),
    ("sqrt", "jnp.sqrt({0})", "jnp.sqrt({0} * {0})"),
    ("rsqrt", "lax.rsqrt({0})", "lax.rsqrt({0} * {0} + 1e-5)"),
    ("tanh", "jnp.tanh({0})", "jnp.tanh({0})"),
    ("logistic", "jax.nn.sigmoid({0})", "jax.nn.sigmoid({0})"),
    ("sin", "jnp.sin({0})", "jnp.sin({0})"),
    ("cos", "jnp.cos({0})", "jnp.cos({0})"),
    ("erf", "lax.erf({0})", "lax.erf({0})"),
    ("square", "jnp.square({0})", "jnp.square({0})"),
    ("integer_pow", "{0} ** 3", "{0} ** 3"),
    ("integer_pow", "{0} ** 2", "{0} ** 2"),
    ("integer_pow", "{0} ** -2", "(jnp.abs({0}) + 0.5) ** -2"),
    ("pow", "{0} ** 1.7", "jnp.abs({0}) ** 1.7"),
    ("pow", "{0} ** 0.5", "(jnp.abs({0}) + 0.1) ** 0.5"),
    ("pow", "{0} ** -0.3", "(jnp.abs({0}) + 0.1) ** -0.3"),
    ("pow", "jnp.power(2.0, {0})", "jnp.power(2.0, jnp.tanh({0}))"),
    ("sign", "jnp.sign({0})", "jnp.sign({0})"),
    ("round", "jnp.round({0})", "jnp.round({0} * 4)"),
    ("floor", "jnp.floor({0})", "jnp.floor({0})"),
    ("softplus", "jax.nn.softplus({0})", "jax.nn.softplus({0})"),
    ("relu", "jax.nn.relu({0})", "jax.nn.relu({0})"),
    ("silu", "jax.nn.silu({0})", "jax.nn.silu({0})"),
    ("gelu", "jax.nn.gelu({0})", "jax.nn.gelu({0}, approximate=False)"),
    ("log_sigmoid", "jax.nn.log_sigmoid({0})", "jax.nn.log_sigmoid({0})"),
    ("elu", "jax.nn.elu({0})", "jax.nn.elu({0})"),
    ("clip", "jnp.clip({0}, -1, 1)", "jnp.clip({0}, -1, 1)"),
    ("logaddexp", "jnp.logaddexp({0}, 0.3)", "jnp.logaddexp({0}, 0.3)"),
    ("guard", "jnp.where({0} > 0, jnp.log({0}), 0.)", "jnp.where({0} > 0, jnp.log(jnp.where({0} > 0, {0}, 1.)), 0.)"),
    ("guard", "jnp.where(jnp.isfinite({0}), {0}, 0.)", "jnp.where(jnp.isnan({0}), 0., {0})"),
]


def binary(p: Pool):
    x = p.any()
    y = p.like(x)
    kind, text = p.pick([
        ("add", "{0} + {1}"), ("sub", "{0} - {1}"), ("mul", "{0} * {1}"), ("div", "{0} / {1}"),
        ("div", "{0} / (jnp.abs({1}) + 1.0)"), ("max", "jnp.maximum({0}, {1})"), ("min", "jnp.minimum({0}, {1})"),
        ("select", "jnp.where({0} > {1}, {0}, {1} * 0.5)"), ("select", "jnp.where({1} == 0, {0}, {0} / {1})"),
        ("fma", "{0} * {1} + {0}"), ("fma", "{0} * {1} - {1} * {0}"), ("fma", "{0} * {0} - {1} * {1}"),
        ("logaddexp", "jnp.logaddexp({0}, {1})"),
        ("hypot", "jnp.sqrt({0} * {0} + {1} * {1})"),
        ("rem", "{0} % (jnp.abs({1}) + 0.5)") if p.rng.random() < 0.3 else ("lerp", "0.7 * {0} - 0.1 * {1}"),
        ("lerp", "0.9 * {0} + 0.1 * {1}"), ("lerp", "{0} + 0.3 * ({1} - {0})"),
    ])  # fmt: skip
    return p.add(kind, text, (x, y), x.shape)


def mixed(p: Pool):
    """Operands of two dtypes, or of two shapes."""
    x = p.any(lambda v: v.shape)
    y = p.any(lambda v: _broadcasts(v.shape, x.shape)) if x else None
    if x is None or y is None:
        return None
    dtype = str(jnp.promote_types(x.dtype, y.dtype))
    kind, text = p.pick([("add", "{0} + {1}"), ("sub", "{0} - {1}"), ("mul", "{0} * {1}"), ("div", "{0} / {1}")])
    return p.add(kind, text, (x, y), x.shape, dtype)


def _broadcasts(small, big) -> bool:
    return len(small) == len(big) and all(a in (1, b) for a, b in zip(small, big, strict=True)) or small == ()


def constant(p: Pool):
    x = p.any()
    c = p.constant(x.dtype)
    kind, text = p.pick([
        ("add", "{0} + {c}"), ("sub", "{0} - {c}"), ("sub", "{c} - {0}"), ("mul", "{0} * {c}"), ("mul", "{0} * {c}"),
        ("div", "{0} / {c}"), ("div", "{c} / {0}"), ("max", "jnp.maximum({0}, {c})"), ("min", "jnp.minimum({0}, {c})"),
        ("mul", "{0} * {c} * 0.3"), ("mul", "{0} * 0.3 * {c}"), ("add", "{0} * 0.3 + {c}"), ("div", "{0} / {c} / 3.0"),
    ])  # fmt: skip
    return p.add(kind, text.replace("{c}", f"({c})"), (x,), x.shape)


def constant_array(p: Pool):
    x = p.any()
    a = p.array(x.shape, x.dtype)
    kind, text = p.pick([("add", "{0} + {a}"), ("mul", "{0} * {a}"), ("sub", "{0} - {a}"), ("max", "jnp.maximum({0}, {a})")])
    return p.add(kind, text.replace("{a}", a), (x,), x.shape)


def no_op(p: Pool):
    """What changes nothing on real numbers, or only the scale: a compiler may pass it over in one reader only."""
    x = p.any()
    texts = [
        "{0} * .3 * 2.", "{0} * .3 + 0.", "{0} * .7 * -1.", "{0} / 12**.5 * 2.", "({0} + 0.3) * 2.", "{0} * 1.0",
        "{0} * .3 * {one}", "-(-{0} * .1)", "{0}.reshape(-1).reshape({0}.shape)", "jnp.stack([{0} * .3, {0}])[0]",
        "jnp.concatenate([{0} * .3, {0}])[:{n}]", "jnp.broadcast_to({0} * .3, (2,) + {0}.shape)[1]",
        "lax.optimization_barrier({0} * .3)", "lax.optimization_barrier({0})", "jnp.maximum({0} * .3, -jnp.inf)",
        "jnp.cumprod(jnp.stack([{0}, {0} * 0 + 0.3]), 0)[1]", "{0} * .3 / 1.0", "({0} * .3).astype({0}.dtype)",
        "lax.stop_gradient({0} * .3)", "lax.cond(True, lambda v: v * .3, lambda v: v, {0})",
        "jax.jit(lambda v: v * .3)({0})", "jax.checkpoint(lambda v: v * .3)({0})", "jnp.where({0} == {0}, {0} * .3, 0.)",
        "lax.fori_loop(0, 1, lambda i, v: v * .3, {0})", "{0} * .3 + {0} * 0.", "jnp.clip({0} * .3, -1e4, 1e4)",
        "jnp.sum(({0} * .3)[None], 0)", "jnp.prod(jnp.stack([{0}, {0} * 0 + .3]), 0)", "0.5 * (2.0 * {0})",
    ]  # fmt: skip
    text = p.pick(texts)
    if "{n}" in text and not x.shape:
        return None
    text = text.replace("{one}", f"jnp.ones({x.shape}, {{0}}.dtype)").replace("{n}", str(x.shape[0] if x.shape else 0))
    return p.add("no-op", text, (x,), x.shape)


def reduction(p: Pool):
    x = p.any(lambda v: v.shape)
    if x is None:
        return None
    axis = int(p.rng.integers(len(x.shape)))
    keep = p.rng.random() < 0.6
    kind = str(p.rng.choice(["sum", "mean", "max", "min", "prod", "sum", "mean", "max", "var", "std"]))
    n = list(x.shape)
    if keep:
        n[axis] = 1
    else:
        n.pop(axis)
    tail = f"({axis}, keepdims=True)" if keep else f"({axis})"
    if kind == "prod":
        return p.add("prod", f"jnp.prod({{0}}, {axis}, keepdims={keep})", (x,), n)
    return p.add(kind, f"{{0}}.{kind}{tail}", (x,), n)


def centred(p: Pool):
    """A value and its own mean, maximum or sum: the commonest cancellations of all."""
    x = p.any(lambda v: v.shape)
    if x is None:
        return None
    kind, text = p.pick([
        ("centre", "{0} - {0}.mean(-1, keepdims=True)"), ("centre", "{0} - {0}.sum(-1, keepdims=True) / {m}"),
        ("centre", "{0} - {0}.mean(0, keepdims=True)"), ("centre", "({0} - {0}.mean(-1, keepdims=True)) * 0.3"), ("shift", "{0} - {0}.max(-1, keepdims=True)"),
        ("softmax", "jnp.exp({0} - {0}.max(-1, keepdims=True)) / jnp.exp({0} - {0}.max(-1, keepdims=True)).sum(-1, keepdims=True)"),
        ("softmax", "jax.nn.softmax({0}, axis=-1)"), ("log_softmax", "jax.nn.log_softmax({0}, axis=-1)"),
        ("rmsnorm", "{0} * lax.rsqrt(jnp.mean({0} * {0}, -1, keepdims=True) + 1e-6)"),
        ("rmsnorm", "{0} * lax.rsqrt(jnp.mean({0} * {0}, -1, keepdims=True))"),
        ("layernorm", "({0} - {0}.mean(-1, keepdims=True)) * lax.rsqrt({0}.var(-1, keepdims=True) + 1e-5)"),
        ("layernorm", "({0} - {0}.mean(-1, keepdims=True)) / jnp.sqrt({0}.var(-1, keepdims=True) + 1e-5)"),
        ("standardize", "jax.nn.standardize({0}, axis=-1)"), ("unit", "{0} / jnp.sqrt(({0} * {0}).sum(-1, keepdims=True))"),
        ("share", "{0} / {0}.sum(-1, keepdims=True)"), ("sharp", "jnp.exp(1e6 * ({0} - {0}.mean(-1, keepdims=True)))"),
        ("sharp", "jnp.exp(1e3 * ({0} - {0}.max(-1, keepdims=True)))"),
        ("winner", "jnp.where({0} == {0}.max(-1, keepdims=True), 1.0, 0.0).astype({0}.dtype)"),
        ("above", "jnp.where({0} >= {0}.mean(-1, keepdims=True), {0}, 0.0)"),
    ])  # fmt: skip
    text = text.replace("{m}", str(x.shape[-1]))
    if x.dtype == "float16":
        text = text.replace("1e6", "1e3")
    return p.add(kind, text, (x,), x.shape)


def gathered(p: Pool):
    """logsumexp, order statistics and other reductions that are programs of their own."""
    x = p.any(lambda v: v.shape and v.shape[-1] > 1)
    if x is None:
        return None
    n = x.shape[:-1]
    kind, text, shape = p.pick([
        ("logsumexp", "jax.nn.logsumexp({0}, axis=-1)", n), ("logsumexp", "jnp.log(jnp.exp({0}).sum(-1))", n),
        ("median", "jnp.median({0}, axis=-1)", n), ("quantile", "jnp.quantile({0}, 0.3, axis=-1)", n),
        ("norm", "jnp.sqrt(({0} * {0}).sum(-1))", n), ("norm", "jnp.linalg.norm({0}, axis=-1)", n),
        ("sort", "jnp.sort({0}, axis=-1)", x.shape), ("top_k", "lax.top_k({0}, 2)[0]", (*n, 2)),
        ("argmax", "jnp.take_along_axis({0}, jnp.argmax({0}, -1, keepdims=True), -1)", (*n, 1)),
        ("ptp", "{0}.max(-1) - {0}.min(-1)", n), ("nanmax", "jnp.max({0}, -1, where={0} < 1, initial=-1e30)", n),
        ("masked_sum", "jnp.where({0} > 0, {0}, 0.).sum(-1)", n), ("average", "({0} * {0}).sum(-1) / {0}.sum(-1)", n),
    ])  # fmt: skip
    if x.dtype in ("bfloat16", "float16") and kind in ("median", "quantile"):
        return None
    return p.add(kind, text, (x,), shape)


def cumulative(p: Pool):
    x = p.any(lambda v: v.shape)
    if x is None:
        return None
    kind = str(p.rng.choice(["cumsum", "cumprod", "cummax", "cummin", "cumsum"]))
    axis = int(p.rng.integers(len(x.shape)))
    reverse = bool(p.rng.random() < 0.25)
    return p.add(kind, f"lax.{kind}({{0}}, axis={axis}, reverse={reverse})", (x,), x.shape)


def product(p: Pool):
    """Contractions: inner, outer, of matrices, with vectors, batched, of one term."""
    x = p.any(lambda v: len(v.shape) == 2)
    if x is None:
        return None
    n, k = x.shape
    fits: list[tuple] = [
        ("matmul", "{0} @ {0}.T", (x,), (n, n)), ("matmul", "{0}.T @ {0}", (x,), (k, k)),
        ("batched", "jnp.einsum('ij,ij->i', {0}, {0})", (x,), (n,)), ("outer", "jnp.outer({0}[0], {0}[:, 0])", (x,), (k, n)),
        ("one term", "{0}[:, :1] @ {0}[:1, :]", (x,), (n, k)),
        ("trilinear", "jnp.einsum('ij,ij,j->i', {0}, {0}, {0}[0])", (x,), (n,)),
    ]  # fmt: skip
    y = p.any(lambda v: len(v.shape) == 2 and v.dtype == x.dtype and k in v.shape and v is not x)
    if y is not None:
        fits += [("matmul", "{0} @ {1}", (x, y), (n, y.shape[1]))] if y.shape[0] == k else [
            ("matmul", "{0} @ {1}.T", (x, y), (n, y.shape[0])), ("precise", "jnp.matmul({0}, {1}.T, precision='highest')", (x, y), (n, y.shape[0]))
        ]  # fmt: skip
        if y.shape == x.shape:
            fits += [("batched", "jnp.einsum('ij,ij->i', {0}, {1})", (x, y), (n,)), ("bilinear", "jnp.vdot({0}, {1})", (x, y), ())]
    v = p.any(lambda v: v.shape == (k,) and v.dtype == x.dtype)
    if v is not None:
        fits += [("matvec", "{0} @ {1}", (x, v), (n,))] * 2 + [("outer", "jnp.outer({1}, {1}) @ {0}.T", (x, v), (k, n))]
        fits += [("inner", "jnp.dot({1}, {1})", (x, v), ())]
    kind, text, operands, shape = p.pick(fits)
    return p.add(kind, text, operands, shape)


def both(p: Pool):
    """One value read by a contraction and element by element, and the two compared."""
    x = p.any(lambda v: len(v.shape) == 2)
    if x is None:
        return None
    n, k = x.shape
    kind, text, shape = p.pick([
        ("dot and sum", "jnp.einsum('ij,ij->i', {0}, {0}) - ({0} * {0}).sum(-1)", (n,)),
        ("dot and sum", "{0} @ jnp.ones({k}, {0}.dtype) - {0}.sum(-1)", (n,)),
        ("dot and element", "({0} @ {0}.T) @ {0} - {0}", (n, k)), ("dot and element", "{0} @ {0}[0] - {0}[:, 0]", (n,)),
        ("dot and element", "{0}[:, :1] @ {0}[:1, :] - {0}[:, :1] * {0}[:1, :]", (n, k)),
        ("dot and mean", "{0} @ jnp.full({k}, 1 / {k}, {0}.dtype) - {0}.mean(-1)", (n,)),
    ])  # fmt: skip
    return p.add(kind, text.replace("{k}", str(k)), (x,), shape)


def difference(p: Pool, x: Value | None = None):
    """Two readings of one value that cancel: g(c) - h(c)."""
    if x is None or not x.shape or x.shape[0] < 2:
        x = p.any(lambda v: v.shape and v.shape[0] > 1)
    if x is None:
        return None
    inner = x.shape[1:]
    options = [
        ("reversal", "{0}[::-1] - {0}", x.shape), ("reversal", "({0}[::-1] - {0}).sum(0)", inner),
        ("roll", "jnp.roll({0}, 1, 0) - {0}", x.shape), ("roll", "(jnp.roll({0}, 1, 0) - {0}).sum(0)", inner),
        ("telescope", "({0}[1:] - {0}[:-1]).sum(0) - ({0}[-1] - {0}[0])", inner),
        ("telescope", "jnp.diff({0}, axis=0).sum(0)", inner), ("gap", "{0} - {0}.max(-1, keepdims=True)", x.shape),
        ("gap", "{0} - {0}.min(0, keepdims=True)", x.shape), ("gap", "{0}.max(0) - {0}.min(0)", inner),
        ("self", "{0} - {0}[0]", x.shape) if len(x.shape) == 1 else ("self", "{0} - {0}[:1]", x.shape),
        ("order of sums", "{0}.sum() - {0}[::-1].sum()", ()), ("order of sums", "{0}.sum() - {0}.sum(0).sum()", ()),
        ("order of sums", "jnp.cumsum({0}, 0)[-1] - {0}.sum(0)", inner),
        ("square", "{0} * {0} - {0} ** 2", x.shape), ("barrier", "{0} - lax.optimization_barrier({0})", x.shape),
        ("sorted", "jnp.sort({0}, 0)[-1] - {0}.max(0)", inner), ("gather", "{0}[jnp.array([0, 0])] - {0}[:1]", (2, *inner)),
        ("concatenate", "jnp.concatenate([{0}, {0}[::-1]]).sum(0) - 2 * {0}.sum(0)", inner),
        ("scatter", "{0} - jnp.zeros_like({0}).at[jnp.arange({n})].add({0})", x.shape),
        ("residual", "{0} - jnp.exp(jnp.log(jnp.abs({0}) + 1.0)) * jnp.sign({0})", x.shape),
        ("variance", "({0} * {0}).mean(0) - {0}.mean(0) ** 2", inner), ("cumulative", "jnp.cumsum({0}, 0)[1:] - jnp.cumsum({0}, 0)[:-1]", (x.shape[0] - 1, *inner)),
    ]  # fmt: skip
    if len(x.shape) == 2:
        options += [("transpose", "{0}.T.sum(0) - {0}.sum(1)", (x.shape[0],)), ("columns", "{0}[:, ::-1] - {0}", x.shape)]
    kind, text, shape = p.pick(options)
    return p.add(f"{kind} cancels", text.replace("{n}", str(x.shape[0])), (x,), shape)


def movement(p: Pool):
    x = p.any(lambda v: v.shape)
    if x is None:
        return None
    n, inner = x.shape[0], x.shape[1:]
    index = p.rng.integers(0, n, min(n, 3)).tolist()
    options = [
        ("rev", "{0}[::-1]", x.shape), ("roll", "jnp.roll({0}, 1, -1)", x.shape), ("gather", f"{{0}}[jnp.array({index})]", (len(index), *inner)),
        ("concatenate", "jnp.concatenate([{0}, {0}[:1]])", (n + 1, *inner)), ("repeat", "jnp.repeat({0}, 2, 0)", (2 * n, *inner)),
        ("scatter-add", f"{{0}}.at[jnp.array({index})].add(0.3)", x.shape),
        ("scatter-add", f"{{0}}.at[jnp.array({index})].add({{0}}[:{len(index)}])", x.shape),
        ("segment_sum", f"jax.ops.segment_sum({{0}}, jnp.array({sorted(p.rng.integers(0, 2, n).tolist())}), 2)", (2, *inner)),
        ("pad", "jnp.pad({0}, [(1, 0)] + [(0, 0)] * ({0}.ndim - 1))", (n + 1, *inner)), ("update", "lax.dynamic_update_slice_in_dim({0}, {0}[:1] * 0.3, 0, 0)", x.shape),
        ("mask", "jnp.where(jnp.arange({m}) < {h}, {0}, {fill})", x.shape) if len(x.shape) == 1 else ("mask", "jnp.where(jnp.tri({n}, {m}, dtype=bool), {0}, {fill})", x.shape),
        ("masked softmax", "jax.nn.softmax(jnp.where(jnp.arange({m}) <= {h}, {0}, {fill}), axis=-1)", x.shape) if len(x.shape) == 1 else ("masked softmax", "jax.nn.softmax(jnp.where(jnp.tri({n}, {m}, dtype=bool), {0}, {fill}), axis=-1)", x.shape),
    ]  # fmt: skip
    if n > 1:
        options += [("slice", "{0}[1:]", (n - 1, *inner)), ("slice", "{0}[:-1]", (n - 1, *inner)), ("index", "{0}[0]", inner)]
    if len(x.shape) == 2:
        options += [("transpose", "{0}.T", (x.shape[1], n)), ("ravel", "{0}.reshape(-1)", (x.size,)), ("tril", "jnp.tril({0})", x.shape)]
    kind, text, shape = p.pick(options)
    fill = p.pick(MASKS.get(x.dtype, ["-jnp.inf", "-1e30", "jnp.finfo({0}.dtype).min", "0.0"]))
    m = x.shape[-1]
    text = text.replace("{n}", str(n)).replace("{m}", str(m)).replace("{h}", str(m // 2)).replace("{fill}", fill)
    return p.add(kind, text, (x,), shape)


def cast(p: Pool):
    """To other floats, and back."""
    x = p.any()
    other = str(p.rng.choice(["bfloat16", "float16", "float32"]))
    kind, text, dtype = p.pick([
        ("bool", "({0} > 0).astype({0}.dtype)", None), ("through", "{0}.astype(jnp.bfloat16).astype({0}.dtype)", None),
        ("through", "{0}.astype(jnp.float16).astype({0}.dtype)", None), ("to", f"{{0}}.astype(jnp.{other})", other),
        ("to", f"{{0}}.astype(jnp.{other})", other), ("to", "{0}.astype(D)", p.dtype),
        ("through", "{0} - {0}.astype(jnp.bfloat16).astype({0}.dtype)", None),
        ("through", "lax.reduce_precision({0}, 8, 7)", None),
    ])  # fmt: skip
    return p.add(f"cast {kind}", text, (x,), x.shape, dtype)


def whole(p: Pool):
    """Through integers, as quantisation does it, within their range or beyond."""
    x = p.any()
    kind, text = p.pick([
        ("int8", "jnp.round({0} * 127).astype(jnp.int8).astype({0}.dtype) / 127"),
        ("int8", "jnp.round(jnp.clip({0}, -1, 1) * 127).astype(jnp.int8).astype({0}.dtype) / 127"),
        ("int8", "jnp.round({0} / jnp.abs({0}).max() * 127).astype(jnp.int8).astype({0}.dtype) * (jnp.abs({0}).max() / 127)"),
        ("int32", "{0}.astype(jnp.int32).astype({0}.dtype)"), ("uint8", "{0}.astype(jnp.uint8).astype({0}.dtype)"),
        ("int32", "(jnp.floor({0}).astype(jnp.int32) // 2).astype({0}.dtype)"),
        ("int32", "jnp.clip({0}, -9, 9).astype(jnp.int32).astype({0}.dtype) * {0}"),
        ("count", "({0} > 0).sum().astype({0}.dtype) * {0}"), ("count", "{0} * ({0} > 0.3).astype(jnp.int32)"),
    ])  # fmt: skip
    return p.add(f"cast {kind}", text, (x,), x.shape)


def loop(p: Pool):
    """Scans, loops and unrolled recursions."""
    x = p.any(lambda v: v.shape and 1 < v.shape[0] <= 8)
    if x is None:
        return None
    n, inner = x.shape[0], x.shape[1:]
    a = p.pick(["0.9", "0.3", "-0.7", "0.5", "1.0"])
    unroll = p.pick([1, 1, 2, 4])
    kind, text, shape = p.pick([
        ("scan", f"lax.scan(lambda s, v: ({a} * s + v, s * v), {{0}}[0] * 0, {{0}}, unroll={unroll})[1]", x.shape),
        ("scan", f"lax.scan(lambda s, v: ({a} * s + v, s), {{0}}[0], {{0}}, unroll={unroll})[0]", inner),
        ("scan", f"lax.scan(lambda s, v: (jnp.tanh(s + v), s - v), {{0}}[0], {{0}}, unroll={unroll})[1]", x.shape),
        ("scan", f"lax.scan(lambda s, v: (s * jnp.exp(-jnp.abs(v)) + v, s), {{0}}[0], {{0}}, reverse=True, unroll={unroll})[1]", x.shape),
        ("scan", f"lax.scan(lambda s, v: (jnp.maximum(s, v), s - jnp.maximum(s, v)), {{0}}[0], {{0}}, unroll={unroll})[1]", x.shape),
        ("fori_loop", f"lax.fori_loop(0, {n}, lambda i, s: {a} * s + {{0}}[i], {{0}}[0])", inner),
        ("fori_loop", f"lax.fori_loop(0, 3, lambda i, s: {a} * s + 0.1 * s[::-1], {{0}})", x.shape),
        ("while_loop", f"lax.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, c[1] * {a} + {{0}}), (0, {{0}}))[1]", x.shape),
        ("associative_scan", "lax.associative_scan(jnp.add, {0})", x.shape),
        ("associative_scan", "lax.associative_scan(lambda a, b: (a[0] * b[0], a[1] * b[0] + b[1]), ({0} * 0 + 0.9, {0}))[1]", x.shape),
        ("unrolled", f"{{out}} = {{0}}[0] * 0\nfor i in range({n}):\n    {{out}} = {a} * {{out}} + {{0}}[i]", inner),
        ("unrolled", f"{{out}} = {{0}}[0]\nfor i in range({n}):\n    {{out}} = {{out}} * {{0}}[i] + {a}", inner),
        ("vmap", "jax.vmap(lambda v: v * v.sum() - v)({0})", x.shape),
    ])  # fmt: skip
    return p.add(kind, text, (x,), shape)


def delta(p: Pool):
    """Steps of the delta rule, unrolled or scanned."""
    x = p.any(lambda v: len(v.shape) == 2 and v.shape[0] <= 4 and v.shape[1] <= 4)
    if x is None:
        return None
    y = p.like(x)
    n, k = x.shape
    unrolled = f"s = jnp.zeros(({k}, {k}), {{0}}.dtype)\nrows = []\nfor i in range({n}):\n    s = s + 0.3 * jnp.outer({{1}}[i] - s @ {{0}}[i], {{0}}[i])\n    rows.append(s @ {{0}}[i])\n{{out}} = jnp.stack(rows)"  # noqa: E501
    gated = unrolled.replace("s = s + 0.3", "s = s * jnp.exp(-jnp.abs({1}[i, 0])); s = s + 0.3")
    scanned = f"{{out}} = lax.scan(lambda s, v: (s + 0.3 * jnp.outer(v[1] - s @ v[0], v[0]), s @ v[0]), jnp.zeros(({k}, {k}), {{0}}.dtype), ({{0}}, {{1}}))[1]"  # noqa: E501
    kind, text = p.pick([("delta unrolled", unrolled), ("gated delta", gated), ("delta scan", scanned)])
    return p.add(kind, text, (x, y), x.shape)


def solve(p: Pool):
    x = p.any(lambda v: len(v.shape) == 2 and v.shape[0] <= 4 and v.dtype in ("float32", "float64"))
    if x is None:
        return None
    n = x.shape[0]
    a = f"(jnp.eye({n}, dtype={{0}}.dtype) + jnp.tanh({{0}} @ {{0}}.T) / {2 * n})"
    kind, text = p.pick([
        ("solve", f"jnp.linalg.solve({a}, {{0}})"),
        ("triangular", f"lax.linalg.triangular_solve({a}, {{0}}, left_side=True, lower=True, unit_diagonal=True)"),
        ("triangular", f"lax.linalg.triangular_solve({a}, {{0}}, left_side=True, lower=False)"),
        ("solve residual", f"{a} @ jnp.linalg.solve({a}, {{0}}) - {{0}}"), ("inv", f"jnp.linalg.inv({a}) @ {{0}}"),
        ("cholesky", f"jnp.linalg.cholesky({a} + jnp.eye({n}, dtype={{0}}.dtype)) @ {{0}}"),
    ])  # fmt: skip
    return p.add(kind, text, (x,), x.shape)


def window(p: Pool):
    x = p.any(lambda v: len(v.shape) == 2 and v.shape[1] >= 3)
    if x is None:
        return None
    n, k = x.shape
    kind, text, shape = p.pick([
        ("max pool", "lax.reduce_window({0}, np.array(-np.inf, {0}.dtype), lax.max, (1, 2), (1, 1), 'VALID')", (n, k - 1)),
        ("sum pool", "lax.reduce_window({0}, np.array(0, {0}.dtype), lax.add, (1, 2), (1, 1), 'SAME')", (n, k)),
        ("mean pool", "lax.reduce_window({0}, np.array(0, {0}.dtype), lax.add, (1, 3), (1, 1), 'VALID') / 3", (n, k - 2)),
        ("convolve", "jnp.convolve({0}[0], {0}[-1, :2], mode='same')", (k,)),
        ("conv", "lax.conv_general_dilated({0}[:, None], {0}[:1, None, :2], (1,), 'SAME')[:, 0]", (n, k)),
        ("conv", "lax.conv_general_dilated({0}[None, None], {0}[None, None, :1, :3], (1, 1), 'VALID')[0, 0]", (n, k - 2)),
    ])  # fmt: skip
    return p.add(kind, text, (x,), shape)


OPERATIONS: list[tuple[float, Callable]] = [
    (4.0, unary), (5.0, binary), (1.5, mixed), (4.0, constant), (1.0, constant_array), (3.0, no_op), (3.0, reduction),
    (3.0, centred), (0.8, gathered), (0.6, cumulative), (2.0, product), (0.8, both), (3.0, difference), (2.0, movement),
    (0.9, cast), (0.2, whole), (1.2, loop), (0.5, delta), (0.4, solve), (0.2, window),
]  # fmt: skip
