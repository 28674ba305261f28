"""What the commands `dualform regression train` and `compare` do: from settings to a report, which is plain data."""

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dualform.regression import checkpoints, curves, runs
from dualform.regression.comparison import compare
from dualform.regression.gpt import GPT, initial_gpt
from dualform.regression.gpt_training import GPTTraining, train_gpt
from dualform.regression.references import best_matrix, least_loss, references
from dualform.regression.settings import restore
from dualform.regression.similarity import gpt_answers, implied_ridge
from dualform.regression.tasks import Gaussian, Inputs, RandomDiagonal, Task, Uniform, prompts
from dualform.regression.training import Trained, Training, initial_weights, network, train

CHOICES = ("d", "N", "inputs", "noise", "depth", "repeat", "heads", "steps", "batch", "eta", "seed")
"""What may be chosen for a training, by its name on the command line."""
FACTORS = (0.5, 0.75, 1.0, 1.25, 1.5, 2.0)
"""On inputs and on tasks, in a comparison."""
KEPT = 400
"""Losses in a report: means over as many equal parts of the training."""

Report = dict[str, Any]


@dataclass(frozen=True)
class GPTExperiment:
    """A GPT and how it is trained."""

    network: GPT
    task: Task
    training: GPTTraining


def settings(run: str | None = None, gpt: bool = False, **chosen) -> Training | GPTExperiment:
    """The settings that a user's choices amount to.

    Args:
        run: a name in `runs.NAMES`, of which steps, batch, eta and seed may be changed.
        gpt: a GPT instead of linear self-attention.
        chosen: some of `CHOICES`; `inputs` is a name and its numbers.

    Returns:
        `Training` or `GPTExperiment`.

    Raises:
        ValueError: choices that exclude each other.

    >>> print(settings(d=3, N=8, inputs=("uniform", [0.5])).task.inputs)
    Uniform(half_width=0.5)
    """
    if run is not None:
        _only(chosen, ("steps", "batch", "eta", "seed"), f"--run {run}")
        if gpt:
            raise ValueError("--gpt: got it beside --run, whose trainings are of linear attention; leave one out")
        return replace(runs.training(run), **chosen)
    law = inputs_of(*chosen.pop("inputs", ("gaussian", [])))
    given = law.covariance if isinstance(law, Gaussian) else None
    d = chosen.pop("d", 5 if given is None else len(given))
    task = Task(d, law, noise=chosen.pop("noise", 0.0))
    if gpt:
        _only(chosen, ("N", "steps", "batch", "eta", "seed"), "--gpt")
        points = chosen.pop("N", 10) + 1
        return GPTExperiment(GPT(d=d, points=points), task, GPTTraining(points=points, **chosen))
    examples, layers = chosen.pop("N", 20), chosen.get("depth", 1) * chosen.get("repeat", 1)
    if layers == 1:
        style: dict[str, Any] = dict(include_query=True, sign=1.0, balanced=True, initial=0.1, b2=0.999, eta=5e-3)
    else:
        style = dict(initial=0.05, eta=5e-3)
    return Training(task, examples, **{"schedule": "cosine", **style, **chosen})


def inputs_of(name: str, values: list[float]) -> Inputs:
    """The law of inputs of a name, "gaussian", "uniform" or "random", with its numbers."""
    if name == "gaussian":
        return Gaussian(jnp.diag(jnp.array(values))) if values else Gaussian()
    law = Uniform if name == "uniform" else RandomDiagonal
    return law(*values)


def _only(chosen: dict, allowed: tuple[str, ...], what: str) -> None:
    if other := [name for name in chosen if name not in allowed]:
        raise ValueError(f"{other[0]}: got it beside {what}, expected at most {', '.join(allowed)}; leave it out")


def run(
    config: Training | GPTExperiment,
    *,
    path: str | os.PathLike | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> Report:
    """Trains and reports.

    Args:
        config: from `settings`.
        path: checkpoint file; kept, and gone on from.
        progress: called with (steps done, steps, what).

    Returns:
        `kind`, `settings`, `losses` (at most 400 means), `final` (mean of the last hundredth), and `least`, the exact
        minimum or None.

    Raises:
        ValueError: a checkpoint of other settings.
    """
    if isinstance(config, Training):
        found = train(config, path=path, progress=progress)
        return _losses("lsa", config.to_dict(), found.losses, least_loss(config), "loss, E (prediction - label)^2 / 2")

    def told(done: int, steps: int, loss: float) -> None:
        if progress is not None:
            progress(done, steps, f"training, loss {loss:.4g}")

    state = train_gpt(config.network, config.task, config.training, path=path, progress=told)
    return _losses("gpt", asdict(config.training), state.losses, None, "mean squared error over all lengths")


def _losses(kind: str, described: Report, losses: np.ndarray, least: float | None, meaning: str) -> Report:
    parts = np.array_split(losses, min(KEPT, len(losses)))
    last = losses[-max(1, len(losses) // 100) :]
    return {
        "kind": kind, "settings": described, "steps": len(losses), "losses": [float(np.mean(part)) for part in parts],
        "final": float(np.mean(last)), "least": least, "meaning": meaning,
    }  # fmt: skip


def compared(path: str | os.PathLike, *, prompts: int = 20_480, seed: int = 0) -> Report:
    """The network of a checkpoint beside what it should be like.

    Args:
        path: checkpoint of `run`.
        prompts: drawn for each number.
        seed: of the prompts.

    Returns:
        For linear attention `comparisons`, name of a construction -> `Comparison.to_dict()`, with `matrix`, the trained
        A of one layer, and `best`, its exact value. For a GPT, `errors` by number of examples and `implied` ridge
        parameters.

    Raises:
        ValueError: no checkpoint of `run`.
    """
    config = json.loads(str(checkpoints.read(path)["config"]))
    if "network" in config:
        return _compared_gpt(path, config, prompts, seed)
    if config.get("law") != "Training":
        raise ValueError(f"{path}: got no settings of a training, expected a file of `dualform regression train`")
    found = stored(path)
    task, N = found.config.task, found.config.examples
    report: Report = {"kind": "lsa", "settings": found.config.to_dict(), "prompts": prompts, "seed": seed}
    ours = found.network()
    report["comparisons"] = {
        name: compare(ours, other, task, N, prompts=prompts, seed=seed, factors=FACTORS).to_dict()
        for name, other in references(found.config).items()
    }
    if found.config.depth * found.config.repeat == 1:
        A, best = _matrix(found), best_matrix(task, N)
        report |= {"matrix": A.tolist(), "best": None if best is None else best.tolist()}
    return report


def stored(path: str | os.PathLike) -> Trained:
    """The network of a checkpoint of linear self-attention, with the settings that it came from."""
    data = checkpoints.read(path)
    config = json.loads(str(data["config"]))
    config.pop("slice", None)
    training: Training = restore(config, Training)
    return Trained(checkpoints.load_part(path, initial_weights(training), 0), data["losses"], training)


def _matrix(found: Trained) -> np.ndarray:
    """A of a trained layer: the prediction is x_q' A (1/N) sum y x, up to the sign and divisor of its conventions."""
    net = network(found.config, found.weights)
    d, scale = found.config.task.d, 1.0 if found.config.average else found.config.examples
    total = sum(
        np.asarray(net.W_PV[0, h, -1, -1] * net.W_KQ[0, h, :d, :d], np.float64) for h in range(net.W_PV.shape[1])
    )
    return found.config.sign * scale * np.asarray(total).T


def _compared_gpt(path, config: Report, count: int, seed: int) -> Report:
    """Errors after 0, 1, ... examples beside the baselines', and the ridge parameter that each length implies."""
    shape, task = GPT(**config["network"]), restore(config["task"])
    weights = checkpoints.load_part(path, initial_gpt(shape, 0), 0)
    N = config["training"]["points"] - 1
    drawn = prompts(task, jax.random.key(seed), count, N)
    errors: Report = {"GPT": [x.tolist() for x in curves.mean_interval(curves.gpt_errors(weights, drawn))]}
    for name, predictor in curves.LINEAR.items():
        found = np.stack([np.asarray(curves.linear_errors(drawn, predictor, k)) for k in range(N + 1)], axis=1)
        errors[name] = [x.tolist() for x in curves.mean_interval(found)]
    asked = prompts(task, jax.random.key(seed + 1), min(count, 256), max(16, 2 * task.d)).x  # queries of their own
    some = slice(len(asked))
    implied = []
    for k in range(1, N + 1):
        x, y = drawn.x[some, :k], drawn.y[some, :k]
        near = implied_ridge(x, y, asked, gpt_answers(weights, x, y, asked))
        implied.append({"examples": k, **near._asdict()})
    return {
        "kind": "gpt", "settings": config, "prompts": count, "seed": seed, "errors": errors, "implied": implied,
    }  # fmt: skip
