"""The risk of a trained layer against the length of the test prompt: exact, and by drawing prompts."""

import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from dualform.regression.comparison import one_step
from dualform.regression.evaluation import drawn_risk
from dualform.regression.optimum import limit
from dualform.regression.risks import risk
from dualform.regression.tasks import Gaussian, Task


def risk_table(
    variances: Sequence[float],
    N: int,
    lengths: Sequence[int],
    *,
    train_noise: float = 0.0,
    noise: float = 0.0,
    scale: float = 1.0,
    query_variances: Sequence[float] | None = None,
    drawn: int = 20_000,
    seed: int = 0,
) -> dict[str, Any]:
    """Exact risks (RK10) of the network that training on N examples ends in, beside those of drawn prompts.

    Args:
        variances: of the inputs' coordinates. They may be taken as independent: risks do not change when inputs and
            tasks are rotated.
        N: examples of a training prompt.
        lengths: examples of the test prompts, one row each.
        train_noise, noise: standard deviations of the label noise, in training and in the test prompts.
        scale: multiplies the inputs of the test prompts.
        query_variances: of the query's coordinates; those of the inputs if None.
        drawn: prompts for each length, at least, over whose queries the error is integrated; 0 for none.
        seed: of the draws.

    Returns:
        What was asked for, `zero` (the risk of predicting 0), `floor` (the risk at infinite length), and `rows`: `M`,
        `exact`, and with draws `mean` and `error`, its standard error.

    Raises:
        ValueError: no variances, or sizes and numbers that `limit` and `risk` refuse.

    Cost: drawn times the sum of the lengths times d normal numbers.

    >>> table = risk_table([1.0] * 5, 20, [20], drawn=0)
    >>> print(round(table["rows"][0]["exact"], 5), round(table["floor"], 5), table["zero"])
    1.15385 0.26627 5.0
    """
    if not len(variances) or (query_variances is not None and len(query_variances) != len(variances)):
        raise ValueError(f"query_variances: got {query_variances!r}, expected one for each of {list(variances)!r}")
    Lambda: Any = np.diag(np.array(variances, float))
    query: Any = np.diag(np.array(query_variances or variances, float))
    A: Any = limit(Lambda, N, train_noise)
    test: dict[str, Any] = dict(A=A, noise=noise, scale=scale, query_cov=query)
    rows, layer = [], one_step(jnp.asarray(A, jnp.float32))
    for i, M in enumerate(lengths):
        row = {"M": M, "exact": risk(Lambda, N, M, **test)}
        if drawn:
            task = Task(len(variances), Gaussian(scale**2 * Lambda), Gaussian(scale**2 * query), noise=noise)
            found = drawn_risk(layer, task, M, prompts=drawn, seed=seed + i)
            row |= {"mean": found.mean, "error": found.error}
        rows.append(row)
    return {
        "variances": list(variances), "N": N, "train_noise": train_noise, "noise": noise, "scale": scale,
        "query_variances": list(query_variances or variances), "prompts": drawn, "seed": seed,
        "zero": float(scale**2 * np.trace(query)), "floor": risk(Lambda, N, math.inf, **test), "rows": rows,
    }  # fmt: skip
