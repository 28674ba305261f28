r"""A small GPT that reads examples as a sequence of inputs and labels and predicts every label from what came before.

The tokens of a prompt alternate, inputs at even places and labels at odd ones,

$$ t_{2i} = x_i, \qquad t_{2i+1} = (y_i, 0, \dots, 0), \qquad i = 0, 1, \dots,                        \tag{GP1} $$

each read in by one matrix and given the learned vector of its position, $h_j = W_{in} t_j + b_{in} + p_j$. A layer adds
causal softmax attention of H heads and then a network of two layers, each behind a norm (LayerNorm):

$$ u_j = h_j + W_O\,[\mathrm{Attn}_1; \dots; \mathrm{Attn}_H]_j + b_O, \qquad
   h_j' = u_j + W_2\,\mathrm{gelu}(W_1 \mathrm{norm}(u_j) + b_1) + b_2,                              \tag{GP2} $$

where $\mathrm{Attn}_h$ is (SX1) over positions up to $j$ with queries, keys and values that are affine in
$\mathrm{norm}(h)$. The prediction of $y_i$ is a number read at its input's token, $\hat y_i = w_{out} \cdot
\mathrm{norm}(h_{2i}) + b_{out}$. That token comes before the label's, so

$$ \hat y_i \text{ depends on } x_0, y_0, \dots, x_{i-1}, y_{i-1}, x_i \text{ and on nothing else},   \tag{GP3} $$

and one pass predicts after 0, 1, 2, ... examples. Training lowers the mean over all of these lengths,

$$ \ell = \frac1n \sum_{i=0}^{n-1} (\hat y_i - y_i)^2.                                                \tag{GP4} $$

This is the model of Garg et al. and of Akyurek et al. without the table of word tokens, which they never read.

References: Garg, Tsipras, Liang, Valiant 2022, What can transformers learn in-context? (arXiv 2208.01066); Akyurek et
al. 2023, What learning algorithm is in-context learning? (arXiv 2211.15661); Radford et al. 2019 (GPT-2).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dualform import _check
from dualform._numerics import dot
from dualform.attention import causal_softmax_attn
from dualform.rules.ttt import LayerNorm


@dataclass(frozen=True)
class GPT:
    """Sizes of a network; the defaults have 151,937 weights.

    Args:
        d: inputs a token.
        points: pairs of input and label in the longest prompt that it can read.
        width: of the stream.
        layers, heads: how many; heads divide the width.
    """

    d: int = 5
    points: int = 11
    width: int = 64
    layers: int = 3
    heads: int = 2


class GPTBlock(NamedTuple):
    """GPTWeights of one layer; D is the width, H heads."""

    norm1: tuple[Array, Array]  # weight and bias of the norm before attention, [D] each
    queries: tuple[Array, Array]  # [H, D/H, D] and [H, D/H]
    keys: tuple[Array, Array]
    values: tuple[Array, Array]
    out: tuple[Array, Array]  # [D, D] and [D]
    norm2: tuple[Array, Array]
    up: tuple[Array, Array]  # [4 D, D] and [4 D]
    down: tuple[Array, Array]  # [D, 4 D] and [D]


class GPTWeights(NamedTuple):
    """All weights of a network."""

    read_in: tuple[Array, Array]  # [D, d] and [D]
    positions: Array  # [2 points, D]
    blocks: tuple[GPTBlock, ...]
    norm: tuple[Array, Array]
    read_out: tuple[Array, Array]  # [D] and []


def initial_gpt(config: GPT, seed: int) -> GPTWeights:
    """Random weights: normal with variance 1/inputs, biases zero, what a layer adds smaller by sqrt(2 layers).

    Args:
        config: sizes.
        seed: of numpy's generator.

    Returns:
        `GPTWeights`, float32.

    Raises:
        ValueError: sizes below one, a width that heads do not divide.

    >>> weights = initial_gpt(GPT(d=5, points=11), seed=0)
    >>> print(sum(w.size for w in jax.tree.leaves(weights)))
    151937
    """
    D, H = _check.count("width", config.width, 1), _check.count("heads", config.heads, 1)
    d, points = _check.count("d", config.d, 1), _check.count("points", config.points, 1)
    if D % H:
        raise ValueError(f"heads: got {H}, expected a divisor of the width {D}; change one of them")
    rng = np.random.default_rng(seed)

    def normal(*shape, scale=1.0):
        return jnp.asarray(scale * rng.standard_normal(shape) / np.sqrt(shape[-1]), jnp.float32)

    def affine(*shape, scale=1.0):
        return normal(*shape, scale=scale), jnp.zeros(shape[:-1])

    def norm():
        return jnp.ones(D), jnp.zeros(D)

    added = (2 * max(config.layers, 1)) ** -0.5

    def block():
        q, k, v = (affine(H, D // H, D) for _ in range(3))
        out, up, down = affine(D, D, scale=added), affine(4 * D, D), affine(D, 4 * D, scale=added)
        return GPTBlock(norm(), q, k, v, out, norm(), up, down)

    layers = tuple(block() for _ in range(_check.count("layers", config.layers)))
    return GPTWeights(affine(D, d), normal(2 * points, D, scale=0.1 * D**0.5), layers, norm(), affine(D))


def alternating(x: Float[Array, "n d"], y: Float[Array, " n"]) -> Float[Array, "2*n-1 d"]:
    """The tokens of a prompt (GP1), without that of the last label, which no prediction may see.

    >>> print(alternating(jnp.array([[1.0, 2.0], [3.0, 4.0]]), jnp.array([5.0, 6.0])))
    [[1. 2.]
     [5. 0.]
     [3. 4.]]
    """
    labels = jnp.concatenate([y[:, None], jnp.zeros((len(y), x.shape[1] - 1), y.dtype)], axis=1)
    return jnp.stack([x, labels], axis=1).reshape(-1, x.shape[1])[:-1]


def gpt_predictions(
    weights: GPTWeights, x: Float[Array, "n d"], y: Float[Array, " n"], attention: Callable = causal_softmax_attn
) -> Float[Array, " n"]:
    r"""The predictions of all labels of a prompt, each from the examples before it (GP3).

    Args:
        weights: from `initial_gpt` or a training.
        x: `[n, d]` inputs, n at least 1.
        y: `[n]` labels; the last one is not read.
        attention: of values, keys and queries `[T, K]` each, causal.

    Returns:
        `[n]`; entry i is the prediction for input i after i examples.

    Raises:
        ValueError: wrong shapes, dtypes that differ, more points than the network has positions for.

    Cost: 24 n width^2 multiplications a layer, and 4 n^2 width of attention; a batch by `jax.vmap`.

    >>> weights = initial_gpt(GPT(d=2, points=3, width=8), seed=0)
    >>> x, y = jnp.ones((3, 2)), jnp.ones(3)
    >>> other = gpt_predictions(weights, x, y.at[1].set(7.0))  # the label of the second example
    >>> print(gpt_predictions(weights, x, y) == other)
    [ True  True False]

    References: Garg et al. 2022 (arXiv 2208.01066), section 2.
    """
    sizes: _check.Sizes = {}
    x, y = _check.array("x", x, "n d", sizes), _check.array("y", y, "n", sizes)
    _check.same_dtype(x=x, y=y)
    if not 0 < 2 * len(x) <= len(weights.positions) or x.shape[1] != weights.read_in[0].shape[1]:
        raise ValueError(
            f"x: got shape {x.shape}, expected 1 to {len(weights.positions) // 2} points of "
            f"{weights.read_in[0].shape[1]} inputs; make a network of these sizes"
        )
    h = _affine(weights.read_in, alternating(x, y)) + weights.positions[: 2 * len(x) - 1]
    for block in weights.blocks:
        h = _layer(block, h, attention)
    return dot(LayerNorm(*weights.norm)(h[::2]), weights.read_out[0]) + weights.read_out[1]


def gpt_batch(weights: GPTWeights, x: Float[Array, "B n d"], y: Float[Array, "B n"]) -> Float[Array, "B n"]:
    """`gpt_predictions` of a batch of prompts."""
    return jax.vmap(lambda x, y: gpt_predictions(weights, x, y))(x, y)


def prefix_loss(
    predictions: Float[Array, "B n"], y: Float[Array, "B n"], points: int | Array | None = None
) -> Float[Array, ""]:
    """The mean squared error over prompts and over all numbers of examples (GP4).

    Args:
        predictions: `[B, n]` from `gpt_batch`.
        y: `[B, n]` labels.
        points: over how many of the n; all if None. May be traced.

    Returns:
        One number.

    >>> print(prefix_loss(jnp.array([[0.0, 2.0]]), jnp.array([[1.0, 5.0]])))
    5.0
    >>> print(prefix_loss(jnp.array([[0.0, 2.0]]), jnp.array([[1.0, 5.0]]), points=1))
    1.0
    """
    errors = jnp.mean((predictions - y) ** 2, axis=0)
    if points is None:
        return jnp.mean(errors)
    return jnp.sum(jnp.where(jnp.arange(len(errors)) < points, errors, 0)) / points


def _layer(block: GPTBlock, h, attention):
    """(GP2)."""
    n = LayerNorm(*block.norm1)(h)
    heads = jax.vmap(lambda q, k, v: attention(_affine(v, n), _affine(k, n), _affine(q, n)))
    found = heads(block.queries, block.keys, block.values)  # [H, T, D/H]
    u = h + _affine(block.out, jnp.moveaxis(found, 0, 1).reshape(h.shape))
    return u + _affine(block.down, jax.nn.gelu(_affine(block.up, LayerNorm(*block.norm2)(u))))


def _affine(pair, x):
    product = dot(x, pair[0].T)
    return product + jnp.broadcast_to(pair[1], product.shape)
