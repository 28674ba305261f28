"""Patches of a whole block: the next weight, and where the residual stream has to be carried, a bias or a second one.

`u` is the residual stream at the token after the contextual layer, `x + A(C, x)`.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dualform import _check
from dualform.patch.token import arguments, dot, least_norm, require_direction

Stream = Float[Array, " K"]


class RMSNorm(NamedTuple):
    """$w \\cdot u / \\sqrt{\\mathrm{mean}(u^2) + \\epsilon}$ over the last axis; weight [K]."""

    weight: Float[Array, " K"]
    eps: float = 1e-6

    def __call__(self, u: Array) -> Array:
        return jnp.broadcast_to(self.weight, u.shape) * (
            u * jax.lax.rsqrt(jnp.mean(u * u, axis=-1, keepdims=True) + self.eps)
        )


Norm = RMSNorm | Callable[[Array], Array]


class BlockPatch(NamedTuple):
    """Changes of a block `u + W2 f(W norm(u) + b) + b2`."""

    weight: Float[Array, "V K"]  # of W
    bias: Float[Array, " K"]  # of b2


class GatedPatch(NamedTuple):
    """Changes of a block `u + W_down (f(W_gate n) * W_up n)`, n = norm(u); each of rank at most 1."""

    gate: Float[Array, "V K"]
    up: Float[Array, "V K"]
    down: Float[Array, "K V"]


def block_patch(
    W: Float[Array, "V K"], with_context: Stream, without_context: Stream, norm: Norm | None = None
) -> BlockPatch:
    r"""The patch of a block with a skip connection (CP4), or of one with a norm in front (CP5).

    Args:
        W: `[V, K]` first weight of the block; may be wider than the stream.
        with_context: `[K]` residual stream at the token, with context.
        without_context: `[K]` the same without.
        norm: what W's input goes through, e.g. `RMSNorm(weight)` or `dualform.rules.ttt.LayerNorm(weight, bias)`.

    Returns:
        `BlockPatch`: the change of W, and that of the block's output bias, the difference of the streams.

    Raises:
        ValueError: wrong shapes or dtypes, concrete values that are not finite, an input of W that is zero.

    Cost: 3 V K flops.

    >>> W, W2 = jnp.eye(2), jnp.ones((2, 2))
    >>> block = lambda u, W, b2: u + W2 @ jnp.tanh(W @ u) + b2
    >>> u1, u0 = jnp.array([1.0, 2.0]), jnp.array([0.0, 2.0])
    >>> patch = block_patch(W, u1, u0)
    >>> print(block(u0, W + patch.weight, patch.bias), block(u1, W, 0.0))
    [2.7256217 3.7256217] [2.7256217 3.7256217]

    References: Dherin et al. 2025 (arXiv 2507.16003), appendix on skip connections.
    """
    W, u1, u0, dtype = arguments(W, with_context, without_context, "K")
    n1, n0 = (u1, u0) if norm is None else (norm(u1), norm(u0))
    require_direction("without_context" if norm is None else "norm(without_context)", n0)
    return BlockPatch(least_norm(dot(W, n1 - n0), n0).astype(dtype), (u1 - u0).astype(dtype))


def gated_patch(
    W_gate: Float[Array, "V K"],
    W_up: Float[Array, "V K"],
    with_context: Stream,
    without_context: Stream,
    norm: Norm | None = None,
    activation: Callable[[Array], Array] = jax.nn.silu,
) -> GatedPatch:
    r"""The patch of a gated block without biases (CP6): the second weight carries the residual stream.

    Args:
        W_gate, W_up: `[V, K]` of the gate and of what it gates.
        with_context: `[K]` residual stream at the token, with context.
        without_context: `[K]` the same without.
        norm: what the input of both goes through.
        activation: of the gate.

    Returns:
        `GatedPatch`, whose `down` is added to the `[K, V]` weight of the hidden features; that weight itself is not
        needed.

    Raises:
        ValueError: wrong shapes or dtypes, concrete values that are not finite, an input or a hidden vector of zero.

    Cost: 10 V K flops.

    References: Dherin et al. 2025 (arXiv 2507.16003); Goldwaser et al. 2025 (arXiv 2511.17864).
    """
    sizes: _check.Sizes = {}
    W_gate, u1, u0, dtype = arguments(W_gate, with_context, without_context, "K", sizes)
    W_up = _check.array("W_up", W_up, "V K", sizes).astype(W_gate.dtype)
    n1, n0 = (u1, u0) if norm is None else (norm(u1), norm(u0))
    require_direction("without_context" if norm is None else "norm(without_context)", n0)
    hidden = activation(dot(W_gate, n1)) * dot(W_up, n1)
    require_direction("the hidden vector", hidden)
    gate, up = (least_norm(dot(W, n1 - n0), n0) for W in (W_gate, W_up))
    return GatedPatch(gate.astype(dtype), up.astype(dtype), least_norm(u1 - u0, hidden).astype(dtype))
