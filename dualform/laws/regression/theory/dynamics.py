"""The laws of the theory of regression in context, second part: gradient flow, rates, shifts."""

import jax.numpy as jnp

from dualform import regression
from dualform.laws.law import REFUTED, Law
from dualform.laws.regression.theory import limits, measured, paths
from dualform.laws.regression.theory import values as figures
from dualform.laws.regression.theory.cases import RISK, ROOT, ZHANG, case, experiment

FLOW = (
    Law(
        "RK16", "gradient flow of U and v", r"\dot U = -v \nabla L^\top,\ \dot v = -\mathrm{tr}(\nabla L\, U)",
        (case("any prior", ("autodiff", paths.flow_by_autodiff), ("descent_of", paths.flow_field),
              (ROOT, (), ROOT, ROOT, (), ())),
         case("tasks N(0, I)", ("published", paths.published_flow), ("descent_of", paths.own_flow),
              (ROOT, (), ROOT, ()))),
        source=f"{ZHANG}, lemma 5.2",
    ),
    Law(
        "RK16.zeros", "blocks that start at zero stay there", r"w_{21} = 0,\ u_{12} = 0",
        (case("a prompt and its mirror", ("zero", paths.no_cross_gradients), ("autodiff of lsa", paths.cross_gradients),
              (ROOT, (), (2, 2), (2,), (2,), (2,))),),
        domain="any prompt, and the same with labels turned round", source=ZHANG,
    ),
    Law(
        "RK17", "both matrices grow alike", r"\tfrac{d}{dt} (|W_{KQ}|^2 - |W_{PV}|^2) = 0",
        (case("all entries", ("keys and queries", paths.of_KQ), ("values", paths.of_PV),
              ((3, 3), (3, 3), (2, 2), (2,), (2,), (2,))),),
        domain="any prompt", source=ZHANG,
    ),
    Law(
        "RK18", "wherever the product is the limit, the flow rests", r"v U^\top = A^*",
        (case("any prior", ("zero", paths.rest), ("descent_of", paths.at_rest),
              ((), ROOT, ROOT, (), ())),), source=ZHANG,
    ),
    Law(
        "RK18.arrives", "gradient flow arrives at the limit, with matrices of equal norm", r"A(t) \to A^*",
        **experiment(measured.reaches_limit, flow=regression.flow, limit=regression.limit,
                     trained_construction=regression.trained_construction),
        domain="random covariances, one prior that does not commute", source=f"{ZHANG}, theorem 4.1; claim C23",
    ),
    Law(
        "RK19", "zero is a saddle", r"(T, 0) \mapsto |T|^2 (T, 0)",
        (case("any prior", ("twice the derivative", paths.linearised), ("|T|^2 T", paths.growth),
              (ROOT, ROOT, (), ())),),
        source=ZHANG,
    ),
    Law(
        "RK20", "for standard inputs the flow is a logistic curve", r"\dot z = 2 \sqrt d s^2 z - 2 d s c z^2",
        (case("four inputs", ("formulas", paths.isotropic_formulas), ("descent_of", paths.isotropic_flow),
              ((), (), (), ())),
         case("the curve solves it", ("field", paths.logistic_field), ("derivative", paths.speed_of_curve),
              ((), (), (), ())),
         case("its start", ("z0", lambda z0, end, rate: z0), ("at time 0", paths.start_of_curve), ((), (), ()))),
        source="Saxe et al. 2014",
    ),
    Law(
        "RK20.path", "d = 5, N = 20, sigma = 0.05: the integrated path is the curve",
        r"|p(t) - \mathrm{formula}| < 10^{-7}",
        **experiment(measured.follows_curve, flow=regression.flow, logistic_flow=regression.logistic_flow),
    ),
    Law(
        "RK21", "half of the limit is reached at time 1.4607", r"t_{1/2} = \ln(z_\infty/z_0 - 1) / (2 \sqrt d s^2)",
        **experiment(measured.half_way, flow=regression.flow, half_time=regression.half_time),
    ),
)  # fmt: skip

RATES = (
    Law(
        "RK22", "the risk is a floor and a multiple of 1/M", r"R(N, M) = \mathrm{floor} + \mathrm{slope} / M",
        (case("three eigenvalues", ("of_step", figures.at_limit), ("rates_of", figures.with_rates), ((3,), (), ())),),
        source="claim C28",
    ),
    Law(
        "RK22.square", "the floor falls like the square of 1/N",
        r"\log_2 \mathrm{floor}(2000) / \mathrm{floor}(1000) = -1.9914",
        **experiment(measured.rates_table, risk=regression.risk, risk_rates=regression.risk_rates),
        source="claim C28",
    ),
    Law(
        "RK22.infinite", '"the prediction tends to w.x as the test prompt grows"', r"R(N, \infty) = 0",
        (case("one input", ("as claimed", limits.zero),
              ("floor", lambda s, over_N: figures.at_limit(s[None], over_N, 0 * over_N)),
              ((), ())),),
        (REFUTED,), source="claim C24 for training prompts of fixed length",
    ),
    Law(
        "RK23", "the published bounds hold", r"R \le B",
        **experiment(measured.below_bounds, risk=regression.risk, risk_bounds=regression.risk_bounds,
                     examples_needed=regression.examples_needed),
        source=f"{ZHANG}, theorem 4.2, corollary 4.3",
    ),
    Law(
        "RK24", "what the bounds give away is a sum of terms that are not negative", r"B - R \ge 0",
        (case("first bound", ("difference", figures.slack), ("terms", figures.slack_terms), ((3,), (), ())),
         case("second bound", ("difference", figures.bounds_apart), ("terms", figures.apart_terms), ((3,), (), ()))),
        domain="positive eigenvalues", source=ZHANG,
    ),
)  # fmt: skip

SHIFTS = (
    Law(
        "RK26", "inputs times c: predictions times the cube, for least squares times c", r"\hat y(cX, c x_q)",
        (case("one layer", ("scaled inputs", paths.scaled_prediction), ("cubed", paths.cubed_prediction),
              (ROOT, (3, 2), (2,), (2,), ())),
         case("least squares", ("scaled inputs", paths.scaled_least_squares), ("scaled", paths.least_squares_scaled),
              ((3, 2), (2,), (2,), ()))),
        source=f"{ZHANG}, section 4.2; claim C27",
    ),
    Law(
        "RK26.shift", '"a shift of the inputs is tolerated"', r"\hat y(cX, c x_q) = c\, \hat y(X, x_q)",
        (case("one input", ("as claimed", lambda A, X, w, q, c: c * limits.one_step(A, X, X @ w, q)),
              ("scaled inputs", paths.scaled_prediction), ((1, 1), (1, 1), (1,), (1,), ())),),
        (REFUTED,), source="claim C27, as of least squares",
    ),
    Law(
        "RK26.value", "predictions on inputs times 1.5 are 2.25/1.3 of what they should be",
        r"E[\hat y y]/E[y^2] = c^2/g",
        **experiment(measured.shrinkage, **RISK), source="claim C27",
    ),
    Law(
        "RK26.tasks", "tasks c times as large: the risk times the square", r"R(c w) = c^2 R(w)",
        (case("in the plane", ("stronger tasks", paths.stronger_tasks), ("squared times", paths.squared_times),
              (ROOT, ROOT, ROOT, ROOT, ())),),
        domain="no noise", source="claim C27",
    ),
    Law(
        "RK27", '"a query orthogonal to the context gets the prediction zero"', r"x_q \perp x_i \Rightarrow \hat y = 0",
        (case("one example in the plane", ("as claimed", lambda root, over_N, x, w: jnp.zeros(())),
              ("trained", paths.orthogonal_of_trained), (ROOT, (), (2,), (2,))),),
        (REFUTED,), source=f"claim C30, {ZHANG}, section 4.2",
    ),
    Law(
        "RK27.value", "the prediction is -2.67 for an orthogonal query", r"\Lambda = \mathrm{diag}(2, 0.2),\ N = 20",
        **experiment(measured.orthogonal, limit=regression.limit), source="claim C30",
    ),
    Law(
        "RK27.isotropic", "it is zero where A is a multiple of the identity", r"A = \alpha I",
        (case("two examples in space", ("zero", limits.zero), ("orthogonal query", paths.orthogonal_in_space),
              ((), (2, 3), (2,))),),
        source="claim C30",
    ),
    Law(
        "RK27.only", "and only there", r"A_{ij} = 0,\ A_{ii} = A_{jj}",
        (case("in space", ("entries", paths.entries), ("orthogonal queries", paths.probes), ((3, 3),)),),
        domain="predictions for orthogonal queries give every entry off the diagonal and every difference on it",
        source="claim C30",
    ),
)  # fmt: skip
