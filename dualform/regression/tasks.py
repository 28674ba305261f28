r"""Prompts of regression: who draws the inputs, the task and the labels.

A `Task` says from which laws a prompt comes. Its inputs $x_i$ are independent draws from a law of inputs:

| law of inputs | covariance $E[x x^\top]$ |
|---|---|
| `Gaussian(cov)`: $x \sim N(0, \Lambda)$ | $\Lambda$, the identity if not given |
| `Uniform(a)`: each coordinate uniform on $(-a, a)$ | $a^2/3$ times the identity |
| `RandomDiagonal(c)`: $x \sim N(0, \mathrm{diag}(\lambda))$ | $\mathrm{diag}(\lambda)$, of this prompt |

where the prompt draws $\lambda_j \sim c\,\mathrm{Exp}(1)$ for itself.
`Uniform(0.5)` is what the published code of von Oswald et al. draws, `Uniform(1)` what their paper says. The task is a
vector $w \sim N(0, \Psi)$, of which `sparse` entries stay if given. Labels are $y_i = f(x_i, w) + \sigma\epsilon_i$
with $f$ linear or any of `FUNCTIONS`; the target, the label of the query, carries no noise.

Independent parts are drawn from keys of their own: one key for inputs and tasks alike would make $w$ a function of $x$.
So for tokens $i \ne k$, the query among them, and $\Lambda$ given,

$$ E\, x_i x_i^\top = \Lambda, \quad E\, x_i x_k^\top = 0, \quad E\, w w^\top = \Psi, \quad
   E\, \epsilon_i \epsilon_k = 0, \quad E\, x_i w^\top = 0, \quad E\, \epsilon_i (x_k, w)^\top = 0,     \tag{LS15} $$

with fourth moments $E\, x_{ij}^4$ of $3 \Lambda_{jj}^2$ for normal and $a^4/5$ for uniform inputs.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dualform import _check


class Prompts(NamedTuple):
    """A batch of prompts."""

    x: Float[Array, "B N d"]  # inputs of the examples
    y: Float[Array, "B N"]  # their labels, noise included
    query: Float[Array, "B d"]
    target: Float[Array, " B"]  # the query's label, without noise
    w: Float[Array, "B d"]  # the task vectors
    covariance: Float[Array, "d d"] | Float[Array, "B d d"]  # of the query's law, for integrating the query out
    noise: Float[Array, " B"]  # the standard deviation of each prompt's label noise


@dataclass(frozen=True)
class Gaussian:
    """Inputs from N(0, covariance); the identity if None."""

    covariance: Float[Array, "d d"] | None = None

    def draw(self, key: Array, batch: int, n: int, d: int) -> tuple[Array, Array]:
        """Inputs [batch, n, d] and their covariance."""
        z = jax.random.normal(key, (batch, n, d))
        if self.covariance is None:
            return z, jnp.eye(d)
        covariance = _covariance("covariance", self.covariance, d)
        return _colour(z, covariance), covariance


@dataclass(frozen=True)
class Uniform:
    """Coordinates uniform on (-half_width, half_width)."""

    half_width: float = 1.0

    def draw(self, key: Array, batch: int, n: int, d: int) -> tuple[Array, Array]:
        """Inputs [batch, n, d] and their covariance."""
        a = _check.scalar("half_width", self.half_width, positive=True)
        return jax.random.uniform(key, (batch, n, d), minval=-a, maxval=a), jnp.eye(d) * (a**2 / 3)


@dataclass(frozen=True)
class RandomDiagonal:
    """Inputs from N(0, diag(lambda)), where each prompt draws its own lambda, scale times Exp(1) in each coordinate."""

    scale: float = 1.0

    def draw(self, key: Array, batch: int, n: int, d: int) -> tuple[Array, Array]:
        """Inputs [batch, n, d] and the covariance of each prompt [batch, d, d]."""
        of_prompt, of_inputs = jax.random.split(key)
        variances = _check.scalar("scale", self.scale, positive=True) * jax.random.exponential(of_prompt, (batch, d))
        x = jax.random.normal(of_inputs, (batch, n, d)) * jnp.sqrt(variances)[:, None]
        return x, variances[:, :, None] * jnp.eye(d)[None]


Inputs = Gaussian | Uniform | RandomDiagonal


def linear(x, w):
    """The number w.x."""
    return jnp.sum(x * w, axis=-1)


def relu(x, w):
    """sqrt(2) max(0, w.x), of the same second moment as w.x (Mahankali et al. 2024)."""
    return jnp.sqrt(2.0) * jax.nn.relu(linear(x, w))


def quadratic(x, w):
    """w.x^2 / sqrt(3), of the same second moment as w.x for standard normal inputs (Garg et al. 2022)."""
    return linear(x**2, w) / jnp.sqrt(3.0)


def cubic(x, w):
    """w.x plus a square and a cube of the first two inputs: a nonlinear task whose best linear fit is not w."""
    return linear(x, w) + 0.7 * x[..., 0] ** 2 + 0.3 * x[..., 1] ** 3


def sine(x, w):
    """sin(w.x): bounded labels."""
    return jnp.sin(linear(x, w))


FUNCTIONS: dict[str, Callable] = {f.__name__: f for f in (linear, relu, quadratic, cubic, sine)}


@dataclass(frozen=True)
class Task:
    """The laws that prompts come from.

    Args:
        d: inputs a token.
        inputs: the law of the examples' inputs.
        query: the law of the query's input; that of the examples, with the prompt's own covariance, if None.
        prior: `[d, d]` covariance of w; the identity if None.
        noise: standard deviation of the label noise; a tuple for one of several, drawn for each prompt.
        sparse: how many entries of w are not zero; all if None.
        function: a name in `FUNCTIONS`, or a function of x [..., d] and w [..., d].
    """

    d: int
    inputs: Inputs = field(default_factory=Gaussian)
    query: Inputs | None = None
    prior: Float[Array, "d d"] | None = None
    noise: float | tuple[float, ...] = 0.0
    sparse: int | None = None
    function: str | Callable = "linear"


def prompts(task: Task, key: Array, batch: int, examples: int) -> Prompts:
    """Draws prompts.

    Args:
        task: the laws.
        key: a JAX random key; every call needs a fresh one.
        batch: how many prompts.
        examples: N, labelled examples in each.

    Returns:
        `Prompts`, in JAX's default float.

    Raises:
        ValueError: sizes below one, an unknown function, covariances of the wrong shape.

    Cost: about batch (examples + 2) d random numbers.

    >>> drawn = prompts(Task(d=3), jax.random.key(0), batch=4, examples=5)
    >>> print(drawn.x.shape, drawn.y.shape, jnp.allclose(drawn.target, jnp.sum(drawn.query * drawn.w, axis=1)))
    (4, 5, 3) (4, 5) True
    """
    batch, examples = _check.count("batch", batch, 1), _check.count("examples", examples)
    d = _check.count("d", task.d, 1)
    function = _function(task.function)
    of_inputs, of_query, of_w, of_kept, of_noise, of_level = jax.random.split(key, 6)
    x, covariance = task.inputs.draw(of_inputs, batch, examples + 1, d)
    x, query = x[:, :-1], x[:, -1]
    if task.query is not None:
        query, covariance = task.query.draw(of_query, batch, 1, d)
        query = query[:, 0]
    w = jax.random.normal(of_w, (batch, d))
    if task.prior is not None:
        w = _colour(w, _covariance("prior", task.prior, d))
    if task.sparse is not None:
        w = w * _kept(of_kept, batch, d, _check.count("sparse", task.sparse, 1))
    levels = jnp.atleast_1d(jnp.asarray(task.noise, w.dtype))
    noise = jax.random.choice(of_level, levels, (batch,))
    clean = function(x, w[:, None])
    y = clean + noise[:, None] * jax.random.normal(of_noise, clean.shape)
    return Prompts(x, y, query, function(query, w), w, covariance, noise)


def _function(name: str | Callable) -> Callable:
    if callable(name):
        return name
    if name not in FUNCTIONS:
        raise ValueError(f"function: got {name!r}, expected one of {', '.join(FUNCTIONS)}, or a function of x and w")
    return FUNCTIONS[name]


def _covariance(name: str, value, d: int) -> Array:
    covariance = _check.array(name, value, "d d")
    if covariance.shape != (d, d):
        raise ValueError(f"{name}: got shape {covariance.shape}, expected [{d}, {d}] for d = {d}; reshape it")
    return covariance


def _colour(z, covariance):
    """Standard normal rows turned into rows of the given covariance, by its symmetric square root."""
    values, vectors = jnp.linalg.eigh(covariance)
    root = (vectors * jnp.sqrt(jnp.maximum(values, 0.0))[None]) @ vectors.T
    return jnp.matmul(z, root, precision=jax.lax.Precision.HIGHEST)


def _kept(key, batch: int, d: int, count: int):
    """A mask [batch, d] with `count` ones in each row, at random places."""
    order = jnp.argsort(jax.random.uniform(key, (batch, d)), axis=1)
    return jnp.where(order < count, 1.0, 0.0)
