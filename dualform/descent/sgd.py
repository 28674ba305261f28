"""What T steps of an optimiser do to a weight: by running them (`run`), and without (`coefficients`) (O1, O2)."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dualform import _check
from dualform.descent.optimizer import Optimizer, leaves, steps

ROUNDING = jax.lax.Precision.HIGHEST


def coefficients(
    optimizer: Optimizer, T: int, *, scale: Float[Array, " T"] | None = None
) -> tuple[Float[Array, ""], Float[Array, " T"]]:
    r"""How much the initial weight and the gradient of each step count after T steps (O1).

    $W_T = a_T W_0 + \sum_t c_t \bar g_t$

    Found by (O2) from the last step to the first: the row that reads the weight out of the state is moved through the
    steps' matrices. Sums and products only, so that momentum 1 is as good as any other.

    Args:
        optimizer: its options; if `ema` is set, the result describes the averaged weight.
        T: number of steps; static.
        scale: `[T]` factor by which each step's gradient was scaled before all else; required if the optimiser clips.

    Returns:
        a_T, one number, and c `[T]`, in float32 or wider; differentiable in all of the optimiser's numbers.

    Raises:
        ValueError: T not an integer >= 0, a schedule or scale that has not T entries, no scale for an optimiser that
            clips.

    Cost: O(T) time and memory, T sequential steps on numbers.

    >>> a, c = coefficients(Optimizer(eta=1.0, momentum=0.5), 3)
    >>> print(a, c)
    1.0 [-1.75 -1.5  -1.  ]

    References: Polyak 1964 (heavy ball); Sutskever et al. 2013 (Nesterov's form); Loshchilov, Hutter 2019 (arXiv
    1711.05101).
    """
    T = _check.count("T", T)
    dtype = _check.compute_dtype(scale, *leaves(optimizer))
    per_step = steps(optimizer, T, scale, dtype)
    mu, decay = (jnp.asarray(x, dtype) for x in (optimizer.momentum, optimizer.weight_decay))
    zero = jnp.zeros((), dtype)
    coupled, shrink = (zero, decay) if optimizer.decoupled else (decay, zero)
    rho = None if optimizer.ema is None else jnp.asarray(optimizer.ema, dtype)

    def back(row, step):
        eta, scale, kept = step
        # W <- keep W - eta (fresh g + stale buf), buf <- mu buf + kept g, g = scale gbar + coupled W
        keep = 1 - eta * shrink
        fresh, stale = (1 + mu * kept, mu * mu) if optimizer.nesterov else (kept, mu)
        weight = jnp.stack([keep - eta * fresh * coupled, -eta * stale])
        buffer = jnp.stack([kept * coupled, mu])
        enters = jnp.stack([-eta * fresh * scale, kept * scale])
        if rho is None:
            matrix = jnp.stack([weight, buffer])
        else:  # the average sees the weight after the step
            matrix = jnp.stack(
                [jnp.append(weight, zero), jnp.append(buffer, zero), jnp.append((1 - rho) * weight, rho)]
            )
            enters = jnp.append(enters, (1 - rho) * enters[0])
        return jnp.matmul(row, matrix, precision=ROUNDING), jnp.matmul(row, enters, precision=ROUNDING)

    last = jnp.array([1, 0] if rho is None else [0, 0, 1], dtype)
    row, c = jax.lax.scan(back, last, per_step, reverse=True)
    return (row[0] if rho is None else row[0] + row[2]), c  # the state starts at (W_0, 0), the average at W_0


def run(
    optimizer: Optimizer,
    W0: Float[Array, "V K"],
    gradients: Float[Array, "T V K"],
    *,
    scale: Float[Array, " T"] | None = None,
) -> Float[Array, "V K"]:
    """The optimiser itself, step by step on given gradients, as torch.optim.SGD would.

    Args:
        optimizer: its options.
        W0: `[V, K]` initial weight; may be wider than the gradients.
        gradients: `[T, V, K]` mean gradient of each step, before clipping and decay.
        scale: `[T]` clip factors, required if the optimiser clips.

    Returns:
        `[V, K]` the weight after T steps, or its average if `ema` is set, in the dtype of W0.

    Raises:
        ValueError: as `coefficients`; wrong shapes or dtypes, concrete values that are not finite.

    Cost: O(T V K) time, two or three weights of memory, T sequential steps.

    >>> W0, gradients = jnp.array([[4.0]]), jnp.array([[[1.0]], [[1.0]], [[0.0]]])
    >>> print(run(Optimizer(eta=1.0, momentum=0.5), W0, gradients))
    [[0.75]]
    """
    sizes: _check.Sizes = {}
    gradients = _check.array("gradients", gradients, "T V K", sizes)
    W0 = _check.array("W0", W0, "V K", sizes)
    _check.no_narrower(gradients.dtype, W0=W0)
    dtype = _check.compute_dtype(W0, gradients, scale, *leaves(optimizer))
    per_step = steps(optimizer, len(gradients), scale, dtype)
    mu, decay = (jnp.asarray(x, dtype) for x in (optimizer.momentum, optimizer.weight_decay))
    rho = None if optimizer.ema is None else jnp.asarray(optimizer.ema, dtype)

    def forward(state, step):
        W, buffer, average = state
        gradient, (eta, scale, kept) = step
        g = scale * gradient
        if not optimizer.decoupled:
            g = g + decay * W
        buffer = mu * buffer + kept * g
        if optimizer.decoupled:
            W = W * (1 - eta * decay)
        W = W - eta * (g + mu * buffer if optimizer.nesterov else buffer)
        average = average if rho is None else rho * average + (1 - rho) * W
        return (W, buffer, average), None

    W = W0.astype(dtype)
    (W, _, average), _ = jax.lax.scan(forward, (W, jnp.zeros_like(W), W), (gradients.astype(dtype), per_step))
    return (W if rho is None else average).astype(W0.dtype)


def clip_factors(norms: Float[Array, " T"], clip: _check.Scalar) -> Float[Array, " T"]:
    r"""The factor by which clipping scaled each step's gradient, $\min(1, \mathrm{clip} / \mathrm{norm}_t)$ (O8).

    torch.nn.utils.clip_grad_norm_ divides by norm + 1e-6 instead: for its runs pass `norms + 1e-6`.

    Args:
        norms: `[T]` norm of all the gradients of each step, over every parameter that was clipped together; >= 0.
        clip: the norm allowed, above 0.

    Returns:
        `[T]` factors in (0, 1]; 1 where the norm is 0.

    Raises:
        ValueError: norms not `[T]`, negative or not finite; a clip that is not above 0.

    >>> print(clip_factors(jnp.array([0.0, 1.0, 4.0]), 2.0))
    [1.  1.  0.5]

    References: Pascanu, Mikolov, Bengio 2013 (arXiv 1211.5063), algorithm 1.
    """
    norms = _check.array("norms", norms, "T")
    clip = _check.scalar("clip", clip, positive=True)
    if _check.is_concrete(norms) and bool(np.any(np.asarray(norms) < 0)):
        raise ValueError(
            f"norms: got {np.min(np.asarray(norms)):g}, expected norms of at least 0; pass norms, not their logarithms"
        )
    dtype = _check.compute_dtype(norms)
    wide, clip = norms.astype(dtype), jnp.asarray(clip, dtype)
    large = wide > clip
    # The inner where keeps the unused branch, and hence its derivative, free of 0 / 0.
    return jnp.where(large, clip / jnp.where(large, wide, 1), 1).astype(norms.dtype)
