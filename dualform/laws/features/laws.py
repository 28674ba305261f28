"""The laws of chapter 6: softmax attention in feature space, and what dropping the softmax drops."""

from functools import partial

import jax.numpy as jnp
import numpy as np

from dualform import features
from dualform.laws.features import measured as sampling
from dualform.laws.features.definitions import (
    KERNELS,
    all_five,
    as_weight,
    by_deviations,
    by_horner,
    by_monomials,
    difference,
    estimated,
    first_four,
    from_exponentials,
    inner,
    kernel_of,
    ladder,
    ladder_from_exponentials,
    library,
    one_direction,
    one_direction_elsewhere,
    over_earlier,
    over_features,
    series,
    shifted,
    softmax,
    surrogate,
    surrogate_as_step,
    surrogate_as_weight,
    tangent,
    unshifted,
    unsoftened,
)
from dualform.laws.law import BOUNDED, MEASURED, PROVED, REFUTED, Case, Experiment, Law

n, V, K, M = 3, 2, 2, 2
ATTENTION = ((n, V), (n, K), (M, K))
"""Values, keys, queries."""


# Draws ----------------------------------------------------------------------------------------------------------------


def small_scores(size, more=()):
    """Values, keys, queries with scores of at most `size`, and more numbers."""

    def sample(rng):
        values, keys, q = (rng.uniform(-1, 1, shape) for shape in ATTENTION)
        return values + np.array([2.0, -1.0]), keys, q * size / K, *more

    return sample


def with_directions(rng):
    """Keys and queries of ordinary size, and four directions."""
    values, keys, W = (rng.standard_normal(shape) for shape in (*ATTENTION[:2], (4, K)))
    return values, keys, 0.5 * rng.standard_normal((M, K)), W


def positive_pair(entries):
    """A query and a key whose products do not cancel."""
    return lambda rng: (rng.uniform(0, 1, entries), rng.uniform(0, 1, entries))


def scores_up_to(size):
    return lambda rng: (rng.uniform(-size, size, 64),)


def cut_off(degree):
    """The exponential, its series, and what may lie between them."""
    return {"exponential": jnp.exp, "series": partial(features.taylor_exp, degree=degree)}


def allowed(degree):
    return lambda s: features.taylor_bound(s, degree) * jnp.exp(s)


def taylor(degree, causal=False):
    return lambda values, keys, q: features.taylor_attn(values, keys, q, degree, scale=1.0, causal=causal)


def taylor_allowed(degree):
    return lambda values, keys, q: features.taylor_attn_bound(values, keys, q, degree, scale=1.0)


TWO = ("float32", "bfloat16")
"""Dtypes of laws whose other dtypes would only repeat the same bound at length."""

WITH_W = (*ATTENTION, (4, K))
WITH_SCALE = (*ATTENTION, ())
DIRECTIONS = {"positive": 4, "hyperbolic": 2, "trigonometric": 4}
"""Such that the divisor's root is a whole number, which exact arithmetic knows."""
LABELS = {"positive": "FE5", "hyperbolic": "FE6", "trigonometric": "FE7"}
ERRORS = {
    "positive": features.positive_mse,
    "hyperbolic": features.hyperbolic_mse,
    "trigonometric": features.trigonometric_mse,
}


def _of_kind(kind: str) -> tuple[Law, ...]:
    """The laws that each kind of random features has."""
    label, phi, m = LABELS[kind], features.MAPS[kind], DIRECTIONS[kind]
    return (
        Law(
            label, f"{kind} features multiply out to a mean over directions",
            r"\phi(q) \cdot \phi(k) = \tfrac1m \sum_r \ldots",
            (Case("all pairs", {"definition": KERNELS[kind], "features": kernel_of(phi)}, ((n, K), (M, K), (m, K)),
                  lambda rng: with_directions(rng)[1:]),),
            source="Rahimi, Recht 2007; Choromanski et al. 2021", dtypes=TWO, draws=1,
            full_only=(BOUNDED,) if kind == "positive" else (PROVED, BOUNDED),
        ),
        Law(
            f"{label}.shifts", f"shifts of the exponents cancel: {kind} features",
            r"\text{one shift for all keys and one for each query change nothing}",
            (Case("any shifts", {"definition": unshifted(kind), "shifted": shifted(kind)}, (*WITH_W, (), (M, 1))),),
            (PROVED,), full_only=(PROVED,),
        ),
        Law(
            f"{label}.stable", f"attention with {kind} features, with the largest exponents subtracted",
            r"\mathrm{LinearAttn}(V, \phi(K), \hat q)",
            (Case("ordinary scores", {"definition": estimated(kind), "random_attn": library(kind)}, WITH_W,
                  with_directions),),
            (BOUNDED,), dtypes=TWO, draws=1, full_only=(BOUNDED,), domain="weights that do not cancel",
        ),
        Law(
            f"{label}.unbiased", f"{kind} features are unbiased, with the mean squared error of the formula",
            r"E\, \phi(q) \cdot \phi(k) = e^{q \cdot k}, \quad \mathrm{MSE} = \ldots", (), (MEASURED,),
            domain="independent standard normal directions",
            measure=Experiment(partial(sampling.errors_of_features, draws=4), {
                "features": phi, "mse": ERRORS[kind], "directions": sampling.independent}),
            source="Choromanski et al. 2021, lemma 2", full_only=(MEASURED,),
        ),
    )  # fmt: skip


LAWS = (
    Law(
        "FE1", "attention over features is linear attention with a rescaled query",
        r"\sum_i \frac{\phi(k_i) \cdot \phi(q)}{\sum_j \phi(k_j) \cdot \phi(q)} v_i = "
        r"\mathrm{LinearAttn}(V, \phi(K), \hat q)",
        (
            Case("any features", {"definition": over_features, "feature_attn": features.feature_attn,
                                  "as a weight": as_weight}, ((n, V), (n, 5), (M, 5)),
                 lambda rng: (rng.standard_normal((n, V)), rng.uniform(0, 1, (n, 5)), rng.uniform(0, 1, (M, 5)))),
            Case("causal", {"definition": over_earlier, "feature_attn": partial(features.feature_attn, causal=True)},
                 ((n, V), (n, 4), (n, 4)),
                 lambda rng: (rng.standard_normal((n, V)), rng.uniform(0, 1, (n, 4)), rng.uniform(0, 1, (n, 4)))),
        ),
        source="Katharopoulos et al. 2020; Ren, Liu 2024", dtypes=TWO, draws=1, full_only=(BOUNDED,),
    ),
    Law(
        "FE2", "monomials multiply out to the exponential series, cut off",
        r"\sum_{|\alpha| \le p} q^\alpha k^\alpha / \alpha! = \sum_{j \le p} (q \cdot k)^j / j!",
        tuple(Case(f"degree {p}, {d} features",
                   {"definition": series(p), "monomials": by_monomials(p), "Horner": by_horner(p)},
                   ((d,), (d,)), positive_pair(d), bounded=p == 4)
              for p, d in ((2, 3), (4, 2), (5, 1), (1, 4), (0, 2))),
        source="multinomial theorem; claim C41", full_only=(BOUNDED,),
    ),
    Law(
        "FE2.taylor", "Taylor features, one map for queries and keys",
        r"\phi(q) \cdot \phi(k) = T_p(q \cdot k), \quad \phi(x)_\alpha = x^\alpha / \sqrt{\alpha!}",
        tuple(Case(f"degree {p}, {d} features", {
                       "definition": series(p),
                       "taylor_features": inner(partial(features.taylor_features, degree=p))}, ((d,), (d,)),
                   positive_pair(d)) for p, d in ((2, 3), (5, 2))),
        (BOUNDED,), draws=1, full_only=(BOUNDED,),
    ),
    Law(
        "FE3", "the series is as close to the exponential as Lagrange's remainder says",
        r"|T_p(s) / e^s - 1| \le |s|^{p+1} e^{\max(-s, 0)} / (p+1)!",
        tuple(Case(f"degree {p}, scores up to {size}", cut_off(p), ((64,),), within=allowed(p),
                   sample=scores_up_to(size))
              for p, size in ((2, 0.5), (4, 1.2), (8, 3.0))),
        (BOUNDED,), draws=1, full_only=(BOUNDED,),
    ),
    Law(
        "FE4", "relative errors of weights move attention by a weighted mean of deviations",
        r"\hat y - y = \sum_i p_i \delta_i (v_i - y) / (1 + \sum_i p_i \delta_i)",
        (Case("any weights", {"definition": difference, "by deviations": by_deviations}, ((4,), (4,), (4, V)),
              lambda rng: (rng.uniform(0.5, 1, 4), rng.uniform(0.1, 0.3, 4), rng.standard_normal((4, V)))),),
        (PROVED,),
    ),
    Law(
        "FE4.taylor", "attention with Taylor features is as close to softmax attention as the bound says",
        r"|\hat y - y|_c \le \frac{\delta}{1-\delta} (\max_i v_{ic} - \min_i v_{ic})",
        tuple(Case(f"degree {p}, scores up to {size}", {"softmax": softmax, "taylor_attn": taylor(p)}, ATTENTION,
                   small_scores(size), within=taylor_allowed(p)) for p, size in ((2, 0.4), (6, 1.8))),
        (BOUNDED,), draws=2, domain="delta < 1", source="claim C41", full_only=(BOUNDED,),
    ),
    *_of_kind("positive"),
    *_of_kind("hyperbolic"),
    *_of_kind("trigonometric"),
    Law(
        "FE5.single", "with a single positive feature, attention does not depend on the query: the ratio is biased",
        r"m = 1: \quad \hat y(q) = \hat y(q')",
        (Case("two queries", {"a query": one_direction, "another": one_direction_elsewhere},
              (*ATTENTION, (M, K), (1, K)), bounded=False),),
        (PROVED,),
    ),
    Law(
        "FE8", "orthogonal directions: unbiased, with the exact mean squared error",
        r"e^{2 q \cdot k} ((e^\lambda - 1)/m - f E_N [1 - \prod_{j<N} (K+j)/(K+2j)])", (), (MEASURED,),
        domain="one block, and two", full_only=(MEASURED,),
        measure=Experiment(sampling.errors_of_orthogonal, {
            "features": features.positive_features, "mse": features.orthogonal_mse,
            "directions": features.orthogonal}),
    ),
    Law(
        "FE9", "the upper bound on the error of orthogonal directions takes away less than they gain",
        r"\mathrm{MSE}_\perp \le \mathrm{MSE}_+ - \frac{2f}{K+2} (e^{q \cdot k} - e^{-(|q|^2+|k|^2)/2})^2", (),
        (MEASURED,), domain="K from 2 to 64, one block and more", full_only=(MEASURED,),
        measure=Experiment(sampling.below_bound, {
            "bound": features.orthogonal_bound, "mse": features.orthogonal_mse}),
        source="Choromanski et al. 2021, theorem 2",
    ),
    Law(
        "FE10", "orthogonal features are unbiased once the signs of the QR factorisation are fixed",
        r"E\, \phi(q) \cdot \phi(k) = e^{q \cdot k} \text{ for } Q\, \mathrm{sign}(\mathrm{diag} R)", (), (MEASURED,),
        domain="JAX's QR factorisation on the CPU", full_only=(MEASURED,),
        measure=Experiment(sampling.bias_of_orthogonal, {"directions": features.orthogonal}),
        source="Stewart 1980; Mezzadri 2007",
    ),
    Law(
        "FE11", "softmax attention is within the remainder bound of its first order",
        r"|y - y_1|_c \le \frac{\sqrt3}{36} (\max s - \min s)^2 (\max_i v_{ic} - \min_i v_{ic})",
        tuple(Case(f"scores up to {size}", {"softmax": softmax, "surrogate_attn": surrogate}, WITH_SCALE,
                   small_scores(size * 2, (0.5,)),
                   within=lambda values, keys, q, scale: features.remainder_bound(values, keys, q, scale=scale))
              for size in (0.7, 0.2, 0.01)),
        (BOUNDED,),
    ),
    Law(
        "FE11.sharp", "no smaller constant holds: two scores, an upper share of (3 - sqrt 3)/6",
        r"|r| / \mathrm{bound} \to 1", (), (MEASURED,), domain="scores that shrink", full_only=(MEASURED,),
        measure=Experiment(sampling.sharpness, {"bound": features.remainder_bound}),
    ),
    Law(
        "FE12", "softmax attention is linear attention plus three gaps and a remainder",
        r"y = \sum_i s_i v_i - (1 - \tfrac1n) \sum_i s_i v_i - \bar s \bar v + \bar v + r",
        (Case("sum", {"softmax": softmax, "from weights": from_exponentials}, WITH_SCALE),
         Case("one by one", {"definition": ladder, "from weights": ladder_from_exponentials}, WITH_SCALE)),
        (PROVED,), source="claim C4",
    ),
    Law(
        "FE12.rounded", "the gaps in floating point",
        r"y = \sum_i s_i v_i - (1 - \tfrac1n) \sum_i s_i v_i - \bar s \bar v + \bar v + r",
        (Case("sum", {"softmax": softmax, "softmax_gaps": all_five}, WITH_SCALE, small_scores(2.0, (0.5,))),
         Case("one by one", {"definition": ladder, "softmax_gaps": first_four}, WITH_SCALE,
              small_scores(2.0, (0.5,)))),
        (BOUNDED,), dtypes=TWO, draws=1, full_only=(BOUNDED,),
    ),
    Law(
        "FE12.linear", "\"attention without its softmax is linear attention\", even to first order in the scores",
        r"\text{softmax attention} \approx \sum_i s_i v_i",
        (Case("first order", {"as claimed": unsoftened, "softmax": lambda v, k, q: tangent(v, k, q, 1.0)},
              ((2, 1), (2, 1), (1, 1))),),
        (REFUTED,), source="claim C4; Dai et al. 2022, section 3.1",
    ),
    Law(
        "FE13", "the surrogate is softmax attention to first order, a weight update, and one step of descent",
        r"y_1 = ([0, \bar v] + \sum_i e_i [k_i, 1]^\top) [q, 1], \quad e_i = \tfrac{\mathrm{scale}}{n} (v_i - \bar v)",
        (Case("two queries", {"tangent of softmax": tangent, "dual": surrogate, "weight": surrogate_as_weight,
                              "step of descent": surrogate_as_step}, WITH_SCALE, small_scores(2.0, (0.5,))),),
        draws=1, full_only=(BOUNDED,),
    ),
)  # fmt: skip
