"""Primitives that are programs of simpler ones: convolutions, windows, running extremes and logarithms of sums.

What a release of JAX made a primitive of its own is written out as well, by `dualform._jax`.
"""

import contextlib
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import ClosedJaxpr

from dualform import _jax
from dualform.prove.errors import first_line, unsupported


def windows(x, sizes, strides, padding, base_dilation, window_dilation, fill=0.0):
    """[..., n_1, n_2, ...] -> [..., m_1, m_2, ..., size_1, size_2, ...]: every window over the last axes."""
    first = x.ndim - len(sizes)
    config = [(0, 0, 0)] * first + [(*pair, d - 1) for pair, d in zip(padding, base_dilation, strict=True)]
    x = lax.pad(x, jnp.full((), fill, x.dtype), config)
    for i, (size, stride, dilation) in enumerate(zip(sizes, strides, window_dilation, strict=True)):
        reach = (size - 1) * dilation + 1
        starts = np.arange(0, max(x.shape[first + i] - reach + 1, 0), stride)
        index = starts[:, None] + dilation * np.arange(size)
        x = jnp.moveaxis(jnp.take(x, index, axis=first + i, mode="clip"), first + i + 1, -1)
    return x


def convolution(x, kernel, *, dimension_numbers, window_strides, padding, lhs_dilation, rhs_dilation, **p):
    """`lax.conv_general_dilated` by its definition, groups of features and of the batch included."""
    x, kernel = jnp.transpose(x, dimension_numbers.lhs_spec), jnp.transpose(kernel, dimension_numbers.rhs_spec)
    batch, features, outputs = p["batch_group_count"], p["feature_group_count"], kernel.shape[0]
    groups = batch * features  # one of the two is 1
    x = windows(x, kernel.shape[2:], window_strides, padding, lhs_dilation, rhs_dilation)
    spatial = kernel.ndim - 2
    x = x.reshape(batch, x.shape[0] // batch, features, x.shape[1] // features, *x.shape[2:])
    x = jnp.moveaxis(x, 2, 1).reshape(groups, x.shape[1], *x.shape[3:])
    kernel = kernel.reshape(groups, outputs // groups, *kernel.shape[1:])
    inner_x = (2, *range(3 + spatial, 3 + 2 * spatial))
    inner_kernel = (2, *range(3, 3 + spatial))
    out = lax.dot_general(x, kernel, ((inner_x, inner_kernel), ((0,), (0,))))  # [groups, N, spatial, outputs]
    out = jnp.moveaxis(out, -1, 1)  # [groups, outputs, N, spatial]
    out = jnp.moveaxis(out, 2, 0).reshape(out.shape[2], outputs, *out.shape[3:])
    return jnp.transpose(out, tuple(int(i) for i in np.argsort(dimension_numbers.out_spec)))


def windowed(reduce: Callable, fill: float) -> Callable:
    """`lax.reduce_window` with addition or an extreme; windows beyond the edge meet `fill`."""

    def program(x, *, window_dimensions, window_strides, padding, base_dilation, window_dilation):
        out = windows(x, window_dimensions, window_strides, padding, base_dilation, window_dilation, fill)
        return reduce(out, tuple(range(x.ndim, 2 * x.ndim)))

    return program


def running_extreme(reduce: Callable, fill: float) -> Callable:
    """`lax.cummax` and `lax.cummin`: the extreme of every prefix."""

    def program(x, *, axis, reverse):
        lines = jnp.moveaxis(x, axis, -1)
        n = lines.shape[-1]
        kept = np.tri(n, dtype=bool).T if reverse else np.tri(n, dtype=bool)
        prefixes = jnp.where(kept, lines[..., None, :], jnp.full((), fill, x.dtype))
        return jnp.moveaxis(reduce(prefixes, -1), -1, axis)

    return program


def running_logsumexp(x, *, axis, reverse):
    """`lax.cumlogsumexp` in the tree of additions that JAX takes on a CPU."""
    return lax.associative_scan(jnp.logaddexp, x, reverse=reverse, axis=axis)


def clamped(low, x, high):
    """`lax.clamp`."""
    return jnp.minimum(jnp.maximum(x, low), high)


WRITTEN: dict[str, Callable] = {
    "conv_general_dilated": convolution,
    "reduce_window_sum": windowed(jnp.sum, 0.0),
    "reduce_window_max": windowed(jnp.max, -np.inf),
    "reduce_window_min": windowed(jnp.min, np.inf),
    "cummax": running_extreme(jnp.max, -np.inf),
    "cummin": running_extreme(jnp.min, np.inf),
    "cumlogsumexp": running_logsumexp,
}
"""Primitives as programs whose sums may be taken in any order."""
EXACT: dict[str, Callable] = {**WRITTEN, **_jax.EXACT, "clamp": clamped}
"""What a primitive means, for exact arithmetic."""
COMPUTED: dict[str, Callable] = {**WRITTEN, **_jax.COMPUTED}
"""The operations that a primitive is computed by, for rounding."""


def program(eqn, exact: bool) -> ClosedJaxpr | None:
    """The equation written out: what it means, or the order in which it is computed; None if it stays as it is."""
    name, f = eqn.primitive.name, None
    wide = any(getattr(x.aval, "dtype", None) in (np.float64, np.int64, np.uint64) for x in eqn.invars)
    with jax.enable_x64(True) if wide else contextlib.nullcontext():
        if name == "call_hi_primitive":
            f = _jax.expansion(eqn)
        elif name in ("jit", "pjit", "custom_jvp_call"):
            f = _jax.meaning(eqn) if exact else None
        elif rule := (EXACT if exact else COMPUTED).get(name):
            f = partial(rule, **eqn.params)
        if f is None:
            return None
        try:
            return jax.make_jaxpr(f)(*[x.aval for x in eqn.invars])
        except Exception as error:  # a primitive of somebody's own may know no program after all
            raise unsupported(eqn, "any", f"it cannot be written out: {first_line(error)}") from error
