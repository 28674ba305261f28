"""What the theory of chapters 5 to 7 says about the queries, keys, values and streams of a trained network."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from dualform.attention import icl_split, softmax_attn, softmax_split
from dualform.features.first_order import remainder_bound, softmax_gaps
from dualform.fewshot.network import Seen, Weights, forward
from dualform.fewshot.task import Episodes
from dualform.patch.block import RMSNorm, block_patch


class Splits(NamedTuple):
    """One layer, one number for each query token of each episode, [B, T]; sizes are Euclidean norms."""

    gate: Array  # lambda(q), how much of the attention goes to the demonstrations (SX4)
    mixed: Array  # |attention - ((1 - gate) zsl + gate demo)| / |attention|, (SX2): rounding
    added: Array  # |attention - (zsl + gate demo)| / |attention|: the split without its shrinking (SX6)
    linear: Array  # |attention - (W_zsl + dW_icl) q / n| / |attention|: linear attention (IC1), divided by n


class FirstOrder(NamedTuple):
    """One layer, [B, T]: norms relative to that of the attention's output (FE12), and remainder over bound (FE11)."""

    linear: Array
    factor: Array
    centring: Array
    mean: Array
    remainder: Array
    of_bound: Array  # the largest coordinate of |remainder| / bound


class Patches(NamedTuple):
    """One layer: a context as a patch of the second half of the layer (CP5)."""

    exact: Array  # [B, T] error at its own token, relative to how much the context changed the output
    elsewhere: Array  # [B, T (T - 1)] the same at the other tokens of the query


def weights_of(weights: Weights, layer: int) -> tuple[Array, Array, Array]:
    """W_Q, W_K, W_V of a layer."""
    mine = weights.layers[layer]
    return mine.W_Q, mine.W_K, mine.W_V


def see(weights: Weights, episodes: Episodes) -> tuple[Seen, ...]:
    """What each layer saw, with a leading axis of episodes."""
    return jax.jit(jax.vmap(lambda d, x: forward(weights, d, x)[1]))(episodes.demos, episodes.query)


def splits(weights: Weights, episodes: Episodes, layer: int) -> Splits:
    """The attention of a layer, split into the query's own tokens and the demonstrations'.

    Cost: three attentions a query token.
    """
    _, W_K, W_V = weights_of(weights, layer)

    def one(seen: Seen):
        V, K, V_demo, K_demo = (x @ W.T for x in (seen.x, seen.x_demo) for W in (W_V, W_K))
        whole = softmax_attn(jnp.concatenate([V, V_demo]), jnp.concatenate([K, K_demo]), seen.q)
        zsl, demo, weight = softmax_split(V, K, V_demo, K_demo, seen.q)
        mixed = (1 - weight)[:, None] * zsl + weight[:, None] * demo
        added = zsl + weight[:, None] * demo
        W_zsl, dW_icl = icl_split(W_V, W_K, seen.x, seen.x_demo)
        linear = seen.q @ (W_zsl + dW_icl).T * W_K.shape[0] ** -0.5 / (len(V) + len(V_demo))
        return Splits(weight, *(_norm(whole - x) / _norm(whole) for x in (mixed, added, linear)))

    return jax.jit(jax.vmap(one))(see(weights, episodes)[layer])


def first_order(weights: Weights, episodes: Episodes, layer: int) -> FirstOrder:
    """The gaps between the layer's softmax attention and linear attention at the same scores."""
    _, W_K, W_V = weights_of(weights, layer)

    def one(seen: Seen):
        x = jnp.concatenate([seen.x, seen.x_demo])
        V, K = x @ W_V.T, x @ W_K.T
        gaps, size = softmax_gaps(V, K, seen.q), _norm(softmax_attn(V, K, seen.q))
        over = jnp.max(jnp.abs(gaps.remainder) / remainder_bound(V, K, seen.q), axis=-1)
        linear, factor, centring, mean, remainder = (_norm(gap) / size for gap in gaps)
        return FirstOrder(linear, factor, centring, mean, remainder, over)

    return jax.jit(jax.vmap(one))(see(weights, episodes)[layer])


def patches(weights: Weights, episodes: Episodes, layer: int) -> Patches:
    """The demonstrations as a rank-1 patch of W1 and a bias, made for each query token and tried on all of them."""
    mine = weights.layers[layer]
    norm = RMSNorm(mine.mlp)
    alone = episodes._replace(demos=episodes.demos[:, :0])

    def out(u, W1, b2):
        return u + jax.nn.relu(norm(u) @ W1.T + mine.b1[None]) @ mine.W2.T + b2[None]

    def one(u1, u0):
        target = out(u1, mine.W1, mine.b2)
        change = _norm(target - out(u0, mine.W1, mine.b2))

        def tried(a, b):
            patch = block_patch(mine.W1, a, b, norm)
            return _norm(out(u0, mine.W1 + patch.weight, mine.b2 + patch.bias) - target) / change

        return jax.vmap(tried)(u1, u0)  # [patch, token]

    with_context, without = see(weights, episodes)[layer].u, see(weights, alone)[layer].u
    errors = jax.jit(jax.vmap(one))(with_context, without)
    own = np.eye(errors.shape[-1], dtype=bool)
    return Patches(errors[:, own], errors[:, ~own])


def _norm(x):
    return jnp.linalg.norm(x, axis=-1)
