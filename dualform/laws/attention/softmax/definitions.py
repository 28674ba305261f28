"""Both sides of the laws on softmax attention, (SX1) to (SX7): averages token by token, and the library."""

import jax
import jax.numpy as jnp

from dualform import attention
from dualform._numerics import dot
from dualform.laws.law import widened


def averaged(w, V):
    """sum_i w_i v_i / sum_i w_i for one row of weights."""
    total = sum((w[i] for i in range(len(V))), jnp.zeros(()))
    return sum((w[i] * V[i] for i in range(len(V))), jnp.zeros(V.shape[1])) / total


def exponentials(K, q, scale):
    """exp(scale k_i . q), one token at a time."""
    return jnp.stack([jnp.exp(scale * jnp.sum(k * q)) for k in K])


def summed_attn(V, K, q, scale):
    """(SX1) as it is written, for one query or many."""
    if q.ndim == 2:
        return jnp.stack([summed_attn(V, K, row, scale) for row in q])
    return averaged(exponentials(K, q, scale), V)


def default_scale(form):
    return lambda V, K, q: form(V, K, q, K.shape[1] ** -0.5)


def causal_attn(V, K, Q, scale):
    """(SX1) over the positions up to each query's own."""
    return jnp.stack([summed_attn(V[: t + 1], K[: t + 1], Q[t], scale) for t in range(len(V))])


def together(w, w_demo, V, V_demo):
    """The average over all tokens: what the mixture must equal."""
    return averaged(jnp.concatenate([w_demo, w]), jnp.concatenate([V_demo, V]))


def mixture(w, w_demo, V, V_demo):
    return attention.split_from_weights(w, w_demo, V, V_demo).attn


def parts(w, w_demo, V, V_demo):
    """(SX2) part by part: the averages of the two blocks, and the demonstrations' share."""
    share = sum(w_demo) / (sum(w) + sum(w_demo))
    return averaged(w, V), averaged(w_demo, V_demo), share


def library_parts(w, w_demo, V, V_demo):
    return tuple(attention.split_from_weights(w, w_demo, V, V_demo))


def many_queries(form):
    """A form of one query's weights for several rows of weights."""
    return lambda w, w_demo, V, V_demo: jax.tree.map(
        lambda *rows: jnp.stack(rows), *(form(w[m], w_demo[m], V, V_demo) for m in range(len(w)))
    )


def positive(*shapes):
    """Draws weights between 1/2 and 2, and values."""

    def sample(rng):
        return tuple(
            rng.uniform(0.5, 2, shape) if i < len(shapes) // 2 else rng.standard_normal(shape)
            for i, shape in enumerate(shapes)
        )

    return sample


def block_settings(V):
    """Weights and values of blocks of 3, 1 and 2 tokens."""
    sizes = (3, 1, 2)
    return lambda rng: (
        tuple(rng.uniform(0.5, 2, n) for n in sizes), tuple(rng.standard_normal((n, V)) for n in sizes),
    )  # fmt: skip


def three_together(w, V):
    return averaged(jnp.concatenate(w), jnp.concatenate(V))


def three_blocks(w, V):
    return attention.blocks_from_weights(w, V).attn


def three_gates(w, V):
    total = sum(sum(x) for x in w)
    return jnp.stack([averaged(x, y) for x, y in zip(w, V, strict=True)]), jnp.stack([sum(x) / total for x in w])


def library_gates(w, V):
    return tuple(attention.blocks_from_weights(w, V))


def softmax_together(V, K, V_demo, K_demo, q, scale):
    return summed_attn(jnp.concatenate([V_demo, V]), jnp.concatenate([K_demo, K]), q, scale)


@widened
def softmax_mixture(V, K, V_demo, K_demo, q, scale):
    return attention.softmax_split(V, K, V_demo, K_demo, q, scale).attn


def summed_gate(K, K_demo, q, scale):
    """(SX2)'s share from exponentials."""
    own, demo = sum(exponentials(K, q, scale)), sum(exponentials(K_demo, q, scale))
    return demo / (own + demo)


def unshifted(s, s_demo, V, V_demo, *shifts):
    """The split from exponentials as they are."""
    return tuple(attention.split_from_weights(jnp.exp(s), jnp.exp(s_demo), V, V_demo))


def shifted(s, s_demo, V, V_demo, c, c_demo, largest):
    """The same from exponentials that were shifted, each block by a number of its own (SX5)."""
    w, w_demo = jnp.exp(s - c), jnp.exp(s_demo - c_demo)
    factors = jnp.exp(c - largest), jnp.exp(c_demo - largest)
    return tuple(attention.split_from_weights(w, w_demo, V, V_demo, factors))


def shift_settings(rng):
    scores = rng.standard_normal(3), rng.standard_normal(2)
    values = rng.standard_normal((3, 2)), rng.standard_normal((2, 2))
    return (*scores, *values, *(float(s.max()) for s in scores), float(max(s.max() for s in scores)))


def additive_gap(w, w_demo, V, V_demo):
    """What the additive reading misses: the output minus (zero-shot part + gate times demonstrations)."""
    split = attention.split_from_weights(w, w_demo, V, V_demo)
    return together(w, w_demo, V, V_demo) - (split.zsl + split.weight * split.demo)


def shrinkage(w, w_demo, V, V_demo):
    """(SX6)'s right-hand side."""
    share = sum(w_demo) / (sum(w) + sum(w_demo))
    return -share * averaged(w, V)


def numerator_and_mass(w, w_demo, V, V_demo):
    w, V = jnp.concatenate([w_demo, w]), jnp.concatenate([V_demo, V])
    return dot(w, V), jnp.sum(w)


def sums_of_both(w, w_demo, V, V_demo):
    return dot(w, V) + dot(w_demo, V_demo), jnp.sum(w) + jnp.sum(w_demo)


def zero_shot(w, w_demo, V, V_demo):
    """The output without demonstrations."""
    return averaged(w, V)


def share_of_own_tokens(w, w_demo, V, V_demo):
    """What the query's own tokens contribute when demonstrations are there."""
    return dot(w, V) / (jnp.sum(w) + jnp.sum(w_demo))


def sum_of_blocks(w, w_demo, V, V_demo):
    """The output without demonstrations plus that of the demonstrations alone."""
    return averaged(w, V) + averaged(w_demo, V_demo)


def effect(V, K, V_demo, K_demo, q):
    """What demonstrations change about softmax attention."""
    return softmax_together(V, K, V_demo, K_demo, q, 1.0) - summed_attn(V, K, q, 1.0)


def equal_scores(w, V, V_demo):
    """The gate between tokens of one weight."""
    n, d = len(V), len(V_demo)
    return attention.split_from_weights(jnp.broadcast_to(w, n), jnp.broadcast_to(w, d), V, V_demo).weight


def counted(w, V, V_demo):
    return jnp.asarray(len(V_demo) / (len(V) + len(V_demo)))
