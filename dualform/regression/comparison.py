r"""How alike two predictors are: their answers, their sensitivities, and what lies between their weights.

Two predictors of a prompt may be compared by what they say of the query and by how that changes with it. With
$g = \partial \hat y / \partial x_q$, over prompts,

$$ E\,|\hat y_a - \hat y_b|, \qquad E\,|g_a - g_b|, \qquad E\, \cos(g_a, g_b).                     \tag{TR8} $$

A predictor that is linear in its query, as layers that do not read the query's token are, is $g$. If two networks have
layers of one shape, the mean of their weights is a third, and its loss tells more than the distance of the weights,
once what does not matter has been fixed: each layer is rescaled (TR3) so that the diagonal of $W_{KQ}$ has mean one,

$$ \tfrac12\,(W^a_{PV} + W^b_{PV}), \qquad \tfrac12\,(W^a_{KQ} + W^b_{KQ}).                        \tag{TR9} $$

References: von Oswald et al. 2023 (arXiv 2212.07677), section 3 and the code of `analyse`.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dualform.regression import evaluation
from dualform.regression.evaluation import CHUNK, Drawn, Predictor, drawn_risk, sweep
from dualform.regression.model import Network, layers, regauge
from dualform.regression.tasks import Task, prompts


class Comparison(NamedTuple):
    """Two predictors on the same prompts."""

    prediction_difference: Drawn  # E |y_a - y_b|
    sensitivity_difference: Drawn  # E |g_a - g_b|
    cosine: Drawn  # E cos(g_a, g_b)
    risks: tuple[Drawn, Drawn]  # E (y - target)^2 of each
    interpolated: Drawn | None  # that of the mean of the weights, where both are networks of one shape
    sweeps: dict[str, tuple[list[float], list[float]]]  # factor on inputs or on w -> risks of both
    factors: tuple[float, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            **{name: getattr(self, name).to_dict() for name in ("prediction_difference", "sensitivity_difference")},
            "cosine": self.cosine.to_dict(),
            "risks": [risk.to_dict() for risk in self.risks],
            "interpolated": None if self.interpolated is None else self.interpolated.to_dict(),
            "factors": list(self.factors),
            "sweeps": {name: [list(x) for x in risks] for name, risks in self.sweeps.items()},
        }


def compare(
    first: Predictor,
    second: Predictor,
    task: Task,
    examples: int,
    *,
    prompts: int = 20_480,
    seed: int = 0,
    factors: Sequence[float] = (0.5, 1.5, 2.0),
) -> Comparison:
    """Two predictors on the same prompts (TR8), on shifted ones, and between them (TR9).

    Args:
        first, second: networks, e.g. `train(...).network()` and `one_step(...)`, or functions of inputs [N, d], labels
            [N] and a query [d] that JAX can differentiate.
        task: the laws of the prompts.
        examples: in each.
        prompts: how many for each number.
        seed: of the prompts.
        factors: on the inputs, and on w, for the sweeps.

    Returns:
        `Comparison`.

    Cost: two forward and backward passes for each prompt, and 2 + 4 risks for each factor.

    >>> half, whole = one_step(0.5 * jnp.eye(2)), one_step(jnp.eye(2))
    >>> found = compare(half, whole, Task(d=2), examples=4, prompts=2048, factors=(2.0,))
    >>> print(f"{found.cosine.mean:.4f}", found.risks[0].mean < found.risks[1].mean)
    1.0000 True
    """
    answers = alike(first, second, task, examples, prompts=prompts, seed=seed)
    options = {"prompts": prompts, "seed": seed}
    between = None
    if isinstance(first, Network) and isinstance(second, Network) and first.W_PV.shape == second.W_PV.shape:
        between = drawn_risk(interpolated(first, second), task, examples, **options)
    both = (first, second)
    inputs = [sweep(p, task, examples, (1.0, *factors), **options) for p in both]
    tasks = [sweep(p, task, examples, factors, shift=evaluation.scaled_tasks, **options) for p in both]
    risks = tuple(one[0] for one in inputs)
    sweeps = {
        "inputs": tuple([x.mean for x in one[1:]] for one in inputs),
        "tasks": tuple([x.mean for x in one] for one in tasks),
    }
    return Comparison(*answers, risks, between, sweeps, tuple(factors))  # type: ignore[arg-type]


def alike(
    first: Predictor, second: Predictor, task: Task, examples: int, *, prompts: int = 20_480, seed: int = 0
) -> tuple[Drawn, Drawn, Drawn]:
    """The three numbers of (TR8)."""

    @jax.jit
    def chunk(key):
        drawn = _prompts(task, key, examples)
        (a, g), (b, h) = (jax.vmap(sensitivity(p))(drawn.x, drawn.y, drawn.query) for p in (first, second))
        return jnp.abs(a - b), jnp.linalg.norm(g - h, axis=-1), cosine(g, h)

    key = jax.random.fold_in(jax.random.key(seed), 1)
    found = [chunk(jax.random.fold_in(key, i)) for i in range(-(-prompts // CHUNK))]
    a, b, c = (evaluation.mean_of(np.concatenate(x)) for x in zip(*found, strict=True))
    return a, b, c


def _prompts(task, key, examples):
    return prompts(task, key, CHUNK, examples)


def sensitivity(predictor: Predictor):
    """(x, y, query) -> the prediction and its derivative with respect to the query."""
    return jax.value_and_grad(predictor, argnums=2)


def cosine(a: Float[Array, "*B d"], b: Float[Array, "*B d"]) -> Float[Array, "*B"]:
    """The cosine of two vectors.

    >>> print(cosine(jnp.array([3.0, 4.0]), jnp.array([4.0, 3.0])))
    0.96
    """
    return jnp.sum(a * b, axis=-1) / (jnp.linalg.norm(a, axis=-1) * jnp.linalg.norm(b, axis=-1))


def one_step(A: Float[Array, "d d"], *, average: bool = True) -> Network:
    """The construction: one step of gradient descent from zero, preconditioned, as a layer.

    Args:
        A: `[d, d]`; the prediction is (1/N) sum_i y_i x_i' A x_q, without 1/N if not `average`.
        average: as in `Network`.

    Returns:
        A `Network`.
    """
    return Network(*layers({"A": jnp.asarray(A)[None]}), average=average)


def interpolated(first: Network, second: Network) -> Network:
    """The network half way between two, after fixing the scale of their layers (TR9).

    Args:
        first, second: of one shape, and of one convention for sign and divisor.

    Returns:
        A `Network`.

    Raises:
        ValueError: networks that differ in more than their weights.

    >>> print(interpolated(one_step(jnp.eye(1)), one_step(3 * jnp.eye(1))).W_PV[0, 0, 1, 1])
    -2.0
    """
    ours, theirs = (replace(n, W_PV=first.W_PV, W_KQ=first.W_KQ) for n in (first, second))
    if (shapes := (first.W_PV.shape, second.W_PV.shape))[0] != shapes[1] or vars_of(ours) != vars_of(theirs):
        raise ValueError(
            f"second: got {vars_of(second)} and weights {shapes[1]}, expected {vars_of(first)} and {shapes[0]}, "
            "those of the first; build it with the same settings"
        )
    pairs = zip(regauge(first.W_PV, first.W_KQ), regauge(second.W_PV, second.W_KQ), strict=True)
    W_PV, W_KQ = (0.5 * (a + b) for a, b in pairs)
    return replace(first, W_PV=W_PV, W_KQ=W_KQ)


def vars_of(network: Network) -> dict[str, Any]:
    """The settings of a network, without its weights."""
    return {name: value for name, value in vars(network).items() if not name.startswith("W_")}
