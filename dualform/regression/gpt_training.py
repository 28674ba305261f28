r"""Training the small GPT on fresh prompts, with Adam, in slices that can be stopped and resumed bit for bit.

Step $t$ draws its prompts from `fold_in(key, t)`, lowers (GP4) and keeps nothing else, so a checkpoint has the weights,
Adam's memory and the losses. The curriculum of Garg et al. starts in a subspace with short prompts: at step t inputs
have $\min(d, d_0 + \lfloor t/s \rfloor)$ coordinates that are not zero, and the loss is over the first
$\min(n, n_0 + 2 \lfloor t/s \rfloor)$ points.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dualform import _check, files
from dualform.regression.checkpoints import Run, load, read, run_slices, save
from dualform.regression.gpt import GPT, GPTWeights, gpt_batch, initial_gpt, prefix_loss
from dualform.regression.settings import describe
from dualform.regression.tasks import Task, prompts

DATA = Path(__file__).parent / "data"
"""Results of trainings that take longer than a reader waits."""


@dataclass(frozen=True)
class Curriculum:
    """Coordinates and points at the start, and after how many steps there is one coordinate (two points) more."""

    dims: int = 5
    points: int = 11
    every: int = 2000


@dataclass(frozen=True)
class GPTTraining:
    """How to train.

    Args:
        steps: in all; the learning rate falls to zero along a cosine over them if `cosine`.
        batch: fresh prompts a step.
        points: pairs of input and label in each, so the longest context has one less.
        eta: learning rate of Adam.
        cosine: whether it falls.
        seed: of weights and prompts.
        curriculum: None for whole prompts from the start.
    """

    steps: int = 4000
    batch: int = 64
    points: int = 11
    eta: float = 1e-3
    cosine: bool = False
    seed: int = 0
    curriculum: Curriculum | None = None


@dataclass(frozen=True)
class Leading:
    """A law of inputs of which all but the leading coordinates are zero."""

    inputs: Any
    dims: Any  # an integer, possibly traced

    def draw(self, key, batch: int, n: int, d: int):
        """Inputs [batch, n, d] and their covariance."""
        x, covariance = self.inputs.draw(key, batch, n, d)
        kept = jnp.where(jnp.arange(d) < self.dims, 1.0, 0.0)
        square = kept[:, None] * kept[None]
        return x * kept[None, None], covariance * jnp.broadcast_to(square, covariance.shape)


def train_gpt(
    config: GPT,
    task: Task,
    training: GPTTraining,
    *,
    until: int | None = None,
    path: str | os.PathLike | None = None,
    size: int = 50,
    every: int = 10,
    progress: Callable[[int, int, float], None] | None = None,
) -> Run:
    """Trains a GPT from its initial weights, or from the checkpoint.

    Args:
        config: sizes; `config.points` at least `training.points`, positions beyond these stay untrained.
        task: from which prompts are drawn.
        training: how.
        until: stop after this step; after `training.steps` if None.
        path: checkpoint file, .npz; none if None.
        size, every: steps a slice, slices between checkpoints.
        progress: called after each slice with (steps done, steps, mean loss of the slice).

    Returns:
        A `Run`: its state is (weights, Adam's memory), its losses one a step.

    Raises:
        ValueError: sizes that do not fit, or a checkpoint of other settings.

    Cost: about 30 ms a step on one core for 64 prompts of 11 points and the sizes of `GPT()`.

    References: Garg et al. 2022 (arXiv 2208.01066), section 2 and appendix A.
    """
    import optax

    if config.d != task.d or config.points < training.points:
        raise ValueError(
            f"config: got d = {config.d} and points = {config.points}, expected the task's d = {task.d} and at least "
            f"the training's {training.points} points; change config"
        )
    steps = _check.count("steps", training.steps, 1)
    rate = optax.cosine_decay_schedule(training.eta, steps) if training.cosine else training.eta
    tx = optax.adam(rate)
    key = jax.random.key(training.seed)

    @partial(jax.jit, static_argnums=2)
    def advance(state, first, count):
        def step(state, t):
            weights, memory = state
            x, y, points = draw_step(task, training, key, t)
            loss, gradient = jax.value_and_grad(lambda w: prefix_loss(gpt_batch(w, x, y), y, points))(weights)
            change, memory = tx.update(gradient, memory, weights)
            return (optax.apply_updates(weights, change), memory), loss

        return jax.lax.scan(step, state, first + jnp.arange(count))

    weights = initial_gpt(config, training.seed)
    settings = {"network": asdict(config), "task": describe(task), "training": asdict(training)}
    return run_slices(
        advance, (weights, tx.init(weights)), steps if until is None else until,
        size=size, every=every, path=path, config=settings, progress=progress,
    )  # fmt: skip


def stages(
    config: GPT,
    task: Task,
    training: GPTTraining,
    stops: Sequence[int],
    place: Callable[[int], Path | None] = lambda until: None,
    progress: Callable[[int, int, float], None] | None = None,
) -> Iterator[Run]:
    """One training, looked at after several numbers of steps.

    Args:
        config, task, training, progress: as for `train_gpt`.
        stops: numbers of steps, ascending.
        place: a number of steps -> the checkpoint of that stage, or None. A stage goes on from the one before, and a
            finished one is read, so that nothing is trained twice.

    Yields:
        A `Run` for each stop.

    Raises:
        ValueError: as `train_gpt`.

    Cost: without checkpoints every stage starts anew.
    """
    before = None
    for until in stops:
        path = place(until)
        if path is not None and before is not None and not path.exists():
            files.replace(path, partial(shutil.copyfile, before))
        yield train_gpt(config, task, training, until=until, path=path, progress=progress)
        before = path


def draw_step(task: Task, training: GPTTraining, key, t) -> tuple[jax.Array, jax.Array, jax.Array | int]:
    """The prompts of step t: inputs [batch, points, d], labels [batch, points], and how many points the loss is over.

    >>> training = GPTTraining(batch=2, points=4, curriculum=Curriculum(dims=1, points=2, every=10))
    >>> x, y, points = draw_step(Task(d=3), training, jax.random.key(0), 10)
    >>> print(x.shape, jnp.all(x[..., 2:] == 0), jnp.any(x[..., 1] == 0), points)
    (2, 4, 3) True False 4
    """
    n, stages = _check.count("points", training.points, 1), training.curriculum
    points: jax.Array | int = n
    if stages is not None:
        law: Any = Leading(task.inputs, stages.dims + t // stages.every)
        task = replace(task, inputs=law)
        points = jnp.minimum(n, stages.points + 2 * (t // stages.every))
    drawn = prompts(task, jax.random.fold_in(key, t), training.batch, n)
    return drawn.x, drawn.y, points


class Trained(NamedTuple):
    """A network that was kept, and how it came to be."""

    weights: GPTWeights
    losses: np.ndarray  # means over equal parts of the training
    settings: dict[str, Any]  # sizes, task, training, versions


def save_gpt(path: str | os.PathLike, weights: GPTWeights, losses: np.ndarray, settings: Mapping[str, Any]) -> Path:
    """Writes a trained network without the optimiser's memory.

    Args:
        path: file name, ending in .npz.
        weights: of the network.
        losses: as many as should be kept.
        settings: with "network", the fields of its `GPT`.

    Returns:
        The path.

    Raises:
        ValueError: as `dualform.regression.checkpoints.save`.
    """
    return save(path, Run(weights, np.asarray(losses)), settings)


def load_gpt(path: str | os.PathLike | None = None) -> Trained:
    """A network that `save_gpt` wrote; by default the one that comes with the library, trained for 25,000 steps.

    Args:
        path: file name; None for the library's own.

    Returns:
        `Trained`.

    Raises:
        ValueError: not such a file.

    >>> weights, losses, settings = load_gpt()
    >>> print(settings["network"]["d"], settings["training"]["steps"], losses[0] > losses[-1])
    5 25000 True
    """
    where = DATA / "gpt.npz" if path is None else Path(path)
    stored = read(where)
    settings = json.loads(str(stored["config"]))
    if "network" not in settings:
        raise ValueError(f"{where}: got settings without a network, expected a file of save_gpt; name another")
    run = load(where, initial_gpt(GPT(**settings["network"]), 0), settings)
    return Trained(run.state, run.losses, settings)


def load_curves() -> dict[str, Any]:
    """What was measured on networks during and after the library's own trainings: errors by number of examples.

    >>> print(list(load_curves()))
    ['settings', 'training', 'shift', 'covariance']
    """
    return json.loads((DATA / "gpt_curves.json").read_text(encoding="utf-8"))
