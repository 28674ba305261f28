r"""What a training is held against: constructions with the same conventions, and the least loss where it has a formula.

One layer has one best matrix A, and its loss is exact for normal inputs (RK5, RK11), uniform ones (RK15) and random
covariances (RK9, RK14). Deeper networks are held against gradient descent of as many steps, without (GD) and with
(GD++) the correction of curvature, whose scalars are chosen on drawn contexts (DE4).
"""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dualform.regression.comparison import one_step
from dualform.regression.depth import best_scalars, spectra
from dualform.regression.model import Network, layers
from dualform.regression.optimum import exponential_moments, limit, random_covariance_limit, uniform_limit
from dualform.regression.risks import random_covariance_risk, risk, uniform_risk
from dualform.regression.tasks import Gaussian, RandomDiagonal, Task, Uniform
from dualform.regression.training import Training

CONTEXTS = 20_000
"""Spectra on which the scalars of deeper references are chosen."""


def best_matrix(task: Task, N: int) -> np.ndarray | None:
    """The best A of one layer on N examples, in float64; None where no formula is known.

    >>> print(best_matrix(Task(d=2), 3))
    [[0.5 0. ]
     [0.  0.5]]
    """
    if not _is_plain(task):
        return None
    noise = _noise(task)
    if isinstance(task.inputs, Gaussian):
        return limit(_covariance(task), N, noise, _prior(task))
    if task.prior is not None:
        return None
    if isinstance(task.inputs, Uniform):
        return uniform_limit(task.d, N, task.inputs.half_width, noise) * np.eye(task.d)
    return random_covariance_limit(exponential_moments(task.d, task.inputs.scale), N, noise)


def least_loss(config: Training) -> float | None:
    """The least loss of one layer on prompts of this training, half its risk; None where no formula is known.

    >>> print(round(least_loss(Training(Task(d=5), examples=20)), 5))  # 15/26
    0.57692
    """
    task, N = config.task, config.examples
    A = best_matrix(task, N)
    if A is None or config.depth * config.repeat > 1:
        return None
    noise = _noise(task)
    if isinstance(task.inputs, Gaussian):
        return risk(_covariance(task), N, N, A=A, noise=noise, prior=_prior(task)) / 2
    if isinstance(task.inputs, Uniform):
        return uniform_risk(task.d, N, task.inputs.half_width, p=float(A[0, 0]), noise=noise) / 2
    return random_covariance_risk(exponential_moments(task.d, task.inputs.scale), N, A, noise) / 2


def references(config: Training) -> dict[str, Network]:
    """Constructions of as many layers as the training has, with its conventions for divisor, query and sign.

    Args:
        config: the training.

    Returns:
        Name -> network: "one step", or "GD" and "GD++"; nothing where no construction is known, e.g. noise of several
        levels.

    Cost: for deeper networks some seconds, to choose their scalars.

    >>> print(list(references(Training(Task(d=2), examples=4))))
    ['one step']
    """
    task, N, depth = config.task, config.examples, config.depth * config.repeat
    if depth == 1:
        A = best_matrix(task, N)
        return {} if A is None else {"one step": _adapted(one_step(jnp.asarray(A, jnp.float32)), config)}
    odd = isinstance(task.inputs, RandomDiagonal) or task.prior is not None or np.any(task.noise) or config.sign > 0
    if odd or not _is_plain(task):
        return {}
    values = spectra(task.inputs, jax.random.key(config.seed), CONTEXTS, N, task.d)
    found = {name: best_scalars(values, depth, curvature=name == "GD++", shared=config.depth == 1)
             for name in ("GD", "GD++")}  # fmt: skip
    return {name: _adapted(_scalars(best, task.d), config) for name, best in found.items()}


def _scalars(best, d: int) -> Network:
    weights: dict[str, Any] = {
        "eta": jnp.asarray(best.eta, jnp.float32), "inputs": jnp.ones(d),
        "gamma": jnp.append(jnp.asarray(best.gamma, jnp.float32), 0.0),
    }  # fmt: skip
    return Network(*layers(weights))


def _adapted(network: Network, config: Training) -> Network:
    """The same predictor with the divisor and sign of a training."""
    W_PV, W_KQ = network.W_PV, network.W_KQ
    if config.sign > 0:  # one layer, for deeper ones subtract
        W_PV = -W_PV
    if not config.average:
        W_KQ = W_KQ / config.examples
    return replace(network, W_PV=W_PV, W_KQ=W_KQ, average=config.average, sign=config.sign,
                   include_query=config.include_query)  # fmt: skip


def _is_plain(task: Task) -> bool:
    """Linear labels of dense tasks, one level of noise, queries like the examples."""
    return task.function == "linear" and task.sparse is None and task.query is None and np.ndim(task.noise) == 0


def _noise(task: Task) -> float:
    """The one level of a plain task."""
    return float(np.asarray(task.noise))


def _prior(task: Task) -> np.ndarray | None:
    return None if task.prior is None else np.asarray(task.prior, float)


def _covariance(task: Task) -> np.ndarray:
    inputs = task.inputs
    covariance = inputs.covariance if isinstance(inputs, Gaussian) else None
    return np.eye(task.d) if covariance is None else np.asarray(covariance, float)
