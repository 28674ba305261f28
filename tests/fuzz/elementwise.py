"""Statements that act on every element: functions, arithmetic, constants, no-ops, conversions.

Each takes a pool of values and returns a statement, or None where no value fits.
"""

# ruff: noqa: E501 - a statement is one line, however long

import jax.numpy as jnp

from tests.fuzz.pool import Pool


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
    return (len(small) == len(big) and all(a in (1, b) for a, b in zip(small, big, strict=True))) or small == ()


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
    kind, text = p.pick(
        [("add", "{0} + {a}"), ("mul", "{0} * {a}"), ("sub", "{0} - {a}"), ("max", "jnp.maximum({0}, {a})")]
    )
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
