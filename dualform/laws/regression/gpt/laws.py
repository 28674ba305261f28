"""The laws of chapter 9 on the small GPT and on the baselines it is compared with, (GP1) to (GP12)."""

import jax.numpy as jnp

from dualform.laws.law import BOUNDED, MEASURED, PROVED, REFUTED, Case, Experiment, Law
from dualform.laws.regression.gpt import definitions as forms
from dualform.laws.regression.gpt import measured as runs
from dualform.laws.regression.gpt.definitions import TINY, drawn, weights_like
from dualform.regression import baselines, similarity
from dualform.regression.curves import LINEAR
from dualform.regression.gpt import GPT, alternating, gpt_predictions

NET = weights_like(TINY)
DEEP = weights_like(GPT(d=1, points=2, width=2, layers=2, heads=1))
ONE = weights_like(GPT(d=1, points=2, width=2, layers=1, heads=1))
MORE = weights_like(GPT(d=1, points=3, width=4, layers=1, heads=2))
x2, y2 = (2, 2), (2,)
K_D = (("more examples", 4, 3), ("fewer examples", 2, 3))


def full_rank(k, d):
    """Inputs of condition number near 1, labels and another vector."""

    def sample(rng):
        x = rng.standard_normal((k, d)) * 0.2 + jnp.eye(max(k, d))[:k, :d]
        return x, rng.standard_normal(k), rng.standard_normal(d)

    return sample


def ridge_settings(*sizes, parameters=1):
    """Normal arrays, and parameters between a half and one."""
    return lambda rng: (*(rng.standard_normal(s) for s in sizes), *rng.uniform(0.5, 1.0, parameters))


LAWS = (
    Law(
        "GP1", "tokens alternate, inputs and labels", r"t_{2i} = x_i, \quad t_{2i+1} = (y_i, 0, \dots, 0)",
        (Case("three points", {"definition": forms.tokens, "alternating": alternating}, ((3, 2), (3,))),
         Case("one point", {"definition": forms.tokens, "alternating": alternating}, ((1, 2), (1,)))),
        (PROVED,), source="Garg et al. 2022",
    ),
    Law(
        "GP2", "the network, token by token and head by head",
        r"u = h + W_O [\mathrm{Attn}_1; \dots] + b_O, \quad h' = u + W_2\, \mathrm{gelu}(W_1 \mathrm{norm}(u) + b_1)",
        (Case("two heads", {"definition": forms.by_token, "gpt_predictions": forms.library}, (NET, x2, y2),
              gradient=False),
         Case("two layers", {"definition": forms.by_token, "gpt_predictions": forms.library}, (DEEP, (2, 1), (2,)),
              gradient=False),
         Case("its gradient", {"definition": forms.by_token, "gpt_predictions": forms.library}, (ONE, (2, 1), (2,)))),
        (PROVED,), source="Radford et al. 2019", full_only=(PROVED,),
    ),
    Law(
        "GP2.stable", "the network as it runs, with the shift in its softmax", r"\mathrm{gpt}(x, y)",
        (Case("two heads", {"definition": forms.by_token, "gpt_predictions": gpt_predictions}, (NET, x2, y2),
              sample=drawn(TINY, x2, y2)),),
        (BOUNDED,), dtypes=("float32",), draws=1, source="Radford et al. 2019", full_only=(BOUNDED,),
    ),
    Law(
        "GP3", "a prediction depends on nothing that comes later",
        r"\hat y_i = f(x_0, y_0, \dots, x_{i-1}, y_{i-1}, x_i)",
        tuple(Case(name, {"nothing": forms.nothing, "what the future changes": forms.future(forms.library)},
                   (net, (n, 1), (n,), (n, 1), (n,)), gradient=False, bounded=False)
              for name, net, n in (("two points", ONE, 2), ("three points", MORE, 3))),
        (PROVED,), full_only=(PROVED,),
    ),
    Law(
        "GP4", "one pass predicts after every number of examples",
        r"\ell = \frac1n \sum_i (\hat y_i - y_i)^2",
        (Case("two prompts", {"prompt by prompt": forms.loss_by_prompt, "one pass": forms.loss_in_one_pass},
              (ONE, (2, 2, 1), (2, 2)), gradient=False, bounded=False),),
        (PROVED,), source="Garg et al. 2022", full_only=(PROVED,),
    ),
    Law(
        "GP5", "ridge by the smaller Gram matrix", r"(X^\top X + \lambda I)^{-1} X^\top y",
        tuple(Case(name, {"definition": forms.normal_equations, "ridge": baselines.ridge}, ((k, d), (k,), ()),
                   sample=ridge_settings((k, d), (k,))) for name, k, d in K_D),
        domain="lambda > 0",
    ),
    Law(
        "GP5.norm", "least squares fits, and where it fits perfectly its norm is least",
        r"X^\top (Xw - y) = 0, \quad \text{or } Xw = y,\ w \in \mathrm{span}(x_i)",
        tuple(Case(name, {"zero": forms.zeros_left, "what ols leaves": forms.left_over(baselines.ols)},
                   ((k, d), (k,), (d,)), sample=full_rank(k, d), gradient=False, bounded=False) for name, k, d in K_D),
        (PROVED,), domain="inputs in general position",
    ),
    Law(
        "GP6", "the posterior mean is ridge with the noise's share of the prior", r"\lambda = \sigma^2 / \tau^2",
        tuple(Case(name, {"definition": forms.posterior, "bayes": baselines.bayes}, ((k, d), (k,), (), ()),
                   sample=ridge_settings((k, d), (k,), parameters=2)) for name, k, d in K_D),
        source="Akyurek et al. 2023", full_only=(BOUNDED,),
    ),
    Law(
        "GP8", "averaging", r"w = \frac1k \sum_i y_i x_i",
        (Case("any divisor", {"definition": forms.summed_average, "averaging": baselines.averaging}, (x2, y2, ()),
              sample=ridge_settings(x2, y2)),),
    ),
    Law(
        "GP8.step", "the best step divides by k + d + 1 + sigma^2",
        r"\min_p R = (d + 1 + \sigma^2) / (k + d + 1 + \sigma^2)",
        (Case("any k, d, noise", {"definition": forms.best_by_hand, "best_averaging_risk": forms.best_by_library},
              ((), (), ()), gradient=False, bounded=False),),
        (PROVED,), source="Garg et al. 2022; Mahankali et al. 2024",
    ),
    Law(
        "GP8.ols", "\"what one layer of linear attention learns is least squares\"",
        r"\frac{1}{k + d + 1} \sum_i y_i x_i \cdot q = w_{OLS} \cdot q",
        (Case("fewer examples", {"as claimed": forms.one_step_answer, "least squares": forms.ols_answer},
              ((1, 2), (1,), (2,))),
         Case("more examples", {"as claimed": forms.one_step_answer, "least squares": forms.ols_answer},
              ((3, 1), (3,), (1,)))),
        (REFUTED,), source="claim C25",
    ),
    Law(
        "GP9", "no ridge parameter is better than sigma^2 / tau^2, on any inputs",
        r"R_\lambda = \sigma^2 \mathrm{tr}(S + \lambda_0 I)^{-1} + \tau^2 (\lambda - \lambda_0)^2 "
        r"\mathrm{tr}\, S (S + \lambda I)^{-2} (S + \lambda_0 I)^{-1}",
        tuple(Case(name, {"definition": forms.trace_form, "ridge_risk": baselines.ridge_risk,
                          "Bayes and excess": forms.with_excess}, ((k, d), (), (), ()),
                   sample=ridge_settings((k, d), parameters=3), gradient=False, bounded=k > d) for name, k, d in K_D),
        draws=1, dtypes=("float64", "float32"), full_only=(PROVED, BOUNDED),
    ),
    Law(
        "GP10", "the squared difference of predictions", r"\mathrm{SPD} = E (A(q) - B(q))^2",
        (Case("two prompts", {"definition": forms.squares, "spd": similarity.spd}, ((2, 3), (2, 3))),),
        source="Akyurek et al. 2023",
    ),
    Law(
        "GP11", "the fit to a linear predictor's answers is its weight",
        r"w_A = \arg\min_w \sum_j (w \cdot q_j - A(q_j))^2",
        (Case("linear answers", {"its weight": forms.weight_itself, "implied_weights": forms.fitted_weight},
              ((4, 2), (2,)), gradient=False, bounded=False),
         Case("any answers", {"zero": forms.no_gradient, "gradient at the fit": forms.fit_by_gradient},
              ((4, 2), (4,)), gradient=False, bounded=False)),
        (PROVED,), domain="queries of full rank", source="Akyurek et al. 2023",
    ),
    Law(
        "GP11.distance", "the distance of weights", r"\mathrm{ILWD} = E\, |w_A - w_B|^2",
        (Case("two prompts", {"definition": forms.distances, "ilwd": similarity.ilwd}, ((2, 3), (2, 3))),),
        source="Akyurek et al. 2023",
    ),
    Law(
        "GP12", "the implied parameter of ridge is its parameter, and of Bayes sigma^2 / tau^2",
        r"\hat\lambda = \arg\min_\lambda \mathrm{SPD}(A, \mathrm{ridge}_\lambda)", (), (MEASURED,),
        measure=Experiment(runs.implied, {"implied_ridge": similarity.implied_ridge}), source="Akyurek et al. 2023",
        full_only=(MEASURED,),
    ),
    Law(
        "GP7",
        "risks of the baselines: OLS 1 - k/d, averaging (d+1)/k, best step (d+1)/(k+d+1), d = 20, 8,000 prompts, "
        "each within 5 %", r"R_{OLS} = 1 - k/d, \quad (d+1)/k, \quad (d+1)/(k+d+1)", (), (MEASURED,),
        measure=Experiment(runs.baseline_risks, dict(LINEAR)), domain="x, w ~ N(0, I), no noise",
        source="Garg et al. 2022", full_only=(MEASURED,),
    ),
    Law(
        "GP7.noise", "risk of least squares under label noise 1: peaks at k = d, d = 20, within 5 %",
        r"1 - k/d + \sigma^2 k / (d (d - k - 1)), \quad \sigma^2 / (k - d - 1)", (), (MEASURED,),
        measure=Experiment(runs.noisy_risks, {"least squares": baselines.ols}), domain="x, w ~ N(0, I)",
        source="Garg et al. 2022", full_only=(MEASURED,),
    ),
    Law(
        "GP9.sampled",
        "the Bayes predictor's risk is 0.802 within 2 % for d = 8, k = 10, sigma = 0.5, and others' is larger",
        r"\sigma^2\, E\, \mathrm{tr}\,(X^\top X + \sigma^2 I)^{-1}", (), (MEASURED,),
        measure=Experiment(runs.bayes_risk, {"bayes": baselines.bayes, "ridge": baselines.ridge}),
        domain="x, w ~ N(0, I)", source="the posterior mean, sampled", full_only=(MEASURED,),
    ),
    *runs.TRAINED,
)  # fmt: skip
