"""The measurements of chapter 6: random features by Monte Carlo, against their formulas, with controls.

Intervals are five standard errors to either side. All forms can be replaced, so that planted bugs can be measured.
"""

import jax
import jax.numpy as jnp
import numpy as np

from dualform import features
from dualform.laws.law import Measurement

SIGMAS = 5.0


def independent(key, draws, K):
    return features.gaussian(key, draws, K)


def estimates(phi, W, q, k):
    """phi(q).phi(k) for each of many sets of directions W [N, m, K]."""
    return np.asarray(jax.jit(jax.vmap(lambda W: jnp.sum(phi(q, W) * phi(k, W))))(W), np.float64)


def pairs(rng, K, size):
    """Two pairs of a query and a key, one with a positive and one with a negative score."""
    out = []
    for side in (1.0, -1.0):
        a, b = rng.standard_normal((2, K))
        q = size * a / np.linalg.norm(a)
        out.append((q, 0.7 * side * q + 0.1 * b / np.linalg.norm(b)))
    return [(jnp.asarray(q, jnp.float32), jnp.asarray(k, jnp.float32)) for q, k in out]


def truth(q, k):
    return float(np.exp(np.dot(np.asarray(q, np.float64), np.asarray(k, np.float64))))


def sets_of(directions, rng, N, m, K):
    """N sets of m directions."""
    key = jax.random.key(int(rng.integers(2**31)))
    return jax.jit(directions, static_argnums=(1, 2))(key, N * m, K).reshape(N, m, K)


def mean_and_error(x):
    return float(np.mean(x)), float(np.std(x) / np.sqrt(len(x)))


def compare(phi, mse, W, cases):
    """For each pair, (ratio of the mean squared error to the formula, its standard error, bias in standard errors)."""
    found = []
    for q, k in cases:
        off = estimates(phi, W, q, k) - truth(q, k)
        squared, error = mean_and_error(off**2)
        bias, of_bias = mean_and_error(off)
        formula = float(jax.jit(mse, static_argnums=2)(q, k, W.shape[1]))
        found.append((squared / formula, error / formula, bias / of_bias))
    return found


def judged(found, control, meaning):
    """The pair that fits worst; the claim holds if all fit, and the control does not."""
    ratio, error, _ = max(found, key=lambda x: abs(x[0] - 1) / x[1])
    fits = all(abs(r - 1) <= SIGMAS * e and abs(z) <= SIGMAS for r, e, z in found)
    low, high = ratio - SIGMAS * error, ratio + SIGMAS * error
    biases = ", ".join(f"{z:.1f}" for _, _, z in found)
    return Measurement(
        ratio, low, high, control, f"{meaning}; biases of {biases} standard errors",
        fits and not min(r - SIGMAS * e for r, e, _ in found) <= control <= max(r + SIGMAS * e for r, e, _ in found),
    )  # fmt: skip


def errors_of_features(rng, features, mse, directions, draws, N=100_000, K=3) -> Measurement:
    """Mean squared errors of independent features over those of the formula."""
    cases = pairs(rng, K, 0.45)
    W = sets_of(directions, rng, N, draws, K)
    found = compare(features, mse, W, cases)
    q, k = cases[0]
    control = found[0][0] * float(mse(q, k, draws)) / float(mse(q, -k, draws))
    return judged(found, control, "mean squared error over the formula (control: the formula at the opposite key)")


def errors_of_orthogonal(rng, features, mse, directions, N=120_000, K=4) -> Measurement:
    """The same for orthogonal directions, in one block of K and in a block and a half, for a query equal to its key."""
    q = jnp.full(K, 0.4 / np.sqrt(K), jnp.float32)
    W = sets_of(directions, rng, N, 2 * K, K)
    found = [compare(features, mse, W[:, :m], [(q, q)])[0] for m in (K, K + K // 2)]
    control = compare(features, mse, sets_of(independent, rng, N, K, K), [(q, q)])[0][0]
    return judged(found, control, "mean squared error over the formula (control: independent directions)")


def below_bound(rng, bound, mse) -> Measurement:
    """What orthogonality is said to gain, over what it gains by the exact formula: at most 1, for many K and m."""
    with jax.enable_x64(True):
        worst, smallest = 0.0, np.inf
        for K, m in ((2, 2), (3, 7), (8, 8), (64, 40)):
            q = rng.standard_normal((200, K))
            q *= rng.uniform(0.4, 2.0, (200, 1)) / np.linalg.norm(q, axis=1, keepdims=True)
            k = q * rng.uniform(0.5, 1.0, (200, 1))
            gain = jax.jit(lambda q, k, m, f: features.positive_mse(q, k, m) - f(q, k, m), static_argnums=(2, 3))
            gains = [np.asarray(gain(q, k, m, f)) for f in (bound, mse)]
            worst, smallest = max(worst, float(np.max(gains[0] / gains[1]))), min(smallest, float(np.min(gains[1])))
    return Measurement(
        worst, worst, worst, 2 * worst, "largest gain claimed over gain (control: twice the gain claimed)",
        0.5 < worst < 1.0 < 2 * worst and smallest > 0,
    )  # fmt: skip


def raw_orthogonal(key, draws, K):
    """Directions of a QR factorisation as it comes, signs and all."""
    of_directions, of_lengths = jax.random.split(key)
    Q, _ = jnp.linalg.qr(jax.random.normal(of_directions, (-(-draws // K), K, K)))
    lengths = jnp.linalg.norm(features.gaussian(of_lengths, draws, K), axis=1, keepdims=True)
    return lengths * Q.reshape(-1, K)[:draws]


def bias_of_orthogonal(rng, directions, N=50_000, K=4) -> Measurement:
    """The relative bias of orthogonal positive features, with a query and key along the first axis."""
    q = jnp.zeros(K, jnp.float32).at[0].set(0.5)

    def bias(drawn):
        ratios = estimates(features.positive_features, sets_of(drawn, rng, N, K, K), q, q) / truth(q, q)
        return mean_and_error(ratios - 1)

    value, error = bias(directions)
    control, of_control = bias(raw_orthogonal)
    low, high = value - SIGMAS * error, value + SIGMAS * error
    return Measurement(
        value, low, high, control, "bias relative to exp(q.k) (control: Q as the factorisation returns it)",
        low <= 0.0 <= high and abs(control) > SIGMAS * (error + of_control),
    )  # fmt: skip


def sharpness(rng, bound) -> Measurement:
    """The remainder over its bound for the worst case: 4 of 19 keys at the upper of two scores that are close."""
    with jax.enable_x64(True):

        @jax.jit
        def share(V):
            """Of the bound, for keys that are in proportion to their values."""
            q = jnp.ones(1, V.dtype)
            return features.softmax_gaps(V, V / 1000, q, scale=1.0).remainder / bound(V, V / 1000, q, scale=1.0)

        value, control = (float(share(jnp.asarray(np.arange(n)[:, None] < upper, float))[0])
                          for n, upper in ((19, 4), (18, 9)))  # fmt: skip
    return Measurement(
        value, value, value, control,
        "remainder over its bound (control: half of the keys at either score, whose third moment is 0)",
        0.999 < value <= 1.0 and abs(control) < 0.01,
    )  # fmt: skip
