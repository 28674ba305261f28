"""Measurements of chapter 9 on baselines and on trained GPTs.

Means are over prompts. A measurement holds where the mean is within the tolerance of its law *and* within five standard
errors, which are smaller than the tolerance; so a right program fails for one seed in a million.
"""

from dataclasses import replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np

from dualform.laws.law import MEASURED, Experiment, Law, Measurement
from dualform.regression import baselines
from dualform.regression.baselines import averaging_risk, best_averaging_risk, ols_risk
from dualform.regression.curves import gpt_errors, linear_errors, mean_interval
from dualform.regression.gpt import GPT, GPTWeights
from dualform.regression.gpt_training import GPTTraining, load_gpt, stages
from dualform.regression.similarity import (
    RANGE,
    Implied,
    distances_to,
    gpt_answers,
    implied_flow,
    implied_ridge,
    ridge_factor,
)
from dualform.regression.tasks import Prompts, Task

FIVE = 5.0
"""Standard errors."""


def standard(rng: np.random.Generator, batch: int, examples: int, d: int, sigma: float = 0.0) -> Prompts:
    """Prompts with standard normal inputs and tasks, drawn by numpy: JAX would compile for seconds."""
    x, w = rng.standard_normal((batch, examples + 1, d)), rng.standard_normal((batch, d))
    clean = np.einsum("bnd,bd->bn", x, w)
    y = clean[:, :-1] + sigma * rng.standard_normal((batch, examples))
    arrays = (x[:, :-1], y, x[:, -1], clean[:, -1], w, np.eye(d), np.full(batch, sigma))
    return Prompts(*map(jnp.asarray, arrays))


def double(run):
    """A measurement in float64: least squares at k near d divides by small numbers."""

    def measure(rng, **forms):
        with jax.enable_x64(True):
            return run(rng, **forms)

    return measure


@double
def implied(rng, implied_ridge) -> Measurement:
    """The parameter found for ridge at 0.05 and 5 with k = 3 < d, at 0.5 and 0.25 (Bayes) and 0 with k = 8 > d."""
    drawn, queries = standard(rng, 60, 8, 5, 0.5), rng.standard_normal((60, 20, 5))

    ridges = jax.jit(jax.vmap(baselines.ridge, (0, 0, None)))

    def found(x, y, weights) -> Implied:
        return implied_ridge(x, y, queries, np.einsum("bmd,bd->bm", queries, weights))

    gaps = []
    for k, asked in ((3, (0.05, 5.0)), (8, (0.5, 0.25))):
        x, y = drawn.x[:, :k], drawn.y[:, :k]
        gaps += [abs(found(x, y, ridges(x, y, lam)).lam / lam - 1) for lam in asked]
    worst, to_ols = max(gaps), found(x, y, ridges(x, y, 0.0))
    one_step = found(x, y, np.einsum("bkd,bk->bd", x, y) / baselines.best_divisor(8, 5))
    meaning = (
        f"largest relative error of the parameter; of least squares {to_ols.lam:.1g}, the range's end; of the best "
        f"step of gradient descent {one_step.lam:.3g}, at distance {one_step.distance:.2g} from that ridge (control)"
    )
    return Measurement(
        worst, 0.0, worst, one_step.distance, meaning,
        holds=bool(worst < 1e-5 and to_ols.lam < 1.1e-6 and to_ols.distance < 1e-6 < 1e-2 < one_step.distance),
    )  # fmt: skip


@double
def baseline_risks(rng, **predictors) -> Measurement:
    """Risks of the baselines without noise, Garg et al. 2022."""
    d = 20
    drawn = standard(rng, 8000, 40, d)
    risks = {
        "least squares": lambda k: ols_risk(k, d),
        "averaging": lambda k: averaging_risk(k, d),
        "one step": lambda k: best_averaging_risk(k, d),
    }
    pairs = [(linear_errors(drawn, predictors[name], k), risk(k)) for name, risk in risks.items() for k in (10, 15, 40)]
    zero = float(np.mean(np.sum(np.asarray(drawn.w) ** 2, axis=1))) / d
    return _against_formulas(pairs, zero, "the error of predicting zero, which is 1")


@double
def noisy_risks(rng, **predictors) -> Measurement:
    """Risks of the baselines with label noise 1."""
    d, ols = 20, predictors["least squares"]
    drawn = standard(rng, 8000, 40, d, 1.0)
    pairs = [(linear_errors(drawn, ols, k), ols_risk(k, d, 1.0)) for k in (10, 30, 40)]
    peak = float(np.mean(linear_errors(drawn, ols, d)))
    found = _against_formulas(pairs, peak, "the mean error at k = d, where it has no expectation")
    return replace(found, holds=found.holds and peak > 1.0)


def _against_formulas(pairs, control: float, what: str) -> Measurement:
    """The largest relative gap between means and formulas; absolute where the formula says 0."""
    gaps, errors = [], []
    for found, risk in pairs:
        mean, half = mean_interval(found, FIVE)
        gaps.append(abs(float(mean) - risk) / (risk or 1.0))
        errors.append(float(half) / (risk or 1.0))
    worst = int(np.argmax(gaps))
    within = all(gap <= max(error, 1e-9) for gap, error in zip(gaps, errors, strict=True))
    meaning = (
        f"largest relative gap between a mean and its formula; five standard errors are its interval; control: {what}"
    )
    low, high = max(gaps[worst] - errors[worst], 0.0), gaps[worst] + errors[worst]
    return Measurement(gaps[worst], low, high, control, meaning, bool(within and gaps[worst] < 0.05))


@double
def bayes_risk(rng, bayes, ridge) -> Measurement:
    """The errors of the predictor itself, beside its risk given the inputs, and the risks of others."""
    d, k, sigma = 8, 10, 0.5
    drawn = standard(rng, 20_000, k, d, sigma)
    others = (0.05, 0.15, 0.2, 0.3, 0.4, 1.0)

    @jax.jit
    def errors_at(lam, x, y, w):
        return jnp.sum((jax.vmap(ridge, (0, 0, None))(x, y, lam) - w) ** 2, axis=1)

    best = jax.jit(jax.vmap(lambda x: baselines.ridge_risk(x, sigma**2, sigma)))(drawn.x)
    mean, half = mean_interval(best, FIVE)
    errors = linear_errors(drawn, lambda x, y: bayes(x, y, sigma), k) * d
    off, slack = mean_interval(errors - best, FIVE)
    excess = [errors_at(jnp.asarray(lam), drawn.x, drawn.y, drawn.w) - errors for lam in others]
    worse = [float(m) - float(h) for m, h in (mean_interval(x, FIVE) for x in excess)]
    meaning = (
        "risk, not divided by d; the predictor's own errors on 20,000 prompts agree with it; control: the smallest "
        f"excess of ridge at {', '.join(map(str, others))}, less five standard errors"
    )
    holds = abs(mean - 0.802) < 0.02 * 0.802 and abs(off) < slack and min(worse) > 0
    return Measurement(float(mean), float(mean - half), float(mean + half), min(worse), meaning, bool(holds))


# Networks: the one that comes with the library, and one trained from the start


@cache
def kept() -> GPTWeights:
    """The library's own network, trained on d = 5, 11 points."""
    return load_gpt().weights


def seen(weights: GPTWeights, rng, batch: int = 2000, examples: int = 14) -> tuple[Prompts, np.ndarray]:
    """Prompts, and the network's errors on them [batch, examples + 1]: it was trained on up to 10 examples."""
    drawn = standard(rng, batch, examples, 5)
    return drawn, np.asarray(gpt_errors(weights, drawn), np.float64)


def learns(rng) -> Measurement:
    """Errors fall with examples; with the labels of other prompts they do not."""
    drawn, errors = seen(kept(), rng)
    mean, half = mean_interval(errors, FIVE)
    drops = [mean_interval(errors[:, a] - errors[:, b], FIVE) for a, b in ((0, 2), (2, 4), (4, 6), (6, 10))]
    wrong = drawn._replace(y=jnp.roll(drawn.y, 1, axis=0))
    control = float(np.mean(np.asarray(gpt_errors(kept(), wrong))[:, 10]))
    size = sum(w.size for w in jax.tree.leaves(kept()))
    best_step = [best_averaging_risk(k, 5) for k in range(1, 11)]
    beaten = all(m + h < r for m, h, r in zip(mean[3:11], half[3:11], best_step[2:], strict=True))
    meaning = (
        f"squared error over d of a GPT of {size:,} weights after 10 examples (after 0, 1, 3, 5: "
        f"{', '.join(f'{mean[k]:.2f}' for k in (0, 1, 3, 5))}); control: labels of other prompts"
    )
    falls = all(m > h for m, h in drops)
    return Measurement(
        float(mean[10]), float(mean[10] - half[10]), float(mean[10] + half[10]), control, meaning,
        bool(falls and beaten and control > 1),
    )  # fmt: skip


def answers(weights: GPTWeights, rng, k: int, batch: int = 100) -> Implied:
    """The ridge parameter nearest to a network's answers to 10 queries after k examples."""
    drawn, queries = standard(rng, batch, k, 5), jnp.asarray(rng.standard_normal((batch, 10, 5)))
    return implied_ridge(drawn.x, drawn.y, queries, gpt_answers(weights, drawn.x, drawn.y, queries))


def stopped_early(rng, answer) -> Measurement:
    """(GP13) and (GP12) of a predictor after 8 examples of 5 numbers, on 1,500 prompts with 10 queries each.

    It is like gradient descent that is stopped early if no ridge is as near, least squares is further still, and what
    is left is at most a twentieth of its answers.
    """
    drawn, queries = standard(rng, 1500, 8, 5), jnp.asarray(rng.standard_normal((1500, 10, 5)))
    asked = drawn.x, drawn.y, queries
    out = answer(*asked)
    ridge, flow = implied_ridge(*asked, out), implied_flow(*asked, out)
    to_flow = distances_to(*asked, out, time=flow.time)
    nearer, half = mean_interval(distances_to(*asked, out, lam=ridge.lam) - to_flow, FIVE)
    exact, exact_half = mean_interval(distances_to(*asked, out, lam=RANGE[0]) - to_flow, FIVE)
    left = flow.distance / max(float(np.mean(np.asarray(out) ** 2)), 1e-300)
    meaning = (
        f"squared distance to the nearest ridge ({ridge.lam:.2g}), {ridge.distance:.3f}, less that to gradient flow "
        f"stopped at {flow.time:.2g}, {flow.distance:.3f}, {left:.1%} of the answers; control: to least squares"
    )
    holds = nearer > half and exact > exact_half and left < 0.05
    low, high = float(nearer - half), float(nearer + half)
    return Measurement(float(nearer), low, high, ridge.to_ols, meaning, bool(holds))


def of_network(x, y, queries):
    """The answers of the library's own network."""
    return gpt_answers(kept(), x, y, queries)


def shrunk(factor, parameter: float):
    """A predictor that is linear in the query and multiplies each singular value of the examples."""

    def answer(x, y, queries):
        U, s, Vt = np.linalg.svd(np.asarray(x), full_matrices=False)
        w = np.einsum("brd,br,bkr,bk->bd", Vt, factor(s, parameter), U, np.asarray(y))
        return np.einsum("bmd,bd->bm", np.asarray(queries), w)

    return answer


def neighbours(x, y, queries):
    """The mean label of the three nearest examples."""
    apart = np.sum((np.asarray(queries)[:, :, None] - np.asarray(x)[:, None]) ** 2, axis=-1)
    near = np.argsort(apart, axis=-1)[..., :3]
    return np.mean(np.take_along_axis(np.asarray(y)[:, None], near, axis=-1), axis=-1)


def one_step(x, y, queries):
    """The best single step of gradient descent from zero."""
    w = np.einsum("bkd,bk->bd", np.asarray(x), np.asarray(y)) / baselines.best_divisor(8, 5)
    return np.einsum("bmd,bd->bm", np.asarray(queries), w)


def noise(x, y, queries):
    return np.random.default_rng(0).standard_normal(queries.shape[:2])


NOT_STOPPED_EARLY = {
    "ridge": shrunk(ridge_factor, 0.2), "least squares": shrunk(ridge_factor, 0.0),
    "minus least squares": lambda *asked: -shrunk(ridge_factor, 0.0)(*asked),
    "zeros": lambda x, y, queries: np.zeros(queries.shape[:2]), "noise": noise, "three neighbours": neighbours,
    "one step": one_step,
}  # fmt: skip
"""Predictors of which the law must say that they are not."""


def longer(rng) -> Measurement:
    """Prompts with more examples than in training: errors jump, because positions were never trained."""
    drawn, errors = seen(kept(), rng)
    table, trained = kept().positions, 22
    repeated = jnp.tile(table[trained - 2 : trained], (len(table) // 2 - trained // 2, 1))
    without = kept()._replace(positions=jnp.concatenate([table[:trained], repeated]))
    mean, half = mean_interval(errors[:, 12:].mean(axis=1), FIVE)
    control = float(np.mean(np.asarray(gpt_errors(without, drawn))[:, 12:]))
    meaning = (
        f"error over d after 12 to 14 examples, where training had 10 and the error is {errors[:, 10].mean():.2f}; "
        "control: with the position of the last trained point for all later ones"
    )
    holds = mean - half > 1 and control < 0.5
    return Measurement(float(mean), float(mean - half), float(mean + half), control, meaning, bool(holds))


def trained_longer(rng) -> Measurement:
    """Trained for 4,000 steps of Adam from the start; and less like ridge than after 1,000."""
    from dualform.regression import runs

    config, task, training = GPT(d=5, points=11), Task(d=5), GPTTraining(steps=4000)
    report, lams = runs.reporter("gpt_d5"), []
    places = {until: runs.place(f"gpt_d5_{until}") for until in (1000, 4000)}
    for trained in stages(config, task, training, tuple(places), places.get, report):
        lams.append(answers(trained.state[0], rng, 8).lam)
    mean, half = mean_interval(seen(trained.state[0], rng, batch=8000, examples=10)[1], FIVE)
    meaning = (
        f"error over d after 10 examples; after 1: {mean[1]:.3f}, after 5: {mean[5]:.2f} (least squares: 0); nearest "
        f"ridge parameter {lams[0]:.2g} after 1,000 steps, {lams[1]:.2g} after 4,000; control: the best step of "
        "gradient descent"
    )
    control = best_averaging_risk(10, 5)
    holds = half[10] < mean[10] < 0.2 and 0.8 - half[1] < mean[1] < 0.85 + half[1] and lams[1] < lams[0]
    low, high = float(mean[10] - half[10]), float(mean[10] + half[10])
    return Measurement(float(mean[10]), low, high, control, meaning, bool(holds and mean[10] < control))


TRAINED = (
    Law("GP4.reads", "a GPT of 153,345 weights learns to learn in context: errors fall as it reads",
        r"E (\hat y_k - y_k)^2 / d", (), (MEASURED,), domain="the library's own network, d = 5, 10 examples",
        measure=learns, source="claim C10; Garg et al. 2022", full_only=(MEASURED,)),
    Law("GP13", "a small GPT is nearer to gradient descent stopped early than to any ridge, or to least squares",
        r"\mathrm{SPD}(A, \mathrm{flow}_{\hat t}) < \mathrm{SPD}(A, \mathrm{ridge}_{\hat\lambda})", (), (MEASURED,),
        domain="the library's own network, d = 5, 8 examples",
        measure=Experiment(stopped_early, {"answer": of_network}),
        decoys={name: {"answer": answer} for name, answer in NOT_STOPPED_EARLY.items()},
        source="claim C31; Akyurek et al. 2023", full_only=(MEASURED,)),
    Law("GP2.longer", "with more examples than in training a GPT errs more than zero does: positions were not trained",
        r"h_j = W_{in} t_j + b_{in} + p_j", (), (MEASURED,), domain="the library's own network, 12 to 14 examples",
        measure=longer, source="claim C29; Zhang et al. 2024", full_only=(MEASURED,)),
    Law("GP4.trained",
        "4,000 steps: error/d after 10 examples below 0.2 (the best step has 0.375), after 1 from 0.80 to 0.85",
        r"\ell = \frac1n \sum_i (\hat y_i - y_i)^2", (), (MEASURED,), domain="d = 5, 11 points, batch 64, Adam 1e-3",
        measure=trained_longer, source="Garg et al. 2022", thorough=True),
)  # fmt: skip
