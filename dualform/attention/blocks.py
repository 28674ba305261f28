r"""Softmax attention over several blocks of tokens is an exact mixture of the attention over each of them.

Softmax attention averages values with weights that are exponentials of scores:

$$ \mathrm{Attn}(V,K,q) = \frac{\sum_i w_i v_i}{\sum_i w_i}, \quad w_i = e^{\mathrm{scale}\, k_i \cdot q}. \tag{SX1} $$

Put demonstrations, with weights $w^d_j$ and values $v^d_j$, before the query's own tokens. Numerator and denominator
are sums over tokens, so the output is a convex mixture of what each block alone would give:

$$ \mathrm{Attn} = (1 - \lambda)\, \mathrm{Attn}_z + \lambda\, \mathrm{Attn}_d, \qquad
   \lambda(q) = \frac{\sum_j w^d_j}{\sum_i w_i + \sum_j w^d_j}.                                          \tag{SX2} $$

This is rational in the weights, and holds for any weights, exponentials or not. For $m$ blocks of masses $W_j$:

$$ \mathrm{Attn} = \sum_{j=1}^m \lambda_j\, \mathrm{Attn}_j, \qquad \lambda_j = W_j / \textstyle\sum_l W_l,
   \qquad W_j = \sum_{i \in j} w_i.                                                                      \tag{SX3} $$

The gate of the demonstrations is a sigmoid of a difference of two log-sum-exp:

$$ \lambda(q) = \sigma\bigl(\mathrm{lse}(s^d) - \mathrm{lse}(s)\bigr), \qquad s = \mathrm{scale}\, K q. \tag{SX4} $$

Exponentials overflow, so every block is shifted by a number $c_j$ of its own, its largest score, and the mixture gets
back what the shifts took out. Any shifts give the same function:

$$ w_i \to e^{s_i - c_j}, \qquad W_j \to e^{c_j - c}\, \textstyle\sum_{i \in j} e^{s_i - c_j}, \qquad
   c = \max_j c_j.                                                                                       \tag{SX5} $$

**When is the split additive?** In (SX2) the demonstrations do two things: they add $\lambda\, \mathrm{Attn}_d$, and
they shrink the zero-shot part. Reading the output as "zero-shot part plus something from the demonstrations" is wrong
by

$$ \mathrm{Attn} - \bigl(\mathrm{Attn}_z + \lambda\, \mathrm{Attn}_d\bigr) = -\lambda\, \mathrm{Attn}_z, \tag{SX6} $$

which is small only where the gate is, or where the query's own tokens attend to values near zero. What *is* additive is
the pair of numerator and mass, $(\sum w v, \sum w)$, and each of the two is a Hebbian dual form in the feature space of
the exponential kernel. Linear attention has no denominator, so its gate is gone and its split is additive (IC2).

Between equal scores the gate counts tokens,

$$ s = s^d = \text{const} \;\Rightarrow\; \lambda = n_d / (n + n_d),                                      \tag{SX7} $$

so it tends to one for long contexts: the more demonstrations, the less of the zero-shot output is left.

References: He et al. 2022, Towards a unified view of parameter-efficient transfer learning (arXiv 2110.04366), for the
gate of a prefix; Dai et al. 2022 (arXiv 2212.10559), who drop it; Milakov, Gimelshein 2018, Online normalizer
calculation for softmax (arXiv 1805.02867), for merging blocks.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dualform import _check
from dualform._numerics import ratio
from dualform.attention.softmax import Keys, Output, Query, Values, average, scores, shifted

Weights = Float[Array, " n"] | Float[Array, "M n"]
Gate = Float[Array, ""] | Float[Array, " M"]


class Split(NamedTuple):
    """A convex mixture of two blocks: attn = (1 - weight) zsl + weight demo (SX2)."""

    zsl: Output
    demo: Output
    weight: Gate

    @property
    def attn(self) -> Output:
        """The mixture: attention over both blocks together."""
        weight = self.weight[..., None]
        return (1 - weight) * self.zsl + weight * self.demo


class Blocks(NamedTuple):
    """A convex mixture of m blocks: outputs [m, V] or [m, M, V], gates [m] or [m, M] (SX3)."""

    outputs: Array
    gates: Array

    @property
    def attn(self) -> Output:
        """The mixture: attention over all blocks together."""
        return jnp.sum(self.gates[..., None] * self.outputs, axis=0)


def softmax_split(
    V: Values, K: Keys, V_demo: Float[Array, "d V"], K_demo: Float[Array, "d K"], q: Query,
    scale: _check.Scalar | None = None,
) -> Split:  # fmt: skip
    r"""Attention over demonstrations and the query's own tokens, split into what each alone would give (SX2).

    Safe at any scores: each block is shifted by its own largest score (SX5), so neither part is lost when the other
    outweighs it.

    Args:
        V, K: `[n, V]`, `[n, K]` values and keys of the query's own tokens.
        V_demo, K_demo: `[d, V]`, `[d, K]` those of the demonstrations.
        q: `[K]` one query, or `[M, K]` many.
        scale: multiplies every score; None for K**-0.5.

    Returns:
        (zsl, demo, weight), with `attn = (1 - weight) zsl + weight demo`: `[V]`, `[V]` and one number for one query,
        `[M, V]`, `[M, V]` and `[M]` for many. The part of an empty block is zero.

    Raises:
        ValueError: as `softmax_attn`.

    Cost: 2 M (n + d) (V + K) flops, M (n + d) numbers.

    >>> V, K, zero = jnp.array([[1.0]]), jnp.array([[0.0]]), jnp.zeros((3, 1))
    >>> split = softmax_split(V, K, 2 + zero, zero, jnp.array([1.0]))
    >>> print(*split, split.attn)
    [1.] [2.] 0.75 [1.75]

    References: He et al. 2022 (arXiv 2110.04366), for prefixes.
    """
    blocks = _blocks([V, V_demo], [K, K_demo], q, scale, (("V", "K"), ("V_demo", "K_demo")))
    return Split(blocks.outputs[0], blocks.outputs[1], blocks.gates[1])


def split_from_weights(
    w: Weights, w_demo: Float[Array, " d"] | Float[Array, "M d"], V: Values, V_demo: Float[Array, "d V"],
    factors: tuple[_check.Scalar | Gate, _check.Scalar | Gate] = (1.0, 1.0),
) -> Split:  # fmt: skip
    r"""The split from unnormalised weights (SX2), a rational function: this is what is proved.

    Args:
        w: `[n]` or `[M, n]` weights of the query's own tokens, for instance exponentials of shifted scores.
        w_demo: `[d]` or `[M, d]` weights of the demonstrations.
        V: `[n, V]` values.
        V_demo: `[d, V]` values of the demonstrations.
        factors: what was divided out of `w` and of `w_demo`, one number or `[M]` each (SX5).

    Returns:
        (zsl, demo, weight), as `softmax_split`.

    Raises:
        ValueError: wrong shapes, different or non-float dtypes, concrete values that are not finite.

    Cost: 2 M (n + d) V flops.

    >>> split = split_from_weights(jnp.ones(1), jnp.ones(3), jnp.array([[1.0]]), jnp.full((3, 1), 2.0))
    >>> print(split.weight, split.attn)
    0.75 [1.75]
    """
    blocks = _mix([w, w_demo], [V, V_demo], factors, (("V", "w"), ("V_demo", "w_demo")))
    return Split(blocks.outputs[0], blocks.outputs[1], blocks.gates[1])


def softmax_blocks(V: Sequence, K: Sequence, q: Query, scale: _check.Scalar | None = None) -> Blocks:
    r"""Attention over m blocks of tokens as the mixture of the attention over each (SX3), safe at any scores (SX5).

    This is how blocks on several devices, or several demonstrations, are merged.

    Args:
        V: m arrays `[n_j, V]` of values.
        K: m arrays `[n_j, K]` of keys.
        q: `[K]` one query, or `[M, K]` many.
        scale: multiplies every score; None for K**-0.5.

    Returns:
        Outputs `[m, V]` or `[m, M, V]`, gates `[m]` or `[m, M]`, and their mixture as `attn`. An empty block has
        output and gate zero.

    Raises:
        ValueError: as `softmax_attn`; no block, or another number of keys than of values.

    Cost: 2 M n (V + K) flops for n tokens in all.

    >>> one, two = jnp.array([[1.0]]), jnp.array([[2.0], [3.0]])
    >>> blocks = softmax_blocks([one, two], [0 * one, 0 * two], jnp.array([1.0]))
    >>> print(blocks.outputs.ravel(), blocks.attn)
    [1.  2.5] [2.]
    """
    return _blocks(V, K, q, scale, _names("K", V, K))


def blocks_from_weights(w: Sequence, V: Sequence, factors: Sequence | None = None) -> Blocks:
    r"""The mixture of m blocks from unnormalised weights (SX3), a rational function.

    Args:
        w: m arrays `[n_j]` or `[M, n_j]` of weights.
        V: m arrays `[n_j, V]` of values.
        factors: what was divided out of each block's weights (SX5), one number or `[M]` each; None for 1.

    Returns:
        As `softmax_blocks`.

    Raises:
        ValueError: wrong shapes, different or non-float dtypes, no block, another number of weights than of values.

    Cost: 2 M n V flops for n tokens in all.

    >>> blocks = blocks_from_weights([jnp.ones(1), jnp.ones(3)], [jnp.ones((1, 1)), jnp.zeros((3, 1))])
    >>> print(blocks.gates, blocks.attn)
    [0.25 0.75] [0.25]
    """
    return _mix(w, V, factors, _names("w", V, w))


def gate(K: Keys, K_demo: Float[Array, "d K"], q: Query, scale: _check.Scalar | None = None) -> Gate:
    r"""How much the demonstrations take over, $\lambda(q) = \sigma(\mathrm{lse}(s^d) - \mathrm{lse}(s))$ (SX4).

    Args:
        K: `[n, K]` keys of the query's own tokens.
        K_demo: `[d, K]` keys of the demonstrations.
        q: `[K]` one query, or `[M, K]` many.
        scale: multiplies every score; None for K**-0.5.

    Returns:
        One number, or `[M]`, between 0 and 1; 0 without demonstrations, 1 with nothing else.

    Raises:
        ValueError: as `softmax_attn`; no tokens at all.

    Cost: 2 M (n + d) K flops.

    >>> print(gate(jnp.zeros((1, 2)), jnp.zeros((3, 2)), jnp.ones(2)).round(6))
    0.75
    """
    sizes: _check.Sizes = {}
    K, q = _check.array("K", K, "n K", sizes), _check.array("q", q, "K | M K", sizes)
    K_demo = _check.array("K_demo", K_demo, "d K", sizes)
    dtype = _check.same_dtype(K=K, K_demo=K_demo, q=q)
    if not len(K) or not len(K_demo):  # the log-sum-exp of no tokens is minus infinity
        if len(K) == len(K_demo):
            raise ValueError("K: got no tokens, and K_demo has none, expected at least one in either; pass some keys")
        return jnp.full(q.shape[:-1], float(not len(K)), dtype)
    wide = _check.compute_dtype(q)
    mass, mass_demo = (_lse(scores(k.astype(wide), q.astype(wide), scale)) for k in (K, K_demo))
    return jax.nn.sigmoid(mass_demo - mass).astype(dtype)


def _lse(s):
    w, c = shifted(s)
    return jnp.log(jnp.sum(w, axis=-1)) + c


def _names(other, V, others):
    """("V[0]", "K[0]"), ... for messages."""
    if not len(V) or len(others) != len(V):
        raise ValueError(
            f"{other}: got {len(others)} blocks, expected as many as of V, {len(V)}, and at least 1; pass one per block"
        )
    return [(f"V[{j}]", f"{other}[{j}]") for j in range(len(V))]


def _blocks(V, K, q, scale, names):
    """(SX3) from keys: each block's weights shifted by its own largest score, and the factors that undo it (SX5)."""
    sizes: _check.Sizes = {}
    arrays = {"q": _check.array("q", q, "K | M K", sizes)}
    for (value, key), v, k in zip(names, V, K, strict=True):
        own = {axis: size for axis, size in sizes.items() if axis != "n"}
        arrays |= {value: _check.array(value, v, "n V", own), key: _check.array(key, k, "n K", own)}
        sizes |= own
    dtype = _check.same_dtype(**arrays)
    q, *rest = (x.astype(_check.compute_dtype(*arrays.values())) for x in arrays.values())
    V, K = rest[::2], rest[1::2]
    w, shifts = zip(*(shifted(scores(k, q, scale)) for k in K), strict=True)
    full = [c for c, k in zip(shifts, K, strict=True) if len(k)]
    largest = jax.tree.reduce(jnp.maximum, full) if full else None
    factors = [jnp.exp(c - largest) if len(k) else jnp.zeros_like(c) for c, k in zip(shifts, K, strict=True)]
    blocks = _mix(w, V, factors, names)
    return Blocks(*(x.astype(dtype) for x in blocks))


def _mix(w, V, factors, names):
    """(SX3) from weights."""
    factors = [1.0] * len(V) if factors is None else list(factors)
    if len(factors) != len(V):
        raise ValueError(
            f"factors: got {len(factors)}, expected one per block, {len(V)}; pass 1.0 where nothing was cut"
        )
    sizes: _check.Sizes = {}
    outputs: list[Array] = []
    masses: list[Array] = []
    dtype = _check.compute_dtype(*(_check.float_array(value, x) for (value, _), x in zip(names, V, strict=True)))
    for (value, weight), w_j, V_j, factor in zip(names, w, V, factors, strict=True):
        own = {axis: size for axis, size in sizes.items() if axis != "n"}
        V_j = _check.array(value, V_j, "n V", own).astype(dtype)
        w_j = _check.array(weight, w_j, "M n" if "M" in own else "n" if outputs else "n | M n", own).astype(dtype)
        sizes |= own
        output, mass = average(w_j, V_j)
        outputs.append(output)
        masses.append(mass * jnp.asarray(factor, dtype))
    total = jnp.stack(masses)
    return Blocks(jnp.stack(outputs), ratio(total, jnp.broadcast_to(jnp.sum(total, axis=0), total.shape)))
