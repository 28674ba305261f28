"""Two trained factors with a narrow layer between them: what LoRA and adapters have in common.

The layer is $s B f(A x)$: LoRA with f the identity, an adapter with a nonlinearity, and with biases on extended inputs.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dualform import _check
from dualform.linear import linear_attn

Down = Float[Array, "r K"]
Up = Float[Array, "V h"]
Errors = Float[Array, "T B V"]
Inputs = Float[Array, "T B K"]
Query = Float[Array, " K"] | Float[Array, "M K"]
Output = Float[Array, " V"] | Float[Array, "M V"]
Activation = Callable[[Array], Array]


class Run(NamedTuple):
    """Two factors after training, and the patterns that the training wrote into them (PE2)."""

    A: Down
    B: Up
    signals: Float[Array, "T B r"]  # values of the patterns in A; their keys are the inputs
    keys: Float[Array, "T B h"]  # keys of the patterns in B; their values are the error signals


def identity(z: Array) -> Array:
    """The activation of LoRA."""
    return z


def bottleneck(A: Down, B: Up, x: Query, activation: Activation = identity, scale: _check.Scalar = 1.0) -> Output:
    r"""The narrow layer, $s B f(A x)$ (PE1).

    Args:
        A: `[r, K]` first factor.
        B: `[V, h]` second factor; h is r, or what the activation makes of it.
        x: `[K]` or `[M, K]` inputs.
        activation: function of `[..., r]`.
        scale: s, often alpha / r.

    Returns:
        `[V]` or `[M, V]` in the dtype of x.

    Raises:
        ValueError: wrong shapes or dtypes, concrete values that are not finite, factors narrower than x.

    Cost: 2 M r (V + K) flops.

    >>> A, B = jnp.array([[1.0, 2.0]]), jnp.array([[3.0], [0.0]])
    >>> print(bottleneck(A, B, jnp.array([1.0, 1.0]), scale=2.0))
    [18.  0.]
    """
    sizes: _check.Sizes = {}
    x = _check.array("x", x, "K | M K", sizes)
    A, B = _factors(A, B, sizes, x.dtype)
    scale = _scalar("scale", scale, A.dtype)
    return (scale * _dot(activation(_dot(x.astype(A.dtype), A.T)), B.T)).astype(x.dtype)


def bottleneck_run(
    A: Down, B: Up, E: Errors, X: Inputs, activation: Activation = identity, scale: _check.Scalar = 1.0,
    frozen: bool = False,
) -> Run:  # fmt: skip
    r"""SGD on both factors, from the error signals of the layer's outputs (PE2).

    Args:
        A, B: `[r, K]`, `[V, h]` factors before training; may be wider than the patterns.
        E: `[T, B, V]` error signals of the layer's outputs, $-\eta\, \partial L / \partial y$, for B patterns a step.
        X: `[T, B, K]` inputs.
        activation, scale: those of `bottleneck`.
        frozen: train B alone.

    Returns:
        A `Run`: the factors after T steps, and what was written into them.

    Raises:
        ValueError: wrong shapes or dtypes, concrete values that are not finite, factors narrower than the patterns.

    Cost: 6 T B r (V + K) flops in T sequential steps.

    >>> A, B = jnp.array([[1.0, 0.0]]), jnp.zeros((1, 1))
    >>> run = bottleneck_run(A, B, jnp.ones((2, 1, 1)), jnp.ones((2, 1, 2)))
    >>> print(run.A, run.B)  # the first step cannot move A, for B is zero
    [[2. 1.]] [[2.]]
    """
    sizes: _check.Sizes = {}
    E, X = _check.array("E", E, "T B V", sizes), _check.array("X", X, "T B K", sizes)
    dtype = _check.same_dtype(E=E, X=X)
    A, B = _factors(A, B, sizes, dtype)
    s = _scalar("scale", scale, A.dtype)

    def step(factors, patterns):
        A, B = factors
        e, x = patterns
        keys, pull = jax.vjp(activation, _dot(x, A.T))
        (signals,) = pull(s * _dot(e, B))
        signals = jnp.zeros_like(signals) if frozen else signals
        return (A + _dot(signals.T, x), B + s * _dot(e.T, keys)), (signals, keys)

    (A, B), (signals, keys) = jax.lax.scan(step, (A, B), (E.astype(A.dtype), X.astype(A.dtype)))
    return Run(A, B, signals, keys)


def bottleneck_dual(
    A: Down, B: Up, E: Errors, X: Inputs, run: Run, x: Query, activation: Activation = identity,
    scale: _check.Scalar = 1.0,
) -> Output:  # fmt: skip
    r"""The trained layer by attention in two stages, no trained factor formed (PE5, PE10).

    Args:
        A, B: `[r, K]`, `[V, h]` factors before training.
        E: `[T, B, V]` error signals.
        X: `[T, B, K]` inputs.
        run: what `bottleneck_run` recorded; only its `signals` and `keys` are read.
        x: `[K]` or `[M, K]` queries.
        activation, scale: those of `bottleneck`.

    Returns:
        `[V]` or `[M, V]` in the dtype of x.

    Raises:
        ValueError: wrong shapes or dtypes, concrete values that are not finite.

    Cost: 2 M n (V + K + 2 r) flops for n = T B patterns.

    >>> A, B, E, X = jnp.array([[1.0, 0.0]]), jnp.zeros((1, 1)), jnp.ones((2, 1, 1)), jnp.ones((2, 1, 2))
    >>> run = bottleneck_run(A, B, E, X)
    >>> x = jnp.array([1.0, 2.0])
    >>> print(bottleneck_dual(A, B, E, X, run, x), bottleneck(run.A, run.B, x))
    [8.] [8.]
    """
    sizes: _check.Sizes = {}
    E, X = _check.array("E", E, "T B V", sizes), _check.array("X", X, "T B K", sizes)
    x = _check.array("x", x, "K | M K", sizes)
    dtype = _check.same_dtype(E=E, X=X, x=x)
    A, B = _factors(A, B, sizes, dtype)
    s = _scalar("scale", scale, A.dtype)
    E, X, signals, keys = (
        p.astype(A.dtype).reshape(-1, p.shape[-1]) for p in (E, X, run.signals, run.keys)
    )  # [T, B, ...] to [n, ...]
    x = x.astype(A.dtype)
    features = activation(_dot(x, A.T) + linear_attn(signals, X, x))
    return (s * _dot(features, B.T) + linear_attn(E, keys, features, scale=s * s)).astype(dtype)


def bottleneck_sgd(
    A: Down, B: Up, X: Inputs, loss: Callable[[Array, Array], Array], eta: _check.Scalar | Float[Array, " T"],
    activation: Activation = identity, scale: _check.Scalar = 1.0, frozen: bool = False,
) -> tuple[Down, Up, Errors]:  # fmt: skip
    r"""SGD by `jax.grad` on any loss of the layer's outputs, and the error signals that it is made of (PE2).

    The factors come from `jax.grad` with respect to A and B, the error signals from that with respect to the outputs;
    that `bottleneck_run` makes the same factors of these signals is the identity, not its definition.

    Args:
        A, B: `[r, K]`, `[V, h]` factors before training.
        X: `[T, B, K]` inputs of T steps.
        loss: `loss(Y, t)` of the outputs `[B, V]` of step t, returns one number; the frozen rest of the network is part
            of it.
        eta: learning rate, or one for each step.
        activation, scale, frozen: those of `bottleneck_run`.

    Returns:
        The trained A and B, and the error signals E `[T, B, V]`.

    Raises:
        ValueError: wrong shapes or dtypes, concrete values that are not finite.

    Cost: T forward and backward passes.

    >>> A, B, X = jnp.array([[1.0, 0.0]]), jnp.zeros((1, 1)), jnp.ones((2, 1, 2))
    >>> A1, B1, E = bottleneck_sgd(A, B, X, lambda Y, t: 0.5 * jnp.sum((Y - 1) ** 2), eta=0.5)
    >>> print(B1, E.ravel())
    [[0.75]] [0.5  0.25]
    """
    sizes: _check.Sizes = {}
    X = _check.array("X", X, "T B K", sizes)
    A, B = _factors(A, B, sizes, X.dtype)
    s, steps = _scalar("scale", scale, A.dtype), jnp.arange(len(X))
    eta = jnp.broadcast_to(jnp.asarray(eta, A.dtype), (len(X),))

    def step(factors, now):
        x, eta_t, t = now

        def objective(A, B, zeros):
            return loss(s * _dot(activation(_dot(x, A.T)), B.T) + zeros, t)

        A, B = factors
        dA, dB, dY = jax.grad(objective, (0, 1, 2))(A, B, jnp.zeros((len(x), len(B)), A.dtype))
        return (A if frozen else A - eta_t * dA, B - eta_t * dB), -eta_t * dY

    (A, B), E = jax.lax.scan(step, (A, B), (X.astype(A.dtype), eta, steps))
    return A, B, E.astype(X.dtype)


def _factors(A, B, sizes, dtype):
    """Both factors, checked and widened."""
    A = _check.array("A", A, "r K", sizes)
    B = _check.array("B", B, "V h", sizes)
    _check.no_narrower(dtype, A=A, B=B)
    wide = _check.compute_dtype(A, B)
    return A.astype(wide), B.astype(wide)


def _scalar(name, value, dtype):
    return jnp.asarray(_check.scalar(name, value), dtype)


def _dot(a, b):
    return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)
