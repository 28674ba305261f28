"""Statements that move elements, loop over them, solve, or slide a window."""

# ruff: noqa: E501 - a statement is one line, however long

from tests.fuzz.pool import MASKS, Pool


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
        options += [
            ("slice", "{0}[1:]", (n - 1, *inner)),
            ("slice", "{0}[:-1]", (n - 1, *inner)),
            ("index", "{0}[0]", inner),
        ]
    if len(x.shape) == 2:
        options += [
            ("transpose", "{0}.T", (x.shape[1], n)),
            ("ravel", "{0}.reshape(-1)", (x.size,)),
            ("tril", "jnp.tril({0})", x.shape),
        ]
    kind, text, shape = p.pick(options)
    fill = p.pick(MASKS.get(x.dtype, ["-jnp.inf", "-1e30", "jnp.finfo({0}.dtype).min", "0.0"]))
    m = x.shape[-1]
    text = text.replace("{n}", str(n)).replace("{m}", str(m)).replace("{h}", str(m // 2)).replace("{fill}", fill)
    return p.add(kind, text, (x,), shape)


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
    unrolled = f"s = jnp.zeros(({k}, {k}), {{0}}.dtype)\nrows = []\nfor i in range({n}):\n    s = s + 0.3 * jnp.outer({{1}}[i] - s @ {{0}}[i], {{0}}[i])\n    rows.append(s @ {{0}}[i])\n{{out}} = jnp.stack(rows)"
    gated = unrolled.replace("s = s + 0.3", "s = s * jnp.exp(-jnp.abs({1}[i, 0])); s = s + 0.3")
    scanned = f"{{out}} = lax.scan(lambda s, v: (s + 0.3 * jnp.outer(v[1] - s @ v[0], v[0]), s @ v[0]), jnp.zeros(({k}, {k}), {{0}}.dtype), ({{0}}, {{1}}))[1]"
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
