"""The small attention network: its episodes, its forward pass against a loop, its training, what is measured on it."""

import jax
import numpy as np
import pytest

from dualform.digits import load
from dualform.fewshot import draw, first_order, forward, initial, patches, splits, train
from dualform.fewshot.measure import see
from dualform.fewshot.task import FEATURES, PIXELS, ROWS
from dualform.laws.fewshot.laws import LAWS, STEPS, trained
from dualform.laws.law import MEASURED


@pytest.fixture(scope="module")
def digits():
    return load(0)


@pytest.fixture(scope="module")
def episodes(digits):
    return draw(digits.test_x, digits.test_y, np.random.default_rng(3), 4, demos=2)


def test_an_episode_shows_two_digits_and_hides_the_label_of_the_query(digits):
    found = draw(digits.test_x, digits.test_y, np.random.default_rng(0), 50)
    assert found.demos.shape == (50, 8 * ROWS, FEATURES) and found.query.shape == (50, ROWS, FEATURES)
    shown = found.demos.reshape(50, 8, ROWS, FEATURES)[..., -1]
    assert (shown == shown[:, :, :1]).all() and (np.abs(shown) == 1).all()
    assert (shown[:, :, 0].sum(1) == 0).all()  # four of each
    assert (found.query[..., -1] == 0).all()
    assert 10 < (found.label == 1).sum() < 40
    known = {image.tobytes(): digit for image, digit in zip(digits.test_x, digits.test_y, strict=True)}
    images = found.demos.reshape(50, 8, ROWS, FEATURES)[..., :PIXELS].reshape(50, 8, 64)
    for b in range(50):
        of = {+1: set(), -1: set()}
        for i in range(8):
            of[int(shown[b, i, 0])].add(int(known[np.ascontiguousarray(images[b, i]).tobytes()]))
        query = int(known[np.ascontiguousarray(found.query[b, :, :PIXELS].reshape(64)).tobytes()])
        assert len(of[1]) == len(of[-1]) == 1 and of[1] != of[-1] and query in of[int(found.label[b])]


def by_hand(weights, demos, query):
    """The network as a loop over tokens, in float64."""
    w = jax.tree.map(lambda x: np.asarray(x, np.float64), weights)
    x, c = (tokens.astype(np.float64) @ w.embed.T for tokens in (query, demos))

    def norm(u, weight):
        return weight * u / np.sqrt(np.mean(u * u) + 1e-6)

    def layer(layer, own, others):
        out = []
        for u in own:
            q = layer.W_Q @ norm(u, layer.attention)
            seen = [norm(t, layer.attention) for t in [*own, *others]]
            s = np.array([(layer.W_K @ t) @ q / np.sqrt(len(q)) for t in seen])
            p = np.exp(s - s.max())
            u = u + layer.W_O @ sum(p_i / p.sum() * (layer.W_V @ t) for p_i, t in zip(p, seen, strict=True))
            out.append(u + layer.W2 @ np.maximum(layer.W1 @ norm(u, layer.mlp) + layer.b1, 0) + layer.b2)
        return out

    for one in w.layers:
        x, c = layer(one, x, c), layer(one, c, [])
    return np.mean(x, axis=0) @ w.read


@pytest.mark.parametrize("shown", [2, 0])
def test_the_network_is_what_a_loop_over_tokens_computes(episodes, shown):
    weights = initial(0, width=8, hidden=6)
    for b in range(2):
        demos = episodes.demos[b, : shown * ROWS]
        expected = by_hand(weights, demos, episodes.query[b])
        # float32: about 600 additions of numbers of size 1 behind each logit
        assert abs(forward(weights, demos, episodes.query[b])[0] - expected) < 600 * 2**-24 * 20


def test_demonstrations_do_not_see_the_query(episodes):
    weights = initial(0, width=8, hidden=6)
    other = episodes._replace(query=episodes.query[::-1])
    for a, b in zip(see(weights, episodes), see(weights, other), strict=True):
        np.testing.assert_array_equal(a.x_demo, b.x_demo)
        assert not np.array_equal(a.x, b.x)


def test_measurements_on_any_weights(episodes):
    weights = initial(0, width=8, hidden=6)
    for layer in range(2):
        split, order, patch = (f(weights, episodes, layer) for f in (splits, first_order, patches))
        assert split.gate.shape == (4, ROWS) and ((0 < split.gate) & (split.gate < 1)).all()
        assert split.mixed.max() < 1e-5 < split.added.min()
        assert order.of_bound.max() <= 1
        assert patch.exact.shape == (4, ROWS) and patch.elsewhere.shape == (4, ROWS * (ROWS - 1))
        assert patch.exact.max() < 1e-4 < np.median(patch.elsewhere)


def test_training_reports_progress_and_lowers_the_loss(digits):
    seen = []
    short = train(digits, 100, tested=20, progress=lambda done, steps: seen.append((done, steps)))
    assert seen == [(0, 100), (50, 100)] and short.losses.shape == (100,)
    assert short.losses[-20:].mean() < short.losses[:20].mean()


@pytest.mark.slow
def test_the_trained_network_needs_its_demonstrations():
    result = trained()[1]
    assert result.losses.shape == (STEPS,) and result.accuracy > 0.85
    assert abs(result.without - 0.5) < 4 * 0.5 / result.episodes**0.5  # nothing else tells the label


@pytest.mark.slow
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.label)
def test_laws_hold_on_it(law):
    assert law.stamps == (MEASURED,)
    found = law.measure(np.random.default_rng(1))
    assert found.holds and found.low <= found.value <= found.high
