"""Training the network on episodes, with Adam."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dualform.digits import Digits
from dualform.fewshot.network import Weights, forward, initial
from dualform.fewshot.task import draw

BATCH, ETA, SLICE = 32, 2e-3, 50


class Trained(NamedTuple):
    """A trained network and how good it is."""

    weights: Weights
    losses: np.ndarray  # [steps]
    accuracy: float  # on unseen digits, with demonstrations
    without: float  # the same without: half, for nothing but the demonstrations tells the label
    episodes: int  # behind both


def logits(weights: Weights, demos, query):
    """Logits [B] of a batch of episodes."""
    return jax.vmap(lambda d, x: forward(weights, d, x)[0], (0, 0))(demos, query)


def loss(weights: Weights, demos, query, label):
    """The mean logistic loss."""
    return jnp.mean(jax.nn.softplus(-label * logits(weights, demos, query)))


def train(
    digits: Digits, steps: int = 600, seed: int = 0, *, tested: int = 500, progress: Callable | None = None
) -> Trained:
    """Trains on the training digits and tests on unseen ones.

    Args:
        digits: from `dualform.digits.load`.
        steps: of Adam, 32 fresh episodes each.
        seed: of weights and episodes.
        tested: unseen episodes.
        progress: called with (steps done, steps).

    Cost: about 40 ms a step on one core.
    """
    import optax

    tx = optax.adam(optax.cosine_decay_schedule(ETA, steps))
    rng, weights = np.random.default_rng(seed), initial(seed)

    @jax.jit
    def many(carry, batches):
        def step(carry, batch):
            weights, memory = carry
            value, gradient = jax.value_and_grad(loss)(weights, *batch)
            change, memory = tx.update(gradient, memory, weights)
            return (optax.apply_updates(weights, change), memory), value

        return jax.lax.scan(step, carry, batches)

    carry, losses = (weights, tx.init(weights)), []
    for done in range(0, steps, SLICE):
        if progress is not None:
            progress(done, steps)
        count = min(SLICE, steps - done)
        batch = draw(digits.train_x, digits.train_y, rng, count * BATCH)
        carry, values = many(carry, tuple(x.reshape(count, BATCH, *x.shape[1:]) for x in batch))
        losses.append(np.asarray(values))
    test = draw(digits.test_x, digits.test_y, rng, tested)

    def right(demos) -> float:
        return float(np.mean(np.sign(logits(carry[0], demos, test.query)) == test.label))

    return Trained(carry[0], np.concatenate(losses), right(test.demos), right(test.demos[:, :0]), tested)
