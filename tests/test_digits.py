"""The real case, and what its bound would notice."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dualform import digits
from dualform.descent import Optimizer, coefficients


@pytest.fixture(scope="module")
def training():
    return digits.train(digits.load(), epochs=1, queries=2)


def test_data_are_the_bundled_digits():
    data = digits.load()
    assert data.train_x.shape == (1500, 64) and data.test_x.shape == (297, 64)
    assert data.train_x.min() == 0.0 and data.train_x.max() == 1.0
    assert set(data.test_y) == set(range(10))


def test_training_learns(training):
    assert training.accuracy > 0.8
    assert training.losses[-5:].mean() < training.losses[:5].mean() / 2


@pytest.mark.parametrize("i", [0, 1])
def test_the_recording_replays_the_training(training, i):
    """The optimiser run on recorded outer products gives the trained weight: queries are the unit vectors."""
    layer = training.layers[i]
    K = layer.trained.shape[1]
    unit = jnp.eye(K, dtype=jnp.float32)
    replayed = digits.by_weight(training.optimizer)(layer.initial, layer.gradients, layer.inputs, unit)
    largest = np.max(np.abs(layer.trained))
    steps = len(layer.gradients)
    # each step rounds a few numbers no larger than the largest weight, and momentum sums up to 1/(1 - mu) of them
    assert np.max(np.abs(replayed - layer.trained.T)) <= 100 * steps * 2.0**-24 * largest


@pytest.mark.parametrize("i", [0, 1])
def test_a_trained_layer_is_attention_over_its_patterns(training, i):
    c = digits.compare(training.layers[i], training.optimizer)
    assert c.ratio <= 1.0
    assert np.max(c.bound) < 1e-3 * np.max(np.abs(c.trained))  # far from vacuous


def loudest(training, i):
    """(step, place) of the pattern that counts most for the first query."""
    layer = training.layers[i]
    _, c = coefficients(training.optimizer, len(layer.gradients))
    scores = jnp.einsum("tbk,k->tb", layer.inputs, layer.queries[0])
    counts = jnp.abs(c[:, None] * scores) * jnp.max(jnp.abs(layer.gradients), axis=-1)
    return np.unravel_index(int(jnp.argmax(counts)), counts.shape)


def planted(training, i, name):
    """The layer's recording with one thing wrong."""
    layer, optimizer = training.layers[i], training.optimizer
    t, b = loudest(training, i)
    if name == "one pattern lost":
        return layer._replace(gradients=layer.gradients.at[t, b].set(0.0)), optimizer
    if name == "two patterns' inputs swapped":
        x, other = layer.inputs, (b + 1) % layer.inputs.shape[1]
        return layer._replace(inputs=x.at[t, b].set(x[t, other]).at[t, other].set(x[t, b])), optimizer
    if name == "no bias in the scores":
        return layer._replace(inputs=layer.inputs.at[..., -1].set(0.0)), optimizer
    if name == "momentum ignored":
        return layer, Optimizer(eta=optimizer.eta, weight_decay=optimizer.weight_decay)
    if name == "weight decay ignored":
        return layer, Optimizer(eta=optimizer.eta, momentum=optimizer.momentum)
    if name == "initial weight forgotten":
        return layer._replace(initial=jnp.zeros_like(layer.initial)), optimizer
    raise AssertionError(name)


@pytest.mark.parametrize("i", [0, 1])
@pytest.mark.parametrize(
    "name",
    [
        "one pattern lost", "two patterns' inputs swapped", "no bias in the scores", "momentum ignored",
        "weight decay ignored", "initial weight forgotten",
    ],
)  # fmt: skip
def test_the_bound_notices(training, i, name):
    """Of 1,500 patterns, the one that counts most for a query is missed by that query, above the rounding bound."""
    layer, optimizer = planted(training, i, name)
    good = digits.compare(training.layers[i], training.optimizer)
    arguments = (layer.initial, layer.gradients, layer.inputs, layer.queries)
    dual = np.asarray(jax.jit(digits.by_patterns(optimizer))(*arguments), np.float64)
    assert np.max(np.abs(dual - good.trained) / good.bound) > 1.0
