"""The laws of chapter 9 on the layer itself: its forms, its constructions, what it cannot do, and its prompts."""

from dataclasses import replace

from dualform import regression as r
from dualform.laws.law import BOUNDED, MEASURED, PROVED, REFUTED, Case, Experiment, Law, widened
from dualform.laws.regression.layers import constructions as f
from dualform.laws.regression.layers import definitions as layer
from dualform.laws.regression.layers import measured as rows
from dualform.laws.regression.layers import prompts as p

OSWALD, AHN, ZHANG = "von Oswald et al. 2023", "Ahn et al. 2023", "Zhang et al. 2024"
VLADYMYROV = "Vladymyrov et al. 2024"
LAYER = ((4, 3), (3, 3), (3, 3), ())
HEADS = ((4, 3), (2, 3, 3), (2, 3, 3), ())


def positive(*shapes):
    """Normal numbers, and a divisor of size one for the last."""
    return lambda rng: (*(rng.standard_normal(shape) for shape in shapes[:-1]), rng.uniform(1.0, 4.0))


def data(N, d, k, *others):
    """x, y, a query and what else a form takes."""
    return ((N, d), (N, k), (d,), *others)


def descent(name, definition, forms, *shapes, gradient=False):
    """A case whose definition takes gradients of the written loss."""
    return Case(name, {"gradient descent": definition, **forms}, shapes, gradient=gradient)


ONE_STEP = {"one layer": f.constructed, "descend": f.descended, "attention over the examples": f.error_signals,
            "four matrices": f.four_matrices}  # fmt: skip
STACK = {"layers": f.constructed, "descend": f.descended}

LAYERS = (
    Law(
        "LS1", "a layer reads all tokens through one pair of matrices",
        r"e_j + \sum_i (W_{PV} e_i)(e_i \cdot W_{KQ} e_j) / \rho",
        (Case("query read", {"token by token": layer.one_by_one, "lsa": r.lsa, "lsa_attention": r.lsa_attention,
                             "tokens in columns": widened(layer.columns)}, LAYER, positive(*LAYER)),
         Case("query not read", {"token by token": layer.examples_only(layer.one_by_one),
                                 "lsa": layer.examples_only(r.lsa),
                                 "lsa_attention": layer.examples_only(r.lsa_attention)}, LAYER, bounded=False)),
        source=ZHANG, dtypes=("float32", "bfloat16"), quick=("token by token", "lsa"), full_only=(BOUNDED,),
    ),
    Law(
        "LS2", "the same layer through the matrix of the tokens", r"e_j + W_{PV} G W_{KQ} e_j / \rho",
        (Case("two heads", {"token by token": layer.one_by_one, "lsa": r.lsa, "lsa_attention": r.lsa_attention}, HEADS,
              gradient=False),),
        (PROVED,), full_only=(PROVED,),
    ),
    Law(
        "LS3", "heads add up, layers follow each other", r"\sum_h W_{PV}^h G W_{KQ}^h",
        (Case("two heads", {"token by token": layer.one_by_one, "each by itself": layer.heads_added}, HEADS,
              gradient=False),
         Case("two layers of two heads", {"token by token": layer.in_sequence, "lsa_layers": r.lsa_layers},
              ((3, 2), (2, 2, 2, 2), (2, 2, 2, 2), ()), gradient=False),
         Case("one layer three times", {"token by token": layer.three_times, "repeat": layer.repeated},
              ((3, 2), (2, 2), (2, 2), ()), gradient=False)),
        (PROVED,), full_only=(PROVED,),
    ),
    Law(
        "LS4", "what has a part in the prediction of one layer", r"(w_{21}^\top, w_{22}) G W_{KQ}[:, :d] x_q / \rho",
        (Case("one head", {"token by token": layer.predicted, "reduced": layer.reduced,
                           "the rest at zero": layer.parts_unread},
              ((3, 2), (3,), (2,), (3, 3), (3, 3), ()), gradient=False),
         Case("two heads", {"token by token": layer.predicted, "reduced": layer.reduced},
              ((3, 2), (3,), (2,), (2, 3, 3), (2, 3, 3), ()), gradient=False)),
        (PROVED,), source=ZHANG, full_only=(PROVED,),
    ),
)  # fmt: skip

CONSTRUCTIONS = (
    Law(
        "LS5", "a step on the weights is a step on the labels", r"L(W + \Delta W; x, y) = L(W; x, y - \Delta W x)",
        (Case("two labels", {"moved weight": f.loss_after, "moved labels": f.loss_of_moved},
              ((4, 3), (4, 2), (2, 3), (2, 3))),),
        (PROVED,), source=OSWALD, full_only=(PROVED,),
    ),
    Law(
        "LS6", "one layer is one step of gradient descent, from any weight", r"\hat y = (W_0 - \eta \nabla L(W_0)) x_q",
        (descent("two labels", f.one_step, ONE_STEP, *data(3, 2, 2, (2, 2), ()), gradient=True),
         Case("labels of all tokens", {"left by gradient descent": f.labels_left, "after the layer": f.labels_moved},
              data(3, 2, 2, (2, 2), ()), gradient=False)),
        (PROVED,), source=f"{OSWALD}, proposition 1; claim C21", quick=("gradient descent", "one layer"),
    ),
    Law(
        "LS6.sizes", "one layer is one step: 45 examples, 12 inputs, 8 labels, from any weight",
        r"\hat y = (W_0 - \eta \nabla L(W_0)) x_q",
        (Case("published size", {"gradient descent": f.one_step_at_once, "one layer": f.constructed},
              data(45, 12, 8, (8, 12), ()), gradient=False),),
        (PROVED, MEASURED), domain="off by at most 1e-12 in float64, 1e-5 in float32",
        measure=Experiment(rows.agreement(f.one_step_at_once, rows.regressions(45, 12, 8), rows.own_scale, 1e-12, 1e-5),
                           {"construction": f.constructed}),
        source=f"{OSWALD}, proposition 1", full_only=(PROVED, MEASURED),
    ),
    Law(
        "LS7", "K layers are K steps, from any weight that all of them carry", r"W_{k+1} = W_k - \eta_k \nabla L(W_k)",
        (descent("two steps", f.steps, STACK, *data(3, 2, 2, (2, 2), (2,)), gradient=True),
         descent("three steps", f.steps, STACK, *data(4, 3, 1, (1, 3), (3,))),
         descent("three times one layer", f.same_rate, {"recurrent": f.recurrent},
                 *data(3, 2, 1, (1, 2), ()))),
        (PROVED,), source=OSWALD, quick=("gradient descent", "layers"),
    ),
    Law(
        "LS7.first", '"the start may stand in the first layer alone"', r"W_0 \text{ in layer 1, } 0 \text{ after it}",
        (Case("two steps", {"as claimed": f.first_layer_only, "gradient descent": f.steps},
              data(1, 2, 1, (1, 2), (2,))),),
        (REFUTED,), source="stacking copies of proposition 1 without its weights", full_only=(REFUTED,),
    ),
    Law(
        "LS8", "scores through a matrix: preconditioned steps, of its transpose", r"w_{k+1} = w_k - A_k \nabla R(w_k)",
        (Case("one layer", {"gradient descent": f.preconditioned, "construction": f.by_construction,
                            "published, transposed": f.transposed(f.masked)}, ((3, 2), (3,), (2,), (1, 2, 2))),
         Case("three layers", {"gradient descent": f.preconditioned, "construction": f.by_construction,
                               "published, transposed": f.transposed(f.masked)}, ((3, 2), (3,), (2,), (3, 2, 2)),
              gradient=False),
         Case("three layers, symmetric", {"gradient descent": f.symmetric(f.preconditioned),
                                          "published": f.symmetric(f.masked)}, ((3, 2), (3,), (2,), (3, 2, 2)),
              gradient=False)),
        (PROVED,), source=f"{AHN}, lemma 1", quick=("gradient descent", "construction"),
    ),
    Law(
        "LS8.published", "the published form for three symmetric matrices, 20 examples, 5 inputs",
        r"w_{k+1} = w_k - A_k \nabla L(w_k)",
        (), (MEASURED,), domain="off by at most 1e-12 in float64",
        measure=Experiment(rows.agreement(rows.preconditioned, rows.symmetric_layers(20, 5, 3), rows.ascending, 1e-12),
                           {"construction": f.masked}),
        source=f"{AHN}, lemma 1", full_only=(MEASURED,),
    ),
    Law(
        "LS8.times", '"with A in the scores the step is A times the gradient"',
        r"Q = -\mathrm{diag}(A, 0) \Rightarrow A \nabla R",
        (Case("one layer", {"as claimed": f.masked, "gradient descent": f.preconditioned},
              ((2, 2), (2,), (2,), (1, 2, 2))),),
        (REFUTED,), domain="matrices that are not symmetric; for symmetric ones it is proved",
        source=f"{AHN}, lemma 1, read for any matrix", full_only=(REFUTED,),
    ),
    Law(
        "LS9", "layers that move inputs as well are GD++", r"x_j \leftarrow (I - \gamma H) x_j",
        (Case("two layers", {"by gradients": f.gd_plus_plus, "layers": f.moving_layers, "descend": f.moving_weight,
                             "no divisor": f.without_divisor}, data(3, 2, 1, (2,), (2,)), gradient=False),
         Case("two layers, two labels", {"by gradients": f.gd_plus_plus, "layers": f.moving_layers},
              data(2, 2, 2, (2,), (2,)))),
        (PROVED,), source=f"{OSWALD}, section 4", quick=("by gradients", "layers"),
    ),
    Law(
        "LS9.spectrum", "and draw the eigenvalues of the curvature together",
        r"H \leftarrow (I - \gamma H) H (I - \gamma H)",
        (Case("inputs of a layer", {"of moved inputs": f.curvature_after, "mapped": f.curvature_mapped},
              ((4, 3), ()), gradient=False),),
        (PROVED,), source=OSWALD, full_only=(PROVED,),
    ),
    Law(
        "LS10", "an MLP and a layer are a step for the features, weighted by their kernel",
        r"\frac{1}{2N} \sum_i |W m(x_i) - y_i|^2",
        (Case("from any weight", {"gradient descent": f.on_features, "MLP, then attention": f.mlp_then_attention},
              data(3, 2, 2, (2, 2), (2, 3), (3, 2), ()), gradient=False),
         Case("from zero", {"gradient descent": f.on_features_from_zero, "kernel": f.kernel,
                            "MLP, then attention": f.mapped_layer}, data(3, 2, 2, (2, 3), (3, 2), ()),
              gradient=False)),
        (PROVED,), domain="m(x) = x + U tanh(V x)", source=f"{OSWALD}, proposition 2",
        full_only=(PROVED,),
    ),
    Law(
        "LS11", "the trained layer is one step with Gamma^-1", r"\hat y = x_q^\top \Gamma^{-1} \tfrac1M \sum_i y_i x_i",
        (Case("trained with seven examples", {"one step": f.inverse_step(7), "trained layer": f.trained_layer(7),
                                              "another scale": f.unbalanced(7)}, ((4, 3), (4,), (3,), (3, 3)),
              gradient=False),),
        (PROVED, MEASURED), domain="d = 4, N = 7, M = 9: off by at most 1e-12 in float64, and so are its two norms",
        measure=Experiment(rows.agreement(rows.trained_definition, f.covariances(4, 7, 9), rows.divisor_of_training,
                                          1e-12), {"construction": rows.trained}),
        source=f"{ZHANG}, theorem 4.1", quick=("one step", "trained layer"), full_only=(MEASURED,),
    ),
)  # fmt: skip

LIMITS = (
    Law(
        "LS12", "layers multiply every token by one matrix, which the examples determine", r"e_j^{(l)} = T_l e_j",
        (Case("two layers, two heads", {"token by token": layer.token_by_token, "token_map": layer.one_matrix,
                                        "M, u, w, a": layer.blocks}, ((4, 3), (2, 2, 3, 3), (2, 2, 3, 3), ()),
              gradient=False),),
        (PROVED,), source=f"{VLADYMYROV}, theorem 4.1", quick=("token by token", "token_map"),
    ),
    Law(
        "LS12.sizes", "the same for 30 examples, 4 inputs, 4 layers of 2 heads",
        r"e_j^{(l)} = T_l e_j", (), (MEASURED,),
        domain="residual of a regression at most 1e-10 in float64", source=f"{VLADYMYROV}, theorem 4.1",
        measure=Experiment(rows.same_for_all_tokens, {"layers": lambda *a: r.lsa_layers(*a, include_query=False)}),
        full_only=(MEASURED,),
    ),
    Law(
        "LS12.squares", "no network of such layers outputs the squares of its inputs",
        r"\cos(y^{(l)}, x_1^2) \le 0.1", (),
        (MEASURED,), domain="linear labels, 20,000 examples", source=f"{VLADYMYROV}, theorem 4.2",
        measure=Experiment(layer.squares_missed, {"layers": lambda *a: r.lsa_layers(*a, include_query=False)}),
        full_only=(MEASURED,),
    ),
    Law(
        "LS13", "what a query that reads itself adds to its step", r"-2 \eta |x_q|^2 W_0 x_q / N",
        (Case("two labels", {"step and own pattern": f.with_own_pattern, "query read": f.reads_itself},
              data(3, 2, 2, (2, 2), ()), gradient=False),
         Case("from zero", {"gradient descent": f.from_zero(f.one_step), "query read": f.from_zero(f.reads_itself),
                            "query not read": f.from_zero(f.constructed)}, data(3, 2, 2, ()), gradient=False)),
        (PROVED,), quick=("step and own pattern", "query read"), full_only=(PROVED,),
    ),
    Law(
        "LS13.difference", '"whether the query reads itself makes no difference"', r"\sum_{i \le N+1} = \sum_{i \le N}",
        (Case("two steps from zero", {"query read": f.two_layers(True), "query not read": f.two_layers(False)},
              data(1, 1, 1, ())),),
        (REFUTED,), domain="beyond one step from zero, where it is proved",
        source=f"taking the layers of {ZHANG} and {OSWALD} for one", full_only=(REFUTED,),
    ),
    Law(
        "LS13.label", '"a label in the query\'s slot does not reach its prediction"',
        r"(x_q, y_q) \text{ for } (x_q, 0)",
        (Case("one layer", {"label there": f.with_its_label, "label not there": f.without_its_label},
              ((1, 1), (1,), (1,), ())),),
        (REFUTED,), source="prompts built with the answer in them", full_only=(REFUTED,),
    ),
    Law(
        "LS14", "a divisor kept from training scales the prediction by M / N (7 examples for 4)",
        r"\hat y_{\rho = N} = \tfrac{M}{N} \hat y_{\rho = M}",
        (Case("seven examples, trained with four", {"M / N of it": f.times(7 / 4, f.own_divisor),
                                                    "divisor kept": f.kept_divisor(4)},
              ((7, 2), (7,), (2,), (2, 2)), gradient=False),),
        (PROVED,),
    ),
    Law(
        "LS14.length", '"the divisor of training serves prompts of every length"',
        r"\hat y_{\rho = N} = \hat y_{\rho = M}",
        (Case("three examples, trained with two", {"as claimed": f.kept_divisor(2), "own divisor": f.own_divisor},
              ((3, 1), (3,), (1,), (1, 1))),),
        (REFUTED,), source="layers with 1 / N in their weights", full_only=(REFUTED,),
    ),
)  # fmt: skip

PROMPTS = (
    Law("LS15", "prompts of normal inputs: covariance, prior, noise, a query of another law, all independent",
        r"x \sim N(0, \Lambda),\ w \sim N(0, \Psi)", (), (MEASURED,),
        measure=Experiment(p.measured(p.LINEAR, p.linear_moments, p.linear_streams),
                           {"prompts": r.prompts}), full_only=(MEASURED,)),
    Law("LS15.uniform", "uniform inputs lie within the half width: variance a^2 / 3, fourth moment a^4 / 5",
        r"x \sim U(-a, a)", (), (MEASURED,),
        measure=Experiment(p.measured(p.UNIFORM, p.uniform_moments, p.uniform_streams),
                           {"prompts": r.prompts}), full_only=(MEASURED,)),
    Law("LS15.covariances", "random covariances are drawn once a prompt",
        r"\lambda_j \sim c\,\mathrm{Exp}(1)", (), (MEASURED,),
        measure=Experiment(p.measured(p.RANDOM, p.random_moments, p.random_streams),
                           {"prompts": r.prompts}), full_only=(MEASURED,)),
    Law("LS15.sparse", "sparse tasks keep as many entries as they say; levels of noise are drawn once a prompt",
        r"|w|_0 = s", (), (MEASURED,),
        measure=Experiment(p.measured(p.SPARSE, p.sparse_moments, p.sparse_streams),
                           {"prompts": r.prompts}), full_only=(MEASURED,)),
)  # fmt: skip

LAWS = tuple(replace(law, draws=1) for law in (*LAYERS, *CONSTRUCTIONS, *LIMITS, *PROMPTS))
"""All of them on one draw: their number makes up for it."""
