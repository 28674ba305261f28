"""What is measured about depth: the least risk of a few layers, the layers that an error needs, two levels of noise.

Scalars are chosen on one sample of contexts and their risk is taken on another, with the task and the query integrated
out. Intervals are five standard errors either side.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dualform.laws.law import Experiment, Measurement
from dualform.laws.regression.depth.definitions import plus_matrices, tokens_of
from dualform.regression import curvature, depth, noise_levels
from dualform.regression.lsa import lsa_layers
from dualform.regression.tasks import Gaussian, Uniform

HALF = Uniform(0.5)
SIGMAS = 5.0
Interval = tuple[float, float, float]
"""A mean and its ends."""


def key_of(rng):
    return jax.random.key(int(rng.integers(2**31)))


def around(risk, scale=1.0) -> Interval:
    """A mean with its interval."""
    reach = SIGMAS * risk.error
    return scale * risk.mean, scale * (risk.mean - reach), scale * (risk.mean + reach)


def agrees(interval, expected, tolerance):
    """Whether an interval is narrower than the tolerance and meets the band around what is expected."""
    _, low, high = interval
    band = tolerance * expected
    return bool(high - low <= 2 * band and low <= expected + band and high >= expected - band)


def recurrent(rng, spectra, best_scalars) -> Measurement:
    """Two layers that share one eta and one gamma; half the risk, as von Oswald et al. plot it."""
    chosen, fresh = (spectra(HALF, key_of(rng), 20_000, 10, 10) for _ in range(2))
    gd, plus = (best_scalars(chosen, 2, curvature=c, shared=True, variance=1 / 12) for c in (False, True))
    of_gd, of_plus = (around(depth.depth_risk(fresh, b.eta, b.gamma, variance=1 / 12), 0.5) for b in (gd, plus))
    gamma = float(plus.gamma[0]) / 10
    holds = agrees(of_gd, 0.1567, 0.01) and agrees(of_plus, 0.1106, 0.015) and abs(gamma - 0.176) <= 0.005
    meaning = (
        f"half the risk of two recurrent layers of GD++, gamma/N = {gamma:.4f}, eta/N = {plus.eta[0] / 10:.3f}; "
        f"control: of GD, eta/N = {gd.eta[0] / 10:.3f}; zero loss is 0.4167"
    )
    return Measurement(*of_plus, of_gd[0], meaning, holds)


def corrections(rng, spectra, best_scalars) -> Measurement:
    """The same at 25 and at 50 examples, each from two samples."""
    found = {}
    for n in (25, 50):
        samples = [spectra(HALF, key_of(rng), 4_000, n, 10) for _ in range(2)]
        gammas = [best_scalars(v, 2, shared=True, variance=1 / 12, starts=2).gamma[0] / n for v in samples]
        found[n] = (float(np.mean(gammas)), float(np.ptp(gammas)))
    (value, spread), (other, other_spread) = found[25], found[50]
    holds = abs(value / 0.0991 - 1) < 0.02 and abs(other / 0.0563 - 1) < 0.02 and max(spread, other_spread) < 0.003
    meaning = (
        f"gamma/N at N = 25, from two samples that differ by {spread:.1g}; control: at N = 50, where two samples "
        f"differ by {other_spread:.1g}"
    )
    return Measurement(value, value - spread, value + spread, other, meaning, bool(holds))


def trimmed(values, scalars, one_in) -> Interval:
    """The mean risk with an interval, of all contexts but the worst `one_in` so many: the risk has heavy tails."""
    risks = np.sort(np.asarray(depth.context_risk(values, scalars.eta, scalars.gamma), np.float64))
    kept = risks[: len(risks) - len(risks) // one_in]
    return around(depth.DepthRisk(float(np.mean(kept)), float(np.std(kept) / np.sqrt(len(kept)))))


def gaussian_layers(rng, spectra, best_scalars, layers, slices) -> tuple[Any, Interval, Interval, Any]:
    """Fresh contexts, d = 5, N = 20; the risk of GD and of GD++ on them, and the scalars of GD++."""
    chosen = spectra(Gaussian(), key_of(rng), 20_000, 20, 5)
    rare = jnp.quantile(chosen[:, -1], 0.999)  # one very large eigenvalue would decide all scalars
    chosen = chosen[chosen[:, -1] <= rare]
    fresh = jnp.concatenate([spectra(Gaussian(), key_of(rng), 100_000, 20, 5) for _ in range(slices)])
    gd = best_scalars(chosen, layers, curvature=False, starts=2)
    plus = best_scalars(chosen, layers, starts=3)
    return fresh, trimmed(fresh, gd, 20_000), trimmed(fresh, plus, 1000), plus


def two_layers(rng, spectra, best_scalars) -> Measurement:
    """Up to two layers, Ahn et al. 2023."""
    fresh, of_gd, of_plus, plus = gaussian_layers(rng, spectra, best_scalars, 2, 1)
    single = around(depth.depth_risk(fresh, jnp.array([20 / 26])))
    local = trimmed(fresh, depth.DepthScalars(np.array([1.83, 1.33]), np.array([0.188]), 0.0), 20_000)
    holds = agrees(single, 30 / 26, 0.03) and agrees(of_gd, 0.362, 0.03) and agrees(local, 0.103, 0.03)
    everywhere = float(np.mean(np.asarray(depth.context_risk(fresh, plus.eta, plus.gamma), np.float64)))
    meaning = (
        f"risk of two layers of GD++ without the worst context in a thousand ({everywhere:.3g} with it), eta = "
        f"{rounded(plus.eta)}, gamma = {rounded(plus.gamma)}; a local minimum, eta = 1.83, 1.33, gamma = 0.188, has "
        f"{local[0]:.4f}; one layer has {single[0]:.4f}; control: two layers of GD"
    )
    return Measurement(*of_plus, of_gd[0], meaning, holds and of_plus[2] < 0.07)


def three_layers(rng, spectra, best_scalars) -> Measurement:
    fresh, of_gd, of_plus, plus = gaussian_layers(rng, spectra, best_scalars, 3, 4)
    risks = np.asarray(depth.context_risk(fresh, plus.eta, plus.gamma), np.float64)
    meaning = (
        f"risk of three layers of GD++ without the worst context in a thousand, eta = {rounded(plus.eta)}, "
        f"gamma = {rounded(plus.gamma)}; the mean over all {len(risks):,} contexts is {np.mean(risks):.2g}, the worst "
        f"{np.max(risks):.2g}, and differs from seed to seed; control: three layers of GD"
    )
    return Measurement(*of_plus, of_gd[0], meaning, agrees(of_gd, 0.134, 0.03) and of_plus[2] < 0.0037)


def rounded(numbers):
    return ", ".join(f"{x:.3g}" for x in numbers)


def layers_needed(rng, schedule) -> Measurement:
    """(DE8): the numbers of layers over a grid; networks on contexts of the worst kind at one of its places."""
    grid = [(10.0**k, 10.0**-e) for k in range(1, 9) for e in (3, 6, 9, 12)]
    counts = {(k, e): len(schedule(1 / k, 1.0, eps=e).eta) for k, e in grid}
    within = all(n <= np.ceil(np.log(k) / np.log(27 / 4)) + np.log2(np.log2(1 / e)) + 3 for (k, e), n in counts.items())
    kappa, eps = 1e3, 1e-9
    plus, plain = schedule(1 / kappa, 1.0, eps=eps), schedule(1 / kappa, 1.0, eps=eps, correct=False)
    off = network_error(rng, plus.eta, plus.gamma, kappa)
    same_depth = network_error(rng, plain.eta[: len(plus.eta)], plain.gamma[: len(plus.eta)], kappa)
    expected = 0.5 * kappa * np.log(1 / eps)
    holds = within and off <= eps + 1e-13 * kappa < same_depth and abs(len(plain.eta) / expected - 1) < 0.01
    meaning = (
        f"layers of GD++ for kappa = 1e3 and eps = 1e-9, whose networks are off by {off:.1e} in float64 (GD of the "
        f"same depth by {same_depth:.1e}); from {counts[10.0, 1e-3]} at kappa = 10, eps = 1e-3 to {counts[1e8, 1e-12]} "
        "at 1e8, 1e-12; control: layers of GD"
    )
    n = float(len(plus.eta))
    return Measurement(n, n, n, float(len(plain.eta)), meaning, bool(holds))


def network_error(rng, eta, gamma, kappa, d=6, n=9):
    """The largest error over |w| |x_q| in contexts whose spectra lie within [1/kappa, 1] and reach both ends."""
    with jax.enable_x64(True):
        layers = [plus_matrices(jnp.asarray(e), jnp.asarray(g), d) for e, g in zip(eta, gamma, strict=True)]
        P, Q = (jnp.stack(matrices) for matrices in zip(*layers, strict=True))

        @jax.jit
        @jax.vmap
        def error(x, w, query):
            y = jnp.sum(x * w[None], axis=1)
            answer = -lsa_layers(tokens_of(x, y, query), P, Q, float(n), include_query=False)[-1, -1]
            return jnp.abs(answer - w @ query) / (jnp.linalg.norm(w) * jnp.linalg.norm(query))

        values = kappa ** -np.concatenate([np.zeros((50, 1)), np.ones((50, 1)), rng.uniform(size=(50, d - 2))], axis=1)
        left, right = (np.linalg.qr(rng.standard_normal((50, k, d)))[0] for k in (n, d))
        x = left * np.sqrt(n * values)[:, None] @ right.transpose(0, 2, 1)
        return float(jnp.max(error(x, rng.standard_normal((50, d)), rng.standard_normal((50, d)))))


def ridge_weights(X, y, level):
    """w of ridge regression for each prompt of a batch."""
    d = X.shape[2]
    G = X.transpose(0, 2, 1) @ X + np.reshape(level, (-1, 1, 1)) * np.eye(d)
    return np.linalg.solve(G, np.einsum("bnd,bn->bd", X, y)[..., None])[..., 0]


def two_noise_levels(rng, n, levels, two_levels, prompts=1000, d=5):
    """Mean |v - w|^2 over the oracle's, for the two layers and for the best constant ridge, with its standard error."""
    X, w = rng.standard_normal((prompts, n, d)), rng.standard_normal((prompts, d))
    sigma = np.sqrt(np.asarray(levels) * n)[rng.integers(len(levels), size=prompts)]
    y = np.einsum("bnd,bd->bn", X, w) + sigma[:, None] * rng.standard_normal((prompts, n))
    omega = np.asarray(two_levels(float(n), *np.sqrt(np.asarray(levels) * n)), np.float64)
    a = np.einsum("bnd,bn->bd", X, y)
    left = y + omega[0, 1, 0] * np.einsum("bnd,bd->bn", X, a)
    answer = -(1 + omega[1, 1, 1] * np.sum(left**2, axis=1))[:, None] * omega[0, 1, 0] * a

    def risks(v):
        return np.sum((v - w) ** 2, axis=1)

    oracle = risks(ridge_weights(X, y, sigma**2))
    constant = min((risks(ridge_weights(X, y, u * n)) for u in np.geomspace(0.02, 2.0, 25)), key=np.mean)
    return [
        (float(np.mean(gap)), float(np.std(gap) / np.sqrt(prompts)), float(np.mean(oracle)))
        for gap in (risks(answer) - oracle, constant - oracle)
    ]


def adaptive(rng, two_levels) -> Measurement:
    """(DE18): the excess over ridge regression with the level known, at n = 20, 160, 1280."""
    found = {n: two_noise_levels(rng, n, (0.1, 1.0), two_levels) for n in (20, 160, 1280)}
    (value, error, oracle), (control, control_error, _) = found[1280]
    reach = SIGMAS * error
    falls = found[20][0][0] > 2 * found[160][0][0] > 4 * found[1280][0][0]
    holds = falls and value + reach < 0.5 * (control - SIGMAS * control_error)
    others = ", ".join(f"{found[n][0][0]:.3f} at n = {n}" for n in (20, 160))
    meaning = (
        f"risk beyond that of ridge with the level known ({oracle:.3f}), two layers at n = 1280; {others}; control: "
        "the best constant ridge at n = 1280"
    )
    return Measurement(value, value - reach, value + reach, control, meaning, bool(holds))


SAMPLED: dict[str, Callable] = {"spectra": depth.spectra, "best_scalars": depth.best_scalars}
RECURRENT = Experiment(recurrent, SAMPLED)
CORRECTIONS = Experiment(corrections, SAMPLED)
TWO_LAYERS = Experiment(two_layers, SAMPLED)
THREE_LAYERS = Experiment(three_layers, SAMPLED)
LAYERS = Experiment(layers_needed, {"schedule": curvature.schedule})
TWO_LEVELS = Experiment(adaptive, {"two_levels": noise_levels.two_levels})
