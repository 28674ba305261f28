"""The laws of the theory of regression in context: limits, risks, rates and gradient flow of one layer.

What is rational is proved, expectations included: they are finite sums (RK25). The tables' numbers are measured on
drawn prompts.
"""

from dataclasses import replace

import jax
import numpy as np

from dualform import regression
from dualform.laws.law import PROVED, REFUTED, Law
from dualform.laws.regression.theory import limits, measured
from dualform.laws.regression.theory import moments as averages
from dualform.laws.regression.theory import values as figures
from dualform.laws.regression.theory.cases import MAHANKALI, OSWALD, RISK, ROOT, ZHANG, case, experiment
from dualform.laws.regression.theory.dynamics import FLOW, RATES, SHIFTS
from dualform.laws.regression.theory.measured import ISOTROPIC, SKEWED

MOMENTS = (
    Law(
        "RK25", "a law of five points has the moments of the normal one up to the fifth", r"E[z^k],\ k \le 5",
        (case("polynomials of degree five", ("normal", averages.moments_of_normal),
              ("five points", averages.moments_by_points),
              ((6,),)),),
        source="a quadrature with rational nodes",
    ),
    Law(
        "RK1", "what a normal context's second moments do to a matrix", r"E[S B S]",
        tuple(case(name, ("sum over contexts", averages.average_sandwich(M)), ("sandwiched", averages.sandwich(M)),
        (shape, shape))
              for name, M, shape in (("two inputs in the plane", 2, ROOT), ("one input in space", 1, (3, 3)),
                                     ("three inputs on a line", 3, (1, 1)))),
        source="Isserlis 1918",
    ),
    Law(
        "RK2", "the same for independent coordinates of any fourth moment", r"E[S B S],\ m_4 \ne 3 s^2",
        (case("two inputs in the plane", ("sum over contexts", averages.average_coordinates),
              ("sandwiched", averages.coordinates),
              ((), (), ROOT)),),
    ),
    Law(
        "RK3", "second moments of the mean of labelled inputs", r"C = E[m m^\top],\ E[m w^\top] = \Lambda \Psi",
        (case("two examples in the plane", ("sum over prompts", averages.average_of_mean),
              ("of_mean", averages.of_mean),
              (ROOT, ROOT, ())),),
    ),
)  # fmt: skip

OPTIMUM = (
    Law(
        "RK4", "the prediction is one step of gradient descent, preconditioned", r"x_q \cdot (0 - A \nabla \ell(0))",
        (case("by hand", ("gradient descent", limits.by_gradient), ("one step", limits.one_step),
              (ROOT, (3, 2), (3,), (2,))),
         case("by the layer", ("gradient descent", limits.by_gradient), ("lsa", limits.by_layer),
              (ROOT, (3, 2), (3,), (2,)))),
        source=f"{OSWALD}; {ZHANG}",
    ),
    Law(
        "RK4.ols", '"the trained layer computes least squares"', r"\hat y = x_q^\top (X^\top X)^{-1} X^\top y",
        (case("any labels", ("as claimed", lambda root, over_N, X, y, q: limits.least_squares(X, y, q)),
              ("trained", limits.trained_prediction), ((1, 1), (), (2, 1), (2,), (1,))),),
        (REFUTED,), source="claim C25: it is one preconditioned step",
    ),
    Law(
        "RK4.noiseless", "least squares makes no error where one step does", r"R_{OLS} = 0 < R(N, N)",
        **experiment(measured.not_least_squares, risk=regression.risk), source="claim C25",
    ),
    Law(
        "RK5", "the limit of training", r"A^* = \Psi \Gamma^{-1}",
        (case("any prior", ("as an inverse", limits.as_inverse), ("minimiser", limits.limit), (ROOT, ROOT, (), ())),
         case("tasks N(0, I)", ("published", limits.published_limit), ("minimiser", limits.trained), (ROOT, ()))),
        source=f"{ZHANG}, theorem 4.1; Ahn et al. 2023, theorem 1",
    ),
    Law(
        "RK6", "the gradient of the loss in A", r"\nabla L(A) = \Lambda A C - \Lambda \Psi \Lambda",
        (case("any prior", ("autodiff", jax.grad(limits.loss)), ("formula", limits.gradient),
              (ROOT, ROOT, ROOT, (), ())),
         case("tasks N(0, I)", ("autodiff", limits.published_descent), ("published", limits.published_gradient),
              (ROOT, ROOT, ()))),
        source=ZHANG,
    ),
    Law(
        "RK6.vanishes", "the gradient vanishes at the limit", r"\nabla L(A^*) = 0",
        (case("any prior", ("zero", limits.nothing), ("at the limit", limits.gradient_at(limits.limit)),
              (ROOT, ROOT, (), ())),),
        source=f"{ZHANG}; claim C23",
    ),
    Law(
        "RK6.minimum", "the limit is the global minimum",
        r"2L(A) - 2L(A^*) = \mathrm{tr}(\Lambda (A - A^*) C (A - A^*)^\top)",
        (case("any prior", ("difference", limits.gap), ("square", limits.quadratic), (ROOT, ROOT, ROOT, (), ())),),
        domain="the right side is above zero for positive definite covariances", source="claim C23",
    ),
    Law(
        "RK6.commute", "the limit of the library is stationary for covariances that do not commute",
        r"\nabla L(A^*) = 0",
        **experiment(measured.stationary, limit=regression.limit, risk=regression.risk), source="claim C23",
    ),
    Law(
        "RK7", "inputs and tasks that match have a known step", r"\eta = 1 / (N + d + 1 + \sigma^2)",
        (case("in the plane", ("whitened", limits.whitened), ("minimiser", limits.matched), (ROOT, (), ())),
         case("in space", ("whitened", limits.whitened), ("minimiser", limits.matched), ((3, 3), (), ()))),
        domain="tasks N(0, Λ⁻¹)", source=MAHANKALI,
    ),
    Law(
        "RK7.value", "the step is 0.038095 for 20 examples of 5 inputs with noise 1/2, within 1 %", r"1 / 26.25",
        **experiment(measured.best_eta("linear", 0.5, 1.0, 5, 20, 0.038095),
                     step=lambda N, d: regression.step_size(N, d, 0.5)), source=MAHANKALI,
    ),
    Law(
        "RK8", "the best multiple of the identity", r"p^* = E|g|^2 / (s E|m|^2)",
        (case("mean of two examples", ("sum over prompts", limits.squared_mean),
              ("formula", limits.squared_mean_formula),
              ((2,), (3, 2), (3,))),
         case("stationary", ("zero", limits.zero), ("slope at best", limits.slope_at_best), ((), (), (), ())),
         case("coordinates", ("s over q", limits.coordinate_step), ("step", limits.coordinate_best), ((), (), (), ())),
         case("relu", ("N over N + 2d + 3", limits.relu_step), ("step", limits.relu_best), ((), ()))),
        source=MAHANKALI,
    ),
    Law(
        "RK8.relu", "for labels by a relu the step is 0.030303, 20 examples of 5 inputs, within 1 %", r"1 / 33",
        **experiment(measured.best_eta("relu", 0.0, 0.5**0.5, 5, 20, 1 / 33),
                     step=lambda N, d: regression.best_step(N, 1.0, d / 2, d * (d + 2)) / N), source=MAHANKALI,
    ),
    Law(
        "RK9", "the limit for random covariances is stationary", r"E_\Lambda[\nabla L_\Lambda(A^*)] = 0",
        (case("two values in each of three coordinates", ("zero", limits.nothing),
              ("at the limit", limits.random_gradient),
              ((3,), (3,), (3,), (), ())),),
        domain="diagonal covariances with independent entries", source=f"{ZHANG}, theorem 4.5",
    ),
    Law(
        "RK9.long", '"trained on random covariances, the layer predicts w.x on long prompts"',
        r"A^* \Lambda\, w \to w,\ N, M \to \infty",
        (case("one input of any variance", ("as claimed", lambda variance, low, high, p, w: w),
              ("the limit", limits.unlimited_random), ((), (1,), (1,), (1,), ())),),
        (REFUTED,), source="claim C29: carrying theorem 4.1 over to random covariances",
    ),
    Law(
        "RK9.exponential", "variances Exp(1), 5 inputs, 20 examples: A = 0.285714 I, risk 2.142857",
        r"R / d = 3/7 > 1/3",
        **experiment(measured.random_covariances, random_covariance_limit=regression.random_covariance_limit,
                     random_covariance_risk=regression.random_covariance_risk,
                     exponential_moments=regression.exponential_moments),
        source=f"{ZHANG}, theorem 4.5; claim C29",
    ),
)  # fmt: skip

RISKS = (
    Law(
        "RK10", "the risk of one step, exactly", r"R(A; \Lambda, \Psi, \sigma, \Lambda_q, M)",
        (case("two examples in the plane", ("sum over prompts", averages.average_risk(2)),
              ("of_step", averages.step_risk(2)),
              (ROOT, ROOT, ROOT, (), ROOT)),
         case("one example in space", ("sum over prompts", averages.average_risk(1)),
              ("of_step", averages.step_risk(1)),
              ((3, 3), (3, 3), (3, 3), (), (3, 3))),
         case("through the layer", ("sum over prompts", averages.layer_risk), ("of_step", averages.risk_of_layer),
              (ROOT, (), ROOT, ROOT, ROOT))),
        domain="all A and covariances, commuting or not",
    ),
    Law(
        "RK10.transfer", "the risk for training on one law and test on another, none of which commute", r"R",
        **experiment(measured.anything, **RISK),
    ),
    Law(
        "RK10.noise", "label noise 0.7: risk 1.22586 within 1 %",
        r"\Lambda = \mathrm{diag}(2, 1, 1/2, 1/4), N = M = 10",
        **experiment(measured.against_formula(SKEWED, 10, {10: (1.22586, 0.01, 100_000)}, noise=0.7), **RISK),
    ),
    Law(
        "RK10.scaled", "inputs scaled by 1.5: risk 11.72533 within 1.5 %", r"\Lambda \to c^2 \Lambda",
        **experiment(measured.against_formula(
            SKEWED, 10, {10: (11.72533, 0.015, 150_000)}, control={"scale": 1.45}, scale=1.5), **RISK),
        source="claim C27",
    ),
    Law(
        "RK10.queries", "queries of covariance diag(0.1, 0.1, 3, 3): risk 3.27907 within 1 %", r"\Lambda_q \ne \Lambda",
        **experiment(measured.against_formula(
            SKEWED, 10, {10: (3.27907, 0.01, 100_000)}, control={"query_cov": None},
            query_cov=np.diag([0.1, 0.1, 3.0, 3.0])), **RISK), source="claim C27",
    ),
    Law(
        "RK10.long", "in the limit of long prompts nothing is left, for queries of any covariance",
        r"R(\infty, \infty) = 0",
        (case("in the plane", ("zero", limits.zero), ("of_step", figures.unlimited), (ROOT, ROOT, ROOT)),),
        source="claims C24, C27",
    ),
    Law(
        "RK11", "the risk by eigenvalues, and the least loss", r"R(N, M),\ R(N, N)",
        (case("three eigenvalues", ("by eigenvalues", figures.by_eigenvalues), ("of_step", figures.at_limit),
              ((3,), (), ())),
         case("as many examples as in training", ("trace", figures.trained_loss_formula),
              ("of_step", figures.trained_loss),
              (ROOT, ()))),
        source=f"{ZHANG}, theorem 4.2",
    ),
    Law(
        "RK11.four", "covariance diag(2, 1, 1/2, 1/4): 1.15221 within 0.5 %, 0.59080 for 40 examples within 1 %",
        r"R(10, 10), R(10, 40)",
        **experiment(measured.against_formula(
            SKEWED, 10, {10: (1.15221, 0.005, 300_000), 40: (0.59080, 0.01, 50_000)}), **RISK),
    ),
    Law(
        "RK11.six", "covariance diag(4, 1, 1, 0.1, 0.1, 0.1): 1.58307 within 1 %", r"R(30, 15)",
        **experiment(measured.against_formula(
            np.diag([4.0, 1, 1, 0.1, 0.1, 0.1]), 30, {15: (1.58307, 0.01, 120_000)}), **RISK),
    ),
    Law(
        "RK12", "the risk for standard inputs", r"R(N, N) = d(d+1)/(N+d+1)",
        tuple(case(name, ("formula", figures.isotropic_formula(d)), ("of_step", figures.isotropic(d)), ((), ()))
              for name, d in (("on a line", 1), ("in space", 3))),
        source="claim C28",
    ),
    Law(
        "RK12.value", "20 examples of 5 inputs: 1.15385 within 0.5 %, 3.81657 for 5 and 0.56213 for 60 within 1 %",
        r"R(20, 20), R(20, 5), R(20, 60)",
        **experiment(measured.against_formula(ISOTROPIC, 20, {
            20: (1.15385, 0.005, 220_000), 5: (3.81657, 0.01, 200_000), 60: (0.56213, 0.01, 60_000)}), **RISK),
    ),
    Law(
        "RK13", "labels of any law: best linear predictor, bias and variance", r"E(\hat y - y_q)^2",
        (case("three pairs, two examples", ("sum over prompts", figures.average_labels),
              ("of_labels", figures.label_risk),
              (ROOT, (2,), (3, 2), (3,))),
         case("unlimited prompts", ("best linear predictor", figures.best_linear),
              ("of_labels", figures.unlimited_labels),
              ((2,), (3, 2), (3,)))),
        domain="every law of three pairs (x, y), of any weights", source=f"{ZHANG}, theorem 4.2; claim C26",
    ),
    Law(
        "RK13.cubes", "labels with a square and a cube: risk 10.174", r"y = w \cdot x + 0.7 x_1^2 + 0.3 x_2^3",
        **experiment(measured.nonlinear, label_risk=regression.label_risk, label_moments=regression.label_moments),
        source="claim C26",
    ),
    Law(
        "RK14", "the risk where each prompt has a covariance of its own", r"E_\Lambda R",
        (case("two values in each of three coordinates", ("mean of risks", limits.average_over_covariances),
              ("of_random", limits.random_risk), ((3, 3), (3,), (3,), (3,), (), ())),),
        domain="diagonal covariances with independent entries",
    ),
    Law(
        "RK15", "the risk for independent coordinates of any fourth moment", r"R = d s (1 - 2 p s + p^2 q)",
        (case("two examples in the plane", ("sum over prompts", averages.average_coordinate_risk),
              ("of_coordinates", averages.coordinate_risk), ((), (), (), ())),),
    ),
    Law(
        "RK15.uniform", "ten uniform inputs: losses 0.206229 on (-1/2, 1/2), 0.824916 on (-1, 1)",
        r"p^* = 6.0606,\ 1.51515",
        **experiment(measured.uniform, uniform_risk=regression.uniform_risk, uniform_limit=regression.uniform_limit),
        source=OSWALD,
    ),
)  # fmt: skip

QUICK = ("RK1", "RK10", "RK13", "RK27")
"""Labels whose proofs a quick run has a part of."""


def _in_short(law: Law) -> Law:
    """Without the stamps that identities outside `QUICK` leave out of a quick run, and without the bounded one."""
    if not law.cases:
        return law
    stamps = law.stamps if REFUTED in law.stamps else (PROVED,)
    return replace(law, stamps=stamps, full_only=() if law.label in QUICK else stamps)


LAWS = tuple(_in_short(law) for law in (*MOMENTS, *OPTIMUM, *RISKS, *FLOW, *RATES, *SHIFTS))
