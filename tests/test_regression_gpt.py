"""The small GPT, its training and checkpoints, baselines and similarity: against loops and scikit-learn."""

import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from earned import earns_what_it_claims
from mutants import HARMLESS, MUTANTS

from dualform import regression
from dualform.laws.law import MEASURED
from dualform.laws.regression.gpt import laws
from dualform.laws.regression.gpt import measured as gpt_runs
from dualform.regression import GPT, GPTTraining, Task, baselines, checkpoints, curves, gpt, gpt_training, similarity
from dualform.regression.gpt_training import Curriculum, draw_step, load_curves, load_gpt, save_gpt, stages, train_gpt

TINY = GPT(d=1, points=5, width=16, layers=0, heads=2)
SHORT = GPTTraining(steps=60, batch=16, points=4, eta=3e-3, cosine=True)


def normal(seed, *shapes):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape).astype(np.float32) for shape in shapes]


# --- the network ------------------------------------------------------------------------------------------------------


def network_loop(weights, x, y):
    """(GP1) and (GP2) in float64, entry by entry where it is not a product with a weight."""
    w = jax.tree.map(lambda a: np.asarray(a, np.float64), weights)
    tokens = []
    for i in range(len(x)):
        tokens += [np.array(x[i], np.float64), np.array([y[i]] + [0.0] * (x.shape[1] - 1))]

    def affine(pair, u):
        return pair[0] @ u + pair[1]

    def norm(pair, u):
        return pair[0] * (u - u.mean()) / np.sqrt(((u - u.mean()) ** 2).mean() + 1e-6) + pair[1]

    def gelu(u):
        return 0.5 * u * (1 + np.tanh(np.sqrt(2 / np.pi) * (u + 0.044715 * u**3)))

    h = [affine(w.read_in, t) + w.positions[j] for j, t in enumerate(tokens[:-1])]
    for b in w.blocks:
        n, out = [norm(b.norm1, u) for u in h], []
        for t in range(len(h)):
            heads = []
            for a in range(len(b.keys[0])):
                q = b.queries[0][a] @ n[t] + b.queries[1][a]
                keys = [b.keys[0][a] @ u + b.keys[1][a] for u in n[: t + 1]]
                values = [b.values[0][a] @ u + b.values[1][a] for u in n[: t + 1]]
                p = np.exp([k @ q / np.sqrt(len(q)) for k in keys])
                heads.append(sum(p_i * v for p_i, v in zip(p / p.sum(), values, strict=True)))
            u = h[t] + affine(b.out, np.concatenate(heads))
            out.append(u + affine(b.down, gelu(affine(b.up, norm(b.norm2, u)))))
        h = out
    return np.array([norm(w.norm, h[2 * i]) @ w.read_out[0] + w.read_out[1] for i in range(len(x))])


def test_the_network_is_what_a_loop_computes():
    weights = gpt.initial_gpt(GPT(d=3, points=4, width=8, layers=2, heads=2), 1)
    weights = jax.tree.map(lambda a: a + 0.1 * np.random.default_rng(a.size).standard_normal(a.shape), weights)
    x, y = normal(0, (4, 3), (4,))
    # float32: some hundred additions behind each number of size 1
    np.testing.assert_allclose(
        regression.gpt_predictions(weights, x, y), network_loop(weights, x, y), atol=500 * 2**-24
    )


def test_the_sizes_are_those_of_the_smallest_published_network():
    weights = gpt.initial_gpt(GPT(d=20, points=41), 0)
    per_layer = sum(a.size for a in jax.tree.leaves(weights.blocks[0]))
    assert per_layer == 12 * 64**2 + 13 * 64 and len(weights.blocks) == 3  # GPT-2's count for a layer
    assert weights.positions.shape == (82, 64) and weights.read_in[0].shape == (64, 20)


# --- training and checkpoints -----------------------------------------------------------------------------------------


class Stop(Exception):
    """A user who interrupts."""


def test_a_run_that_was_stopped_and_resumed_is_the_run_that_was_not(tmp_path):
    whole = train_gpt(TINY, Task(d=1), SHORT, size=20)

    def stop(done, steps, loss):
        assert steps == 60 and np.isfinite(loss)
        if done == 40:
            raise Stop

    path = tmp_path / "run.npz"
    with pytest.raises(Stop):
        train_gpt(TINY, Task(d=1), SHORT, size=20, path=path, every=1, progress=stop)
    seen = []
    resumed = train_gpt(TINY, Task(d=1), SHORT, size=20, path=path, progress=lambda *told: seen.append(told[0]))
    assert seen == [60] and resumed.step == whole.step == 60
    np.testing.assert_array_equal(resumed.losses, whole.losses)
    for a, b in zip(jax.tree.leaves(resumed.state), jax.tree.leaves(whole.state), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(ValueError, match=r"task = .*Gaussian.*use its settings, or another file"):
        train_gpt(TINY, Task(d=1, noise=0.5), SHORT, size=20, path=path)
    with pytest.raises(ValueError, match="steps: got 20, expected at least the 60"):
        train_gpt(TINY, Task(d=1), SHORT, size=20, path=path, until=20)


def test_a_checkpoint_is_checked_before_it_is_used(tmp_path):
    path, state = tmp_path / "a.npz", {"w": jnp.ones(3)}
    checkpoints.save(path, checkpoints.Run(state, np.zeros(2)), {"a": 1})
    assert checkpoints.load(path, state, {"a": 1}).step == 2
    for like, config, message in (
        ({"w": jnp.ones(2)}, {"a": 1}, r"got .*\(3,\).* at state\['w'\]"),
        ({"v": jnp.ones(3)}, {"a": 1}, "got None"),
        (state, {"a": 1, "b": 2}, r"b = none \(here 2\)"),
    ):
        with pytest.raises(ValueError, match=message):
            checkpoints.load(path, like, config)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match="expected a checkpoint"):
        checkpoints.load(path, state, {"a": 1})
    np.savez(path, other=np.zeros(1))
    with pytest.raises(ValueError, match="got no config, losses"):
        checkpoints.read(path)
    with pytest.raises(ValueError, match=r"ends in \.npz"):
        checkpoints.save(tmp_path / "a.txt", checkpoints.Run(state, np.zeros(0)), {})
    with pytest.raises(ValueError, match="what JSON can hold"):
        checkpoints.save(path, checkpoints.Run(state, np.zeros(0)), {"a": object()})


def test_the_curriculum_opens_dimensions_and_points():
    training = GPTTraining(batch=3, points=8, curriculum=Curriculum(dims=2, points=3, every=10))
    for t, dims, points in ((0, 2, 3), (9, 2, 3), (10, 3, 5), (20, 4, 7), (30, 5, 8), (90, 5, 8)):
        x, y, found = draw_step(Task(d=5), training, jax.random.key(0), t)
        assert int(found) == points and x.shape == (3, 8, 5) and y.shape == (3, 8)
        assert (x[..., dims:] == 0).all() and (x[..., :dims] != 0).all()
    p, y = normal(3, (2, 8), (2, 8))
    np.testing.assert_allclose(gpt.prefix_loss(p, y, 3), np.mean((p[:, :3] - y[:, :3]) ** 2), rtol=1e-6)


def test_a_network_is_kept_and_read_back(tmp_path):
    sizes = {"d": 2, "points": 3, "width": 4, "layers": 2, "heads": 2}
    weights = gpt.initial_gpt(GPT(**sizes), 0)
    path = save_gpt(tmp_path / "net.npz", weights, np.arange(3.0), {"network": sizes, "note": "x"})
    read = load_gpt(path)
    assert read.settings["note"] == "x" and list(read.losses) == [0, 1, 2]
    for a, b in zip(jax.tree.leaves(read.weights), jax.tree.leaves(weights), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_a_few_seconds_of_training_use_the_examples():
    config, training = GPT(d=1, points=5, width=32, layers=2), GPTTraining(400, 32, 5, 5e-3, True)
    run = train_gpt(config, Task(d=1), training, size=400)
    drawn = regression.prompts(Task(d=1), jax.random.key(5), 4000, 4)
    mean, half = curves.mean_interval(curves.gpt_errors(run.state[0], drawn), 5.0)
    assert run.losses[-50:].mean() < 0.8 * run.losses[:50].mean()
    assert abs(mean[0] - 1) < half[0] + 0.1  # nothing to learn from: the error of predicting zero
    assert mean[1] + half[1] < regression.best_averaging_risk(1, 1)  # 2/3: better than any step of gradient descent
    assert (mean[1:] + half[1:] < 0.9).all()


# --- baselines --------------------------------------------------------------------------------------------------------

SIZES = [(2, 5), (5, 5), (9, 5)]


@pytest.mark.parametrize("k, d", SIZES)
def test_baselines_agree_with_numpy_and_scikit_learn(k, d):
    from sklearn.linear_model import Lasso, Ridge
    from sklearn.neighbors import KNeighborsRegressor

    rng = np.random.default_rng(k)
    x, y, q = rng.standard_normal((k, d)), rng.standard_normal(k), rng.standard_normal((7, d))
    with jax.enable_x64(True):
        # errors grow with the square of the condition number; 100 for the constants of sums this short
        slack = 100 * 2.0**-53 * np.linalg.cond(x) ** 2
        least = np.linalg.lstsq(x, y)[0]
        np.testing.assert_allclose(baselines.ols(x, y), least, atol=slack * np.abs(least).max())
        ridge = Ridge(alpha=0.3, fit_intercept=False, solver="svd").fit(x, y).coef_
        np.testing.assert_allclose(baselines.ridge(x, y, 0.3), ridge, atol=slack)
        np.testing.assert_allclose(baselines.bayes(x, y, 0.6, 2.0), baselines.ridge(x, y, 0.09), rtol=1e-12)
        sums = sum(y[i] * x[i] for i in range(k))
        np.testing.assert_allclose(baselines.averaging(x, y), sums / k, rtol=1e-12, atol=1e-14)
        near = KNeighborsRegressor(min(3, k)).fit(x, y).predict(q)
        np.testing.assert_allclose([baselines.nearest(x, y, row) for row in q], near, rtol=1e-12)
    sparse = Lasso(alpha=0.1, fit_intercept=False).fit(x, y).coef_
    np.testing.assert_array_equal(baselines.lasso(x, y, 0.1), sparse)


def test_no_example_predicts_zero():
    x, y = jnp.zeros((0, 3)), jnp.zeros(0)
    for w in (baselines.ols(x, y), baselines.ridge(x, y, 1.0), baselines.averaging(x, y), baselines.lasso(x, y)):
        assert w.shape == (3,) and not np.any(w)
    assert baselines.nearest(x, y, jnp.ones(3)) == 0


def test_risks_are_means_of_errors():
    rng = np.random.default_rng(0)
    x, lam, sigma, tau = rng.standard_normal((4, 3)), 0.7, 0.5, 1.3
    s = np.linalg.svd(x, compute_uv=False)
    exact = sum((lam**2 * tau**2 + sigma**2 * v**2) / (v**2 + lam) ** 2 for v in s)
    np.testing.assert_allclose(baselines.ridge_risk(x, lam, sigma, tau), exact, rtol=1e-5)
    assert baselines.ols_risk(20, 20, 1.0) == np.inf and baselines.ols_risk(0, 20, 1.0) == 1
    assert baselines.best_averaging_risk(10, 5) == min(baselines.averaging_risk(10, 5, p) for p in (0.625, 0.5, 0.7, 1))
    found = {k: baselines.ols_risk(k, 20, 1.0) for k in (10, 15, 30, 40)}  # checked by simulation when derived
    np.testing.assert_allclose(list(found.values()), [0.5556, 0.4375, 0.1111, 0.0526], atol=5e-5)


def test_curves_have_one_error_for_each_prompt():
    drawn = regression.prompts(Task(d=3), jax.random.key(1), 5, 4)
    weights = gpt.initial_gpt(GPT(d=3, points=5, width=8, layers=1), 0)
    errors = curves.gpt_errors(weights, drawn)
    one = regression.gpt_predictions(
        weights, jnp.concatenate([drawn.x[2], drawn.query[2:3]]), jnp.append(drawn.y[2], 9.0)
    )
    np.testing.assert_allclose(errors[2, -1], (one[-1] - drawn.target[2]) ** 2 / 3, rtol=1e-4)
    zero = curves.linear_errors(drawn, lambda x, y: jnp.zeros(3), 2)
    np.testing.assert_allclose(zero, np.sum(np.asarray(drawn.w) ** 2, 1) / 3, rtol=1e-6)
    near = curves.neighbour_errors(drawn, 1)
    np.testing.assert_allclose(near, (drawn.y[:, 0] - drawn.target) ** 2 / 3, rtol=1e-5)


# --- similarity -------------------------------------------------------------------------------------------------------


def test_a_gpt_answers_each_query_by_itself():
    weights = gpt.initial_gpt(GPT(d=2, points=4, width=8, layers=1), 0)
    x, y, q = normal(2, (3, 2, 2), (3, 2), (3, 5, 2))
    found = similarity.gpt_answers(weights, x, y, q)
    for b in range(3):
        for j in range(5):
            whole = regression.gpt_predictions(weights, np.concatenate([x[b], q[b, j : j + 1]]), np.append(y[b], 0))
            np.testing.assert_allclose(found[b, j], whole[-1], atol=1e-5)


def test_the_implied_weights_are_numpys_least_squares():
    q, out = normal(4, (6, 3), (6,))
    np.testing.assert_allclose(similarity.implied_weights(q, out), np.linalg.lstsq(q, out)[0], atol=1e-5)


def test_zero_implies_all_the_ridge_there_is():
    x, y, q = normal(5, (4, 3, 2), (4, 3), (4, 5, 2))
    assert similarity.implied_ridge(x, y, q, np.zeros((4, 5))).lam > 0.99 * similarity.RANGE[1]


BAD = {
    "heads": (lambda: gpt.initial_gpt(GPT(width=6, heads=4), 0), "heads: got 4, expected a divisor of the width 6"),
    "points": (lambda: regression.gpt_predictions(gpt.initial_gpt(TINY, 0), jnp.ones((6, 1)), jnp.ones(6)),
               "expected 1 to 5 points of 1 inputs"),
    "sizes": (lambda: train_gpt(TINY, Task(d=2), SHORT), "expected the task's d = 2"),
    "parameter": (lambda: baselines.ridge(jnp.ones((1, 1)), jnp.ones(1), -1.0), "lam: got -1, expected at least 0"),
    "labels": (lambda: baselines.ols(jnp.ones((2, 1)), jnp.ones(3)), r"y: got shape \(3,\)"),
    "neighbours": (lambda: baselines.nearest(jnp.ones((2, 1)), jnp.ones(2), jnp.ones(1), 0), "neighbours: got 0"),
    "queries": (lambda: similarity.implied_weights(jnp.ones((1, 2)), jnp.ones(1)), "queries: got 1, expected at"),
    "dtype": (lambda: regression.gpt_predictions(gpt.initial_gpt(TINY, 0), jnp.ones((1, 1)), jnp.ones(1, int)),
              "y: got dtype"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_arguments_are_named(name):
    call, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        call()


# --- laws, planted bugs, the network that comes with the library ------------------------------------------------------


@pytest.mark.parametrize(
    "law", [pytest.param(law, id=f"{law.label} {law.title[:40]}") for law in laws.LAWS if MEASURED not in law.stamps]
)
def test_laws_earn_what_they_claim(law):
    earns_what_it_claims(law)


@pytest.mark.slow
@pytest.mark.parametrize(
    "law",
    [pytest.param(x, id=f"{x.label} {x.title[:40]}") for x in laws.LAWS if MEASURED in x.stamps and not x.thorough],
)
@pytest.mark.parametrize("seed", [1])
def test_measurements_hold_for_other_seeds(law, seed):
    found = law.measure(np.random.default_rng(seed))
    assert found.holds, found
    assert found.low <= found.value <= found.high


def test_every_label_has_a_law_and_planted_bugs():
    defined = [label for m in (gpt, baselines, similarity) for label in re.findall(r"\\tag\{(\w+)\}", m.__doc__)]
    assert len(defined) == len(set(defined)) == 13
    assert {law.label for law in laws.LAWS} == set(defined)
    assert {m.label for m in MUTANTS if m.label.startswith("GP")} == set(defined)
    assert sum(m.label.startswith("GP") for m in HARMLESS) >= 5
    assert sum(law.thorough for law in laws.LAWS) == 1


def test_the_results_that_come_with_the_library_belong_together():
    weights, losses, settings = load_gpt()
    found = load_curves()
    assert settings == found["settings"] and settings["training"]["steps"] == 25_000
    assert losses[-1] < 0.5 * losses[0] and (gpt_training.DATA / "gpt.npz").stat().st_size < 700_000
    # the curves are those of these weights: fresh prompts give the same errors
    mean, half = curves.mean_interval(gpt_runs.seen(weights, np.random.default_rng(0))[1], 5.0)
    last = found["training"][-1]
    assert last["steps"] == 25_000 and json.dumps(found)
    assert (np.abs(mean - last["errors"]) < half + 5 * np.array(last["half_width"]) / 1.96).all()


def test_stages_are_one_training_and_are_not_trained_again(tmp_path):
    sizes, training = GPT(d=1, points=3, width=4, layers=0, heads=1), GPTTraining(steps=4, batch=2, points=3)
    told = []

    def once():
        return list(stages(sizes, Task(d=1), training, (2, 4), lambda until: tmp_path / f"{until}.npz",
                           lambda done, steps, loss: told.append(done)))  # fmt: skip

    first, again = once(), once()
    whole = train_gpt(sizes, Task(d=1), training)
    assert told == [2, 4] and [run.step for run in first] == [2, 4]
    for run in (first[1], again[1]):
        assert jax.tree.all(jax.tree.map(lambda a, b: bool(jnp.array_equal(a, b)), run.state, whole.state))
        np.testing.assert_array_equal(run.losses, whole.losses)
