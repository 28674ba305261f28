"""Statements that join elements: reductions, contractions, and two readings of one value that cancel."""

# ruff: noqa: E501 - a statement is one line, however long

from tests.fuzz.pool import Pool
from tests.fuzz.programs import Value


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
            fits += [
                ("batched", "jnp.einsum('ij,ij->i', {0}, {1})", (x, y), (n,)),
                ("bilinear", "jnp.vdot({0}, {1})", (x, y), ()),
            ]
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
    gap, swap = ("gap", "{0} - {0}.max(-1, keepdims=True)", x.shape), ("reversal", "({0}[::-1] - {0}).sum(0)", inner)
    options += [gap] * 5 + [swap] * 4
    if len(x.shape) == 2:
        options += [
            ("transpose", "{0}.T.sum(0) - {0}.sum(1)", (x.shape[0],)),
            ("columns", "{0}[:, ::-1] - {0}", x.shape),
        ]
    kind, text, shape = p.pick(options)
    return p.add(f"{kind} cancels", text.replace("{n}", str(x.shape[0])), (x,), shape)
