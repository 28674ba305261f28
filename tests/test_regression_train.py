"""Training layers of linear self-attention: program against loops, sampler, checkpoints, evaluation, comparison."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from earned import earns_what_it_claims

from dualform import regression
from dualform.laws.law import MEASURED
from dualform.laws.regression.training.laws import LAWS
from dualform.regression import batches, comparison, evaluation, model, published, runs, training
from dualform.regression.model import Network
from dualform.regression.tasks import Gaussian, RandomDiagonal, Task, Uniform
from dualform.regression.training import Training, train

SHORT = Training(Task(2), examples=4, steps=30, batch=64, eta=1e-2, initial=0.1)


# --- laws -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("law", [law for law in LAWS if not law.thorough], ids=lambda law: f"{law.label}-{law.title}")
def test_laws(law):
    earns_what_it_claims(law)


def test_every_law_of_trained_layers_has_a_training():
    thorough = [law for law in LAWS if law.thorough]
    assert all(law.stamps == (MEASURED,) and law.measure.args[0] in runs.NAMES for law in thorough if _named(law))
    assert {law.label for law in thorough} == {"TR11", "TR12", "TR13", "TR14"}


def _named(law):
    return getattr(law.measure, "args", None) and isinstance(law.measure.args[0], str)


# --- the program ------------------------------------------------------------------------------------------------------


def by_hand(W_PV, W_KQ, x, y, query, rho, repeat, sign, include_query):
    """One prompt, token by token, in float64."""
    tokens = [np.append(a, b) for a, b in zip(x, y, strict=True)] + [np.append(query, 0.0)]
    for _ in range(repeat):
        for P, Q in zip(W_PV, W_KQ, strict=True):
            read = tokens if include_query else tokens[:-1]
            tokens = [
                e + sum(P[h] @ other * (other @ Q[h] @ e) for other in read for h in range(len(P))) / rho
                for e in tokens
            ]
    return sign * tokens[-1][-1]


@pytest.mark.parametrize(
    ("L", "H", "repeat", "include_query", "sign"), [(1, 1, 1, False, -1.0), (2, 2, 1, False, 1.0), (1, 2, 3, True, 1.0)]
)
def test_predictions_are_what_a_loop_over_tokens_computes(L, H, repeat, include_query, sign):
    rng, d, N, B = np.random.default_rng(0), 3, 4, 5
    W_PV, W_KQ = 0.2 * rng.standard_normal((2, L, H, d + 1, d + 1))
    x, y, query = rng.standard_normal((B, N, d)), rng.standard_normal((B, N)), rng.standard_normal((B, d))
    network = Network(jnp.asarray(W_PV), jnp.asarray(W_KQ), True, include_query, repeat, sign)
    tokens = jnp.concatenate([jnp.transpose(x, (2, 1, 0)), y.T[None]])
    found = network.batch(tokens, jnp.asarray(query.T)[:, None])[0]
    for b in range(B):
        expected = by_hand(W_PV, W_KQ, x[b], y[b], query[b], N, repeat, sign, include_query)
        # float32: about L repeat (N + D) D sums behind a token, of terms of size one
        allowed = 2.0**-24 * 4 * L * repeat * (N + d + 1) * (d + 1) * max(1.0, abs(expected))
        assert abs(found[b] - expected) < allowed
        assert abs(network(*(jnp.asarray(v[b]) for v in (x, y, query))) - expected) < allowed


def test_a_prompt_that_sees_its_query_has_one():
    network = Network(jnp.ones((1, 1, 3, 3)), jnp.ones((1, 1, 3, 3)), include_query=True)
    with pytest.raises(ValueError, match="queries: got 2, expected one"):
        network.batch(jnp.ones((3, 4, 1)), jnp.ones((2, 2, 1)))
    with pytest.raises(ValueError, match="include_query: got True, expected a network that does not read the query"):
        network.weights_of(jnp.ones((3, 4, 1)))


def test_parametrisations_have_names():
    with pytest.raises(ValueError, match="weights: got B, expected W_PV and W_KQ"):
        model.layers({"B": jnp.ones(1)})


# --- the sampler ------------------------------------------------------------------------------------------------------


def test_the_generator_is_the_cipher_of_jax():
    from jax.extend.random import threefry_2x32

    counter = jnp.arange(10, dtype=jnp.uint32)
    for key in ((0, 0), (7, 123), (2**32 - 1, 5)):
        words = tuple(jnp.uint32(k) for k in key)
        ours = batches.threefry(words, (counter[:5], counter[5:]))
        np.testing.assert_array_equal(jnp.concatenate(ours), threefry_2x32(jnp.stack(words), counter))
    # the published vector of the cipher (Random123, kat_vectors): all ones
    ones = jnp.full(1, 0xFFFFFFFF, jnp.uint32)
    found = batches.threefry((ones[0], ones[0]), (ones, ones))
    assert [int(x[0]) for x in found] == [0x1CB996FC, 0xBB002BE7]


def test_uniform_numbers_lie_inside_and_are_symmetric():
    x = np.asarray(batches.centred(3, 0, 0, (100_001,)), np.float64)
    assert -0.5 < x.min() < -0.49 and 0.49 < x.max() < 0.5 and not (x == 0).any()
    assert ((x * 2**24) % 2 == 1).all()  # midpoints
    assert np.isfinite(np.asarray(batches.normal(3, 0, 0, (100_001,)))).all()


@pytest.mark.parametrize(
    "task",
    [Task(3, Uniform(0.5)), Task(2, Gaussian(jnp.diag(jnp.array([2.0, 0.5]))), noise=0.3), Task(2, RandomDiagonal()),
     Task(3, sparse=1), Task(2, function="relu"), Task(2, query=Uniform(1.0)), Task(2, noise=(0.1, 1.0))],
    ids=["uniform", "normal", "random", "sparse", "relu", "query", "levels"],
)  # fmt: skip
def test_what_is_drawn_is_of_the_task_and_of_the_step(task):
    run = jax.jit(lambda seed, step: batches.draw(task, seed, step, 200, 3))
    drawn, again, next_one, other = (run(*numbers) for numbers in ((5, 1), (5, 1), (5, 2), (6, 1)))
    jax.tree.map(np.testing.assert_array_equal, drawn, again)
    assert not np.array_equal(drawn.x, next_one.x) and not np.array_equal(drawn.w, other.w)
    assert drawn.x.shape == (task.d, 3, 200) and drawn.y.shape == (3, 200) and drawn.query.shape == (task.d, 200)
    if task.function == "linear":
        np.testing.assert_allclose(drawn.target, np.sum(drawn.query * drawn.w, axis=0), atol=1e-5)
    if task.sparse:
        assert ((np.asarray(drawn.w) != 0).sum(0) == 1).all()


# --- training ---------------------------------------------------------------------------------------------------------


def test_an_interrupted_training_goes_on_bit_for_bit(tmp_path):
    config = Training(Task(2, Uniform(1.0)), 4, matrices="four", steps=30, batch=32, eta=1e-2, initial=0.1)
    whole = train(config, size=10)

    class Stop(Exception):
        pass

    def stop(done, steps, what):
        assert steps == 30 and "loss" in what
        if done == 20:
            raise Stop

    path = tmp_path / "run.npz"
    with pytest.raises(Stop):
        train(config, path=path, size=10, progress=stop, every=1)
    seen = []
    resumed = train(config, path=path, size=10, progress=lambda done, steps, what: seen.append(done))
    assert seen[0] in (20, 30) and seen[-1] == 30 and len(seen) < 3
    jax.tree.map(np.testing.assert_array_equal, resumed.weights, whole.weights)
    np.testing.assert_array_equal(resumed.losses, whole.losses)


def test_a_checkpoint_of_another_training_is_refused(tmp_path):
    path, short = tmp_path / "run.npz", replace(SHORT, steps=2)
    train(short, path=path, size=2)
    for change in ({"seed": 1}, {"eta": 2e-2}, {"task": Task(2, Uniform(0.5))}, {"sign": 1.0}):
        with pytest.raises(ValueError, match=r"run.npz: got a checkpoint with .*; use its settings, or another file"):
            train(replace(short, **change), path=path, size=2)


def test_training_lowers_the_loss_and_depends_on_its_seed():
    first, second = (train(replace(SHORT, steps=200, seed=seed), size=200) for seed in (0, 1))
    assert first.losses.shape == (200,) and first.losses[-50:].mean() < 0.8 * first.losses[:50].mean()
    assert not np.array_equal(first.losses, second.losses)


def test_the_loss_of_a_batch_is_half_the_mean_square():
    batch = batches.draw(SHORT.task, 0, 0, 64, 4)
    weights = training.initial_weights(SHORT)
    said = training.answers(SHORT, weights, batch)
    expected = np.mean((np.asarray(said, np.float64) - np.asarray(batch.target, np.float64)) ** 2) / 2
    assert abs(float(training.batch_loss(SHORT, weights, batch)) - expected) < 2.0**-20 * expected


@pytest.mark.parametrize(
    ("options", "message"),
    [({"matrices": "three"}, "matrices: got 'three', expected one of merged, four"),
     ({"schedule": "linear"}, "schedule: got 'linear', expected one of constant, cosine"),
     ({"balanced": True, "matrices": "four"}, "balanced: got matrices = 'four', expected 'merged'"),
     ({"examples": 0}, "examples: got 0"), ({"eta": 0.0}, "eta: got 0, expected a number above zero")],
)  # fmt: skip
def test_settings_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        Training(Task(2), **{"examples": 4, **options})


def test_runs_are_kept_by_name(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "_named", lambda: {"short": SHORT})
    monkeypatch.setattr(runs, "_kept", {})
    seen = []
    runs.use(tmp_path / "kept", progress=lambda *x: seen.append(x))
    try:
        first = runs.trained("short")
        assert runs.trained("short") is first and (tmp_path / "kept" / "short.npz").exists()
        assert seen and seen[-1][:2] == (30, 30) and seen[-1][2].startswith("short: training, loss")
        monkeypatch.setattr(runs, "_kept", {})
        del seen[:]
        jax.tree.map(np.testing.assert_array_equal, runs.trained("short").weights, first.weights)
        assert not seen  # from the folder
    finally:
        runs.use(None)
    with pytest.raises(ValueError, match="name: got 'long', expected one of short"):
        runs.trained("long")


# --- evaluation and comparison ----------------------------------------------------------------------------------------


def test_drawn_risk_is_that_of_the_closed_form():
    Lambda = np.diag([2.0, 0.5])
    task = Task(2, Gaussian(jnp.asarray(Lambda)), noise=0.7)
    A = regression.limit(Lambda, 6)
    exact = regression.risk(Lambda, 6, 8, A=A, noise=0.7)
    network = comparison.one_step(jnp.asarray(A))
    integrated = evaluation.drawn_risk(network, task, 8, prompts=100_000)
    asked = evaluation.drawn_risk(lambda x, y, q: q @ jnp.asarray(A) @ x.T @ y / 8, task, 8, prompts=100_000)
    for found in (integrated, asked):
        assert abs(found.mean - exact) < 5 * found.error < 0.1 * exact
    assert integrated.error < 0.7 * asked.error  # that is what integrating is for


def test_distractors_hurt_and_are_counted():
    network, task = comparison.one_step(jnp.eye(3) * 0.6), Task(3)
    found = [evaluation.drawn_risk(network, task, 6, prompts=20_000, distractors=k).mean for k in (0, 6)]
    assert found[0] < 3.0 < found[1]  # all of them: worse than zero
    with pytest.raises(ValueError, match="distractors: got 7, expected at most the 6 examples"):
        evaluation.drawn_risk(network, task, 6, distractors=7)


def test_scaled_tasks():
    for inputs in (Uniform(0.5), Gaussian(jnp.diag(jnp.array([1.0, 4.0]))), RandomDiagonal(2.0)):
        task = Task(2, inputs)
        small, large = (batches.draw(t, 0, 0, 100, 2) for t in (task, evaluation.scaled_inputs(task, 3.0)))
        np.testing.assert_allclose(large.x, 3 * small.x, rtol=1e-5)
    heavier = batches.draw(evaluation.scaled_tasks(Task(2), 2.0), 0, 0, 100, 2)
    np.testing.assert_allclose(heavier.w, 2 * batches.draw(Task(2), 0, 0, 100, 2).w, rtol=1e-5)


def test_a_roll_out_is_a_recurrent_network_with_a_smaller_step():
    task, step = Task(3, Uniform(1.0)), 0.8
    found = evaluation.roll_out(comparison.one_step(step * jnp.eye(3)), task, 8, steps=3, damping=0.5, prompts=2048)
    for k in (0, 2):
        damped = Network(*model.layers({"A": 0.5 * step * jnp.eye(3)[None]}), repeat=k + 1)
        expected = evaluation.drawn_risk(damped, task, 8, prompts=2048).mean
        assert abs(found[k] - expected) < 1e-5 * expected
    assert found[0] > found[1] > found[2]
    with pytest.raises(ValueError, match="network: got 2 layers"):
        evaluation.roll_out(Network(jnp.ones((2, 1, 4, 4)), jnp.ones((2, 1, 4, 4))), task, 8)


def test_compare_a_network_with_itself_and_with_another():
    task, step = Task(3, Uniform(1.0)), comparison.one_step(0.8 * jnp.eye(3))
    answers, sensitivities, cosine = comparison.alike(step, step, task, 6, prompts=2048)
    assert answers.mean == sensitivities.mean == 0.0 and abs(cosine.mean - 1) < 1e-6
    other = comparison.compare(step, lambda x, y, q: 3 * step(x, y, q), task, 6, prompts=2048, factors=(2.0,))
    assert abs(other.cosine.mean - 1) < 1e-6 and other.interpolated is None
    assert other.prediction_difference.mean > 0.1
    for p, found in zip((0.8, 2.4), other.risks, strict=True):
        assert abs(found.mean - regression.uniform_risk(3, 6, 1.0, p=p)) < 5 * found.error
    data = other.to_dict()
    assert data["factors"] == [2.0] and len(data["sweeps"]["inputs"][0]) == 1
    assert data["risks"][0]["prompts"] == 2048 and data["interpolated"] is None


def test_half_way_between_two_scales_of_one_network_is_that_network():
    task, step = Task(3, Uniform(1.0)), comparison.one_step(0.8 * jnp.eye(3))
    other = Network(-5.0 * step.W_PV, step.W_KQ / -5.0)
    between = comparison.interpolated(step, other)
    drawn = batches.draw(task, 0, 0, 50, 6)
    np.testing.assert_allclose(between.weights_of(drawn.tokens), step.weights_of(drawn.tokens), atol=1e-5)


def test_only_like_networks_are_interpolated():
    with pytest.raises(ValueError, match=r"second: got .*'average': False.* expected .*'average': True"):
        comparison.interpolated(comparison.one_step(jnp.eye(2)), comparison.one_step(jnp.eye(2), average=False))


def test_the_published_interval():
    assert abs(published.best_loss(0.5) - 0.206229) < 5e-7 and abs(published.best_rate(0.5) - 0.60606) < 5e-6
    assert abs(published.implied_half_width(published.best_loss(0.7)) - 0.7) < 1e-12
