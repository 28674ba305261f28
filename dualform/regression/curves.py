"""Errors after 0, 1, 2, ... examples: of a GPT in one pass a prompt, of the baselines at each number of examples.

Errors are $(\\hat y - w \\cdot x_q)^2 / d$ against the linear task without noise, the measure of Garg et al., one for
each prompt, so that means come with intervals. Those of linear predictors are over all queries:
$(v - w)^\\top \\Lambda (v - w) / d$ is the mean over queries of covariance $\\Lambda$.
"""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dualform.regression import baselines
from dualform.regression.gpt import GPTWeights, gpt_batch
from dualform.regression.tasks import Prompts

Errors = Float[Array, "B N+1"]

LINEAR: Mapping[str, Callable] = {
    "least squares": baselines.ols,
    "averaging": baselines.averaging,
    "one step": lambda x, y: baselines.averaging(x, y, baselines.best_divisor(*x.shape)),
}
"""Baselines that are linear in the query: functions of x [k, d] and y [k] that return weights [d]."""


def gpt_errors(weights: GPTWeights, drawn: Prompts) -> Errors:
    """Errors of a GPT after 0 to N examples, at the next input of the prompt; after N at its query.

    Args:
        weights: of the network.
        drawn: prompts of N examples of a linear task.

    Returns:
        `[B, N+1]`.

    Raises:
        ValueError: as `gpt_predictions`.

    Cost: one pass a prompt.
    """
    x = jnp.concatenate([drawn.x, drawn.query[:, None]], axis=1)
    y = jnp.concatenate([drawn.y, drawn.target[:, None]], axis=1)  # the last one is not read
    clean = jnp.einsum("bnd,bd->bn", x, drawn.w, precision="highest")
    return (_predict(weights, x, y) - clean) ** 2 / x.shape[2]


_predict = jax.jit(gpt_batch)


def linear_errors(drawn: Prompts, predictor: Callable, examples: int) -> Float[Array, " B"]:
    """Errors of a linear predictor after some of the examples, over all queries.

    Args:
        drawn: prompts of a linear task.
        predictor: of x [k, d] and y [k], returns weights [d].
        examples: k, how many of the prompt's examples it sees.

    Returns:
        `[B]`.

    Cost: that of the predictor, B times.
    """

    def one(x, y, w, covariance):
        gap = predictor(x, y) - w
        return gap @ covariance @ gap / len(w)

    shared = None if drawn.covariance.ndim == 2 else 0
    return jax.jit(jax.vmap(one, (0, 0, 0, shared)))(
        drawn.x[:, :examples], drawn.y[:, :examples], drawn.w, drawn.covariance
    )


def neighbour_errors(drawn: Prompts, examples: int, neighbours: int = 3) -> Float[Array, " B"]:
    """Errors of the mean label of the nearest inputs, at the prompt's query."""
    found = jax.vmap(lambda x, y, q: baselines.nearest(x, y, q, neighbours))(
        drawn.x[:, :examples], drawn.y[:, :examples], drawn.query
    )
    return (found - jnp.sum(drawn.w * drawn.query, axis=1)) ** 2 / drawn.w.shape[1]


def mean_interval(errors, z: float = 1.96) -> tuple[np.ndarray, np.ndarray]:
    """Means over the first axis, and z standard errors.

    >>> mean, half = mean_interval(np.array([[1.0, 2.0], [3.0, 2.0]]), z=1.0)
    >>> print(mean, half)
    [2. 2.] [1. 0.]
    """
    x = np.asarray(errors, np.float64)
    return np.mean(x, axis=0), z * np.std(x, axis=0, ddof=1) / np.sqrt(len(x))
