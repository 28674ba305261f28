"""The laws of chapter 1: the linear layer updated by outer products."""

from dualform import linear
from dualform.laws.law import BOUNDED, MEASURED, PROVED, REFUTED, Case, Law
from dualform.laws.linear import definitions as d

n, V, K, M = 64, 12, 16, 3
LAYER = ((V, K), (n, V), (n, K))
SMALL = ((2, 3), (5, 2), (5, 3))

LAWS = (
    Law(
        "L1", "the update is a sum of outer products",
        r"F(x) = (W_0 + \Delta W) x, \quad \Delta W = \sum_i e_i x_i^\top",
        (
            Case("one query", {"definition": d.summed, "primal": linear.primal}, (*LAYER, (K,))),
            Case("delta_w", {"definition": d.summed_update, "delta_w": linear.delta_w}, ((5, 2), (5, 3))),
            Case("no pattern", {"definition": d.unchanged, "primal": linear.primal}, ((2, 3), (0, 2), (0, 3), (3,))),
        ),
    ),
    Law(
        "L2", "linear attention is a sum of values weighted by scores",
        r"\mathrm{LinearAttn}(E, X, x) = \sum_i e_i (x_i \cdot x)",
        (
            Case("one query", {"definition": d.attended, "linear_attn": linear.linear_attn}, ((7, 3), (7, 4), (4,))),
            Case("many queries", {"definition": d.attended, "linear_attn": linear.linear_attn},
                 ((5, 2), (5, 3), (4, 3))),
            Case("scaled", {"definition": d.scaled(d.attended), "linear_attn": d.scaled(linear.linear_attn)},
                 ((5, 2), (5, 3), (4, 3), ())),
        ),
    ),
    Law(
        "L3", "the dual form: a changed layer is the old one plus linear attention",
        r"(W_0 + \sum_i e_i x_i^\top) x = W_0 x + \mathrm{LinearAttn}(E, X, x)",
        (
            Case("many queries", d.forms(recurrent=linear.recurrent, descent=linear.descent), (*LAYER, (M, K))),
            Case("one query", d.forms(), (*SMALL, (3,))),
        ),
        source="Aizerman et al. 1964; Irie et al. 2022; Dai et al. 2022",
    ),
    Law(
        "L4", "one rank-1 update at a time", r"W_i = W_{i-1} + e_i x_i^\top, \quad F(x) = W_n x",
        (Case("one query", {"definition": d.summed, "recurrent": linear.recurrent}, (*SMALL, (3,))),
         Case("no pattern", {"primal": linear.primal, "recurrent": linear.recurrent}, ((2, 3), (0, 2), (0, 3), (3,)))),
    ),
    Law(
        "L5", "whole chunks folded into the weight, the rest attended to",
        r"F(x) = (W_0 + \sum_c E_c^\top X_c) x + \mathrm{LinearAttn}(E_{rest}, X_{rest}, x)",
        tuple(Case(f"chunks of {size}, {count} patterns", {"definition": d.summed, "chunked": d.chunked(size)},
                   ((2, 3), (count, 2), (count, 3), (2, 3)))
              for size, count in ((3, 7), (1, 7), (7, 7), (64, 7), (3, 0))),
    ),
    Law(
        "L6", "error signals are minus the learning rate times the output gradients, from jax.grad",
        r"e_i = -\eta\, \partial L / \partial y_i",
        (
            Case("linear loss", {"definition": d.summed, "descent": linear.descent}, (*SMALL, (3,))),
            Case("squared loss", {"by hand": d.by_hand, **d.trained(d.squared)}, ((2, 3), (4, 3), (3,), (), (4, 2))),
            Case("loss through tanh", d.trained(d.network), ((2, 3), (4, 3), (3,), (), (4, 2), (2, 2)), gradient=False),
        ),
        source="chain rule; claim C1",
    ),
    Law(
        "L6.gradient", "\"the error signal is the gradient\", without learning rate and sign",
        r"e_i = \partial L / \partial y_i",
        (Case("squared loss", {
            "as claimed": lambda W0, X, x, T: linear.dual(W0, X @ W0.T - T, X, x),
            "a step of SGD": lambda W0, X, x, T: linear.sgd_step(W0, X, d.squared(T), 0.1)[0] @ x,
        }, ((1, 2), (2, 2), (2,), (2, 1))),),
        (REFUTED,), source="claim C2",
    ),
    Law(
        "L7", "a bias adds 1 to every score", r"\tilde x = [x, 1]: \tilde x_i \cdot \tilde x = x_i \cdot x + 1",
        (Case("one query", {"layer with bias": d.biased_layer, "dual": d.with_bias(linear.dual),
                            "primal": d.with_bias(linear.primal)}, ((2, 3), (2,), (5, 2), (5, 3), (3,))),),
    ),
    Law(
        "L7.unit", "\"scores of a layer with a bias are x_i.q\", without the 1",
        r"\tilde x_i \cdot \tilde x = x_i \cdot x",
        (Case("one query", {"as read": d.no_plus_one, "layer with bias": d.biased_layer},
              ((1, 2), (1,), (2, 1), (2, 2), (2,))),),
        (REFUTED,), source="the public analysis code of Irie et al. 2022",
    ),
    Law(
        "L8", "weights may depend on the query, and on the input channel",
        r"\sum_i e_i (x_i \cdot \mathrm{diag}(w_{ti}) x_t)",
        tuple(Case(name, {"definition": d.attended, "linear_attn": linear.linear_attn}, ((i, 2), (i, 3), query, shape))
              for name, i, query, shape in (
                  ("[M, n, K]", 5, (4, 3), (4, 5, 3)), ("[M, n]", 5, (4, 3), (4, 5)), ("[n]", 5, (4, 3), (5,)),
                  ("[M, n] with M = n", 4, (4, 3), (4, 4)), ("[M, n] with n = K", 3, (4, 3), (4, 3)),
                  ("one query, [n]", 5, (3,), (5,)), ("one query, [n, K]", 5, (3,), (5, 3)),
              )),
    ),
    Law(
        "L9", "coefficients are not unique",
        r"Z^\top X = 0 \Rightarrow \mathrm{LinearAttn}(E + Z, X, x) = \mathrm{LinearAttn}(E, X, x)",
        (Case("projection", {"definition": lambda E, X, Y, x: linear.linear_attn(E, X, x), "E + Z": d.unseen},
              ((6, 2), (6, 3), (6, 2), (3,)), gradient=False),),
        (PROVED,), domain="n > K, inputs of full rank",
    ),
    Law(
        "L10", "on small integers no form rounds: all agree bit for bit", r"K A (A_0 + n A^2) \le 2^p",
        tuple(Case(name, d.forms(recurrent=linear.recurrent, chunked=d.chunked(7), descent=linear.descent), shapes,
                   sample=d.integers(shapes, large), exact=True)
              for name, shapes, large in (
                  ("64 patterns", (*LAYER, (M, K)), None), ("large W0", (*SMALL, (3,)), 0),
                  ("large E", (*SMALL, (3,)), 1), ("large X", (*SMALL, (3,)), 2), ("large x", (*SMALL, (3,)), 3),
              )),
        (BOUNDED,), domain="integers as large as the condition allows",
    ),
    Law(
        "L4.stagnation", "updates too small for the weight stagnate in the recurrence and survive in the dual form",
        r"W_0 = 1,\ e_i x_i = 2^{-25},\ n = 4096", (), (MEASURED,), domain="float32", measure=d.stagnation,
    ),
)  # fmt: skip
