r"""The risk of a predictor by drawing prompts, with the query integrated out where it can be.

A network that does not read its query's token predicts $v \cdot x_q$ with a vector $v$ that the examples determine, so
that the mean over the query is known and only the examples and tasks are drawn:

$$ E\,(\hat y - w \cdot x_q)^2 = E\, (v - w)^\top \Lambda\, (v - w).                                \tag{TR7} $$

All other predictors are asked one query a prompt.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dualform import _check
from dualform.regression import batches
from dualform.regression.model import Network, layer, unlabelled
from dualform.regression.tasks import Gaussian, RandomDiagonal, Task, Uniform

Predictor = Network | Callable[[Array, Array, Array], Array]
"""A function of the inputs [N, d] and labels [N] of a prompt and of a query [d]."""

CHUNK = 2048
TESTS = 2**31
"""Set in the seed of test prompts; the seed of a training has no such bit, so none of its prompts comes again."""


class Drawn(NamedTuple):
    """A mean over prompts and its standard error."""

    mean: float
    error: float
    prompts: int

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return self._asdict()


def drawn_risk(
    predictor: Predictor, task: Task, examples: int, *, prompts: int = 204_800, seed: int = 0, distractors: int = 0
) -> Drawn:
    """E (prediction - label)^2, by drawing prompts (TR7).

    Args:
        predictor: a network, or any function of a prompt.
        task: the laws of the test prompts.
        examples: M, in each of them.
        prompts: how many, at least; drawn 2,048 at a time.
        seed: of the prompts; they are none of those of a training.
        distractors: labels of so many examples are replaced by standard normal numbers.

    Returns:
        `Drawn`.

    Raises:
        ValueError: more distractors than examples.

    Cost: d + 1 queries a prompt where the query is integrated out.

    >>> zero = lambda x, y, query: 0.0 * query[0]
    >>> found = drawn_risk(zero, Task(d=2), examples=3, prompts=20_000)
    >>> print(abs(found.mean - 2) < 5 * found.error)
    True
    """
    return mean_of(drawn_errors(predictor, task, examples, prompts=prompts, seed=seed, distractors=distractors))


def drawn_errors(
    predictor: Predictor, task: Task, examples: int, *, prompts: int = 204_800, seed: int = 0, distractors: int = 0
) -> Float[np.ndarray, " prompts"]:
    """What `drawn_risk` is the mean of, one number a prompt: for errors whose mean a few prompts make.

    Args, Raises, Cost: those of `drawn_risk`.

    Returns:
        `[prompts]` squared errors, the query integrated out where it can be (TR7).
    """
    program = _program(predictor, lambda _: task, examples, distractors)
    return np.ravel(np.asarray(program(_numbers(prompts), jnp.uint32(seed | TESTS), 1.0), np.float64))


def _numbers(prompts: int):
    return jnp.arange(-(-prompts // CHUNK), dtype=jnp.uint32)


def _program(predictor: Predictor, task_of, examples: int, distractors: int = 0):
    """(numbers of chunks, seed, factor) -> squared errors, one a prompt of task_of(factor)."""
    if _check.count("distractors", distractors) > examples:
        raise ValueError(
            f"distractors: got {distractors}, expected at most the {examples} examples; draw longer prompts"
        )

    @jax.jit
    def program(numbers, seed, factor):
        task = task_of(factor)
        integrated = not getattr(predictor, "include_query", True) and task.function == "linear"

        def chunk(number):
            batch = batches.draw(task, seed, number, CHUNK, examples)
            if distractors:
                other = batches.normal(seed, number, batches.DISTRACTORS, (distractors, CHUNK))
                batch = batch._replace(y=jnp.concatenate([other, batch.y[distractors:]]))
            if integrated and isinstance(predictor, Network):
                return squared_error(predictor.weights_of(batch.tokens), batch)
            return _asked(predictor, batch)

        return jax.lax.map(chunk, numbers)

    return program


def mean_of(values) -> Drawn:
    """The mean of numbers, one a prompt."""
    x = np.ravel(np.asarray(values, np.float64))
    return Drawn(float(np.mean(x)), float(np.std(x) / np.sqrt(len(x))), len(x))


def squared_error(v: Float[Array, "d B"], batch: batches.Batch) -> Float[Array, " B"]:
    """(v - w)' Lambda (v - w) for each prompt (TR7)."""
    off, covariance = v - batch.w, batch.covariance
    if covariance.ndim == 2:
        covariance = covariance[:, :, None]
    pairs = [(i, j) for i in range(len(off)) for j in range(len(off))]
    return sum((off[i] * off[j] * covariance[i, j] for i, j in pairs), jnp.zeros_like(off[0]))


def _asked(predictor, batch):
    if isinstance(predictor, Network):
        said = predictor.batch(batch.tokens, batch.query[:, None])[0]
    else:
        said = jax.vmap(predictor)(jnp.transpose(batch.x, (2, 1, 0)), batch.y.T, batch.query.T)
    return (said - batch.target) ** 2


def scaled_inputs(task: Task, factor: float) -> Task:
    """The same task with all inputs multiplied by a factor; labels are made from them.

    >>> print(scaled_inputs(Task(2, Uniform(0.5)), 3.0).inputs)
    Uniform(half_width=1.5)
    """
    inputs = task.inputs
    if isinstance(inputs, Uniform):
        return replace(task, inputs=Uniform(inputs.half_width * factor))
    if isinstance(inputs, RandomDiagonal):
        return replace(task, inputs=RandomDiagonal(inputs.scale * factor**2))
    covariance = jnp.eye(task.d) if inputs.covariance is None else jnp.asarray(inputs.covariance)
    return replace(task, inputs=Gaussian(covariance * factor**2))


def scaled_tasks(task: Task, factor: float) -> Task:
    """The same task with w multiplied by a factor."""
    prior = jnp.eye(task.d) if task.prior is None else jnp.asarray(task.prior)
    return replace(task, prior=prior * factor**2)


def sweep(
    predictor: Predictor, task: Task, examples: int, factors: Sequence[float], *, shift=scaled_inputs,
    prompts: int = 204_800, seed: int = 0,
) -> list[Drawn]:  # fmt: skip
    """The risk on shifted tasks, with the same random numbers for all.

    Args:
        predictor, task, examples, prompts, seed: as `drawn_risk`.
        factors: by which the task is changed.
        shift: `scaled_inputs` or `scaled_tasks`.

    Returns:
        `Drawn` for each factor.

    Cost: that of `drawn_risk` for each factor, and one compilation.
    """
    program = _program(predictor, lambda factor: shift(task, factor), examples)
    return [mean_of(program(_numbers(prompts), jnp.uint32(seed | TESTS), factor)) for factor in factors]


def roll_out(
    network: Network, task: Task, examples: int, *, steps: int = 50, damping: float = 0.75, prompts: int = 20_480,
    seed: int = 0,
) -> Float[np.ndarray, " steps"]:  # fmt: skip
    """The risk after applying a layer again and again, each time the change of its tokens times `damping`.

    Args:
        network: of one layer, which does not read its query's token.
        task: the laws of the test prompts.
        examples: in each.
        steps: applications.
        damping: 1 for a recurrent network.
        prompts, seed: as in `drawn_risk`.

    Returns:
        `[steps]` risks (TR7).

    Raises:
        ValueError: another network.

    References: von Oswald et al. 2023 (arXiv 2212.07677), appendix A.
    """
    if len(network.W_PV) != 1 or network.include_query:
        raise ValueError(
            f"network: got {len(network.W_PV)} layers, include_query = {network.include_query}, expected one layer "
            "that does not read the query; take one apart"
        )
    rho, d = network.rho(examples) / damping, task.d

    def chunk(number):
        batch = batches.draw(task, seed | TESTS, number, CHUNK, examples)
        asked = unlabelled(jnp.broadcast_to(jnp.eye(d)[:, :, None], (d, d, CHUNK)))

        def step(carry, _):
            tokens, asked = carry
            carry = layer(network.W_PV[0], network.W_KQ[0], tokens, asked, rho)
            return carry, jnp.mean(squared_error(network.sign * carry[1][-1], batch))

        return jax.lax.scan(step, (batch.tokens, asked), length=steps)[1]

    return np.mean(np.asarray(jax.jit(lambda n: jax.lax.map(chunk, n))(_numbers(prompts)), np.float64), axis=0)
