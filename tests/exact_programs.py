"""Programs that between them emit every primitive that exact arithmetic knows, as JAX really emits them.

Each is polynomial in its inputs with small coefficients, so that float64 runs it without rounding on small integers.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


class Case(NamedTuple):
    """A program, the shapes of its inputs, and primitives that it must emit."""

    f: Callable
    shapes: tuple
    emits: tuple[str, ...]


def case(f: Callable, *shapes, emits: str) -> Case:
    return Case(f, shapes, tuple(emits.split()))


I3, MASK = np.arange(3), np.tri(3, dtype=bool)
KEYS = [2.0, 0.0, 1.0]


def looped(x):
    def body(i, state):
        total, powers = state
        return total + powers * i, powers * x

    return lax.fori_loop(0, 4, body, (jnp.zeros_like(x), x))


def while_counting(x):
    def more(state):
        return (state[0] < 6) & (state[0] != 4)

    return lax.while_loop(more, lambda state: (state[0] + 1, state[1] * 2.0 + x), (0, x))[1]


def branches(x, which):
    return lax.switch(which, [lambda y: y, lambda y: y * y, lambda y: y[::-1]], x)


def linear_recurrence(a, x):
    def step(carry, item):
        carry = carry * item[0] + item[1]
        return carry, carry[0]

    return lax.scan(step, x[0], (a, x))


def nested_scan(x):
    def outer(carry, row):
        inner, _ = lax.scan(lambda c, item: (c + item * carry, None), jnp.zeros(()), row)
        return carry + inner, inner

    return lax.scan(outer, jnp.ones(()), x)


def scan_with_constants(w, x):
    return lax.scan(lambda c, item: (jnp.tanh(0.0) + w @ c + item, w[0] * c), x[0], x)


def scan_of_counters(x):
    """Integers, booleans and exact floats stay concrete through a loop."""

    def step(carry, item):
        i, flag, scale, total = carry
        return (i + 1, ~flag, scale * 0.5, total + jnp.where(flag, item, scale * x[i])), None

    return lax.scan(step, (0, True, 8.0, jnp.zeros(())), x)[0][3] * 8


def reduce_by_multiplication(x):
    return lax.reduce(x, 1.0, lax.mul, (0,))


@jax.custom_jvp
def doubled(x):
    return 2 * x * x


doubled.defjvp(lambda primals, tangents: (doubled(*primals), 4 * primals[0] * tangents[0]))


@jax.custom_vjp
def tripled(x):
    return 3 * x * x


tripled.defvjp(lambda x: (tripled(x), x), lambda x, ct: (6 * x * ct,))


def gated(x):
    return jax.checkpoint(lambda y: jnp.sum(y * y) * y)(x)


ELEMENTWISE = {
    "add": case(lambda x, y: x + y, (3,), (3,), emits="add"),
    "add-scalar": case(lambda x: 3.0 + x + 0.25, (3,), emits="add"),
    "sub": case(lambda x, y: x[None] - y[:, None] - 1, (3,), (2,), emits="sub broadcast_in_dim"),
    "mul": case(lambda x, y: x * y * -2.5, (2, 3), (2, 3), emits="mul"),
    "neg": case(lambda x: -x, (3,), emits="neg"),
    "square": case(lambda x: lax.square(x) + jnp.square(x), (3,), emits="square"),
    "integer_pow": case(lambda x: x**2 + x**3 + x**7 + x**0, (3,), emits="integer_pow"),
    "pow": case(lambda x: x[:, None] ** jnp.arange(5)[None], (3,), emits="pow"),
    "pow-of-floats": case(lambda x: jnp.power(x, 3.0), (3,), emits="pow"),
    "vander": case(lambda x: jnp.vander(x), (3,), emits="pow"),
    "div-by-power-of-two": case(lambda x: x / 4 + x / -0.5, (3,), emits="div"),
    "add_any": case(jax.grad(lambda x: jnp.sum(x * x[::-1]) + x[0] ** 3), (3,), emits="add_any"),
    "convert_element_type": case(
        lambda x: x.astype(jnp.bfloat16).astype(jnp.float32).astype(x.dtype), (3,), emits="convert_element_type"
    ),
    "reduce_precision": case(lambda x: lax.reduce_precision(x, 8, 7), (3,), emits="reduce_precision"),
    "stop_gradient": case(lambda x: lax.stop_gradient(x) * x, (3,), emits="stop_gradient"),
    "copy": case(lambda x: jnp.copy(x) * 2, (3,), emits="copy"),
    "device_put": case(lambda x: jax.device_put(x) + 1, (3,), emits="device_put"),
    "optimization_barrier": case(
        lambda x, y: lax.optimization_barrier((x, y))[1], (3,), (2,), emits="optimization_barrier"
    ),
    "debug_print": case(lambda x: (jax.debug.callback(lambda _: None, x), x)[1], (3,), emits="debug_callback"),
    "max-with-infinity": case(lambda x: lax.max(x, -jnp.inf) + lax.min(jnp.inf, x), (3,), emits="max min"),
    "equal-to-itself": case(lambda x: jnp.where(x == x, x * x, 7.0), (3,), emits="eq"),
    "isnan": case(lambda x: jnp.where(jnp.isnan(x), 1.0, x), (3,), emits="ne"),
    "is_finite": case(lambda x: jnp.where(jnp.isfinite(x), x, 0.0), (3,), emits="is_finite"),
    "nan_to_num": case(lambda x: jnp.nan_to_num(x), (3,), emits="eq"),
    "above-minus-infinity": case(
        lambda x: jnp.where(x > -jnp.inf, x, 1) + jnp.where(-jnp.inf >= x, 5, x), (3,), emits="gt"
    ),
    "scalar-of-shape-1": case(lambda x, y: x * y, (), (1,), emits="mul"),
}

CONTRACTIONS = {
    "matmul": case(lambda x, y: x @ y, (2, 3), (3, 4), emits="dot_general"),
    "vecmat": case(lambda x, y: x @ y @ x[:3] + x @ x, (4,), (4, 3), emits="dot_general"),
    "batched-matmul": case(lambda x, y: x @ y, (2, 1, 2, 3), (1, 3, 3, 2), emits="dot_general"),
    "einsum": case(lambda x, y: jnp.einsum("bik,bjk->bji", x, y), (2, 3, 4), (2, 5, 4), emits="dot_general"),
    "einsum-three": case(
        lambda x, y, z: jnp.einsum("ik,jk,jl->il", x, y, z, optimize=False), (2, 3), (4, 3), (4, 2), emits="dot_general"
    ),
    "einsum-diagonal": case(lambda x: jnp.einsum("iij->ji", x), (3, 3, 2), emits="reduce_sum"),
    "einsum-trace": case(lambda x, y: jnp.einsum("ij,ji->", x, y), (2, 3), (3, 2), emits="dot_general"),
    "tensordot": case(lambda x, y: jnp.tensordot(x, y, ((0, 2), (1, 0))), (2, 3, 4), (4, 2, 5), emits="dot_general"),
    "outer": case(lambda x, y: jnp.outer(x, y), (2,), (3,), emits="mul"),
    "kron": case(lambda x, y: jnp.kron(x, y), (2, 2), (2, 3), emits="mul"),
    "vdot": case(lambda x, y: jnp.vdot(x, y), (2, 3), (2, 3), emits="dot_general"),
    "cross": case(lambda x, y: jnp.cross(x, y), (3,), (3,), emits="mul"),
    "matrix_power": case(lambda x: jnp.linalg.matrix_power(x, 5), (2, 2), emits="dot_general"),
    "constant-matrix": case(lambda x: jnp.asarray(np.arange(6.0).reshape(2, 3)) @ x, (3, 2), emits="dot_general"),
    "empty-contraction": case(lambda x, y: x @ y, (2, 0), (0, 3), emits="dot_general"),
    "preferred-type": case(
        lambda x, y: jnp.matmul(x, y, preferred_element_type=jnp.float32).astype(x.dtype),
        (2, 3),
        (3, 2),
        emits="dot_general",
    ),
    "reduce_sum": case(lambda x: x.sum() + x.sum((0, 2))[0] + x.sum(1, keepdims=True), (2, 3, 4), emits="reduce_sum"),
    "mean-of-four": case(lambda x: x.mean(0), (4, 3), emits="div reduce_sum"),
    "variance-of-four": case(lambda x: x.var(), (4,), emits="square"),
    "trace": case(lambda x: jnp.trace(x), (3, 3), emits="reduce_sum"),
    "reduce_prod": case(lambda x: x.prod() + x.prod(0), (2, 3), emits="reduce_prod"),
    "reduce-add": case(lambda x: lax.reduce(x, 0.0, lax.add, (0,)), (4,), emits="reduce_sum"),
    "reduce-mul": case(reduce_by_multiplication, (4,), emits="reduce_prod"),
    "cumsum": case(lambda x: jnp.cumsum(x, 0) + jnp.cumsum(x, 1), (3, 3), emits="cumsum"),
    "cumsum-reverse": case(lambda x: lax.cumsum(x, axis=1, reverse=True), (2, 4), emits="cumsum"),
    "cumprod": case(lambda x: jnp.cumprod(x, 0), (4, 2), emits="cumprod"),
    "cumprod-reverse": case(lambda x: lax.cumprod(x, axis=0, reverse=True), (4, 2), emits="cumprod"),
    "associative_scan": case(lambda x: lax.associative_scan(jnp.multiply, x), (5,), emits="pad concatenate"),
    "polyval": case(lambda c, x: jnp.polyval(c, x), (4,), (2,), emits="scan|polynomial"),
    "convolve": case(lambda x, y: jnp.convolve(x, y), (4,), (3,), emits="conv_general_dilated"),
    "convolution": case(
        lambda x, w: lax.conv_general_dilated(
            x, w, (2, 1), ((1, 2), (-1, 1)), (1, 2), (2, 1), ("NHWC", "HWIO", "NCHW"), feature_group_count=2
        ),
        (2, 4, 3, 2),
        (2, 2, 1, 4),
        emits="conv_general_dilated",
    ),
    "gradients-of-a-convolution": case(
        jax.grad(lambda x, w: jnp.sum(lax.conv(x, w, (2,), "SAME") ** 2), (0, 1)),
        (2, 2, 5),
        (2, 2, 3),
        emits="conv_general_dilated",
    ),
    "gradient-of-a-grouped-convolution": case(
        jax.grad(lambda w, x: jnp.sum(lax.conv_general_dilated(x, w, (1,), "VALID", feature_group_count=2) ** 2)),
        (2, 1, 2),
        (1, 2, 4),
        emits="conv_general_dilated",
    ),
    "window-sums": case(
        lambda x: lax.reduce_window(x, 0.0, lax.add, (2, 3), (1, 2), ((0, 1), (2, 1))),
        (4, 4),
        emits="reduce_window_sum",
    ),
    "rsqrt-squared": case(lambda x: x * 0 + lax.rsqrt(jnp.full(3, 4.0)) ** 2 * 4, (3,), emits="rsqrt"),
}

MOVES = {
    "reshape": case(lambda x: x.reshape(3, 2) @ x.reshape(2, 3), (6,), emits="reshape"),
    "ravel": case(lambda x: x.T.ravel(), (2, 3), emits="reshape"),
    "transpose": case(lambda x: jnp.transpose(x, (2, 0, 1)), (2, 3, 4), emits="transpose"),
    "moveaxis": case(
        lambda x: jnp.moveaxis(x, 0, -1) + jnp.swapaxes(x, 0, 1).transpose(0, 2, 1), (2, 3, 2), emits="transpose"
    ),
    "broadcast": case(lambda x: jnp.broadcast_to(x[:, None], (2, 3)), (2,), emits="broadcast_in_dim"),
    "expand-and-squeeze": case(lambda x: jnp.squeeze(jnp.expand_dims(x, (0, 2)), 2), (3,), emits="squeeze"),
    "concatenate": case(lambda x, y: jnp.concatenate([x, y, jnp.ones((1, 2))]), (2, 2), (3, 2), emits="concatenate"),
    "stack": case(lambda x, y: jnp.stack([x, y, x * y], 1), (2,), (2,), emits="stack"),
    "split": case(lambda x: jnp.split(x, [1, 3])[1] * jnp.split(x, 2)[0], (4,), emits="split"),
    "tile": case(lambda x: jnp.tile(x, (2, 2)), (2, 1), emits="tile"),
    "repeat": case(lambda x: jnp.repeat(x, np.array([1, 0, 2]), total_repeat_length=3), (3,), emits="gather"),
    "pad": case(lambda x: jnp.pad(x, ((1, 2), (0, 1)), constant_values=3.0), (2, 2), emits="pad"),
    "pad-negative": case(lambda x: lax.pad(x, 1.0, ((-1, 2, 0), (1, -2, 0))), (3, 3), emits="pad"),
    "pad-interior": case(lambda x: lax.pad(x, 0.5, ((1, 1, 2), (-2, -1, 1))), (3, 3), emits="pad"),
    "pad-with-data": case(lambda x, y: lax.pad(x, y, ((1, 0, 1),)), (3,), (), emits="pad"),
    "rev": case(lambda x: jnp.flip(x, (0, 2)), (2, 2, 3), emits="rev"),
    "roll": case(lambda x: jnp.roll(x, 2, 0) + jnp.roll(x, (-1, 1), (0, 1)), (3, 3), emits="concatenate"),
    "roll-by-array": case(lambda x: jnp.roll(x, jnp.array(2)), (5,), emits="dynamic_slice"),
    "slice": case(lambda x: x[1:, ::2], (3, 5), emits="slice"),
    "slice-backwards": case(lambda x: x[::-2][:2] + x[-1:0:-2], (5,), emits="rev"),
    "negative-index": case(lambda x: x[-1] * x[-2, 0], (3, 2), emits="squeeze"),
    "dynamic_slice": case(lambda x: lax.dynamic_slice(x, (jnp.array(1), 0), (2, 1)), (4, 2), emits="dynamic_slice"),
    "dynamic_slice-clamped": case(lambda x: lax.dynamic_slice(x, (jnp.array(7),), (2,)), (4,), emits="dynamic_slice"),
    "dynamic_update_slice": case(
        lambda x, y: lax.dynamic_update_slice(x, y, (jnp.array(9), jnp.array(-1))),
        (3, 3),
        (2, 2),
        emits="dynamic_update_slice",
    ),
    "gather-rows": case(lambda x: x[np.array([2, 0, 0, -1])], (3, 2), emits="gather"),
    "gather-pairs": case(lambda x: x[np.array([0, 2]), np.array([1, 1])], (3, 2), emits="gather"),
    "gather-mixed": case(lambda x: x[:, np.array([[1, 0]]), 1], (2, 2, 3), emits="gather"),
    "gather-mask": case(lambda x: x[np.array([True, False, True])], (3, 2), emits="gather"),
    "gather-filled": case(lambda x: x.at[jnp.array([1, 9])].get(mode="fill", fill_value=5.0), (3,), emits="gather"),
    "gather-clipped": case(lambda x: x.at[jnp.array([1, 9, -9])].get(mode="clip"), (3,), emits="gather"),
    "gather-masked-nan": case(
        lambda x: jnp.where(jnp.array([True, False]), x.at[jnp.array([1, 9])].get(mode="fill"), 2.0),
        (3,),
        emits="gather",
    ),
    "take": case(lambda x: jnp.take(x, jnp.array([1, 1, 0]), axis=1), (2, 3), emits="gather"),
    "take_along_axis": case(lambda x: jnp.take_along_axis(x, jnp.array([[1, 0, 1]]), 0), (2, 3), emits="gather"),
    "index-in-loop": case(
        lambda x: lax.fori_loop(0, 3, lambda i, c: c + x[i] * x[i - 1], 0.0), (3,), emits="dynamic_slice"
    ),
    "triangle-indices": case(lambda x: x[np.triu_indices(3)], (3, 3), emits="gather"),
    "diagonal": case(lambda x: jnp.diagonal(x) + jnp.diag(x, 1)[0], (3, 3), emits="platform_index"),
    "diag": case(lambda x: jnp.diag(x), (3,), emits="select_n"),
    "block_diag": case(lambda x: jax.scipy.linalg.block_diag(x, 2 * x), (2, 2), emits="pad"),
    "scatter": case(lambda x: x.at[1].set(5.0).at[-1].set(x[0] ** 2), (4,), emits="scatter"),
    "scatter-rows": case(lambda x, y: x.at[np.array([2, 0])].set(y), (3, 2), (2, 2), emits="scatter"),
    "scatter-column": case(lambda x, y: x.at[:, 1].set(y), (3, 2), (3,), emits="scatter"),
    "scatter-dropped": case(lambda x, y: x.at[jnp.array([1, 9])].set(y, mode="drop"), (3,), (2,), emits="scatter"),
    "scatter-add": case(lambda x, y: x.at[np.array([2, 0, 2, 2])].add(y), (3,), (4,), emits="scatter-add"),
    "scatter-add-matrix": case(
        lambda x, y: x.at[np.array([1, 1]), np.array([0, 0])].add(y), (3, 2), (2,), emits="scatter-add"
    ),
    "scatter-add-dropped": case(
        lambda x, y: x.at[jnp.array([1, 9])].add(y, mode="drop"), (3,), (2,), emits="scatter-add"
    ),
    "scatter-sub": case(lambda x, y: x.at[np.array([1, 1])].subtract(y), (3,), (2,), emits="scatter-sub"),
    "scatter-mul": case(lambda x, y: x.at[np.array([1, 1, 2])].multiply(y), (3,), (3,), emits="scatter-mul"),
    "gradient-of-gather": case(jax.grad(lambda x: jnp.sum(x[np.array([0, 0, 2])] ** 3)), (3,), emits="scatter-add"),
    "segment_sum": case(lambda x: jax.ops.segment_sum(x, np.array([0, 0, 1]), 2), (3,), emits="scatter-add"),
    "sort-of-constants": case(lambda x: x * jnp.sort(jnp.array(KEYS)), (3,), emits="sort"),
    "argsort-of-constants": case(lambda x: x[jnp.argsort(jnp.array(KEYS))], (3,), emits="sort gather"),
    "sort-data-by-constants": case(lambda x: lax.sort([jnp.array(KEYS), x], num_keys=1)[1], (3,), emits="sort"),
    "sort-by-two-keys": case(
        lambda x: lax.sort(
            [jnp.array([[1, 0], [1, 0], [0, 0]]), jnp.array([[3, 2], [1, 2], [2, 1]]), x], dimension=0, num_keys=2
        )[2],
        (3, 2),
        emits="sort",
    ),
    "lexsort": case(lambda x: x[jnp.lexsort((jnp.array([0, 1, 0]), jnp.array([1, 0, 0])))], (3,), emits="sort"),
    "searchsorted": case(lambda x: x[jnp.searchsorted(jnp.arange(3.0), 1.0)], (3,), emits="le_to|call_hi_primitive"),
    "argmax-of-constants": case(lambda x: x[jnp.argmax(jnp.array(KEYS))], (3,), emits="argmax"),
    "one_hot": case(lambda x: jax.nn.one_hot(np.array([2, 0]), 3) @ x, (3, 2), emits="eq"),
    "bincount": case(lambda x: x * jnp.bincount(jnp.array([0, 1, 1]), length=3), (3,), emits="scatter-add"),
    "select_n": case(lambda x, y: jnp.select([I3 < 1, I3 > 1], [x, y], x * y), (3,), (3,), emits="select_n"),
    "select-three": case(lambda x, y: lax.select_n(jnp.array([0, 2, 1]), x, y, x * y), (3,), (3,), emits="select_n"),
    "where": case(lambda x: jnp.where(MASK, x, x.T), (3, 3), emits="select_n"),
    "triangles": case(lambda x: jnp.tril(x, -1) @ jnp.triu(x) + jnp.eye(3), (3, 3), emits="select_n iota"),
}

CONTROL = {
    "scan": case(linear_recurrence, (4, 2), (4, 2), emits="scan"),
    "scan-reverse": case(lambda x: lax.scan(lambda c, y: (c * y + 1, c), x[0], x, reverse=True), (4, 2), emits="scan"),
    "scan-nested": case(nested_scan, (3, 2), emits="scan"),
    "scan-with-constants": case(scan_with_constants, (2, 2), (3, 2), emits="scan"),
    "scan-of-length-0": case(lambda x: lax.scan(lambda c, y: (c + y, c * y), x[0], x[:0]), (2, 3), emits="scan"),
    "scan-over-nothing": case(lambda x: lax.scan(lambda c, _: (c * c, c), x, None, length=2), (2,), emits="scan"),
    "scan-of-counters": case(scan_of_counters, (4,), emits="scan"),
    "scan-unrolled": case(lambda x: lax.scan(lambda c, y: (c + y, c), 0.0, x, unroll=2), (5,), emits="scan"),
    "map": case(lambda x: lax.map(lambda y: y @ y, x), (3, 2), emits="scan"),
    "fori_loop": case(looped, (2,), emits="scan"),
    "fori_loop-of-unknown-length": case(
        lambda x: lax.fori_loop(0, jnp.array(3), lambda i, c: c * x + i, x), (2,), emits="while"
    ),
    "while_loop": case(while_counting, (2,), emits="while"),
    "cond": case(lambda x: lax.cond(jnp.array(True), lambda y: y * y, lambda y: y, x), (2,), emits="cond"),
    "switch": case(
        lambda x: branches(x, jnp.array(1)) + branches(x, jnp.array(9)) + branches(x, jnp.array(-5)), (3,), emits="cond"
    ),
    "jit": case(lambda x: jax.jit(lambda y: jax.jit(lambda z: z * y)(y + 1))(x), (3,), emits="jit"),
    "custom_jvp": case(lambda x: doubled(x) + jax.grad(lambda y: doubled(y).sum())(x), (3,), emits="custom_jvp_call"),
    "custom_vjp": case(lambda x: tripled(x) + jax.grad(lambda y: tripled(y).sum())(x), (3,), emits="custom_vjp_call"),
    "checkpoint": case(lambda x: gated(x) + jax.grad(lambda y: gated(y).sum())(x), (3,), emits="remat2"),
    "constants-of-a-closure": case(
        lambda x: jax.jit(lambda y: y * jnp.asarray(np.array([1.5, -2.0, 8.0])))(x), (3,), emits="jit"
    ),
    "integers": case(
        lambda x: x * ((jnp.arange(3) * 5 + 7) % 4 // 2) + x * (jnp.arange(3) >> 1) * jnp.clip(jnp.arange(3), 1, 2),
        (3,),
        emits="rem",
    ),
    "floats-of-position": case(
        lambda x: x * jnp.linspace(0, 1, 3) * jnp.round(2.5) * (jnp.arange(3.0) % 2), (3,), emits="rem"
    ),
}


def loss(w, x, y):
    return 0.5 * jnp.sum((x @ w - y) ** 2)


def running_products(x):
    return lax.scan(lambda c, item: (c * item, c), x[0], x)[1]


def update(w, x, y):
    return w - 0.5 * jax.grad(loss)(w, x, y)


DERIVATIVES = {
    "grad": case(jax.grad(loss), (3,), (4, 3), (4,), emits="dot_general"),
    "grad-of-grad": case(
        jax.grad(lambda w, x, y: jnp.sum(update(w, x, y) ** 3), argnums=(0, 1)), (2,), (3, 2), (3,), emits="mul"
    ),
    "hessian": case(jax.hessian(lambda x: jnp.prod(x) + jnp.sum(x**3)), (3,), emits="mul"),
    "jacobian": case(jax.jacrev(lambda x: jnp.cumprod(x)), (3,), emits="pad"),
    "jvp": case(lambda x, t: jax.jvp(lambda y: jnp.cumsum(y) * y[::-1], (x,), (t,)), (3,), (3,), emits="cumsum"),
    "vjp-of-scan": case(lambda x, ct: jax.vjp(running_products, x)[1](ct), (3,), (3,), emits="scan"),
    "linearize": case(lambda x, t: jax.linearize(lambda y: y @ y * y, x)[1](t), (3,), (3,), emits="mul"),
    "vmap": case(jax.vmap(lambda x, y: jnp.outer(x, y) @ y, (0, 1)), (3, 2), (2, 3), emits="dot_general"),
    "vmap-of-scan": case(jax.vmap(linear_recurrence, (1, 0)), (3, 2, 2), (2, 3, 2), emits="scan"),
    "vmap-of-indexing": case(
        lambda x: jax.vmap(lambda y, i: y[i] * y.at[i].set(2.0))(x, jnp.array([2, 0])), (2, 3), emits="gather scatter"
    ),
    "vmap-of-dynamic-update": case(
        lambda x, u: jax.vmap(lambda y, v, i: lax.dynamic_update_slice(y, v, (i,)))(x, u, jnp.array([1, 0])),
        (2, 3),
        (2, 2),
        emits="scatter",
    ),
    "gradient-of-updates": case(
        jax.grad(
            lambda x, y: jnp.sum(lax.dynamic_update_slice(x, y, (1,)) ** 3) + jnp.sum(x.at[0].add(y[0]) ** 2), (0, 1)
        ),
        (3,),
        (2,),
        emits="dynamic_update_slice",
    ),
    "gradient-of-reductions": case(
        jax.grad(
            lambda x: x.prod() + jnp.sum(jnp.cumsum(x) ** 2) + jnp.sum(jnp.pad(x, 1, constant_values=2.0) ** 2)
        ),
        (3,),
        emits="pad",
    ),
}  # fmt: skip

CASES: dict[str, Case] = {**ELEMENTWISE, **CONTRACTIONS, **MOVES, **CONTROL, **DERIVATIVES}
