"""The real case, and what its bound would notice."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dualform import digits
from dualform.descent import Optimizer


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
    # each of the steps rounds a few numbers no larger than the largest weight, momentum summing up to 1/(1 - mu) of them
    assert np.max(np.abs(replayed - layer.trained.T)) <= 100 * steps * 2.0**-24 * largest


@pytest.mark.parametrize("i", [0, 1])
def test_a_trained_layer_is_attention_over_its_patterns(training, i):
    c = digits.compare(training.layers[i], training.optimizer)
    assert c.ratio <= 1.0
    assert np.max(c.bound) < 1e-3 * np.max(np.abs(c.trained))  # far from vacuous


def planted(training, i, name):
    """The layer's recording with one thing wrong."""
    layer, optimizer = training.layers[i], training.optimizer
    if name == "one pattern lost":
        return layer._replace(gradients=layer.gradients.at[-1, 0].set(0.0)), optimizer
    if name == "two patterns' inputs swapped":
        x = layer.inputs
        return layer._replace(inputs=x.at[-1, 0].set(x[-1, 1]).at[-1, 1].set(x[-1, 0])), optimizer
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
    """Of 1,500 patterns, one that is missing shows above the rounding bound."""
    layer, optimizer = planted(training, i, name)
    good = digits.compare(training.layers[i], training.optimizer)
    arguments = (layer.initial, layer.gradients, layer.inputs, layer.queries)
    dual = np.asarray(jax.jit(digits.by_patterns(optimizer))(*arguments), np.float64)
    assert np.max(np.abs(dual - good.trained) / good.bound) > 1.0
