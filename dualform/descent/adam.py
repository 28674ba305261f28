"""Adam has no scalar coefficients: its dual form has one matrix of weights per step (O10)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dualform import _check
from dualform.linear import linear_attn

Gradients = Float[Array, "T V K"]
Rate = _check.Scalar | Float[Array, " T"]


def hadamard(
    gradients: Gradients,
    eta: Rate = 1e-3,
    *,
    b1: _check.Scalar = 0.9,
    b2: _check.Scalar = 0.999,
    eps: _check.Scalar = 1e-8,
    weight_decay: _check.Scalar = 0.0,
) -> tuple[Float[Array, ""], Gradients]:
    r"""Adam and AdamW exactly, elementwise: $W_T = a_T W_0 - \sum_i C_i \odot \bar g_i$ (O10).

    Each entry of the weight has learning rates of its own, so no attention score per pattern exists; C has T V K
    entries and saves nothing. The gradients must be those of the run: C depends on all of them.

    Args:
        gradients: `[T, V, K]` mean gradient of each step.
        eta: learning rate, one number or `[T]`.
        b1: how much of the first moment is kept.
        b2: how much of the second moment is kept.
        eps: added to the root of the second moment.
        weight_decay: decoupled, as in AdamW. (Coupled decay is part of the gradients: add it to them.)

    Returns:
        a_T, one number, and C `[T, V, K]`, in float32 or wider.

    Raises:
        ValueError: wrong shapes or dtypes, concrete values that are not finite.

    Cost: O(T V K) time and memory.

    >>> a, C = hadamard(jnp.array([[[1.0, -100.0]]]), eta=0.5, eps=1.0)
    >>> print(a, -jnp.sum(C * jnp.array([[[1.0, -100.0]]]), axis=0).round(2))
    1.0 [[-0.25  0.5 ]]

    References: Kingma, Ba 2015 (arXiv 1412.6980), algorithm 1; Loshchilov, Hutter 2019 (arXiv 1711.05101), algorithm 2.
    """
    rates = adam_rates(gradients, eta, b1=b1, b2=b2, eps=eps)
    return hadamard_from_rates(rates, eta, b1=b1, weight_decay=weight_decay)


def adam_rates(
    gradients: Gradients,
    eta: Rate = 1e-3,
    *,
    b1: _check.Scalar = 0.9,
    b2: _check.Scalar = 0.999,
    eps: _check.Scalar = 1e-8,
) -> Gradients:
    r"""What Adam multiplies its first moment by, entry by entry (O10).

    $D_t = \eta_t / (1 - \beta_1^t) / (\sqrt{\hat v_t} + \epsilon)$

    Args:
        gradients, eta, b1, b2, eps: those of `hadamard`.

    Returns:
        D `[T, V, K]`, in float32 or wider.

    Raises:
        ValueError: as `hadamard`.

    Cost: O(T V K) time and memory.

    >>> print(adam_rates(jnp.array([[[3.0]]]), eta=1.0, b1=0.5, b2=0.5, eps=1.0))
    [[[0.5]]]
    """
    gradients = _check.array("gradients", gradients, "T V K")
    dtype = _check.compute_dtype(gradients, eta)
    eta = _rates(eta, len(gradients), dtype)
    b1, b2, eps = (jnp.asarray(_check.scalar(n, v), dtype) for n, v in (("b1", b1), ("b2", b2), ("eps", eps)))

    def step(state, now):
        v, b1_t, b2_t = state  # second moment, and the powers that correct the bias of the moments
        g, eta = now
        v, b1_t, b2_t = b2 * v + (1 - b2) * g * g, b1 * b1_t, b2 * b2_t
        return (v, b1_t, b2_t), eta / (1 - b1_t) / (jnp.sqrt(v / (1 - b2_t)) + eps)

    start = jnp.zeros(gradients.shape[1:], dtype), jnp.ones((), dtype), jnp.ones((), dtype)
    return jax.lax.scan(step, start, (gradients.astype(dtype), eta))[1]


def hadamard_from_rates(
    rates: Gradients, eta: Rate = 0.0, *, b1: _check.Scalar = 0.0, weight_decay: _check.Scalar = 0.0
) -> tuple[Float[Array, ""], Gradients]:
    r"""(O10) for any elementwise optimiser whose rates D were recorded: Adam, or RMSprop and AdaGrad with b1 = 0.

    $C_i = (1 - \beta_1) \sum_{t \ge i} \bigl(\prod_{s > t} (1 - \eta_s \lambda)\bigr)\, \beta_1^{t-i}\, D_t$, summed
    from the end.

    Args:
        rates: `[T, V, K]` D, what each step multiplied the first moment by, entry by entry.
        eta: learning rate, one number or `[T]`; counts for the weight decay only.
        b1: how much of the first moment is kept.
        weight_decay: decoupled.

    Returns:
        a_T, one number, and C `[T, V, K]`, in float32 or wider.

    Raises:
        ValueError: wrong shapes or dtypes, concrete values that are not finite.

    >>> print(hadamard_from_rates(jnp.array([[[1.0]], [[2.0]]]), b1=0.5)[1].ravel())
    [1. 1.]
    """
    rates = _check.array("rates", rates, "T V K")
    dtype = _check.compute_dtype(rates, eta)
    eta = _rates(eta, len(rates), dtype)
    b1, decay = (jnp.asarray(_check.scalar(n, v), dtype) for n, v in (("b1", b1), ("weight_decay", weight_decay)))

    def back(state, step):
        total, kept = state  # sum over the steps from t on, and what their decay leaves of an earlier weight
        D, eta = step
        total = b1 * total + kept * D
        return (total, kept * (1 - eta * decay)), (1 - b1) * total

    start = jnp.zeros(rates.shape[1:], dtype), jnp.ones((), dtype)
    (_, a), C = jax.lax.scan(back, start, (rates.astype(dtype), eta), reverse=True)
    return a, C


def run_from_rates(
    W0: Float[Array, "V K"],
    gradients: Gradients,
    rates: Gradients,
    eta: Rate = 0.0,
    *,
    b1: _check.Scalar = 0.0,
    weight_decay: _check.Scalar = 0.0,
) -> Float[Array, "V K"]:
    r"""The primal side of (O10): the elementwise optimiser itself, step by step, with its rates given.

    $m \leftarrow \beta_1 m + (1-\beta_1) \bar g_t$, then $W \leftarrow (1 - \eta_t\lambda) W - D_t \odot m$.

    Args:
        W0: `[V, K]` initial weight.
        gradients: `[T, V, K]` mean gradient of each step.
        rates, eta, b1, weight_decay: those of `hadamard_from_rates`.

    Returns:
        `[V, K]` the weight after T steps, in the dtype of W0.

    Raises:
        ValueError: wrong shapes or dtypes, concrete values that are not finite.

    Cost: O(T V K) time, T sequential steps.

    >>> g = jnp.array([[[1.0]], [[1.0]]])
    >>> print(run_from_rates(jnp.array([[5.0]]), g, rates=g, b1=0.5))
    [[3.75]]
    """
    sizes: _check.Sizes = {}
    gradients, rates = (
        _check.array("gradients", gradients, "T V K", sizes),
        _check.array("rates", rates, "T V K", sizes),
    )
    W0 = _check.array("W0", W0, "V K", sizes)
    dtype = _check.compute_dtype(W0, gradients, rates, eta)
    eta = _rates(eta, len(rates), dtype)
    b1, decay = (jnp.asarray(_check.scalar(n, v), dtype) for n, v in (("b1", b1), ("weight_decay", weight_decay)))

    def step(state, now):
        W, m = state
        g, D, eta = now
        m = b1 * m + (1 - b1) * g
        return ((1 - eta * decay) * W - D * m, m), None

    W = W0.astype(dtype)
    (W, _), _ = jax.lax.scan(step, (W, jnp.zeros_like(W)), (gradients.astype(dtype), rates.astype(dtype), eta))
    return W.astype(W0.dtype)


def read_hadamard(
    a: _check.Scalar,
    C: Gradients,
    W0: Float[Array, "V K"],
    gradients: Float[Array, "T V"],
    X: Float[Array, "T K"],
    x: Float[Array, " K"],
) -> Float[Array, " V"]:
    r"""The layer after Adam, read at one query q without its weight (O10).

    $y_j = a_T (W_0 q)_j - \sum_i g_{ij}\, x_i^\top \mathrm{diag}(C_i[j,:])\, q$

    Another attention for every output coordinate j, with weights per channel (L8): exact, and of no use as attention.

    Args:
        a, C: from `hadamard`.
        W0: `[V, K]` initial weight.
        gradients: `[T, V]` output gradient of each step's one pattern. A minibatch of B is B patterns that share C / B.
        X: `[T, K]` its input.
        x: `[K]` query q.

    Returns:
        `[V]`.

    Raises:
        ValueError: wrong shapes or dtypes, concrete values that are not finite.

    Cost: O(T V K) time: as much as all the updates together.

    >>> g, X, W0 = jnp.array([[1.0, 2.0]]), jnp.array([[3.0]]), jnp.zeros((2, 1))
    >>> print(read_hadamard(1.0, jnp.ones((1, 2, 1)), W0, g, X, jnp.array([1.0])))
    [-3. -6.]
    """
    sizes: _check.Sizes = {}
    gradients, X = _check.array("gradients", gradients, "T V", sizes), _check.array("X", X, "T K", sizes)
    C, W0 = _check.array("C", C, "T V K", sizes), _check.array("W0", W0, "V K", sizes)
    x = _check.array("x", x, "K", sizes)
    dtype = _check.same_dtype(gradients=gradients, X=X, x=x)
    wide = _check.compute_dtype(C, W0, x)
    C, W0, G, X, x = (value.astype(wide) for value in (C, W0, gradients, X, x))
    a = jnp.asarray(_check.scalar("a", a), wide)
    change = jax.vmap(lambda g, c: linear_attn(g[:, None], X, x, weights=c)[0], in_axes=(1, 1))(G, C)
    return (a * jnp.matmul(W0, x, precision=jax.lax.Precision.HIGHEST) - change).astype(dtype)


def _rates(eta, T, dtype):
    eta = eta if isinstance(eta, int | float) else _check.array("eta", eta, "| T", {"T": (T, "the number of steps")})
    return jnp.broadcast_to(jnp.asarray(_check.scalar("eta", eta) if jnp.ndim(eta) == 0 else eta, dtype), (T,))
