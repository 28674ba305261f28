r"""A small attention network, and everything that its layers saw.

Each layer adds softmax attention and then a network of two layers to the residual stream, each behind an RMS norm:

    u = x + attention(norm(x)),    x' = u + W2 relu(W1 norm(u) + b1) + b2.

Demonstrations read demonstrations; the query's tokens read them and each other. So what the demonstrations contribute
does not depend on the query, and leaving them out leaves the query's own tokens.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dualform.attention import softmax_attn
from dualform.fewshot.task import FEATURES
from dualform.patch.block import RMSNorm


class Layer(NamedTuple):
    """Weights of one layer."""

    W_Q: Array  # [D, D]
    W_K: Array
    W_V: Array
    W_O: Array
    attention: Array  # [D] weight of the norm before attention
    W1: Array  # [M, D]
    b1: Array
    W2: Array  # [D, M]
    b2: Array
    mlp: Array  # [D] weight of the norm before W1


class Weights(NamedTuple):
    """All weights."""

    embed: Array  # [D, FEATURES]
    layers: tuple[Layer, ...]
    read: Array  # [D]


class Seen(NamedTuple):
    """What one layer saw: the query's T tokens and, where there are any, the demonstrations' d tokens."""

    x: Array  # [T, D] inputs of attention, behind its norm
    x_demo: Array  # [d, D]
    q: Array  # [T, D] queries
    u: Array  # [T, D] the stream after attention, which the second half of the layer reads behind its norm


def initial(seed: int, width: int = 32, hidden: int = 64, depth: int = 2) -> Weights:
    """Random weights."""
    rng = np.random.default_rng(seed)

    def matrix(rows, columns):
        return jnp.asarray(rng.standard_normal((rows, columns)) / np.sqrt(columns), jnp.float32)

    def layer():
        W_Q, W_K, W_V, W_O = (matrix(width, width) for _ in range(4))
        first, second = (matrix(hidden, width), jnp.zeros(hidden)), (matrix(width, hidden), jnp.zeros(width))
        return Layer(W_Q, W_K, W_V, W_O, jnp.ones(width), *first, *second, jnp.ones(width))

    return Weights(matrix(width, FEATURES), tuple(layer() for _ in range(depth)), matrix(1, width)[0])


def forward(weights: Weights, demos: Float[Array, "d F"], query: Float[Array, "T F"]) -> tuple[Array, tuple[Seen, ...]]:
    """The logit of +1 for the query, and what each layer saw. Without demonstrations pass none, [0, F]."""
    x, c = query @ weights.embed.T, demos @ weights.embed.T
    seen = []
    for layer in weights.layers:
        x, c, mine = _layer(layer, x, c)
        seen.append(mine)
    return jnp.mean(x, axis=0) @ weights.read, tuple(seen)


def _layer(layer: Layer, x, c):
    norm = RMSNorm(layer.attention)
    x_in, c_in = norm(x), norm(c)
    K, K_demo = x_in @ layer.W_K.T, c_in @ layer.W_K.T
    V, V_demo = x_in @ layer.W_V.T, c_in @ layer.W_V.T
    q = x_in @ layer.W_Q.T
    u = x + softmax_attn(jnp.concatenate([V, V_demo]), jnp.concatenate([K, K_demo]), q) @ layer.W_O.T
    if len(c):
        c = c + softmax_attn(V_demo, K_demo, c_in @ layer.W_Q.T) @ layer.W_O.T
    return feed(layer, u), feed(layer, c), Seen(x_in, c_in, q, u)


def feed(layer: Layer, u: Array) -> Array:
    """The second half of a layer."""
    return u + jax.nn.relu(RMSNorm(layer.mlp)(u) @ layer.W1.T + layer.b1[None]) @ layer.W2.T + layer.b2[None]
