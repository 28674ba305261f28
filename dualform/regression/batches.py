r"""The prompts of a training, drawn where they are used: batch along the last axis, random numbers by the step.

Step $t$ of a training of seed $s$ needs fresh prompts that depend on $s$ and $t$ alone, so that a run that was stopped
goes on as if it had not been. The generator is Threefry-2x32 with 20 rounds, the cipher behind JAX's own keys, with

$$ (\text{words } 2i,\, 2i + 1) = \mathrm{Threefry}_{(s,\, t)}(i,\, \text{stream}).                   \tag{TR4} $$

Key and counter are never used twice: inputs, tasks and noise have streams of their own. Written out in place it fuses
with what consumes it, and takes a fifth of the time of `jax.random.bits` on a CPU, which loops over its rounds.

`draw` knows the laws that trainings use; all others it takes from `prompts`.

References: Salmon et al. 2011, Parallel random numbers: as easy as 1, 2, 3 (Supercomputing), section 4.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt32

from dualform.regression import tasks
from dualform.regression.tasks import Gaussian, RandomDiagonal, Task, Uniform

INPUTS, TASKS, NOISE, SCALES, DISTRACTORS = range(5)
"""Streams."""
ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))


class Batch(NamedTuple):
    """Prompts with the batch along the last axis."""

    x: Float[Array, "d N B"]
    y: Float[Array, "N B"]
    query: Float[Array, "d B"]
    target: Float[Array, " B"]
    w: Float[Array, "d B"]
    covariance: Float[Array, "d d"] | Float[Array, "d d B"]  # of the query's law

    @property
    def tokens(self) -> Float[Array, "D N B"]:
        """The examples (x, y)."""
        return jnp.concatenate([self.x, self.y[None]])


def threefry(key: tuple, counter: tuple) -> tuple[UInt32[Array, " n"], UInt32[Array, " n"]]:
    """Threefry-2x32 with 20 rounds (TR4).

    Args:
        key: two words.
        counter: two arrays of words.

    Returns:
        Two arrays of words.

    Cost: about 110 operations for a pair.
    """
    words = (key[0], key[1], key[0] ^ key[1] ^ np.uint32(0x1BD11BDA))
    a, b = counter[0] + words[0], counter[1] + words[1]
    for i in range(5):
        for r in ROTATIONS[i % 2]:
            a = a + b
            b = ((b << np.uint32(r)) | (b >> np.uint32(32 - r))) ^ a
        a, b = a + words[(i + 1) % 3], b + words[(i + 2) % 3] + np.uint32(i + 1)
    return a, b


def bits(seed: int, step, stream: int, shape: tuple[int, ...]) -> UInt32[Array, "..."]:
    """Random words of a shape: the first halves of all pairs, then the second ones (TR4)."""
    size = math.prod(shape)
    first = jax.lax.iota(jnp.uint32, -(-size // 2))
    pair = threefry((jnp.uint32(seed), jnp.uint32(step)), (first, jnp.full_like(first, stream)))
    return jnp.concatenate(pair)[:size].reshape(shape)


def centred(seed: int, step, stream: int, shape: tuple[int, ...]) -> Float[Array, "..."]:
    """Uniform on (-1/2, 1/2): the midpoints of 2^23 intervals of equal length, odd multiples of 2^-24."""
    odd = (bits(seed, step, stream, shape) >> np.uint32(8)) | np.uint32(1)
    return (odd.astype(jnp.int32) - np.int32(2**23)).astype(jnp.float32) * np.float32(2.0**-24)


def normal(seed: int, step, stream: int, shape: tuple[int, ...]) -> Float[Array, "..."]:
    """Standard normal, by the inverse of the distribution function."""
    return np.float32(2**0.5) * jax.lax.erf_inv(2 * centred(seed, step, stream, shape))


def draw(task: Task, seed: int, step, batch: int, examples: int) -> Batch:
    """The prompts of one step of a training.

    Args:
        task: the laws.
        seed: of the training.
        step: its number; may be traced.
        batch: prompts.
        examples: N.

    Returns:
        `Batch`, in float32.

    Raises:
        ValueError: as `prompts`.

    Cost: (examples + 2) d random numbers for each prompt, about 1.2 ns each for uniform inputs.

    >>> drawn = draw(Task(d=3), seed=0, step=7, batch=4, examples=5)
    >>> print(drawn.tokens.shape, drawn.query.shape)
    (4, 5, 4) (3, 4)
    """
    if not _is_simple(task):
        key = jax.random.fold_in(jax.random.key(seed), step)
        return of_prompts(tasks.prompts(task, key, batch, examples))
    d, shape = task.d, (task.d, examples + 1, batch)
    if isinstance(task.inputs, Uniform):
        x = 2 * task.inputs.half_width * centred(seed, step, INPUTS, shape)
        covariance = jnp.eye(d) * (task.inputs.half_width**2 / 3)
    elif isinstance(task.inputs, RandomDiagonal):
        variances = -task.inputs.scale * jnp.log(0.5 + centred(seed, step, SCALES, (d, batch)))
        x = normal(seed, step, INPUTS, shape) * jnp.sqrt(variances)[:, None]
        covariance = jnp.eye(d)[:, :, None] * variances[None]
    else:
        x, covariance = normal(seed, step, INPUTS, shape), jnp.eye(d)
        if task.inputs.covariance is not None:
            covariance = tasks._covariance("covariance", task.inputs.covariance, d)
            x = _coloured(x, covariance)
    w = normal(seed, step, TASKS, (d, batch))
    if task.prior is not None:
        w = _coloured(w, tasks._covariance("prior", task.prior, d))
    x, w = jax.lax.optimization_barrier((x, w))  # else every consumer draws them again
    y = sum(x[j] * w[j][None] for j in range(d))  # a sum over the first axis is not vectorised
    labels = y[:-1]
    if task.noise:
        labels = labels + task.noise * normal(seed, step, NOISE, labels.shape)
    return Batch(x[:, :-1], labels, x[:, -1], y[-1], w, covariance)


def of_prompts(drawn: tasks.Prompts) -> Batch:
    """Prompts of the usual layout with their batch moved to the last axis."""
    x, y, query, target, w, covariance, _ = drawn
    last = covariance if covariance.ndim == 2 else jnp.moveaxis(covariance, 0, -1)
    return Batch(jnp.transpose(x, (2, 1, 0)), y.T, query.T, target, w.T, last)


def _is_simple(task: Task) -> bool:
    known = isinstance(task.inputs, Gaussian | Uniform | RandomDiagonal) and isinstance(task.noise, int | float)
    return known and task.query is None and task.sparse is None and task.function == "linear"


def _coloured(z, covariance):
    """Columns of the given covariance, by its symmetric square root."""
    values, vectors = jnp.linalg.eigh(covariance)
    root = jnp.matmul(vectors * jnp.sqrt(jnp.maximum(values, 0.0))[None], vectors.T, precision="highest")
    return jnp.matmul(root, z.reshape(len(z), -1), precision="highest").reshape(z.shape)
