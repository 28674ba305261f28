"""Chapter 2 against a literal loop in torch.optim.SGD's conventions, in exact fractions, and against optax itself."""

import dataclasses
import itertools
import math
import operator
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dualform import descent
from dualform.descent import Optimizer, clip_factors, coefficients, from_optax, hadamard, read, run

V, K = 2, 3


def sgd_loop(
    W0, gradients, eta, mu=0, nesterov=False, tau=0, lam=0, decoupled=False, scale=None, rho=None, less=operator.sub
):
    """The optimiser, statement by statement, for any type of number.

    `less=operator.add` on absolute values gives the sum of the absolute values of all terms, by which rounding errors
    are measured.
    """
    W, buffer, average = W0, None, W0
    for t, gradient in enumerate(gradients):
        g = gradient if scale is None else scale[t] * gradient
        if not decoupled:
            g = g + lam * W
        if mu == 0:
            step = g
        else:
            buffer = g if buffer is None else mu * buffer + less(1, tau) * g
            step = g + mu * buffer if nesterov else buffer
        if decoupled:
            W = W * less(1, eta[t] * lam)
        W = less(W, eta[t] * step)
        if rho is not None:
            average = rho * average + less(1, rho) * W
    return W if rho is None else average


def options(nesterov, decoupled, ema, *, mu, tau, lam, rho):
    """The same options, named for `Optimizer` and for `sgd_loop`."""
    theirs = {
        "mu": mu,
        "nesterov": nesterov,
        "tau": tau,
        "lam": lam,
        "decoupled": decoupled,
        "rho": rho if ema else None,
    }
    ours = dict(
        zip(("momentum", "nesterov", "dampening", "weight_decay", "decoupled", "ema"), theirs.values(), strict=True)
    )
    return ours, theirs


VARIANTS = list(itertools.product([False, True], repeat=3))  # nesterov, decoupled, ema
variants = pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: "-".join(map(str, map(int, v))))


def combine(a, c, W0, gradients):
    """(O1), entry by entry in float64."""
    W = float(a) * np.asarray(W0, np.float64)
    for t in range(len(gradients)):
        W = W + float(c[t]) * np.asarray(gradients[t], np.float64)
    return W


def integers(seed, *shapes, largest=2, dtype=np.float32):
    rng = np.random.default_rng(seed)
    return [rng.integers(-largest, largest + 1, shape).astype(dtype) for shape in shapes]


def fractions(x):
    return np.vectorize(Fraction, otypes=[object])(np.asarray(x, np.float64)) if np.ndim(x) else Fraction(float(x))


def gamma(roundings, unit=2.0**-24):
    return roundings * unit / (1 - roundings * unit)


# --- run and coefficients against the loop (O1, O2) -------------------------------------------------------------------


@variants
@pytest.mark.parametrize("T", [0, 1, 2, 4])
def test_integers_agree_exactly(variant, T):
    """All numbers integers, all options at once, dampening and a schedule and clip factors included: no rounding."""
    W0, gradients, eta, scale = integers(0, (V, K), (T, V, K), (T,), (T,))
    ours, theirs = options(*variant, mu=2, tau=-1, lam=1, rho=2)
    expected = sgd_loop(W0.astype(float), gradients.astype(float), eta, scale=scale, **theirs)
    positive = {
        name: abs(value) if name in ("mu", "tau", "lam", "rho") and value else value for name, value in theirs.items()
    }
    size = sgd_loop(np.abs(W0), np.abs(gradients), np.abs(eta), scale=np.abs(scale), less=operator.add, **positive)
    assert np.max(size) < 2**24  # every partial result is an integer that float32 holds
    optimizer = Optimizer(eta, **ours)
    np.testing.assert_array_equal(run(optimizer, W0, gradients, scale=scale), expected)
    a, c = coefficients(optimizer, T, scale=scale)
    assert c.shape == (T,)
    np.testing.assert_array_equal(combine(a, c, W0, gradients), expected)


# Roundings that a term can meet in one step: (O2) makes matrix entries of up to 6 and a row of 3, `run` at most 12.
PER_STEP = 16


@variants
@pytest.mark.parametrize("T", [1, 7])
def test_floats_stay_within_the_derived_bound(variant, T):
    """Against exact fractions: |computed - exact| <= gamma_R times the sum of absolute values, R = 16 (T + 1)."""
    rng = np.random.default_rng(1)
    eta, scale = (rng.uniform(0.1, 1.5, T).astype(np.float32) for _ in range(2))
    W0, gradients = (rng.standard_normal(s).astype(np.float32) for s in ((V, K), (T, V, K)))
    numbers = dict(zip(("mu", "tau", "lam", "rho"), np.float32([0.9, 0.3, 0.01, 0.95]), strict=True))
    ours, _ = options(*variant, **numbers)
    _, theirs = options(*variant, **{name: fractions(value) for name, value in numbers.items()})
    exact = sgd_loop(fractions(W0), fractions(gradients), fractions(eta), scale=fractions(scale), **theirs)
    size = sgd_loop(
        abs(fractions(W0)),
        abs(fractions(gradients)),
        fractions(eta),
        scale=fractions(scale),
        less=operator.add,
        **theirs,
    )
    bound = gamma(PER_STEP * (T + 1)) * size.astype(float)
    optimizer = Optimizer(eta, **ours)
    ran = fractions(run(optimizer, W0, gradients, scale=scale))
    assert (abs(ran - exact).astype(float) <= bound).all()
    a, c = coefficients(optimizer, T, scale=scale)
    combined = fractions(a) * fractions(W0) + sum(fractions(c[t]) * fractions(gradients[t]) for t in range(T))
    assert (abs(combined - exact).astype(float) <= bound).all()


def test_the_buffer_starts_as_the_first_gradient():
    """Dampening 1/2 does not touch g_1: buf_1 = g_1, buf_2 = mu g_1 + g_2 / 2."""
    a, c = coefficients(Optimizer(1.0, momentum=0.25, dampening=0.5), 2)
    assert (float(a), c.tolist()) == (1.0, [-1.25, -0.5])


def test_dampening_without_momentum_is_refused():
    """torch ignores it; a momentum inside jit could not be asked, and would give other numbers."""
    for momentum in (0.0, jnp.zeros(())):
        with pytest.raises(ValueError, match=r"dampening: got 0\.5 without momentum, expected 0"):
            Optimizer(1.0, momentum=momentum, dampening=0.5)

    def of(momentum):
        return coefficients(Optimizer(1.0, momentum=momentum, dampening=0.5), 2)[1]

    assert jax.jit(of)(0.5).tolist() == of(0.5).tolist() == [-1.5, -0.5]


def test_momentum_one_is_not_singular():
    a, c = coefficients(Optimizer(1.0, momentum=1.0), 5)
    assert (float(a), c.tolist()) == (1.0, [-5.0, -4.0, -3.0, -2.0, -1.0])


def test_decoupled_decay_comes_before_the_step_and_coupled_decay_enters_the_buffer():
    W0, g = np.full((1, 1), 8.0, np.float32), np.ones((2, 1, 1), np.float32)
    for decoupled, expected in ((True, 8 * 0.25 - 0.5 * 1 - 1.5), (False, 8 - 5 - (2.5 + 0.5 * 3 + 1 - 0))):
        optimizer = Optimizer(1.0, momentum=0.5, weight_decay=0.5, decoupled=decoupled)
        assert float(run(optimizer, W0, g)[0, 0]) == expected


def test_nesterov_with_dampening_is_the_loop_too():
    W0, gradients = integers(2, (V, K), (3, V, K))
    optimizer = Optimizer(1.0, momentum=2.0, nesterov=True, dampening=3.0)
    expected = sgd_loop(W0, gradients, [1, 1, 1], mu=2, nesterov=True, tau=3)
    np.testing.assert_array_equal(run(optimizer, W0, gradients), expected)
    np.testing.assert_array_equal(combine(*coefficients(optimizer, 3), W0, gradients), expected)


# --- closed sums (O3 to O7) -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("T", [0, 1, 5])
@pytest.mark.parametrize("number", [0.0, 0.5, 1.0, 2.0])
def test_closed_sums_equal_the_recursion_exactly(T, number):
    """Multiples of 1/2 raised to at most 5: exact in float32, at momentum 1 and average 1 too."""
    (eta,) = integers(3, (T,), largest=4)
    np.testing.assert_array_equal(descent.plain(eta), coefficients(Optimizer(eta), T)[1])
    heavy, ahead = Optimizer(eta, momentum=number), Optimizer(eta, momentum=number, nesterov=True)
    np.testing.assert_array_equal(descent.heavy_ball(eta, number), coefficients(heavy, T)[1])
    np.testing.assert_array_equal(descent.nesterov(eta, number), coefficients(ahead, T)[1])
    np.testing.assert_array_equal(descent.averaged(eta, number), coefficients(Optimizer(eta, ema=number), T)[1])
    for decoupled in (False, True):
        a, c = coefficients(Optimizer(eta, weight_decay=number, decoupled=decoupled), T)
        for computed, expected in zip(descent.decay(eta, number), (a, c), strict=True):
            np.testing.assert_array_equal(computed, expected)


def test_textbook_fractions_agree_where_they_are_defined():
    """Constant eta: -eta (1 - mu^(T-i+1)) / (1 - mu), Nesterov with one power more; mu = 1/2, exact in binary."""
    T, mu = 6, 0.5
    left = np.arange(T, 0, -1)
    np.testing.assert_array_equal(descent.heavy_ball(np.ones(T), mu), -(1 - mu**left) / (1 - mu))
    np.testing.assert_array_equal(descent.nesterov(np.ones(T), mu), -(1 - mu ** (left + 1)) / (1 - mu))
    np.testing.assert_array_equal(descent.averaged(np.ones(T), mu), -(1 - mu**left))


# --- clipping (O8) ----------------------------------------------------------------------------------------------------


def test_clip_factors():
    norms = np.float32([0, 2.0**-100, 0.5, 2, 8, 2.0**100])
    np.testing.assert_array_equal(clip_factors(norms, 2.0), np.float32([1, 1, 1, 1, 0.25, 2.0**-99]))
    assert clip_factors(np.zeros(0, np.float32), 1.0).shape == (0,)
    assert clip_factors(jnp.ones(2, jnp.bfloat16), 1.0).dtype == jnp.bfloat16
    slopes = jax.grad(lambda norms: clip_factors(norms, 2.0).sum())(jnp.array([0.0, 1.0, 4.0]))
    assert slopes.tolist() == [0.0, 0.0, -0.125]


def test_a_clipped_run_is_linear_given_its_factors():
    """Norms 5 and 1 against a clip of 2.5: factors 1/2 and 1."""
    gradients = np.float32([[[3, 4]], [[1, 0]]])
    scale = clip_factors(np.linalg.norm(gradients, axis=(1, 2)), 2.5)
    optimizer = Optimizer(2.0, momentum=0.5, clip=2.5)
    _, c = coefficients(optimizer, 2, scale=scale)
    assert c.tolist() == [-1.5, -2.0]
    W = run(optimizer, np.zeros((1, 2), np.float32), gradients, scale=scale)
    np.testing.assert_array_equal(W, -1.5 * gradients[0] - 2 * gradients[1])


# --- reading (O9) -----------------------------------------------------------------------------------------------------


def batches(seed, sizes):
    """Output gradients and inputs of minibatches of the sizes given."""
    return [integers(seed + t, (B, V), (B, K)) for t, B in enumerate(sizes)]


def mean_loop(pairs):
    out = np.zeros((len(pairs), V, K))
    for t, (g, x) in enumerate(pairs):
        for i, j, k in itertools.product(range(len(g)), range(V), range(K)):
            out[t, j, k] += g[i, j] * x[i, k] / len(g)
    return out


@pytest.mark.parametrize("sizes", [(2, 2, 2), (4, 0, 1), (1, 2, 4)], ids=str)
def test_reading_every_pattern_is_the_trained_layer(sizes):
    """Exactly: sums of integers, halves and quarters. Stacked minibatches and ragged ones, one of them empty."""
    pairs = batches(10, sizes)
    W0, q = integers(20, (V, K), (5, K))
    means = mean_loop(pairs)
    W = sgd_loop(W0, means, [1, 2, 1], mu=0.5, nesterov=True, lam=1)
    optimizer = Optimizer(jnp.array([1.0, 2.0, 1.0]), momentum=0.5, nesterov=True, weight_decay=1.0)
    a, c = coefficients(optimizer, 3)
    layouts = [tuple(zip(*pairs, strict=True))]
    if len(set(sizes)) == 1:
        layouts.append(tuple(np.stack(arrays) for arrays in layouts[0]))
    for gradients, X in layouts:
        np.testing.assert_array_equal(descent.mean_gradients(gradients, X), means)
        np.testing.assert_array_equal(run(optimizer, W0, descent.mean_gradients(gradients, X)), W)
        np.testing.assert_array_equal(read(a, c, W0, gradients, X, q), q @ W.T)
        np.testing.assert_array_equal(read(a, c, W0, gradients, X, q[0]), W @ q[0])
        weights = np.concatenate([np.full(B, float(c[t]) / max(B, 1)) for t, B in enumerate(sizes)])
        np.testing.assert_array_equal(descent.pattern_weights(c, gradients), weights)


def test_reading_a_real_run_whose_gradients_depend_on_its_weights():
    """Least squares by the literal loop, one minibatch of 2 a step; exact in multiples of 2^-k."""
    T, B = 4, 2
    W0, X, targets, q = integers(30, (V, K), (T, B, K), (T, B, V), (5, K), largest=1)
    W, buffer, gradients = W0.astype(float), None, np.zeros((T, B, V), np.float32)
    for t in range(T):
        gradients[t] = X[t] @ W.T - targets[t]
        mean = mean_loop([(gradients[t], X[t])])[0] + 0.25 * W
        buffer = mean if buffer is None else 0.5 * buffer + mean
        W = W - 0.5 * buffer
    a, c = coefficients(Optimizer(0.5, momentum=0.5, weight_decay=0.25), T)
    np.testing.assert_array_equal(read(a, c, W0, gradients, X, q), q @ W.T)


def test_reading_nothing_is_the_decayed_initial_layer():
    W0, q = integers(31, (V, K), (K,))
    a, c = coefficients(Optimizer(1.0, weight_decay=0.5), 0)
    empty = np.zeros((0, 2, V), np.float32), np.zeros((0, 2, K), np.float32)
    np.testing.assert_array_equal(read(a, c, W0, *empty, q), W0 @ q)
    assert descent.mean_gradients(*empty).shape == (0, V, K)
    no_patterns = np.zeros((3, 0, V), np.float32), np.zeros((3, 0, K), np.float32)
    np.testing.assert_array_equal(descent.mean_gradients(*no_patterns), np.zeros((3, V, K)))


# --- optax ------------------------------------------------------------------------------------------------------------

chain = optax.chain
RECOGNISED = {
    "sgd": (optax.sgd(0.1), Optimizer(0.1)),
    "no short decimal": (optax.sgd(1 / 3, momentum=1 / 7), Optimizer(1 / 3, momentum=1 / 7)),
    "heavy ball": (optax.sgd(0.1, momentum=0.9), Optimizer(0.1, momentum=0.9)),
    "nesterov": (optax.sgd(0.1, momentum=0.9, nesterov=True), Optimizer(0.1, momentum=0.9, nesterov=True)),
    "momentum 1": (optax.sgd(0.1, momentum=1.0), Optimizer(0.1, momentum=1.0)),
    "nothing": (optax.set_to_zero(), Optimizer(0.0)),
    "coupled": (
        chain(optax.add_decayed_weights(1e-4), optax.sgd(0.1, 0.9)),
        Optimizer(0.1, momentum=0.9, weight_decay=1e-4),
    ),
    "decoupled": (
        chain(optax.trace(0.9), optax.add_decayed_weights(0.01), optax.scale_by_learning_rate(0.1)),
        Optimizer(0.1, momentum=0.9, weight_decay=0.01, decoupled=True),
    ),
    "clip, coupled, nesterov": (
        chain(optax.clip_by_global_norm(0.5), optax.add_decayed_weights(5e-4), optax.sgd(0.1, 0.9, nesterov=True)),
        Optimizer(0.1, momentum=0.9, nesterov=True, weight_decay=5e-4, clip=0.5),
    ),
    "average of gradients": (chain(optax.ema(0.75, debias=False), optax.scale(-2.0)), Optimizer(0.5, momentum=0.75)),
    "float32 buffer": (optax.sgd(0.1, 0.9, accumulator_dtype=jnp.float32), Optimizer(0.1, momentum=0.9)),
    "injected": (optax.inject_hyperparams(optax.sgd)(learning_rate=0.1, momentum=0.9), Optimizer(0.1, momentum=0.9)),
}
COUNTING = ("average of gradients", "injected")


@pytest.mark.parametrize("name", RECOGNISED)
def test_from_optax_recovers_the_numbers(name):
    tx, expected = RECOGNISED[name]
    found = from_optax(tx, 4 if name in COUNTING else None)
    if name == "no short decimal":  # a ratio of two responses with at most 8 roundings each
        assert abs(found.momentum - 1 / 7) <= gamma(17, 2.0**-53) / 7
        found = dataclasses.replace(found, momentum=1 / 7)
    assert found == expected
    assert jnp.asarray(1.0).dtype == jnp.float32  # float64 was for the probing only


SCHEDULES = {
    "warm-up from 0, then down to 0": np.minimum(np.arange(50) / 30, np.arange(49, -1, -1) / 100),
    "constant, then not": np.where(np.arange(50) < 45, 0.1, 0.01),
    "nothing for long": np.where(np.arange(50) < 45, 0.0, 0.3),
}


@pytest.mark.parametrize("eta", SCHEDULES.values(), ids=SCHEDULES.keys())
@pytest.mark.parametrize("nesterov", [False, True])
def test_from_optax_recovers_schedules(eta, nesterov):
    """Probe 3 leaves at most 43 roundings a step in eta, and Optimizer rounds it to float32."""
    T = len(eta)
    found = from_optax(optax.sgd(lambda t: jnp.asarray(eta)[t], momentum=0.9, nesterov=nesterov), T)
    assert (found.momentum, found.nesterov) == (0.9, nesterov)
    bound = (gamma(43 * T + 20, 2.0**-53) + gamma(1)) * np.abs(eta)
    assert (np.abs(np.asarray(found.eta, np.float64) - eta) <= bound).all()


@pytest.mark.parametrize("name", [n for n in RECOGNISED if n != "float32 buffer"])
def test_optax_itself_step_by_step_is_read_from_the_coefficients(name):
    """In float64, with the clip factors of the run. A term meets at most 16 roundings a step on either side, 8 more for
    numbers that a probe found, and in the clip factor those of a norm."""
    tx, T = RECOGNISED[name][0], 6
    optimizer = from_optax(tx, T if name in COUNTING else None)
    rng = np.random.default_rng(40)
    W0, gradients = rng.standard_normal((V, K)), rng.standard_normal((T, V, K))
    scale = None
    with jax.enable_x64(True):
        W = jnp.asarray(W0)
        state = tx.init(W)
        for g in gradients:
            updates, state = tx.update(jnp.asarray(g), state, W)
            W = optax.apply_updates(W, updates)
        if optimizer.clip is not None:
            scale = clip_factors(np.linalg.norm(gradients, axis=(1, 2)), optimizer.clip)
            assert (scale < 1).any()
        a, c = coefficients(optimizer, T, scale=scale)
        ours, W = combine(a, c, W0, gradients), np.asarray(W)
    size = sgd_loop(
        np.abs(W0),
        np.abs(gradients),
        [abs(float(optimizer.eta))] * T,
        mu=float(optimizer.momentum),
        nesterov=optimizer.nesterov,
        lam=float(optimizer.weight_decay),
        decoupled=optimizer.decoupled,
        less=operator.add,
    )
    assert (np.abs(ours - W) <= gamma((2 * PER_STEP + 8) * (T + 1) + V * K, 2.0**-53) * size).all()


ADAPTIVE = {
    "adam": optax.adam(1e-3),
    "adamw": optax.adamw(1e-3),
    "rmsprop": optax.rmsprop(1e-3),
    "adagrad": optax.adagrad(1e-3),
    "lion": optax.lion(1e-3),
    "sign": optax.sign_sgd(1e-3),
    "adafactor": optax.adafactor(1e-3),
    "elementwise clipping": chain(optax.clip(1.0), optax.sgd(0.1)),
}


@pytest.mark.parametrize("tx", ADAPTIVE.values(), ids=ADAPTIVE.keys())
def test_adaptive_optimisers_are_refused_and_pointed_to_hadamard(tx):
    with pytest.raises(ValueError, match=r"tx: got an optimiser that is adaptive .* use dualform.descent.hadamard"):
        from_optax(tx, 4)


UNLIKE = {
    "layerwise rates": (optax.lars(0.1), "leaves the closest candidate"),
    "clipping each weight": (chain(optax.clip_by_block_rms(1.0), optax.sgd(0.1)), "leaves the closest candidate"),
    "clipping after momentum": (
        chain(optax.trace(0.9), optax.clip_by_global_norm(1.0)),
        "leaves the closest candidate",
    ),
    "decay before clipping": (
        chain(optax.add_decayed_weights(0.01), optax.clip_by_global_norm(1.0), optax.sgd(0.1)),
        "leaves the closest candidate",
    ),
    "decay on a schedule": (
        chain(optax.add_decayed_weights(lambda t: 0.1 / (1 + t)), optax.sgd(0.1)),
        "leaves the closest candidate",
    ),
    "normalised": (chain(optax.normalize_by_update_norm(), optax.sgd(0.1)), "leaves the closest candidate"),
    "two momenta": (chain(optax.trace(0.9), optax.trace(0.5), optax.scale(-0.1)), "no momentum between 0 and 1"),
    "bfloat16 buffer": (optax.sgd(0.1, 0.9, accumulator_dtype=jnp.bfloat16), "state in less than float32"),
    "masked decay": (
        chain(
            optax.add_decayed_weights(0.01, mask=lambda tree: {**tree, "first": True, "second": False}), optax.sgd(0.1)
        ),
        "leaves the closest candidate",
    ),
    "needs the loss": (optax.polyak_sgd(), "does not run on weights and gradients alone"),
}


@pytest.mark.parametrize("tx, message", UNLIKE.values(), ids=UNLIKE.keys())
def test_what_no_optimizer_describes_is_refused(tx, message):
    with pytest.raises(ValueError, match=f"tx: got .*{message}"):
        from_optax(tx, 4)


# --- Adam (O10) -------------------------------------------------------------------------------------------------------


def adam_loop(W0, gradients, eta, b1, b2, eps, decay):
    """Adam and AdamW, entry by entry in float64; and the sum of the absolute values of all terms."""
    W, size = W0.astype(np.float64), np.abs(W0).astype(np.float64)
    for j, k in np.ndindex(W0.shape):
        m = v = absolute = 0.0
        for t, g in enumerate(gradients[:, j, k], start=1):
            m, v, absolute = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g, b1 * absolute + (1 - b1) * abs(g)
            rate = eta[t - 1] / (1 - b1**t) / (math.sqrt(v / (1 - b2**t)) + eps)
            W[j, k] = W[j, k] * (1 - eta[t - 1] * decay) - rate * m
            size[j, k] = size[j, k] * (1 + eta[t - 1] * decay) + rate * absolute
    return W, size


@pytest.mark.parametrize("b1, b2, decay", [(0.9, 0.999, 0.0), (0.5, 0.9, 0.125), (0.0, 0.9, 0.0)], ids=str)
@pytest.mark.parametrize("T", [0, 1, 6])
def test_hadamard_is_adam_exactly(b1, b2, decay, T):
    """Against the loop and optax, in float64. b^t has t roundings, so 1 - b^t has t b^t / (1 - b^t) <= t / (1 - b); v
    is a sum of positive terms with 4 roundings a step, its root halves them; m, C and the decay have 4 a step each."""
    rng = np.random.default_rng(50)
    W0, gradients, eta = rng.standard_normal((V, K)), rng.standard_normal((T, V, K)), rng.uniform(0.01, 0.1, T)
    tx = optax.adamw(lambda t: jnp.asarray(eta if T else [0.0])[t], b1=b1, b2=b2, eps=1e-8, weight_decay=decay)
    with jax.enable_x64(True):
        a, C = hadamard(gradients, eta, b1=b1, b2=b2, weight_decay=decay)
        assert C.shape == (T, V, K) and C.dtype == jnp.float64
        W, weight = np.asarray(a * W0 - jnp.sum(C * gradients, axis=0)), jnp.asarray(W0)
        state = tx.init(weight)
        for g in gradients:
            updates, state = tx.update(jnp.asarray(g), state, weight)
            weight = optax.apply_updates(weight, updates)
    expected, size = adam_loop(W0, gradients, eta, b1, b2, 1e-8, decay)
    one_side = (T + 1) * (1 / (1 - b1) + 1 / (1 - b2)) + 16 * (T + 1)
    assert (np.abs(W - expected) <= gamma(2 * one_side, 2.0**-53) * size).all()
    assert (np.abs(W - np.asarray(weight)) <= gamma(2 * one_side, 2.0**-53) * size).all()
    kept = math.prod(1 - e * decay for e in eta)
    assert abs(float(a) - kept) <= gamma(6 * T, 2.0**-53) * math.prod(1 + e * decay for e in eta)


def test_rates_to_coefficients_is_exact_on_integers():
    """(O10) with the rates given: run, coefficients and reading agree; b1 = 2 and decay 1 keep integers integers."""
    T = 3
    W0, D, eta = integers(51, (V, K), (T, V, K), (T,))
    g, X, q = integers(52, (T, V), (T, K), (K,))
    gradients = np.einsum("tv,tk->tvk", g, X)
    W, m = W0.copy(), np.zeros_like(W0)
    for t in range(T):
        m = 2 * m + (1 - 2) * gradients[t]
        W = (1 - eta[t]) * W - D[t] * m
    np.testing.assert_array_equal(descent.run_from_rates(W0, gradients, D, eta, b1=2, weight_decay=1), W)
    a, C = descent.hadamard_from_rates(D, eta, b1=2, weight_decay=1)
    np.testing.assert_array_equal(a * W0 - jnp.sum(C * gradients, axis=0), W)
    np.testing.assert_array_equal(descent.read_hadamard(a, C, W0, g, X, q), W @ q)


def test_hadamard_and_its_reading_in_float32_keep_the_dtype():
    g, X, q = (a.astype(jnp.bfloat16) for a in integers(53, (3, V), (3, K), (K,)))
    a, C = hadamard(jnp.einsum("tv,tk->tvk", g, X), 0.1)
    assert a.dtype == C.dtype == jnp.float32
    assert descent.read_hadamard(a, C, jnp.zeros((V, K), jnp.bfloat16), g, X, q).dtype == jnp.bfloat16


# --- rank (O11) -------------------------------------------------------------------------------------------------------


def largest_minor(W, order):
    """The largest determinant of `order` rows and columns, in exact fractions; 0 if the rank is below `order`."""

    def det(A):
        if len(A) == 1:
            return A[0][0]
        return sum((-1) ** j * A[0][j] * det([row[:j] + row[j + 1 :] for row in A[1:]]) for j in range(len(A)))

    W = fractions(W).tolist()
    rows, columns = range(len(W)), range(len(W[0]))
    return max(
        abs(det([[W[i][j] for j in chosen] for i in picked]))
        for picked in itertools.combinations(rows, order)
        for chosen in itertools.combinations(columns, order)
    )


def test_two_patterns_change_a_layer_by_rank_two_at_most_but_for_the_decay():
    W0 = np.float32([[1, 0, 0, 2], [0, 1, 0, 3], [0, 0, 1, 4]])
    g, X = integers(60, (2, 1, 3), (2, 1, 4), largest=3)
    optimizer = Optimizer(1.0, momentum=0.5, nesterov=True, weight_decay=0.25)
    a, _ = coefficients(optimizer, 2)
    W = np.asarray(run(optimizer, W0, descent.mean_gradients(g, X)))
    assert largest_minor(W - np.float32(a) * W0, 2) > 0
    assert largest_minor(W - np.float32(a) * W0, 3) == 0
    assert largest_minor(W - W0, 3) > 0  # refuted: "n steps change a weight by rank n at most", under decay


def test_one_pattern_changes_a_layer_by_full_rank_under_adam():
    """g = [1, 3], x = [1, 2], eps = 1: step g x' / (|g x'| + 1) = [[1/2, 2/3], [3/4, 6/7]] has determinant -1/14."""
    _, C = hadamard(np.float32([[[1, 2], [3, 6]]]), 1.0, eps=1.0)
    step = np.asarray(C[0], np.float64) * [[1, 2], [3, 6]]
    expected = np.array([[1 / 2, 2 / 3], [3 / 4, 6 / 7]])
    error = gamma(2 / (1 - 0.9) + 2 / (1 - 0.999) + 32) * expected
    assert (np.abs(step - expected) <= error).all()
    assert 2 * 2 * error.max() < 1 / 14  # so the computed determinant is not zero either


# --- precision and transformations ------------------------------------------------------------------------------------


def test_dtypes():
    W0, gradients = integers(70, (V, K), (2, V, K))
    for dtype in (jnp.bfloat16, jnp.float16, jnp.float32):
        low = jnp.asarray(W0, dtype), jnp.asarray(gradients, dtype)
        assert run(Optimizer(0.1), *low).dtype == dtype
        assert run(Optimizer(0.1), W0, low[1]).dtype == jnp.float32
        assert descent.mean_gradients(jnp.ones((2, 1, V), dtype), jnp.ones((2, 1, K), dtype)).dtype == dtype
        a, c = coefficients(Optimizer(jnp.asarray(0.1, dtype)), 2)
        assert a.dtype == c.dtype == jnp.float32
    with jax.enable_x64(True):
        assert coefficients(Optimizer(jnp.asarray(0.1)), 2)[1].dtype == jnp.float64
        assert run(Optimizer(0.1), W0.astype(np.float64), gradients).dtype == jnp.float64


def test_an_optimizer_is_a_pytree_with_static_flags():
    optimizer = Optimizer(0.5, momentum=0.5, nesterov=True, ema=0.25)
    leaves, tree = jax.tree.flatten(optimizer)
    assert leaves == [0.5, 0.5, 0.0, 0.0, 0.25]
    assert jax.tree.unflatten(tree, leaves) == optimizer
    assert jax.tree.structure(optimizer) != jax.tree.structure(dataclasses.replace(optimizer, nesterov=False))
    assert jax.tree_util.keystr(jax.tree_util.tree_flatten_with_path(optimizer)[0][0][0]) == ".eta"
    assert jax.tree.map(lambda _: None, optimizer).momentum is None  # no check stands in the way of a tree of anything


def test_jit_and_vmap_change_nothing():
    etas = jnp.array([[1.0, 2.0, 1.0], [2.0, 0.0, 4.0]])
    optimizers = Optimizer(etas[0], momentum=0.5, ema=0.5), Optimizer(etas[1], momentum=0.25, ema=0.5)
    batch = jax.tree.map(lambda *leaves: jnp.stack([jnp.asarray(leaf) for leaf in leaves]), *optimizers)
    a, c = jax.vmap(lambda o: coefficients(o, 3))(batch)
    for i, optimizer in enumerate(optimizers):
        expected = coefficients(optimizer, 3)
        np.testing.assert_array_equal(c[i], expected[1])
        np.testing.assert_array_equal(a[i], expected[0])
        np.testing.assert_array_equal(jax.jit(coefficients, static_argnums=1)(optimizer, 3)[1], expected[1])
    W0, gradients = integers(71, (2, V, K), (2, 3, V, K))
    ran = jax.vmap(run)(batch, W0, gradients)
    for i, optimizer in enumerate(optimizers):
        np.testing.assert_array_equal(ran[i], run(optimizer, W0[i], gradients[i]))


def test_derivatives_by_the_hyperparameters_are_exact():
    """T = 2 with coupled decay: c = [-e1 (1 - e2 l) - e2 mu, -e2], a = (1 - e1 l)(1 - e2 l) - e2 mu l, by hand."""
    e1, e2, mu, lam = 2.0, 3.0, 5.0, 7.0
    optimizer = Optimizer(jnp.array([e1, e2]), momentum=mu, weight_decay=lam)
    a, c = coefficients(optimizer, 2)
    assert float(a) == (1 - e1 * lam) * (1 - e2 * lam) - e2 * mu * lam
    assert c.tolist() == [-e1 * (1 - e2 * lam) - e2 * mu, -e2]
    by_a = jax.grad(lambda o: coefficients(o, 2)[0])(optimizer)
    assert by_a.eta.tolist() == [-lam * (1 - e2 * lam), -lam * (1 - e1 * lam) - mu * lam]
    assert float(by_a.momentum) == -e2 * lam
    assert float(by_a.weight_decay) == -e1 * (1 - e2 * lam) - e2 * (1 - e1 * lam) - e2 * mu
    by_c = jax.grad(lambda o: coefficients(o, 2)[1][0])(optimizer)
    assert by_c.eta.tolist() == [-(1 - e2 * lam), e1 * lam - mu]
    assert (float(by_c.momentum), float(by_c.weight_decay)) == (-e2, e1 * e2)


def test_coefficients_are_sums_and_products_only():
    """So that they can be evaluated in exact arithmetic: no division, no power, no comparison of data."""
    for nesterov, decoupled, ema in VARIANTS:

        def program(eta, momentum, dampening, decay, rho, nesterov=nesterov, decoupled=decoupled, ema=ema):
            optimizer = Optimizer(eta, momentum, nesterov, dampening, decay, decoupled, ema=rho if ema else None)
            return coefficients(optimizer, 3)

        text = str(jax.make_jaxpr(program)(jnp.ones(3), 0.5, 0.5, 0.5, 0.5))
        for primitive in (" div ", " pow ", " integer_pow", " exp ", " log ", " select_n", " lt ", " eq ", "while"):
            assert primitive not in text


def test_values_are_not_checked_under_jit():
    assert np.isnan(jax.jit(lambda eta: coefficients(Optimizer(eta), 1)[1])(np.nan)).all()


# --- bad input --------------------------------------------------------------------------------------------------------

W0, G = (jnp.asarray(a) for a in integers(80, (V, K), (4, V, K)))
MINI = jnp.ones((4, 2, V)), jnp.ones((4, 2, K))
SGD = Optimizer(0.1)

BAD = {
    "eta nan": (lambda: Optimizer(math.nan), r"eta: got nan, expected finite"),
    "eta inf in a schedule": (lambda: Optimizer(jnp.array([0.1, jnp.inf])), r"eta: got inf at \[1\], expected finite"),
    "eta rank": (lambda: Optimizer(jnp.ones((2, 2))), r"eta: got shape \(2, 2\), expected \[\] or \[T\]"),
    "eta integers": (lambda: Optimizer(jnp.arange(3)), r"eta: got dtype int32, expected a float dtype"),
    "eta complex": (lambda: Optimizer(1j), r"eta: got dtype complex64, expected a float dtype"),
    "eta None": (lambda: Optimizer(None), r"eta: got a NoneType, expected an array of floats"),
    "eta bool": (lambda: Optimizer(True), r"eta: got dtype bool, expected a float dtype"),
    "eta a function": (lambda: Optimizer(lambda t: 0.1), r"eta: got a function, expected an array of floats"),
    "momentum nan": (lambda: Optimizer(0.1, momentum=math.nan), r"momentum: got nan, expected finite"),
    "momentum schedule": (
        lambda: Optimizer(0.1, momentum=jnp.ones(3)),
        r"momentum: got shape \(3,\), expected a single",
    ),
    "dampening inf": (lambda: Optimizer(0.1, momentum=0.9, dampening=math.inf), r"dampening: got inf"),
    "weight_decay nan": (lambda: Optimizer(0.1, weight_decay=math.nan), r"weight_decay: got nan"),
    "ema inf": (lambda: Optimizer(0.1, ema=math.inf), r"ema: got inf"),
    "clip negative": (lambda: Optimizer(0.1, clip=-1.0), r"clip: got -1, expected a number above zero"),
    "clip zero": (lambda: Optimizer(0.1, clip=0), r"clip: got 0, expected a number above zero"),
    "clip nan": (lambda: Optimizer(0.1, clip=math.nan), r"clip: got nan, expected finite"),
    "nesterov not a flag": (lambda: Optimizer(0.1, nesterov=0.9), r"nesterov: got 0.9, expected True or False"),
    "decoupled not a flag": (lambda: Optimizer(0.1, decoupled=None), r"decoupled: got None, expected True or False"),
    "not an optimizer": (
        lambda: coefficients(0.1, 3),
        r"optimizer: got a float, expected a dualform.descent.Optimizer",
    ),
    "an optax transform": (lambda: coefficients(optax.sgd(0.1), 3), r"optimizer: got .*becomes one by from_optax"),
    "T negative": (lambda: coefficients(SGD, -1), r"T: got -1, expected an integer of at least 0"),
    "T float": (lambda: coefficients(SGD, 3.0), r"T: got 3.0, expected a Python integer"),
    "schedule length": (
        lambda: coefficients(Optimizer(jnp.ones(3)), 4),
        r"eta: got shape \(3,\), expected \[T\].* T = 4",
    ),
    "no scale": (lambda: coefficients(Optimizer(0.1, clip=1.0), 3), r"scale: got None, .*clip_factors\(norms"),
    "scale length": (
        lambda: coefficients(SGD, 4, scale=jnp.ones(3)),
        r"scale: got shape \(3,\), expected \[T\].* T = 4",
    ),
    "scale nan": (lambda: coefficients(SGD, 1, scale=jnp.array([jnp.nan])), r"scale: got nan at \[0\]"),
    "scale integers": (lambda: coefficients(SGD, 3, scale=jnp.arange(3)), r"scale: got dtype int32"),
    "run without scale": (lambda: run(Optimizer(0.1, clip=1.0), W0, G), r"scale: got None"),
    "run schedule": (lambda: run(Optimizer(jnp.ones(3)), W0, G), r"eta: got shape \(3,\), expected \[T\].* T = 4"),
    "run shapes": (lambda: run(SGD, W0.T, G), r"W0: got shape \(3, 2\), expected .* V = 2 as in gradients"),
    "run dtype": (lambda: run(SGD, W0, G.astype(int)), r"gradients: got dtype int32"),
    "run narrow weight": (lambda: run(SGD, W0.astype(jnp.float16), G), r"W0: got dtype float16, expected that of the"),
    "run nan": (lambda: run(SGD, W0, G.at[1, 0, 2].set(jnp.nan)), r"gradients: got nan at \[1, 0, 2\]"),
    "norms negative": (lambda: clip_factors(-jnp.ones(2), 1.0), r"norms: got -1, expected norms of at least 0"),
    "norms nan": (lambda: clip_factors(jnp.array([jnp.nan]), 1.0), r"norms: got nan at \[0\]"),
    "norms rank": (lambda: clip_factors(jnp.ones((2, 2)), 1.0), r"norms: got shape \(2, 2\), expected \[T\]"),
    "clip not positive": (lambda: clip_factors(jnp.ones(2), 0.0), r"clip: got 0, expected a number above zero"),
    "minibatches of two kinds": (lambda: descent.mean_gradients(MINI[0], [MINI[1][0]]), r"an array and a sequence"),
    "numbers of minibatches": (lambda: descent.mean_gradients([MINI[0][0]], []), r"got 1 and 0 minibatches"),
    "no ragged minibatches": (
        lambda: descent.mean_gradients([], []),
        r"got 0 and 0 minibatches, .* pass arrays \[0, B, V\]",
    ),
    "sizes of a minibatch": (
        lambda: descent.mean_gradients([MINI[0][0]], [MINI[1][0, :1]]),
        r"X\[0\]: got shape \(1, 3\), expected .* with B = 2 as in gradients\[0\]",
    ),
    "widths of minibatches": (
        lambda: descent.mean_gradients(list(MINI[0][:2]), [MINI[1][0], MINI[1][1, :, :2]]),
        r"X\[1\]: got shape \(2, 2\), expected .* K = 3 as in X\[0\]",
    ),
    "dtypes of minibatches": (
        lambda: descent.mean_gradients(MINI[0], MINI[1].astype(jnp.float16)),
        r"expected one dtype",
    ),
    "no features": (lambda: descent.mean_gradients(MINI[0], MINI[1][:, :, :0]), r"X: got shape .*at least one feature"),
    "read c": (lambda: read(1.0, jnp.ones(3), W0, *MINI, W0[0]), r"c: got shape \(3,\), expected \[T\].* T = 4"),
    "read a": (lambda: read(jnp.ones(2), jnp.ones(4), W0, *MINI, W0[0]), r"a: got shape \(2,\), expected a single"),
    "read W0": (
        lambda: read(1.0, jnp.ones(4), W0.T, *MINI, W0[0]),
        r"W0: got shape \(3, 2\), expected .* V = 2 as in gradients",
    ),
    "read x": (
        lambda: read(1.0, jnp.ones(4), W0, *MINI, W0[:, :2]),
        r"x: got shape \(2, 2\), expected \[K\] or \[M, K\]",
    ),
    "closed eta": (lambda: descent.heavy_ball(0.1, 0.9), r"eta: got shape \(\), expected \[T\]"),
    "closed momentum": (lambda: descent.nesterov(jnp.ones(2), math.nan), r"momentum: got nan"),
    "hadamard shape": (lambda: hadamard(G[0]), r"gradients: got shape \(2, 3\), expected \[T, V, K\]"),
    "hadamard eta": (lambda: hadamard(G, jnp.ones(3)), r"eta: got shape \(3,\), expected \[\] or \[T\].* T = 4"),
    "hadamard nan": (lambda: hadamard(G, b2=math.nan), r"b2: got nan"),
    "hadamard integers": (lambda: hadamard(G.astype(int)), r"gradients: got dtype int32"),
    "rates shape": (
        lambda: descent.run_from_rates(W0, G, G[:2]),
        r"rates: got shape \(2, 2, 3\), expected .* T = 4 as in",
    ),
    "read_hadamard": (
        lambda: descent.read_hadamard(1.0, G, W0, jnp.ones((4, V)), jnp.ones((3, K)), W0[0]),
        r"X: got shape \(3, 3\), expected .* T = 4 as in gradients",
    ),
    "from_optax number": (lambda: from_optax(0.1), r"tx: got a float that does not run .*pass one whose init"),
    "from_optax without T": (
        lambda: from_optax(optax.sgd(lambda t: 0.1)),
        r"T: got None, expected the number of steps",
    ),
    "from_optax bad T": (lambda: from_optax(optax.sgd(0.1), -1), r"T: got -1, expected an integer of at least 0"),
}


@pytest.mark.parametrize("call, message", BAD.values(), ids=BAD.keys())
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_arrays_closed_over_by_a_jitted_function_are_checked_too():
    """They are concrete inside the trace, where jnp would record operations instead of computing them."""
    norms = jnp.array([0.5, 2.0])
    assert jax.jit(lambda x: x * descent.clip_factors(norms, 1.0))(jnp.ones(2)).tolist() == [1.0, 0.5]
    negative = -norms
    with pytest.raises(ValueError, match="norms: got -2"):
        jax.jit(lambda x: x * descent.clip_factors(negative, 1.0))(jnp.ones(2))


@pytest.mark.parametrize("T", [None, 5])
def test_adam_is_refused_for_being_adaptive_not_for_counting(T):
    with pytest.raises(ValueError, match="hadamard"):
        from_optax(optax.adam(1e-3), T)
