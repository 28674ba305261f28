r"""The coefficients c of single features written as sums, to read and to check `coefficients` against (O3 to O7).

All are built from one array, the product of what is kept at each step after i up to t, $\prod_{i<s\le t} d_s$. The
closed fractions of the textbooks, such as $(1 - \mu^{t-i+1})/(1 - \mu)$, are 0/0 at $\mu = 1$ and cancel near it; sums
do neither.

Every function returns c `[T]`, costs O(T^2) time and memory, and takes `eta` `[T]`, the learning rates of the steps.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from dualform import _check

Steps = Float[Array, " T"]


def plain(eta: Steps) -> Steps:
    r"""SGD with any schedule: $c_i = -\eta_i$ (O3).

    >>> print(plain(jnp.array([1.0, 2.0])))
    [-1. -2.]
    """
    return -_rates(eta)


def heavy_ball(eta: Steps, momentum: _check.Scalar) -> Steps:
    r"""Momentum: $c_i = -\sum_{t \ge i} \eta_t\, \mu^{t-i}$ (O4).

    >>> print(heavy_ball(jnp.array([1.0, 1.0, 1.0]), 0.5))
    [-1.75 -1.5  -1.  ]
    """
    eta = _rates(eta)
    return -jnp.sum(eta[:, None] * kept_after(_each("momentum", momentum, eta)), axis=0)


def nesterov(eta: Steps, momentum: _check.Scalar) -> Steps:
    r"""Nesterov's momentum: $c_i = -\eta_i - \mu \sum_{t \ge i} \eta_t\, \mu^{t-i}$ (O5).

    >>> print(nesterov(jnp.array([1.0, 1.0]), 0.5))
    [-1.75 -1.5 ]
    """
    mu = _check.scalar("momentum", momentum)
    return plain(eta) + jnp.asarray(mu, _rates(eta).dtype) * heavy_ball(eta, mu)


def decay(eta: Steps, weight_decay: _check.Scalar) -> tuple[Float[Array, ""], Steps]:
    r"""Weight decay without momentum, coupled or not: $a_T = \prod_t (1 - \eta_t\lambda)$,
    $c_i = -\eta_i \prod_{t > i} (1 - \eta_t \lambda)$ (O6). Returns (a_T, c): recency-weighted attention.

    >>> print(*decay(jnp.array([1.0, 1.0]), 0.5))
    0.25 [-0.5 -1. ]
    """
    eta = _rates(eta)
    kept = 1 - eta * _each("weight_decay", weight_decay, eta)
    return jnp.prod(kept), -eta * kept_after(kept)[-1:].sum(0)


def averaged(eta: Steps, ema: _check.Scalar) -> Steps:
    r"""The average of SGD's weights: $c_i = -\eta_i \sum_{t \ge i} (1 - \rho)\, \rho^{T-t}$ (O7).

    >>> print(averaged(jnp.array([1.0, 1.0]), 0.5))
    [-0.75 -0.5 ]
    """
    eta = _rates(eta)
    rho = _each("ema", ema, eta)
    enters = (1 - rho) * kept_after(rho)[-1:].sum(0)
    return -eta * jnp.sum(jnp.tril(jnp.broadcast_to(enters[:, None], (len(eta), len(eta)))), axis=0)


def kept_after(d: Steps) -> Float[Array, "T T"]:
    r"""How much of what entered at step i is left at step t: $\prod_{i < s \le t} d_s$ at `[t, i]`, 0 for i > t.

    >>> print(kept_after(jnp.array([5.0, 2.0, 3.0])))
    [[1. 0. 0.]
     [2. 1. 0.]
     [6. 3. 1.]]
    """
    factors = jnp.broadcast_to(d[:, None], (len(d), len(d)))
    after = jnp.tril(jnp.ones(factors.shape, bool), -1)
    return jnp.tril(jnp.cumprod(jnp.where(after, factors, 1), axis=0))


def _rates(eta):
    eta = _check.array("eta", eta, "T")
    return eta.astype(_check.compute_dtype(eta))


def _each(name, value, eta):
    return jnp.broadcast_to(jnp.asarray(_check.scalar(name, value), eta.dtype), eta.shape)
