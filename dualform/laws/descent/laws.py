"""The laws of chapter 2: what optimisers make of outer products."""

from dataclasses import replace
from itertools import product

import jax.numpy as jnp

from dualform import descent
from dualform.descent import Optimizer
from dualform.laws.descent import adam as elementwise
from dualform.laws.descent import definitions as runs
from dualform.laws.descent.definitions import B, K, T, V
from dualform.laws.descent.measured import trained_layers
from dualform.laws.law import BOUNDED, PROVED, REFUTED, Case, Law

RUN = ((V, K), (T, V, K), (T,), (), (), (), (T,), ())  # W0, gradients, eta, momentum, dampening, decay, scale, ema


def every_option():
    """All combinations of Nesterov, decoupled decay and averaging; momentum, dampening, decay, clip are variables."""
    cases = []
    for nesterov, decoupled, averaged in product((False, True), repeat=3):
        flags = dict(nesterov=nesterov, decoupled=decoupled, averaged=averaged)
        forms = {
            "literal loop": runs.literal_run(**flags),
            "run": runs.scanned_run(**flags),
            "coefficients": runs.by_coefficients(**flags),
        }
        name = ", ".join(k for k, v in flags.items() if v) or "heavy ball, coupled decay"
        cases.append(Case(name, forms, RUN, sample=runs.settings))
    exact = replace(cases[0], name="integers", sample=runs.integers, exact=True, gradient=False)
    return (*cases, exact)


def minibatches(name, outputs, inputs, steps):
    """A case of (O9): minibatches as one array `[T, B, ...]`, or as a tuple of T arrays `[B_t, ...]`."""
    shapes = ((V, K), outputs, inputs, (K,), (steps,), (), ())

    def sample(rng):
        def draw(shape):
            return tuple(map(draw, shape)) if isinstance(shape[0], tuple) else rng.standard_normal(shape)

        return (*map(draw, shapes[:4]), rng.uniform(0.01, 0.2, steps), rng.uniform(0.5, 0.95), rng.uniform(0, 0.02))

    forms = {
        "loop": runs.trained_loop,
        "trained layer": runs.trained_layer,
        "pattern by pattern": runs.pattern_loop,
        "read": runs.read_patterns,
    }
    return Case(name, forms, shapes, sample=sample)


def closed(formula, **fields):
    """A textbook sum beside `coefficients`: of eta [T] and the feature's own number."""

    def by_coefficients(eta, number):
        o = Optimizer(eta=eta, **{k: number if v is Ellipsis else v for k, v in fields.items()})
        return descent.coefficients(o, eta.shape[0])

    return {"sum": formula, "coefficients": by_coefficients}


def one_and(formula):
    return lambda eta, number: (jnp.ones(()), formula(eta, number))


def feature(name, formula, at=None, **fields):
    """One feature of the optimiser, its number drawn, or `at` a value where closed fractions divide by zero."""

    def sample(rng):
        return rng.uniform(0.01, 0.2, T), rng.uniform(0.5, 0.99) if at is None else at

    return Case(name, closed(formula, **fields), ((T,), ()), sample=sample)


def determinant(M):
    """Of a 3 x 3 matrix: zero if and only if its rank is below 3."""
    a, b, c = M
    return jnp.dot(a, jnp.cross(b, c))


def change(keep_decay: bool):
    """The determinant of W_T - a_T W_0 (or of W_T - W_0) after two patterns."""

    def f(W0, E, X, eta, momentum, weight_decay):
        o = Optimizer(eta=eta, momentum=momentum, weight_decay=weight_decay)
        gradients = E[:, :, None] * X[:, None, :]
        a, _ = descent.coefficients(o, 2)
        return determinant(descent.run(o, W0, gradients) - (a * W0 if keep_decay else W0))

    return f


def adam_minor(e, x):
    """A 2 x 2 minor of the change that one step of Adam on one pattern makes."""
    D = elementwise.adam_loop(jnp.zeros((2, 2)), (e[:, None] * x[None, :])[None], [0.1], 0.9, 0.999, 1e-3, 0.0)
    return D[0, 0] * D[1, 1] - D[0, 1] * D[1, 0]


def zero(*arguments):
    return jnp.zeros(())


RANK = ((3, 3), (2, 3), (2, 3), (2,), (), ())

LAWS = (
    Law(
        "O1", "a run of SGD is a sum of its gradients, each times a scalar", r"W_T = a_T W_0 + \sum_t c_t \bar g_t",
        every_option(),
        domain="schedules, momentum, Nesterov, dampening, decay, given clip factors, averaging, together",
    ),
    Law(
        "O2", "the scalars are a row of products of small matrices", r"c_t = r_t u_t,\ r_{t-1} = r_t M_t",
        (Case("heavy ball with coupled decay", {"forward": runs.forward_products, "coefficients": runs.backward_rows},
              ((T,), (), (), (), (T,)), sample=runs.state_settings),),
    ),
    Law("O3", "SGD with any schedule", r"c_i = -\eta_i",
        (Case("schedule", {"sum": lambda eta: (jnp.ones(()), -eta),
                           "coefficients": lambda eta: descent.coefficients(Optimizer(eta=eta), T)}, ((T,),)),)),
    Law("O4", "heavy ball: old gradients count more", r"c_i = -\sum_{t \ge i} \eta_t \mu^{t-i}",
        (feature("momentum", one_and(descent.heavy_ball), momentum=...),
         feature("momentum 1", one_and(descent.heavy_ball), at=1.0, momentum=...))),
    Law("O5", "Nesterov", r"c_i = -\eta_i - \mu \sum_{t \ge i} \eta_t \mu^{t-i}",
        (feature("Nesterov", one_and(descent.nesterov), momentum=..., nesterov=True),)),
    Law("O6", "weight decay without momentum, coupled or decoupled, forgets old gradients",
        r"c_i = -\eta_i \prod_{t>i} (1 - \eta_t \lambda)",
        (feature("coupled", descent.decay, weight_decay=...),
         feature("decoupled", descent.decay, weight_decay=..., decoupled=True))),
    Law("O7", "an average of the weights", r"c_i = -\eta_i \sum_{t \ge i} (1 - \rho) \rho^{T-t}",
        (feature("average", one_and(descent.averaged), ema=...),)),
    Law(
        "O8", "clipping is linear once its factors are recorded", r"\bar g_t \to s_t \bar g_t",
        (Case("clip at norm 1", {"clipping loop": runs.clipped_loop, "recorded factors": runs.clipped_dual},
              ((V, K), (T, V, K), ()), sample=runs.clip_settings),),
        (BOUNDED,), domain="norms away from zero",
    ),
    Law(
        "O9", "a trained layer is attention over every pattern of every minibatch",
        r"W_T q = a_T W_0 q + \sum_{t,i} \frac{c_t}{B_t} g_{ti} (x_{ti} \cdot q)",
        (minibatches("minibatches", (T, B, V), (T, B, K), T),
         minibatches("minibatches of 2, 3 and 1", ((2, V), (3, V), (1, V)), ((2, K), (3, K), (1, K)), 3)),
        source="Irie et al. 2022; claim C39",
    ),
    Law(
        "O9.digits", "so are the layers of a network that was trained on handwritten digits",
        r"W_T q = a_T W_0 q + \sum_{t,i} \frac{c_t}{B_t} g_{ti} (x_{ti} \cdot q)", (), (BOUNDED,),
        domain="unseen digits", observe=trained_layers, source="claim C39",
    ),
    Law(
        "O9.momentum", "\"the values are minus the learning rate times the gradients\" for a run with momentum",
        r"c_i = -\eta",
        (Case("heavy ball", {
            "as claimed": lambda W0, g, eta: W0 - eta * jnp.sum(g, axis=0),
            "momentum 0.9": lambda W0, g, eta: descent.run(Optimizer(eta=eta, momentum=0.9), W0, g),
        }, ((1, 1), (3, 1, 1), ())),),
        (REFUTED,), source="reading Irie et al.'s runs, which use momentum 0.9, without it",
    ),
    Law(
        "O10", "Adam is exact elementwise: a matrix in place of the scalar",
        r"y_j = a_T (W_0 q)_j - \sum_i g_{ij} x_i^\top \mathrm{diag}(C_i[j,:]) q",
        (Case("given rates", {"loop": elementwise.rates_loop, "run_from_rates": elementwise.rates_run,
                              "Hadamard": elementwise.rates_dual},
              ((V, K), (T, V, K), (T, V, K), (T,), (), ()), sample=elementwise.rates_settings),
         Case("read at a query", {"loop": elementwise.patterns_loop, "Hadamard": elementwise.patterns_read},
              ((V, K), (T, V), (T, K), (T, V, K), (), (K,)), sample=elementwise.patterns_settings),
         Case("Adam itself", {"Adam": elementwise.adam_loop, "Hadamard": elementwise.adam_dual},
              ((V, K), (3, V, K), (3,), (), (), (), ()), sample=elementwise.adam_settings)),
        source="square roots enter the proof as an unknown function",
    ),
    Law(
        "O11", "n patterns change the weight in at most n dimensions, decay of W_0 apart",
        r"\mathrm{rank}(W_T - a_T W_0) \le n",
        (Case("two patterns, 3 x 3", {"determinant": change(True), "zero": zero}, RANK, gradient=False),),
        (PROVED,), source="claim C45",
    ),
    Law(
        "O11.decay", "\"n steps change the weight in at most n dimensions\" under weight decay",
        r"\mathrm{rank}(W_T - W_0) \le n",
        (Case("two patterns, 3 x 3", {"determinant": change(False), "zero": zero}, RANK),),
        (REFUTED,), source="claim C45",
    ),
    Law(
        "O11.adam", "\"n steps change the weight in at most n dimensions\" under Adam",
        r"\mathrm{rank}(W_T - W_0) \le n",
        (Case("one pattern, 2 x 2", {"minor": adam_minor, "zero": zero}, ((2,), (2,))),),
        (REFUTED,), source="claim C45",
    ),
)  # fmt: skip
