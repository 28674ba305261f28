r"""How alike are two updates of the same state? Normalising the states first makes unrelated ones look alike.

In-context learning and finetuning each move an attention output $h$, to $h + a$ and to $h + b$. The published measure
divides all three states by their lengths *before* it subtracts, and then takes the cosine of the two differences:

$$ \cos\Bigl( \frac{h + a}{|h + a|} - \frac{h}{|h|},\; \frac{h + b}{|h + b|} - \frac{h}{|h|} \Bigr).      \tag{IC10} $$

Let $a$ and $b$ have nothing to do with each other or with $h$: three orthogonal vectors, as random ones nearly are in
many dimensions, with $|a|^2 = |b|^2 = c\, |h|^2$. Both moved states are longer than $h$ by the factor $\sqrt{1 + c}$,
so after normalising both have lost the same part of $h$, and that common loss is what the cosine sees. With
$s = (1 + c)^{-1/2}$ the two differences are $(s - 1) \hat h$ plus orthogonal vectors of squared length
$s^2 c = 1 - s^2$:

$$ \cos = \frac{(1 - s)^2}{s^2 c + (1 - s)^2} = \frac{1 - s}{2}.                                          \tag{IC11} $$

That is 0 for small updates, 1/4 at $c = 3$ and up to 1/2 for large ones: a number that a paper may report as
similarity, of two updates that share nothing. Subtracting before normalising gives 0. With different sizes, $s_a$ and
$s_b$, it is $\tfrac12 \sqrt{(1 - s_a)(1 - s_b)}$.

References: Dai et al. 2022 (arXiv 2212.10559), section 4.2 and the published code, for the measure; Deutch et al. 2023
(arXiv 2311.07772), for untrained networks that score high on it.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from dualform import _check

States = Float[Array, "*batch V"]


def update_similarity(h: States, h_one: States, h_other: States, *, normalize: bool = True) -> Float[Array, "*batch"]:
    r"""The cosine of two updates of a state (IC10).

    Args:
        h: `[..., V]` states before, for instance attention outputs without demonstrations.
        h_one, h_other: `[..., V]` states after one and after the other update.
        normalize: divide the states by their lengths before subtracting, as the published measure does.

    Returns:
        `[...]` between -1 and 1: 1 for updates of one direction, and 0 where an update is zero.

    Raises:
        ValueError: different shapes, no features, different or non-float dtypes, concrete values that are not finite.

    Cost: O(V) a state.

    >>> h, a = jnp.array([1.0, 0.0, 0.0]), jnp.array([1.0, 2.0, 0.0])
    >>> print(update_similarity(h, a, a).round(6), update_similarity(h, a, h + jnp.array([0.0, 0.0, 2.0])).round(4))
    1.0 0.2764
    >>> print(update_similarity(h, a, h + jnp.array([0.0, 0.0, 2.0]), normalize=False))
    0.0
    """
    states = {"h": h, "h_one": h_one, "h_other": h_other}
    states = {name: _check.float_array(name, x) for name, x in states.items()}
    dtype = _check.same_dtype(**states)
    shape = states["h"].shape
    for name, x in states.items():
        if x.shape != shape or not shape or not shape[-1]:
            raise ValueError(
                f"{name}: got shape {x.shape}, expected [..., V] with at least one feature, like h {shape}; reshape it"
            )
        _check.require_finite(name, x)
    before, *after = (x.astype(_check.compute_dtype(*states.values())) for x in states.values())
    if normalize:
        before, *after = (_unit(x) for x in (before, *after))
    one, other = (_unit(x - before) for x in after)
    return jnp.sum(one * other, axis=-1).astype(dtype)


def unrelated_cosine(ratio: float | Float[Array, "..."], other: float | Float[Array, "..."] | None = None) -> Array:
    r"""What (IC10) says of two updates that have nothing to do with each other, $(1 - s)/2$ (IC11).

    Args:
        ratio: $c = |a|^2 / |h|^2$, squared length of the update over that of the state, at least 0.
        other: the same for the other update; None for the same ratio.

    Returns:
        The cosine, in the shape of `ratio`.

    Raises:
        ValueError: concrete ratios that are negative or not finite.

    >>> print(unrelated_cosine(3.0))
    0.25
    """
    ratios = [ratio] if other is None else [ratio, other]
    lost = []
    for name, c in zip(("ratio", "other"), ratios, strict=False):
        c = jnp.asarray(c, jnp.result_type(float) if isinstance(c, int | float) else None)
        c = _check.float_array(name, c)
        _check.require_finite(name, c)
        if _check.is_concrete(c) and bool((c < 0).any()):
            raise ValueError(f"{name}: got {float(c.min()):g}, expected at least 0; it is a ratio of squared lengths")
        root = jnp.sqrt(1 + c)
        lost.append(c / (root * (1 + root)))  # 1 - s without cancellation
    return 0.5 * lost[0] if other is None else 0.5 * jnp.sqrt(lost[0]) * jnp.sqrt(lost[1])


def _unit(x):
    square = jnp.sum(x * x, axis=-1, keepdims=True)
    return x / jnp.sqrt(jnp.where(square > 0, square, 1))  # zero stays zero, and has a gradient
