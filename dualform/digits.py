r"""The real case: a two-layer network trained on handwritten digits is attention over the patterns it was trained on.

The network $y = W_2 [\mathrm{relu}(W_1 [x, 1]), 1]$ learns the 1,797 digits that come with scikit-learn by minibatch
SGD with momentum, weight decay and a falling learning rate, run by optax. At every step the input $x_{ti}$ of each
layer and the gradient $g_{ti}$ of the loss by its output are recorded, the latter as the derivative by a zero added to
that output.
Afterwards (O9) rebuilds each trained layer from the recording alone,

$$ W_T q = a_T W_0 q + \sum_t c_t \sum_i g_{ti} (x_{ti} \cdot q), $$

for digits that were not trained on. Both sides round, so they may differ by no more than the sum of the bounds derived
from the two programs; more would be a bug in the theory, the code or the recording.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dualform.descent import Optimizer, coefficients, run
from dualform.linear import linear_attn, with_bias
from dualform.prove import rounding_bound

HIDDEN, CLASSES, BATCH, TRAINED = 32, 10, 50, 1500
ETA, MOMENTUM, DECAY = 0.2, 0.9, 1e-3


class Digits(NamedTuple):
    """Images scaled to [0, 1] and their labels, split at random."""

    train_x: np.ndarray
    train_y: np.ndarray
    test_x: np.ndarray
    test_y: np.ndarray


class Layer(NamedTuple):
    """What a layer's training left behind: enough to rebuild its function."""

    initial: jax.Array  # [V, K] W_0
    trained: jax.Array  # [V, K] W_T
    gradients: jax.Array  # [T, B, V] of the mean loss by the layer's outputs
    inputs: jax.Array  # [T, B, K]
    queries: jax.Array  # [M, K] its inputs for unseen digits


class Training(NamedTuple):
    """A recorded run."""

    layers: tuple[Layer, Layer]
    optimizer: Optimizer
    accuracy: float  # on unseen digits
    losses: np.ndarray  # [T]


def load(seed: int = 0) -> Digits:
    """The bundled digits, shuffled; 1,500 to train on, 297 unseen."""
    from sklearn.datasets import load_digits

    data = load_digits()
    order = np.random.default_rng(seed).permutation(len(data.target))
    x, y = (data.data[order] / 16.0).astype(np.float32), data.target[order]
    return Digits(x[:TRAINED], y[:TRAINED], x[TRAINED:], y[TRAINED:])


def network(weights, x, zeros):
    """Logits, and the input of each layer; `zeros` are added to the layers' outputs."""
    first = with_bias(x)
    second = with_bias(jax.nn.relu(_apply(weights[0], first) + zeros[0]))
    return _apply(weights[1], second) + zeros[1], (first, second)


def _apply(W, x):
    return jnp.matmul(x, W.T, precision="highest")


def mean_loss(weights, zeros, x, y):
    """Cross-entropy, averaged over the minibatch."""
    logits, inputs = network(weights, x, zeros)
    return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], 1)), inputs


def train(digits: Digits, epochs: int = 6, seed: int = 0, queries: int = 20) -> Training:
    """Trains and records.

    Args:
        digits: from `load`.
        epochs: passes over the 1,500 digits, 30 steps each.
        seed: of the initial weights and the order of minibatches.
        queries: unseen digits kept as queries.

    Returns:
        The recording, and the accuracy on all unseen digits.
    """
    import optax

    rng = np.random.default_rng(seed)
    steps = TRAINED // BATCH
    T = epochs * steps
    eta = np.linspace(ETA, ETA / 10, T).astype(np.float32)
    optimizer = Optimizer(eta=jnp.asarray(eta), momentum=MOMENTUM, weight_decay=DECAY)
    tx = optax.chain(optax.add_decayed_weights(DECAY), optax.sgd(lambda count: jnp.asarray(eta)[count], MOMENTUM))
    sizes = ((HIDDEN, 65), (CLASSES, HIDDEN + 1))
    initial = tuple(jnp.asarray(rng.standard_normal(s) / np.sqrt(s[1]), jnp.float32) for s in sizes)
    order = np.concatenate([rng.permutation(TRAINED) for _ in range(epochs)]).reshape(T, BATCH)

    def step(state, batch):
        weights, memory = state
        x, y = batch
        zeros = tuple(jnp.zeros((BATCH, s[0])) for s in sizes)
        (loss, inputs), (by_weights, by_outputs) = jax.value_and_grad(mean_loss, (0, 1), has_aux=True)(
            weights, zeros, x, y
        )
        updates, memory = tx.update(by_weights, memory, weights)
        return (optax.apply_updates(weights, updates), memory), (loss, inputs, by_outputs)

    batches = jnp.asarray(digits.train_x[order]), jnp.asarray(digits.train_y[order])
    (trained, _), (losses, inputs, gradients) = jax.jit(lambda s, b: jax.lax.scan(step, s, b))(
        (initial, tx.init(initial)), batches
    )
    logits, seen = network(trained, jnp.asarray(digits.test_x), (0.0, 0.0))
    accuracy = float(np.mean(np.argmax(logits, 1) == digits.test_y))
    layers = tuple(Layer(initial[i], trained[i], gradients[i], inputs[i], seen[i][:queries]) for i in (0, 1))
    return Training((layers[0], layers[1]), optimizer, accuracy, np.asarray(losses))


def by_weight(optimizer: Optimizer) -> Callable:
    """The primal program: the optimiser run on the recorded outer products, the weight read at the queries."""

    def f(initial, gradients, inputs, queries):
        means = jnp.einsum("tbv,tbk->tvk", gradients, inputs, precision="highest")
        return _apply(run(optimizer, initial, means), queries)

    return f


def by_patterns(optimizer: Optimizer) -> Callable:
    """The dual program (O9): attention over every recorded pattern, with the coefficient of its step.

    Each minibatch is read first, then the steps are summed. One sum over all patterns would be the same number, but its
    bound must allow for any order of thousands of additions; this order is known to need only B + T of them.
    """

    def f(initial, gradients, inputs, queries):
        a, c = coefficients(optimizer, len(gradients))
        read = jax.vmap(linear_attn, (0, 0, None))(gradients, inputs, queries)  # [T, M, V]
        return a * _apply(initial, queries) + jnp.tensordot(c, read, 1, precision="highest")

    return f


class Comparison(NamedTuple):
    """A trained layer against attention over its training patterns, element by element."""

    trained: np.ndarray  # [M, V] output of the trained layer
    dual: np.ndarray  # [M, V] the same from the recording
    error: np.ndarray  # |trained - dual|
    bound: np.ndarray  # bound of the training run's rounding plus bound of the dual form's

    @property
    def ratio(self) -> float:
        return float(np.max(self.error / self.bound))


def compare(layer: Layer, optimizer: Optimizer) -> Comparison:
    """(O9) for one recorded layer, with the bounds derived from both programs."""
    arguments = (layer.initial, layer.gradients, layer.inputs, layer.queries)
    trained = np.asarray(_apply(layer.trained, layer.queries), np.float64)
    dual = np.asarray(jax.jit(by_patterns(optimizer))(*arguments), np.float64)
    bounds = [
        rounding_bound(program(optimizer), *map(np.asarray, arguments))[1] for program in (by_weight, by_patterns)
    ]
    return Comparison(trained, dual, np.abs(trained - dual), bounds[0] + bounds[1])
