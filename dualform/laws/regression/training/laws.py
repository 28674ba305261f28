"""Chapter 9, training and comparing layers of linear self-attention: (TR1) to (TR14)."""

from dataclasses import replace

import jax.numpy as jnp

from dualform.laws.law import BOUNDED, MEASURED, PROVED, REFUTED, Case, Experiment, Law
from dualform.laws.regression.training import definitions as t
from dualform.laws.regression.training import measured as training_runs
from dualform.regression import batches, comparison, model, published, training

D = (3, 3)
OSWALD = "von Oswald et al. 2023"


def batched(name, L, H, d, N, Q, B, *, bounded=True, **options):
    return Case(
        name, {"one by one": t.prompt_by_prompt(**options), "predictions": t.in_batches(**options)},
        t.shapes(L, H, d, N, Q, B), t.settings(L, H, d, N, Q, B), gradient=bounded, bounded=bounded,
    )  # fmt: skip


PROGRAMS = (
    Law(
        "TR1", "the program of a training, prompts along the last axis, predicts what the layers do",
        r"\hat y = \pm\Bigl([e_q] + \frac1\rho \sum_h \sum_i (p_h \cdot e_i)(e_i \cdot u_h)\Bigr)",
        (batched("one layer", 1, 1, 2, 2, 1, 2),
         batched("two layers, two heads", 2, 2, 2, 2, 1, 2, bounded=False),
         batched("a layer twice, two queries", 1, 1, 2, 2, 2, 1, bounded=False, repeat=2),
         batched("reading the query, sign +", 1, 1, 2, 2, 1, 1, bounded=False, include_query=True, sign=1.0)),
    ),
    Law(
        "TR2", "keys, queries, values and a projection are two matrices", r"W_{PV} = P V, \quad W_{KQ} = K^\top Q",
        (Case("one layer", {"score by score": t.four_by_hand, "layers": t.four_merged()}, (D, D, D, D, (3, 3))),),
        full_only=(BOUNDED,), source=OSWALD,
    ),
    Law(
        "TR2.layers", "layers of one matrix are preconditioned steps, layers of two scalars are GD++",
        r"W_{PV} = \mathrm{diag}(-\gamma, \dots, -\gamma, -\eta), \quad W_{KQ} = \mathrm{diag}(1, \dots, 1, 0)",
        (Case("one matrix", {"gd_construction": t.descent_layers, "layers": t.step_layers}, ((2, 2, 2),),
              gradient=False, bounded=False),
         Case("two scalars", {"gd_construction": t.curved_layers, "layers": t.scalar_layers}, ((2,), (2,)),
              gradient=False, bounded=False)),
        (PROVED,), source=f"{OSWALD}; Ahn et al. 2023",
    ),
    Law(
        "TR3", "one factor may be divided by what the other is multiplied with",
        r"(\beta\, W_{PV},\; W_{KQ} / \beta)",
        (Case("one layer", {"as given": lambda P, Q, x, y, q, beta: t.one_layer(P, Q, x, y, q), "rescaled": t.rescaled,
                            "regauge": t.regauged(model.regauge)}, (D, D, (2, 2), (2,), (2,), ()), bounded=False),
         Case("mean of the diagonal", {"d": lambda P, Q: jnp.full((), 2.0), "regauge": t.mean_diagonal(model.regauge)},
              (D, D), gradient=False, bounded=False)),
        (PROVED,), domain="a layer whose W_KQ has no vanishing trace on the inputs",
    ),
    Law(
        "TR4", "what a step of a training draws has the moments of its law, and its parts are independent",
        r"\mathrm{Threefry}_{(s, t)}(i, \text{stream})", (), (MEASURED,), full_only=(MEASURED,),
        domain="uniform and normal inputs, and random covariances",
        measure=Experiment(t.of_sampler, {"draw": batches.draw}),
    ),
    Law(
        "TR5", "the loss is half the mean square", r"L = \tfrac12 E (\hat y - y_q)^2",
        (Case("three prompts", {"by hand": t.loss_by_hand, "half_square": training.half_square}, ((3,), (3,))),
         Case("gradient in the matrix of a step", {"by hand": t.matrix_gradient, "autodiff": t.trained_gradient()},
              ((2, 2), (2, 2, 2), (2, 2), (2, 2), (2,)), gradient=False, bounded=False)),
    ),
    Law(
        "TR6", "balanced initial weights have norm sigma, both, and the inner block is semidefinite",
        r"|W_{PV}|_F = |W_{KQ}|_F = \sigma", (), (MEASURED,), full_only=(MEASURED,),
        measure=Experiment(t.balance, {"initial_weights": training.initial_weights}), source="Zhang et al. 2024",
    ),
    Law(
        "TR7", "the mean over queries needs no queries", r"E (\hat y - w \cdot x_q)^2 = E (v - w)^\top \Lambda (v - w)",
        (Case("one layer, three queries", {"query by query": t.over_queries, "squared_error": t.integrated()},
              ((1, 1, *D), (1, 1, *D), (2, 2, 1), (2, 1), (2, 1), (3, 2)), gradient=False, bounded=False),
         Case("two layers", {"query by query": t.over_queries, "squared_error": t.integrated()},
              ((2, 1, *D), (2, 1, *D), (2, 2, 1), (2, 1), (2, 1), (2, 2)), gradient=False, bounded=False)),
        (PROVED,), domain="layers that do not read the query's token",
    ),
    Law(
        "TR8", "the sensitivity of layers that do not read the query is the vector they predict with",
        r"\partial \hat y / \partial x_q = v",
        (Case("two layers", {"by autodiff": t.by_gradient, "weights_of": t.by_weights, "sensitivity": t.by_comparison},
              ((2, 1, *D), (2, 1, *D), (2, 2), (2,), (2,)), gradient=False, bounded=False),),
        (PROVED,), source=OSWALD,
    ),
    Law(
        "TR8.cosine", "the cosine of two sensitivities", r"\cos(g_a, g_b)",
        (Case("random vectors", {"by hand": t.cosine_by_hand, "cosine": comparison.cosine}, ((5,), (5,)),
              gradient=False),),
        (BOUNDED,), full_only=(BOUNDED,),
    ),
    Law(
        "TR9", "half way between a network and itself in another scale lies the network",
        r"\tfrac12 (W^a_{PV} + W^b_{PV}),\; \tfrac12 (W^a_{KQ} + W^b_{KQ})",
        (Case("one layer", {"itself": t.itself, "interpolated": t.half_way()},
              ((1, 1, *D), (1, 1, *D), (), (2, 2), (2,), (2,)), gradient=False, bounded=False),),
        (PROVED,), domain="layers whose W_KQ has no vanishing trace on the inputs", source=OSWALD,
    ),
    Law(
        "TR10", "the width of uniform inputs is a scale: of the best rate and of its loss",
        r"p^*(a) = p^*(1) / a^2, \qquad L^*(a) = a^2 L^*(1)",
        (Case("rate", {"on (-1, 1)": lambda a: t.rate_of(jnp.ones(())), "on (-a, a)": lambda a: a * a * t.rate_of(a)},
              ((),), gradient=False, bounded=False),
         Case("loss", {"on (-1, 1)": lambda a: a * a * t.loss_of(jnp.ones(())), "on (-a, a)": t.loss_of}, ((),),
              gradient=False, bounded=False)),
        (PROVED,),
    ),
    Law(
        "TR10.published", "the published loss 0.2047 and rate 0.6 imply inputs uniform on (-1/2, 1/2)",
        r"a = (L / L^*(1))^{1/2}", (), (MEASURED,),
        measure=Experiment(t.half_width, {"best_loss": published.best_loss}),
        source=f"{OSWALD}, notebook and code; claim C44",
    ),
    Law(
        "TR10.unit", '"the published numbers are of inputs uniform on (-1, 1)"', r"L^*(1) = L^*(1/2)",
        (Case("loss of the best step", {"on (-1, 1), as claimed": lambda c: c * t.loss_of(jnp.ones(())),
                                        "on (-1/2, 1/2), as published": lambda c: c * t.loss_of(jnp.full((), 0.5))},
              ((),), gradient=False),
         Case("rate of the best step", {"on (-1, 1), as claimed": lambda c: c * t.rate_of(jnp.ones(())),
                                        "on (-1/2, 1/2), as published": lambda c: c * t.rate_of(jnp.full((), 0.5))},
              ((),), gradient=False)),
        (REFUTED,), source=f"{OSWALD}, section 3; claim C44",
    ),
)  # fmt: skip

LAWS = (
    *(replace(law, dtypes=law.dtypes or ("float32",), draws=1) for law in PROGRAMS),
    *training_runs.LAWS,
)
