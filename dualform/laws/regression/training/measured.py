"""Measurements of trained layers against theory, (TR11) to (TR14).

Tolerances are those of the table. A mean over prompts counts as within one if the whole interval of five standard
errors is; prompts are drawn until it is narrow enough.
"""

from functools import partial

import jax.numpy as jnp
import numpy as np

from dualform import regression
from dualform.laws.law import MEASURED, Law, Measurement
from dualform.regression import comparison, evaluation, runs
from dualform.regression.evaluation import Drawn, drawn_risk
from dualform.regression.model import Network, regauge
from dualform.regression.training import Trained, initial_weights, network

FIVE = 5.0
PROMPTS = 409_600


def seed_of(rng: np.random.Generator) -> int:
    return int(rng.integers(2**31))


def off(drawn: Drawn, exact: float) -> float:
    """The largest relative deviation from a number that the interval of five standard errors allows."""
    return (abs(drawn.mean - exact) + FIVE * drawn.error) / exact


def product(found: Network) -> np.ndarray:
    """The matrix A of the one step that a layer with one head amounts to: (w_22 W_11)' times the sign (TR11)."""
    return found.sign * np.asarray(found.W_PV[0, 0, -1, -1] * found.W_KQ[0, 0, :-1, :-1], np.float64).T


def untrained(trained: Trained) -> Network:
    """Where the training started."""
    return network(trained.config, initial_weights(trained.config))


def one_layer(name, A, exact, zero, matrix_tolerance, risk_tolerance, off_diagonal, prompts, rng) -> Measurement:
    """A training of one layer against the matrix and the risk that theory gives."""
    trained = runs.trained(name)
    found, config = trained.network(), trained.config
    matrix = product(found)
    of_matrix = float(np.max(np.abs(np.diagonal(matrix) / np.diagonal(A) - 1)))
    rest = float(np.max(np.abs(matrix - np.diag(np.diagonal(matrix)))))
    risk = drawn_risk(found, config.task, config.examples, prompts=prompts, seed=seed_of(rng))
    meaning = (
        f"risk on {risk.prompts:,} prompts, by theory {exact:.5g}; diagonal of w_22 W_11 within {of_matrix:.2%}, the "
        f"rest below {rest:.4f}; control: predicting zero"
    )
    holds = off(risk, exact) < risk_tolerance and of_matrix < matrix_tolerance and rest < off_diagonal
    low, high = risk.mean - FIVE * risk.error, risk.mean + FIVE * risk.error
    return Measurement(risk.mean, low, high, zero, meaning, bool(holds and zero > 1.2 * exact))


def fixed(name, variances, N, rng, **options) -> Measurement:
    """The minimum of the loss, Zhang et al. 2023."""
    A, exact = regression.limit(np.diag(variances), N), regression.risk(np.diag(variances), N, N)
    tolerances = {"matrix_tolerance": 0.015, "risk_tolerance": 0.015, "off_diagonal": 0.01, "prompts": 6_144_000}
    return one_layer(name, np.asarray(A), exact, sum(variances), rng=rng, **{**tolerances, **options})


def random_covariance(rng) -> Measurement:
    """Covariances drawn once a prompt, Zhang et al. 2023. The risk has heavy tails: sixth powers of inputs."""
    moments = regression.exponential_moments(5)
    A = np.asarray(regression.random_covariance_limit(moments, 20))
    exact = regression.random_covariance_risk(moments, 20, A)
    return one_layer("zhang_random_covariance", A, exact, 5.0, 0.02, 0.03, 0.01, 6_144_000, rng)


def construction(half_width: float) -> Network:
    """The best step of gradient descent, without a divisor."""
    rate = regression.uniform_limit(10, 10, half_width) / 10
    return comparison.one_step(rate * jnp.eye(10), average=False)


def oswald(name, half_width, rng) -> Measurement:
    """Rows 15 and 16."""
    trained = runs.trained(name)
    found, built, task = trained.network(), construction(half_width), trained.config.task
    exact, rate = 0.5 * regression.uniform_risk(10, 10, half_width), regression.uniform_limit(10, 10, half_width) / 10
    seed = seed_of(rng)
    loss, step, between = (
        drawn_risk(n, task, 10, prompts=PROMPTS, seed=seed)
        for n in (found, built, comparison.interpolated(found, built))
    )
    loss = Drawn(0.5 * loss.mean, 0.5 * loss.error, loss.prompts)
    answers, _, cosine = comparison.alike(found, built, task, 10, seed=seed)
    random = comparison.alike(untrained(trained), built, task, 10, seed=seed, prompts=2048)[2]
    matrix = product(found)
    eta = float(np.mean(np.diagonal(matrix)))
    meaning = (
        f"half the mean squared error on {loss.prompts:,} prompts, by theory {exact:.5g}; rate {eta:.4f}, by theory "
        f"{rate:.4f}; cosine of sensitivities {cosine.mean:.5f} (untrained {random.mean:.2f}); mean difference of "
        f"answers {answers.mean:.4f}; weights half way to the construction: loss {between.mean / step.mean - 1:+.2%}; "
        "control: predicting zero"
    )
    holds = (
        off(loss, exact) < 0.0145  # 0.003 of 0.2062, 0.012 of 0.8249
        and abs(eta / rate - 1) < 0.03
        and cosine.mean - FIVE * cosine.error > 0.995
        and answers.mean + FIVE * answers.error < 0.05
        and abs(between.mean / step.mean - 1) < 0.01
        and abs(random.mean) < 0.5
    )
    low, high = loss.mean - FIVE * loss.error, loss.mean + FIVE * loss.error
    return Measurement(loss.mean, low, high, 0.5 * 10 * half_width**2 / 3, meaning, bool(holds))


FACTORS = (0.5, 1.5, 2.0)


def out_of_distribution(rng) -> Measurement:
    """The loss on wider and narrower inputs, von Oswald et al. 2023."""
    trained = runs.trained("oswald_half")
    options = {"prompts": PROMPTS, "seed": seed_of(rng)}
    found, built = (
        np.array([0.5 * x.mean for x in evaluation.sweep(n, trained.config.task, 10, FACTORS, **options)])
        for n in (trained.network(), construction(0.5))
    )
    p = regression.uniform_limit(10, 10, 0.5)
    exact = np.array([0.5 * regression.uniform_risk(10, 10, 0.5 * f, p=p) for f in FACTORS])
    retuned = 0.5 * regression.uniform_risk(10, 10, 1.0)
    ratio = found / built
    losses = ", ".join(f"{x:.4g} at {f}" for x, f in zip(found, FACTORS, strict=True))
    meaning = (
        f"largest ratio of the trained loss to that of the construction on the same prompts; trained {losses} times "
        f"the inputs, by theory {', '.join(f'{x:.4g}' for x in exact)}; control: to the best step for twice the inputs"
    )
    worst = float(ratio[np.argmax(np.abs(ratio - 1))])
    near = bool(np.all(np.abs(found / exact - 1) < 0.03))
    return Measurement(
        worst, float(ratio.min()), float(ratio.max()), float(found[-1] / retuned), meaning,
        bool(abs(worst - 1) < 0.03 and near and found[-1] / retuned > 2),
    )  # fmt: skip


def recurrent(rng) -> Measurement:
    """One layer, applied twice, von Oswald et al. 2023."""
    trained = runs.trained("recurrent_two")
    found, task = trained.network(), trained.config.task
    risk = drawn_risk(found, task, 10, prompts=PROMPTS, seed=seed_of(rng))
    value, error = 0.5 * risk.mean, 0.5 * risk.error
    W_PV, W_KQ = (np.asarray(W[0, 0]) for W in regauge(found.W_PV, found.W_KQ))
    diagonal, scale = np.diagonal(W_PV), np.diagonal(W_KQ)[:-1]
    meaning = (
        f"half the mean squared error on {risk.prompts:,} prompts; two steps of GD++ with the best scalars reach "
        f"0.1106 if shared, 0.1040 if not; found eta/N {-diagonal[-1]:.3f}, gamma {-np.mean(diagonal[:-1]):.3f}, "
        f"diagonal of W_KQ {scale.min():.2f} to {scale.max():.2f}; control: two plain steps"
    )
    low, high = value - FIVE * error, value + FIVE * error
    return Measurement(value, low, high, 0.1567, meaning, bool(0.10 < low and high < 0.115))


def deeper(name, low, high, control, what, rng, prompts=20 * PROMPTS) -> Measurement:
    """Several layers, Ahn et al. 2023. The squared error has heavy tails, hence the many prompts."""
    trained = runs.trained(name)
    found, config = trained.network(), trained.config
    risk = drawn_risk(found, config.task, config.examples, prompts=prompts, seed=seed_of(rng))
    interval = risk.mean - FIVE * risk.error, risk.mean + FIVE * risk.error
    meaning = f"risk on {risk.prompts:,} prompts; {what}"
    holds = low < interval[0] and interval[1] < high and not low < control < high
    return Measurement(risk.mean, *interval, control, meaning, bool(holds))


ROW_6 = "w ~ N(0, I), x ~ N(0, Lambda), no noise, N = 20; Adam, 3,000 steps, 1,024 fresh prompts each"


def heavy_tail(rng) -> Measurement:
    """Three layers without restrictions, polynomials of degree 27: a few prompts in a million explode."""
    found, control = (
        evaluation.drawn_errors(trained.network(), trained.config.task, 20, prompts=2 * PROMPTS, seed=seed)
        for seed in (seed_of(rng),)
        for trained in map(runs.trained, ("ahn_three", "ahn_three_steps"))
    )
    clipped, of_steps = evaluation.mean_of(np.minimum(found, 1.0)), evaluation.mean_of(np.minimum(control, 1.0))
    meaning = (
        f"mean of min(squared error, 1) on {clipped.prompts:,} prompts; median {np.median(found):.2g}, largest "
        f"{found.max():.2g}, mean without clipping {found.mean():.3g}; control: the same for three trained steps"
    )
    low, high = clipped.mean - FIVE * clipped.error, clipped.mean + FIVE * clipped.error
    return Measurement(clipped.mean, low, high, of_steps.mean, meaning, bool(high < 0.0012 < 0.1 < of_steps.mean))


ROW_21 = "x, w ~ N(0, I_5), no noise, N = 20; Adam, 6,000 steps, 1,024 fresh prompts each"
AHN = "Ahn et al. 2023; claim C21"
ROW_15 = "d = N = 10, K, Q, V, P of 11 x 11; Adam, 4,000 steps, 2,048 fresh prompts each"

LAWS = (
    Law("TR11", "after 400 steps one trained layer has the risk of theory, within 4 %", r"w_{22} W_{11} = \Gamma^{-1}",
        (), (MEASURED,), domain="d = 3, N = 10, Adam, 512 fresh prompts a step", full_only=(MEASURED,),
        measure=partial(fixed, "short", (1.0,) * 3, 10, matrix_tolerance=0.1, risk_tolerance=0.04, off_diagonal=0.1,
                        prompts=819_200)),
    Law("TR11.equal", "Adam finds the inverse of Gamma for equal variances: within 1.5 %, the rest below 0.01",
        r"w_{22} W_{11} = \Gamma^{-1}", (), (MEASURED,), domain=f"Lambda = I_5; {ROW_6}", thorough=True,
        measure=partial(fixed, "zhang_identity", (1.0,) * 5, 20), source="Zhang et al. 2024, theorem 4.1; claim C23"),
    Law("TR11.unequal",
        "Adam finds the inverse of Gamma for variances 2, 1, 1/2, 1/4: within 1.5 %, the rest below 0.01",
        r"w_{22} W_{11} = \Gamma^{-1}", (), (MEASURED,), domain=f"Lambda = diag(2, 1, .5, .25); {ROW_6}", thorough=True,
        measure=partial(fixed, "zhang_diagonal", runs.VARIANCES, 20),
        source="Zhang et al. 2024, theorem 4.1; claim C23"),
    Law("TR11.random", "with random covariances Adam finds A = 0.285714 within 2 %, and its risk 2.14286 within 3 %",
        r"w_{22} W_{11} = E[\Gamma \Lambda^2]^{-1} E[\Lambda^2]", (), (MEASURED,), thorough=True,
        domain="variances Exp(1) anew in each prompt, d = 5, N = 20", measure=random_covariance,
        source="Zhang et al. 2024, theorem 4.5; claim C29"),
    Law("TR12", "a trained layer is one step of gradient descent: loss 0.2062 +- 0.003, rate 0.606 within 3 %, cosine "
        "above 0.995", r"-[PV]_{d+1,d+1} [K^\top Q]_{1:d,1:d} = \tfrac{p^*}{N} I", (), (MEASURED,),
        domain=f"inputs uniform on (-1/2, 1/2); {ROW_15}", measure=partial(oswald, "oswald_half", 0.5), thorough=True,
        source="von Oswald et al. 2023; claims C21, C44"),
    Law("TR12.interval", "the same on the interval of the paper: loss 0.8249 +- 0.012, rate 0.1515, cosine above 0.995",
        r"-[PV]_{d+1,d+1} [K^\top Q]_{1:d,1:d} = \tfrac{p^*}{N} I", (), (MEASURED,),
        domain=f"inputs uniform on (-1, 1); {ROW_15}", measure=partial(oswald, "oswald_one", 1.0), thorough=True,
        source="von Oswald et al. 2023; claims C21, C44"),
    Law("TR12.range", "on inputs of 1/2, 3/2 and 2 times the range its loss is that of the construction within 3 %",
        r"L(\alpha) = \tfrac12 R(p^*;\, \alpha a)", (), (MEASURED,), domain=f"trained on (-1/2, 1/2); {ROW_15}",
        measure=out_of_distribution, thorough=True, source="von Oswald et al. 2023, figure 3; claim C21"),
    Law("TR13", "a layer applied twice learns GD++: loss 0.100 to 0.115, that of GD++ 0.1106, of plain steps 0.157",
        r"L_{\text{trained}} \approx L_{\text{GD++}} < L_{\text{GD}}", (), (MEASURED,), thorough=True,
        measure=recurrent,
        domain="inputs uniform on (-1/2, 1/2), d = N = 10; Adam, 5,000 steps, 2,048 fresh prompts each",
        source="von Oswald et al. 2023, section 4; claim C21"),
    Law("TR14", "two layers with any matrix before the gradient reach 0.362 within 3 %, the best two scalar steps",
        r"\min_{A_1, A_2} R = \min_{\eta_1, \eta_2} R", (), (MEASURED,), thorough=True,
        domain=ROW_21, source=AHN,
        measure=partial(deeper, "ahn_two_steps", 0.97 * 0.362, 1.03 * 0.362, 1.15385, "control: one step")),
    Law("TR14.three",
        "three layers with any matrix before the gradient reach 0.134 within 3 %, the best three scalar steps",
        r"\min_{A_1, A_2, A_3} R = \min_{\eta_1, \eta_2, \eta_3} R", (), (MEASURED,), thorough=True,
        domain=ROW_21, source=AHN,
        measure=partial(deeper, "ahn_three_steps", 0.97 * 0.134, 1.03 * 0.134, 0.362, "control: two steps")),
    Law("TR13.two", "two layers with all weights free come within 11 % of GD++, 0.0563; plain steps have 0.362",
        r"L_{\text{trained}} < 1.11\, L_{\text{GD++}} < L_{\text{GD}}", (), (MEASURED,), thorough=True,
        domain=ROW_21, source=AHN,
        measure=partial(deeper, "ahn_two", 0.0525, 0.0625, 0.362, "GD++ has minima at 0.0563, 0.0864 and 0.102 (DE4); "
                        "control: two plain steps")),
    Law("TR13.local", "two layers with a step and a correction each stop at a local minimum, 0.083 to 0.091",
        r"L_{\text{GD++}} < L_{\text{trained}} < L_{\text{GD}}", (), (MEASURED,), thorough=True,
        domain=ROW_21, source=AHN,
        measure=partial(deeper, "ahn_two_scalars", 0.083, 0.091, 0.362, "GD++ has minima at 0.0563, 0.0864 and 0.102 "
                        "(DE4), and Adam from small scalars finds the middle one; control: two plain steps")),
    Law("TR13.three", "three layers with all weights free have a risk below 0.0012, but for a few prompts in a million",
        r"L_{\text{trained}} \le L_{\text{GD++}} < L_{\text{GD}}", (), (MEASURED,), thorough=True,
        domain=ROW_21, source=AHN, measure=heavy_tail),
    Law("TR13.scalar", "three layers with a step and a correction each have a risk of 0.0009 to 0.0018",
        r"L_{\text{trained}} \approx L_{\text{GD++}} \ll L_{\text{GD}}", (), (MEASURED,), thorough=True,
        domain=ROW_21, source=AHN,
        measure=partial(deeper, "ahn_three_scalars", 0.0009, 0.0018, 0.134, "control: three plain steps")),
)  # fmt: skip
