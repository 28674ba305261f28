r"""Finetuning a linear head by SGD, with the error signals of its projections on record.

The head $y = \sum_i W_V x_i\, (W_K x_i \cdot q)$ is trained on sequences $s = 1, 2, \ldots$, one step each, as
in-context learning would read them: once, in order, and by the same tokens. The query projection stays as it is. With
$v_i = W_V x_i$ and $k_i = W_K x_i$ the outputs of the two projections, each step adds outer products of error signals
and tokens,

$$ \Delta W_V = \sum_{s,i} e^V_{si} x_{si}^\top, \quad e^V_{si} = -\eta_s \partial L_s / \partial v_{si}, \qquad
   \Delta W_K = \sum_{s,i} e^K_{si} x_{si}^\top, \quad e^K_{si} = -\eta_s \partial L_s / \partial k_{si}, \tag{IC7} $$

where the gradients of step $s$ are those of the weights that step $s - 1$ left. On the squared loss
$\tfrac12 |y - t|^2$ they are $e^V_{si} = -\eta_s (y_s - t_s)(k_{si} \cdot q_s)$ and
$e^K_{si} = -\eta_s\, (v_{si} \cdot (y_s - t_s))\, q_s$. Fed to `two_hop`, they give the finetuned head's output with
no weight changed.

References: Dai et al. 2022 (arXiv 2212.10559), section 3.2, for the setting: keys and values only, one pass in order.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dualform import _check
from dualform._numerics import dot
from dualform.attention.update import KeyWeight, ValueWeight
from dualform.linear import linear_attn

Loss = Callable[[Array, Array], Array]


class Finetuned(NamedTuple):
    """A finetuning run, and what it takes to rebuild it (IC7).

    Attributes:
        W_V, W_K: `[V, D]`, `[K, D]` projections after the run, by `jax.grad` with respect to the weights.
        E_V, E_K: `[S n, V]`, `[S n, K]` error signals, by `jax.grad` with respect to the projections' outputs.
        X: `[S n, D]` the training tokens, in the order of the error signals.
        losses: `[S]` before each step.
    """

    W_V: Array
    W_K: Array
    E_V: Array
    E_K: Array
    X: Array
    losses: Array


def squared(y: Array, target: Array) -> Array:
    r"""$\tfrac12 |y - t|^2$.

    >>> print(squared(jnp.array([1.0, 2.0]), jnp.array([1.0, 0.0])))
    2.0
    """
    return 0.5 * jnp.sum((y - target) ** 2)


def finetune(
    W_V: ValueWeight, W_K: KeyWeight, X: Float[Array, "S n D"], Q: Float[Array, "S K"], targets: Float[Array, "S V"],
    eta: _check.Scalar | Float[Array, " S"], loss: Loss = squared,
) -> Finetuned:  # fmt: skip
    r"""Trains keys and values of a linear head by SGD, one step a sequence, and records the error signals (IC7).

    Args:
        W_V, W_K: `[V, D]`, `[K, D]` projections before the run.
        X: `[S, n, D]` S sequences of n tokens.
        Q: `[S, K]` a query for each.
        targets: `[S, V]` what the head should say there.
        eta: learning rate, one number or `[S]`.
        loss: function of the head's output `[V]` and the target `[V]`, returns one number.

    Returns:
        `Finetuned`, in the dtype of X.

    Raises:
        ValueError: wrong shapes, no features, different or non-float dtypes, concrete values that are not finite, a
            loss that is not a single number.

    Cost: S sequential steps of two forward and backward passes, O(S n (V + K) D) in all; S n (V + K) numbers.

    >>> one = jnp.ones((1, 1))
    >>> run = finetune(one, one, jnp.ones((2, 1, 1)), jnp.ones((2, 1)), jnp.zeros((2, 1)), 0.5)
    >>> print(run.W_V.ravel(), run.losses)
    [0.4375] [0.5     0.03125]
    """
    sizes: _check.Sizes = {}
    W_V, W_K = _check.array("W_V", W_V, "V D", sizes), _check.array("W_K", W_K, "K D", sizes)
    X, Q = _check.array("X", X, "S n D", sizes), _check.array("Q", Q, "S K", sizes)
    targets = _check.array("targets", targets, "S V", sizes)
    dtype = _check.same_dtype(W_V=W_V, W_K=W_K, X=X, Q=Q, targets=targets)
    S, n, D = X.shape
    wide = _check.compute_dtype(X)
    rates = _check.array("eta", eta, "S", sizes) if jnp.ndim(eta) else _check.scalar("eta", eta)
    rates = jnp.broadcast_to(jnp.asarray(rates, wide), (S,))
    W_V, W_K, X, Q, targets = (x.astype(wide) for x in (W_V, W_K, X, Q, targets))
    shape = jax.eval_shape(loss, *(jax.ShapeDtypeStruct(W_V.shape[:1], wide),) * 2).shape
    if shape != ():
        raise ValueError(
            f"loss: got a function that returns shape {shape}, expected a single number; sum or average it"
        )

    def step(weights, sequence):
        x, q, target, rate = sequence

        def by_outputs(v, k):
            return loss(linear_attn(v, k, q), target)

        def by_weights(W_V, W_K):
            return by_outputs(dot(x, W_V.T), dot(x, W_K.T))

        value, gradients = jax.value_and_grad(by_weights, (0, 1))(*weights)
        signals = jax.grad(by_outputs, (0, 1))(*(dot(x, W.T) for W in weights))
        new = tuple(W - rate * g for W, g in zip(weights, gradients, strict=True))
        return new, (value, *(-rate * g for g in signals))

    (W_V, W_K), (losses, E_V, E_K) = jax.lax.scan(step, (W_V, W_K), (X, Q, targets, rates))
    flat = (E_V.reshape(S * n, -1), E_K.reshape(S * n, -1), X.reshape(S * n, D)) if S * n else (
        jnp.zeros((0, len(W_V)), wide), jnp.zeros((0, len(W_K)), wide), jnp.zeros((0, D), wide))  # fmt: skip
    return Finetuned(*(x.astype(dtype) for x in (W_V, W_K, *flat, losses)))
