r"""Training layers of linear self-attention on fresh prompts.

Every step draws prompts that were never seen (TR4), so that the loss is an unbiased estimate of the population's,

$$ L = \tfrac12\, E\, (\hat y - y_q)^2,                                                            \tag{TR5} $$

and nothing can be memorised. The optimiser is Adam with a global clip of the gradient's norm. There are two kinds of
initial weights: the balanced ones of Zhang et al. (Assumption 3.3),

$$ W_{PV} = \sigma\, e_{d+1} e_{d+1}^\top, \qquad
   W_{KQ} = \sigma\, \mathrm{diag}(\Theta\Theta^\top, 0), \quad \|\Theta\Theta^\top\|_F = 1,         \tag{TR6} $$

and small normal ones, of variance `initial` over the number of inputs, as von Oswald et al. draw them.

`Training` says all that a run depends on. A run that was interrupted goes on from its checkpoint to the same weights
and losses, bit for bit, and a checkpoint of another `Training` is refused.

References: Zhang et al. 2024 (arXiv 2306.09927), section 3; von Oswald et al. 2023 (arXiv 2212.07677), appendix A.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dualform import _check
from dualform.regression import batches, checkpoints
from dualform.regression.model import MATRICES, Network, Weights, layers
from dualform.regression.settings import describe
from dualform.regression.tasks import Task

Progress = Callable[[int, int, str], None]
"""Called with (steps done, steps, what)."""

SCHEDULES = ("constant", "cosine")
SLICE = 100


@dataclass(frozen=True)
class Training:
    """All that a run depends on.

    Args:
        task: the laws of its prompts.
        examples: N, labelled examples in a prompt.
        depth: layers with weights of their own.
        repeat: how often the stack of layers is applied, with the same weights.
        heads: of each layer.
        matrices: what is trained: "merged" (W_PV, W_KQ), "four" (K, Q, V, P), "steps" (one matrix A a layer: gradient
            descent with a preconditioner) or "scalars" (a step and a curvature correction for each layer: GD++).
        include_query: whether a layer reads the query's own token.
        average: divide the sum over tokens by N; if not, the weights have to.
        sign: of the read-out, -1 with layers that subtract.
        steps: of Adam.
        batch: fresh prompts a step.
        eta: learning rate.
        schedule: "constant" or "cosine", which falls to zero with the last step.
        b2: Adam's memory of squares.
        clip: largest norm of the gradient.
        balanced: initial weights as Zhang et al. (TR6); matrices must be "merged".
        initial: sigma of (TR6); otherwise the variance of an entry times its inputs, and of scalars and steps, whose
            matrices start at this number times the identity.
        seed: of weights and prompts.
    """

    task: Task
    examples: int
    depth: int = 1
    repeat: int = 1
    heads: int = 1
    matrices: str = "merged"
    include_query: bool = False
    average: bool = True
    sign: float = -1.0
    steps: int = 3000
    batch: int = 1024
    eta: float = 1e-3
    schedule: str = "constant"
    b2: float = 0.98
    clip: float = 10.0
    balanced: bool = False
    initial: float = 0.002
    seed: int = 0

    def __post_init__(self):
        for name, least in (("examples", 1), ("depth", 1), ("repeat", 1), ("heads", 1), ("batch", 1), ("steps", 0)):
            _check.count(name, getattr(self, name), least)
        for name in ("eta", "clip", "initial"):
            _check.scalar(name, getattr(self, name), positive=True)
        if self.matrices not in MATRICES:
            raise ValueError(f"matrices: got {self.matrices!r}, expected one of {', '.join(MATRICES)}")
        if self.schedule not in SCHEDULES:
            raise ValueError(f"schedule: got {self.schedule!r}, expected one of {', '.join(SCHEDULES)}")
        if self.balanced and self.matrices != "merged":
            raise ValueError(f"balanced: got matrices = {self.matrices!r}, expected 'merged'; or leave balanced out")

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return describe(self)


class Trained(NamedTuple):
    """What a training found."""

    weights: Weights
    losses: np.ndarray  # [steps] the loss of each step's batch, before the step
    config: Training

    def network(self) -> Network:
        """The trained predictor."""
        return network(self.config, self.weights)


def train(
    config: Training, *, path: str | os.PathLike | None = None, progress: Progress | None = None, size: int = SLICE,
    every: int = 10,
) -> Trained:  # fmt: skip
    """Trains, or goes on training.

    Args:
        config: all that the result depends on.
        path: checkpoint file, .npz: kept while the training runs, and gone on from if it is there.
        progress: called after each slice with (steps done, steps, the slice's mean loss in words).
        size: steps a slice; one program runs them all.
        every: slices between checkpoints.

    Returns:
        `Trained`.

    Raises:
        ValueError: a checkpoint of another training.

    Cost: about 1.1 ms a step for one layer, 10 inputs, 10 examples, 2,048 prompts on one core; the second layer is four
    times as much.

    >>> trained = train(Training(Task(d=2), examples=4, steps=20, batch=64, balanced=True, initial=0.3), size=20)
    >>> print(trained.network().W_PV.shape, trained.losses.shape)
    (1, 1, 3, 3) (20,)
    """
    slice_of = compiled(config)

    def advance(state, first, count):
        state, losses = slice_of(state, jnp.arange(first, first + count, dtype=jnp.uint32))
        return state, np.asarray(losses)

    def report(done, steps, value):
        if progress is not None:
            progress(done, steps, f"training, loss {value:.4g}")

    run = checkpoints.run_slices(
        advance, state(config), config.steps, size=size, path=path, config=config.to_dict(),
        every=every, progress=report,
    )  # fmt: skip
    return Trained(run.state[0], run.losses, config)


def state(config: Training):
    """What a training starts from: weights and the optimiser's memory."""
    weights = initial_weights(config)
    return weights, optimiser(config).init(weights)


def compiled(config: Training):
    """The program of a training: (state, numbers of steps) -> (state after them, their losses)."""
    tx = optimiser(config)

    def step(state, number):
        weights, memory = state
        batch = batches.draw(config.task, config.seed, number, config.batch, config.examples)
        value, gradient = jax.value_and_grad(batch_loss, argnums=1)(config, weights, batch)
        change, memory = tx.update(gradient, memory, weights)
        return (jax.tree.map(jnp.add, weights, change), memory), value

    return jax.jit(lambda state, numbers: jax.lax.scan(step, state, numbers))


def optimiser(config: Training):
    """Clipped Adam, as an optax transformation."""
    import optax

    cosine = optax.cosine_decay_schedule(config.eta, max(config.steps, 1))
    rate = config.eta if config.schedule == "constant" else cosine
    return optax.chain(optax.clip_by_global_norm(config.clip), optax.adam(rate, b2=config.b2))


def initial_weights(config: Training) -> Weights:
    """The weights that a training starts from (TR6)."""
    d, key = config.task.d, jax.random.key(config.seed)
    shape = (config.depth, config.heads, d + 1, d + 1)
    if config.balanced:
        theta = jax.random.normal(key, (*shape[:2], d, d))
        square = jnp.einsum("lhij,lhkj->lhik", theta, theta, precision="highest")
        square = square / jnp.linalg.norm(square, axis=(2, 3), keepdims=True)
        W_KQ = config.initial * jnp.pad(square, ((0, 0), (0, 0), (0, 1), (0, 1)))
        return {"W_PV": jnp.zeros(shape).at[..., -1, -1].set(config.initial), "W_KQ": W_KQ}
    if config.matrices == "steps":
        return {"A": config.initial * jnp.broadcast_to(jnp.eye(d)[None], (config.depth, d, d))}
    if config.matrices == "scalars":
        start = jnp.full(config.depth, config.initial)
        return {"eta": start, "gamma": jnp.zeros(config.depth), "inputs": jnp.ones(d)}
    names = ("W_PV", "W_KQ") if config.matrices == "merged" else ("K", "Q", "V", "P")
    deviation = (config.initial / (d + 1)) ** 0.5
    keys = jax.random.split(key, len(names))
    return {name: deviation * jax.random.normal(k, shape) for name, k in zip(names, keys, strict=True)}


def batch_loss(config: Training, weights: Weights, batch: batches.Batch) -> Float[Array, ""]:
    """Half the mean squared error of a batch (TR5)."""
    return half_square(answers(config, weights, batch), batch.target)


def half_square(said: Float[Array, " B"], target: Float[Array, " B"]) -> Float[Array, ""]:
    """Half the mean square of the difference (TR5).

    >>> print(half_square(jnp.array([1.0, 3.0]), jnp.array([1.0, 1.0])))
    1.0
    """
    return 0.5 * jnp.mean((said - target) ** 2)


def network(config: Training, weights: Weights) -> Network:
    """The predictor that weights of a training are."""
    return Network(*layers(weights), config.average, config.include_query, config.repeat, config.sign)


def answers(config: Training, weights: Weights, batch: batches.Batch) -> Float[Array, " B"]:
    """The predictions for the queries of a batch."""
    return network(config, weights).batch(batch.tokens, batch.query[:, None])[0]
