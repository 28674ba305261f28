"""Taylor features: monomials whose inner product is the exponential series, cut off after some degree."""

from functools import lru_cache
from itertools import combinations_with_replacement
from math import comb, factorial, prod

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dualform import _check


def feature_count(features: int, degree: int) -> int:
    """Taylor features of an input with `features` entries: all monomials up to the degree, C(K + degree, degree).

    >>> feature_count(64, 2)
    2145
    """
    return comb(_check.count("features", features, least=1) + _check.count("degree", degree), degree)


def monomials(x: Float[Array, "*batch K"], degree: int) -> Float[Array, "*batch F"]:
    r"""All monomials $x^\alpha$ with $|\alpha| \le$ degree, lowest degree first (FE2).

    Args:
        x: [..., K] keys or queries.
        degree: largest total degree, at least 0. Static.

    Returns:
        [..., F] with F = C(K + degree, degree), in the dtype of x.

    Raises:
        ValueError: not floats, no features, a negative degree.

    Cost: one multiplication for each monomial.

    >>> print(monomials(jnp.array([2.0, 3.0]), 2))
    [1. 2. 3. 4. 6. 9.]
    """
    x, dtype = _rows(x)
    return _monomials(x, _check.count("degree", degree)).astype(dtype)


def taylor_features(x: Float[Array, "*batch K"], degree: int) -> Float[Array, "*batch F"]:
    r"""$\phi(x)_\alpha = x^\alpha / \sqrt{\alpha!}$ with $|\alpha| \le$ degree (FE2): $\phi(q) \cdot \phi(k)$ is the
    truncated exponential of $q \cdot k$.

    Args, Returns, Raises are those of `monomials`.

    Cost: F = C(K + degree, degree) numbers for each row: 2,145 for K = 64 and degree 2, 814,385 for degree 4.

    >>> phi = taylor_features(jnp.array([[1.0, 2.0], [3.0, 0.5]]), 2)
    >>> print(phi[0] @ phi[1])  # 1 + 4 + 4^2 / 2
    13.0

    References: Katharopoulos et al. 2020 (arXiv 2006.16236), polynomial feature maps; Arora et al. 2024, Based (arXiv
    2402.18668), degree 2.
    """
    x, dtype = _rows(x)
    degree = _check.count("degree", degree)
    roots = np.sqrt([float(a) for a in _factorials(x.shape[-1], degree)])
    roots = roots.reshape(*(1,) * (x.ndim - 1), -1)
    return (_monomials(x, degree) / jnp.asarray(roots, x.dtype)).astype(dtype)


def taylor_weights(features: int, degree: int) -> Float[Array, " F"]:
    r"""$1 / \alpha!$ for each monomial: $\sum_\alpha q^\alpha k^\alpha / \alpha!$ is the truncated series (FE2).

    For those who want no square roots: `monomials` of the queries against weighted monomials of the keys.

    >>> print(taylor_weights(2, 2))
    [1. 1. 1. 0.5 1. 0.5]
    """
    features, degree = _check.count("features", features, least=1), _check.count("degree", degree)
    return 1 / jnp.asarray([float(a) for a in _factorials(features, degree)])


def taylor_exp(s: Float[Array, "*batch"], degree: int) -> Float[Array, "*batch"]:
    r"""The exponential series up to the degree, $\sum_{j \le p} s^j / j!$ (FE2), by Horner's rule.

    >>> print(taylor_exp(jnp.array([4.0]), 2))
    [13.]
    """
    s = _check.float_array("s", s)
    total = jnp.ones_like(s)
    for j in range(_check.count("degree", degree), 0, -1):
        total = 1 + s / j * total
    return total


def taylor_bound(s: Float[Array, "*batch"], degree: int) -> Float[Array, "*batch"]:
    r"""What the truncation can change of $e^s$, relative to it (FE3): $|s|^{p+1} e^{\max(-s, 0)} / (p+1)!$.

    Args:
        s: scores of any shape.
        degree: p, at least 0. Static.

    Returns:
        A bound on $|T_p(s) / e^s - 1|$ in the shape of s.

    >>> print(taylor_bound(jnp.array([1.0]), 2), jnp.abs(2.5 / jnp.exp(1.0) - 1))
    [0.16666667] 0.08030...
    """
    s = _check.float_array("s", s)
    degree = _check.count("degree", degree)
    bound = jnp.exp(jnp.maximum(-s, 0))
    for j in range(1, degree + 2):  # no factorial, which would overflow where the bound does not
        bound = bound * (jnp.abs(s) / j)
    return bound


def _rows(x):
    x = _check.float_array("x", x)
    if x.ndim == 0 or x.shape[-1] == 0:
        raise ValueError(f"x: got shape {x.shape}, expected [..., K] with at least one input feature; reshape x")
    return x.astype(_check.compute_dtype(x)), x.dtype


def _monomials(x, degree):
    """Each degree from the one before: a monomial times one more entry."""
    level = jnp.ones((*x.shape[:-1], 1), x.dtype)
    levels = [level]
    for parents, factors in _growth(x.shape[-1], degree):
        level = jnp.take(level, parents, axis=-1) * jnp.take(x, factors, axis=-1)
        levels.append(level)
    return jnp.concatenate(levels, axis=-1)


@lru_cache
def _growth(K: int, degree: int) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """For each degree from 1: the monomial of the degree below, and the entry that multiplies it."""
    steps: list[tuple[np.ndarray, np.ndarray]] = []
    places: dict[tuple[int, ...], int] = {(): 0}
    for j in range(1, degree + 1):
        indices = list(combinations_with_replacement(range(K), j))
        parents, factors = [places[i[:-1]] for i in indices], [i[-1] for i in indices]
        steps.append((np.array(parents, np.int32), np.array(factors, np.int32)))
        places = {index: n for n, index in enumerate(indices)}
    return tuple(steps)


@lru_cache
def _factorials(K: int, degree: int) -> tuple[int, ...]:
    r"""$\alpha!$ of each monomial, in the order of `monomials`."""
    indices = (i for j in range(degree + 1) for i in combinations_with_replacement(range(K), j))
    return tuple(prod(factorial(i.count(entry)) for entry in set(i)) for i in indices)
