r"""Averages of past values: the additional term of momentum attention, as a recurrence, as a sum and by FFT.

The printed one has a single rate and sees the past (MA1, MA2), the posted one has learned kernels and sees the present
as well (MA3, MA4). Both are causal convolutions (MA5).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dualform import _check
from dualform.descent.closed import kept_after
from dualform.linear import linear_attn

Values = Float[Array, "T V"]
Components = Float[Array, "V N"]

FORMS = ("recurrent", "sum", "fft")


def past_average(V: Values, eta: _check.Scalar, form: str = "recurrent") -> Values:
    r"""$m_t = \sum_{i<t} \eta^{t-i} v_i$: the past only, and no factor $1 - \eta$ (MA1).

    Args:
        V: `[T, V]` values.
        eta: how much is kept per position.
        form: "recurrent" (MA2), O(T V) in T sequential steps; "sum" (MA1), O(T^2 V); "fft" (MA5), O(T log T V), whose
            error is small beside the largest output only, not beside each.

    Returns:
        `[T, V]`; the first row is zero.

    Raises:
        ValueError: wrong shapes, no features, not a float dtype, concrete values that are not finite, an unknown form.

    >>> print(past_average(jnp.array([[1.0], [2.0], [4.0]]), 0.5).ravel())
    [0.   0.5  1.25]
    """
    _known(form)
    V, dtype = _values(V)
    eta = jnp.asarray(_check.scalar("eta", eta), V.dtype)
    T = len(V)
    if form == "recurrent":

        def next_position(m, v):
            return eta * (m + v), m

        _, m = jax.lax.scan(next_position, jnp.zeros(V.shape[1], V.dtype), V)
        return m.astype(dtype)
    powers = kept_after(jnp.broadcast_to(eta, (T,)))  # [t, i] -> eta^(t-i)
    if form == "sum":
        return linear_attn(V, jnp.ones((T, 1), V.dtype), jnp.ones((T, 1), V.dtype), jnp.tril(powers, -1)).astype(dtype)
    kernel = powers[:, 0].at[0].set(0) if T else jnp.zeros(0, V.dtype)
    return fft_convolve(V, jnp.broadcast_to(kernel[:, None], V.shape)).astype(dtype)


def learned_average(
    V: Values, gamma: Components, delta: Components, scale: _check.Scalar | None = None, form: str = "fft"
) -> Values:
    r"""$m_{tc} = \sum_{i \le t} \kappa_c(t - i)\, v_{ic}$ with a learned kernel per channel (MA3).

    Args:
        V: `[T, V]` values.
        gamma, delta: `[V, N]` amplitudes, and rates before the sigmoid, of N components.
        scale: multiplies the kernel; None for V**-0.5.
        form: "fft" (MA5), O(T log T V), as posted; "recurrent" (MA4), O(T V N) in T sequential steps; "sum" (MA3),
            O(T^2 V).

    Returns:
        `[T, V]`.

    Raises:
        ValueError: as `past_average`.

    >>> zero = jnp.zeros((1, 1))
    >>> print(learned_average(jnp.array([[1.0], [2.0]]), zero + 1, zero, form="sum").ravel())
    [1.  2.5]
    """
    _known(form)
    V, dtype = _values(V)
    gamma, delta = _components(gamma, delta, V.shape[1], V.dtype)
    if form == "recurrent":
        kept, factor = jax.nn.sigmoid(delta), _kernel_scale(scale, gamma)

        def next_position(z, v):
            z = kept * z + v[:, None]
            return z, factor * jnp.sum(gamma * z, axis=1)

        _, m = jax.lax.scan(next_position, jnp.zeros_like(gamma), V)
        return m.astype(dtype)
    kernel = learned_kernel(gamma, delta, len(V), scale)
    if form == "fft":
        return fft_convolve(V, kernel).astype(dtype)
    t, i = jnp.arange(len(V))[:, None], jnp.arange(len(V))[None, :]
    lagged = jnp.where((t >= i)[:, :, None], kernel[jnp.maximum(t - i, 0)], 0)
    return jnp.sum(lagged * V[None], axis=1).astype(dtype)


def learned_kernel(
    gamma: Components, delta: Components, T: int, scale: _check.Scalar | None = None
) -> Float[Array, "T V"]:
    r"""$\kappa_c(\tau) = \mathrm{scale} \sum_n \gamma_{cn}\, \sigma(\delta_{cn})^\tau$ for $0 \le \tau < T$ (MA3).

    Args:
        gamma, delta: `[V, N]` amplitudes, and rates before the sigmoid.
        T: how many lags; static.
        scale: multiplies the kernel; None for V**-0.5.

    Returns:
        `[T, V]`, in float32 or wider.

    Raises:
        ValueError: wrong shapes, not float dtypes, concrete values that are not finite, T not an integer >= 0.

    Cost: O(T V N).

    >>> print(learned_kernel(jnp.ones((1, 2)), jnp.zeros((1, 2)), 3).ravel())
    [2.  1.  0.5]
    """
    T = _check.count("T", T)
    gamma, delta = _components(gamma, delta)
    kept = jax.nn.sigmoid(delta)
    ones = jnp.ones((min(T, 1), *kept.shape), kept.dtype)
    powers = jnp.cumprod(jnp.concatenate([ones, jnp.broadcast_to(kept, (max(T - 1, 0), *kept.shape))]), axis=0)
    return _kernel_scale(scale, gamma) * jnp.sum(gamma[None] * powers, axis=2)


def fft_convolve(V: Values, kernel: Float[Array, "T V"]) -> Values:
    r"""The causal convolution $\sum_{i \le t} \kappa_c(t - i)\, v_{ic}$ by Fourier transforms of length 2T (MA5).

    Args:
        V: `[T, V]` values.
        kernel: `[T, V]` of each lag and channel.

    Returns:
        `[T, V]`.

    Raises:
        ValueError: wrong shapes, no features, not float dtypes, concrete values that are not finite.

    Cost: O(T log T V).

    >>> print(fft_convolve(jnp.array([[1.0], [2.0]]), jnp.array([[1.0], [10.0]])).ravel().round(4))
    [ 1. 12.]
    """
    sizes: _check.Sizes = {}
    V, kernel = _check.array("V", V, "T V", sizes), _check.array("kernel", kernel, "T V", sizes)
    wide = _check.compute_dtype(V, kernel)
    T = len(V)
    if not T:
        return V
    transformed = [jnp.fft.rfft(x.astype(wide), n=2 * T, axis=0) for x in (V, kernel)]
    return jnp.fft.irfft(transformed[0] * transformed[1], n=2 * T, axis=0)[:T].astype(V.dtype)


def _known(form):
    if form not in FORMS:
        raise ValueError(f"form: got {form!r}, expected one of {FORMS}")


def _values(V):
    V = _check.array("V", V, "T V")
    return V.astype(_check.compute_dtype(V)), V.dtype


def _components(gamma, delta, channels=None, dtype=None):
    sizes: _check.Sizes = {} if channels is None else {"V": (channels, "V")}
    gamma, delta = _check.array("gamma", gamma, "V N", sizes), _check.array("delta", delta, "V N", sizes)
    wide = _check.compute_dtype(gamma, delta) if dtype is None else dtype
    return gamma.astype(wide), delta.astype(wide)


def _kernel_scale(scale, gamma):
    return jnp.asarray(len(gamma) ** -0.5 if scale is None else _check.scalar("scale", scale), gamma.dtype)
