r"""Gradient descent on a prompt, step by step, with `jax.grad` of the loss: what the constructions are compared with.

Nothing here knows of tokens. The loss is (LS5); a step is (LS8), which is (LS7) for $A = I$; with $\gamma$ the inputs
move as in (LS9), by a gradient too, for $x_j - \gamma H x_j$ is a step on the same loss with labels zero:

    v <- v - gamma grad (1/2N) sum_i (v.x_i)^2   from v = x_j.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dualform import _check
from dualform._numerics import dot
from dualform.regression.constructions import Steps, _layers, _moves, _preconditioner, _start, _steps

Weight = Float[Array, " d"] | Float[Array, "k d"]
Labels = Float[Array, " N"] | Float[Array, "N k"]


def squared_loss(W: Weight, x: Float[Array, "N d"], y: Labels) -> Float[Array, ""]:
    r"""The loss of a prompt, $\frac{1}{2N} \sum_i |W x_i - y_i|^2$ (LS5).

    Args:
        W: `[k, d]`, or `[d]` for one label.
        x: `[N, d]` inputs, N at least one.
        y: `[N, k]` labels, or `[N]`.

    Returns:
        A number.

    Cost: 2 N k d flops.

    >>> print(squared_loss(jnp.array([1.0, 1.0]), jnp.array([[1.0, 2.0]]), jnp.array([5.0])))
    2.0
    """
    residual = jnp.matmul(x, jnp.transpose(W), precision=jax.lax.Precision.HIGHEST) - y
    return jnp.sum(residual**2) / (2 * x.shape[0])


def descend(
    x: Float[Array, "N d"],
    y: Labels,
    eta: Steps,
    *,
    W0: Weight | None = None,
    gamma: Steps = 0.0,
    A: Float[Array, "d d"] | Float[Array, "L d d"] | None = None,
) -> Weight:
    r"""Steps of gradient descent on `squared_loss` (LS7, LS8), or of GD++ (LS9); gradients by `jax.grad`.

    Of GD++ this is the weight that it applies to the query as it came: the sum over layers of the step of the layer
    times what has moved the inputs so far.

    Args:
        x: `[N, d]` inputs.
        y: `[N, k]` labels, or `[N]`.
        eta: learning rate, `[L]` for L steps; a number is one step.
        W0: weight to start from, of the shape of the result; zero if None.
        gamma: how far inputs move after each step, a number or `[L]`; needs W0 = None.
        A: `[d, d]` preconditioner, or `[L, d, d]`; the identity if None.

    Returns:
        The weight after the last step, `[k, d]`, or `[d]` for labels `[N]`; read it as `W @ query`.

    Raises:
        ValueError: shapes that do not agree, no examples, values that are not finite, gamma beside W0.

    Cost: L forward and backward passes, 6 N k d flops each; with gamma 6 N^2 d more.

    >>> x, y = jnp.array([[1.0], [2.0]]), jnp.array([3.0, 6.0])
    >>> print(descend(x, y, 0.2), descend(x, y, jnp.array([0.2, 0.2])))
    [1.5] [2.25]

    References: von Oswald et al. 2023 (arXiv 2212.07677), equations 3 and 4, section 4.
    """
    sizes: _check.Sizes = {}
    x, y = _check.array("x", x, "N d", sizes), _check.array("y", y, "N | N k", sizes)
    dtype = _check.same_dtype(x=x, y=y)
    if x.shape[0] == 0:
        raise ValueError("x: got no examples, expected at least one, for the loss is their average; add examples")
    moves = _moves(gamma, W0)
    d, wide = x.shape[1], _check.compute_dtype(x, y)
    labels = y[:, None] if y.ndim == 1 else y
    start = _start(W0, d, labels.shape[1]).astype(wide)
    x, labels, A = x.astype(wide), labels.astype(wide), _preconditioner(A, d).astype(wide)
    eta, gamma = (_steps(name, value).astype(wide) for name, value in (("eta", eta), ("gamma", gamma)))
    steps = _layers(eta, gamma, A)
    steps = 1 if steps is None else steps
    eta, gamma = (jnp.broadcast_to(s, (steps,)) for s in (eta, gamma))
    A = jnp.broadcast_to(A, (steps, d, d))
    run = _gd_plus_plus if moves else _gd
    W = run(start, x, labels, eta, gamma, A).astype(dtype)
    return W[0] if y.ndim == 1 else W


def _gd(W, x, y, eta, gamma, A):
    """(LS8)."""
    for k in range(eta.shape[0]):
        W = W - eta[k] * dot(jax.grad(squared_loss)(W, x, y), A[k].T)
    return W


def _gd_plus_plus(zero, x, y, eta, gamma, A):
    """(LS9): in each layer a step from zero on the labels that are left, then the inputs move."""
    moved, W = jnp.eye(x.shape[1], dtype=x.dtype), zero
    for k in range(eta.shape[0]):
        step = -eta[k] * dot(jax.grad(squared_loss)(zero, x, y), A[k].T)
        W = W + dot(step, moved)
        y = y - dot(x, step.T)
        x, moved = _move(x, gamma[k], A[k], x), _move(moved.T, gamma[k], A[k], x).T
    return W


def _move(rows, gamma, A, x):
    """Rows v to v - gamma H A' v, by the gradient of the loss with labels zero at v' A."""
    nothing = jnp.zeros((x.shape[0], rows.shape[0]), x.dtype)
    return rows - gamma * jax.grad(squared_loss)(dot(rows, A), x, nothing)
