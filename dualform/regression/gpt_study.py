"""How the network that comes with the library was made, and what was measured on it: `study(folder)`.

The training stops at some steps to measure errors and the implied ridge parameter (GP12), then the trained network
reads prompts unlike those of its training: inputs or labels multiplied by a number, and inputs of another covariance in
each prompt. It takes about a quarter of an hour on an idle core, and goes on where it was stopped.
"""

import os
import platform
from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dualform import files
from dualform.regression import baselines
from dualform.regression.curves import gpt_errors, linear_errors, mean_interval
from dualform.regression.gpt import GPT, GPTWeights
from dualform.regression.gpt_training import GPTTraining, save_gpt, stages
from dualform.regression.settings import describe
from dualform.regression.similarity import gpt_answers, implied_ridge
from dualform.regression.tasks import Gaussian, Inputs, Prompts, RandomDiagonal, Task, prompts

CONFIG, TASK, TRAINING = GPT(d=5, points=22), Task(d=5), GPTTraining(steps=25_000, cosine=True)
STOPS = (500, 1000, 2000, 4000, 8000, 16_000, 25_000)
SCALES = (1 / 3, 0.5, 1.0, 2.0, 3.0)
PROMPTS = 4000


def study(folder: str | os.PathLike, progress: Callable[[int, int, float], None] | None = None) -> Path:
    """Trains the network and writes gpt.npz and gpt_curves.json.

    Args:
        folder: where these and the checkpoint are kept.
        progress: as for `train_gpt`.

    Returns:
        The path of the curves.

    Cost: 25,000 steps of about 30 ms.
    """
    folder, during = Path(folder), []
    for run in stages(CONFIG, TASK, TRAINING, STOPS, lambda until: folder / f"run-{until}.npz", progress):
        during.append({"steps": run.step, **during_training(run.state[0])})
    return write(folder, run.state[0], run.losses, during)


def write(folder: Path, weights: GPTWeights, losses: np.ndarray, during: list[dict[str, Any]]) -> Path:
    """The two files of `study`."""
    versions = {"python": platform.python_version(), **{name: version(name) for name in ("jax", "optax", "numpy")}}
    part = len(losses) // 500
    settings = {"network": asdict(CONFIG), "task": describe(TASK), "training": asdict(TRAINING), "versions": versions}
    settings |= {"losses": f"means over {part} steps", "prompts": PROMPTS}
    save_gpt(folder / "gpt.npz", weights, losses.reshape(500, part).mean(axis=1).astype(np.float32), settings)
    found = {"settings": settings, "training": during, "shift": shifts(weights), "covariance": covariances(weights)}
    return files.write_json(folder / "gpt_curves.json", found)


def during_training(weights: GPTWeights) -> dict[str, Any]:
    """Errors after 0 to 14 examples, and the nearest ridge parameters after 3, 5, 8 and 10."""
    drawn = prompts(TASK, jax.random.key(101), PROMPTS, 14)
    mean, half = mean_interval(gpt_errors(weights, drawn))
    queries = jax.random.normal(jax.random.key(102), (200, 10, 5))
    near = {}
    for k in (3, 5, 8, 10):
        x, y = drawn.x[:200, :k], drawn.y[:200, :k]
        near[str(k)] = implied_ridge(x, y, queries, gpt_answers(weights, x, y, queries))._asdict()
    return {"errors": mean.tolist(), "half_width": half.tolist(), "ridge": near}


def shifts(weights: GPTWeights) -> list[dict[str, Any]]:
    """Errors after 10 examples with inputs, or labels, times c; over those of predicting zero."""
    drawn, rows = prompts(TASK, jax.random.key(103), PROMPTS, 10), []
    for what in ("x", "y"):
        for c in SCALES:
            scaled = scale_prompts(drawn, **{what: c})
            mean, half = mean_interval(np.asarray(gpt_errors(weights, scaled))[:, 10] / c**2)
            rows.append({"what": what, "scale": c, "error": float(mean), "half_width": float(half)})
    return rows


def scale_prompts(drawn: Prompts, x: float = 1.0, y: float = 1.0) -> Prompts:
    """Prompts with inputs times x and labels times x y, of the task w y."""
    return drawn._replace(
        x=drawn.x * x, query=drawn.query * x, covariance=drawn.covariance * x**2,
        y=drawn.y * x * y, target=drawn.target * x * y, w=drawn.w * y,
    )  # fmt: skip


def covariances(weights: GPTWeights) -> list[dict[str, Any]]:
    """Errors on the covariance of training, and on a random diagonal one times 1, 4 and 9 in each prompt."""
    laws: dict[str, Inputs] = {"fixed": Gaussian()}
    laws |= {f"random, times {c}": RandomDiagonal(float(c)) for c in (1, 4, 9)}
    rows = []
    for name, law in laws.items():
        drawn = prompts(Task(d=5, inputs=law), jax.random.key(104), PROMPTS, 10)
        mean, half = mean_interval(gpt_errors(weights, drawn))
        known = {"least squares": baselines.ols, "zero": lambda x, y: 0 * x[0]}
        others = {
            which: [float(np.mean(linear_errors(drawn, f, k))) for k in range(1, 11) if k != 5]
            for which, f in known.items()
        }
        rows.append({"covariance": name, "errors": mean.tolist(), "half_width": half.tolist(), **others})
    return rows
