"""The laws of depth: curvature, Newton, copied labels, four scalars a layer."""

import numpy as np

from dualform.laws.law import BOUNDED, MEASURED, PROVED, REFUTED, Case, Law
from dualform.laws.regression.depth import definitions as f
from dualform.laws.regression.depth import measured as m
from dualform.regression import noise_levels

OSWALD, VLADYMYROV = "von Oswald et al. 2023", "Vladymyrov et al. 2024"
FU, GIANNOU = "Fu et al. 2023", "Giannou et al. 2024"
WIDE = ("float64", "float32")
ALL_BUT = "Gaussian inputs; all contexts but one in 20,000, with curvature but one in 1,000"


def prompt(n, d, *more):
    """x, y or w, query and further inputs."""
    return ((n, d), (n,), (d,), *more)


def sharp(n, d):
    """A prompt and a sharpness at which the softmax copies almost exactly."""
    return lambda rng: (
        rng.standard_normal((n, d)), rng.choice([-1.0, 1.0], n) * rng.uniform(0.5, 2.0, n), rng.standard_normal(d),
        rng.uniform(9.0, 12.0),
    )  # fmt: skip


def well_conditioned(rng):
    return np.eye(3) + 0.2 * rng.standard_normal((3, 3)), 0.5


def case(name, first, second, inputs, **settings):
    return Case(name, dict((first, second)), inputs, **settings)


def newton_case(name, k, d, definition, form):
    return case(name, ("power", definition), ("iteration", form), ((d, d), ()), gradient=False, bounded=False)


LAWS = (
    Law(
        "DE1", "a layer of GD++ is linear attention with two diagonal heads",
        r"x_j \leftarrow x_j - \tfrac{\gamma}{N} \sum_i x_i (x_i \cdot x_j),\ "
        r"y_j \leftarrow y_j - \tfrac{\eta}{N} \sum_i y_i (x_i \cdot x_j)",
        (case("four examples", ("token by token", f.gd_plus), ("lsa", f.plus_layer), prompt(4, 3, (), ())),),
        source=OSWALD, full_only=(BOUNDED,),
    ),
    Law(
        "DE2", "layers of GD++ leave the error R_L, a product of matrices",
        r"\hat y = w^\top (I - R_L) x_q,\ R_{l+1} = R_l (I - \eta_l S_l),\ "
        r"S_{l+1} = (I - \gamma_l S_l) S_l (I - \gamma_l S_l)",
        (case("two layers", ("matrices", f.plus_by_matrices), ("lsa_layers", f.plus_network),
              ((4, 2), (2,), (2,), (2,), (2,)), bounded=False),
         case("three layers", ("matrices", f.plus_by_matrices), ("lsa_layers", f.plus_network),
              ((3, 2), (2,), (2,), (3,), (3,)), gradient=False, bounded=False)),
        (PROVED,), source=f"{OSWALD}; Ahn et al. 2023",
    ),
    Law(
        "DE3", "each eigenvalue goes its own way: lambda (1 - gamma lambda)^2 a layer",
        r"\lambda_{l+1} = \lambda_l (1 - \gamma_l \lambda_l)^2,\ r = \prod_l (1 - \eta_l \lambda_l)",
        (case("three layers", ("matrices", f.residual_of_matrix), ("residuals", f.residual_of_spectrum),
              ((3,), (3, 3), (3,), (3,)), gradient=False, bounded=False),),
        (PROVED,), domain="symmetric matrices", source=OSWALD,
    ),
    Law(
        "DE4", "the risk in a context, task and query averaged, is a sum over its spectrum",
        r"E (w^\top R_L x_q)^2 = s \sum_i r(\lambda_i)^2",
        (case("two layers", ("averaged", f.averaged_error), ("context_risk", f.risk_of_spectrum),
              ((3,), (3, 3), (2,), (2,), ()), gradient=False, bounded=False),),
        (PROVED,), domain="second moments of task and query multiples of the identity",
    ),
    Law(
        "DE4.recurrent", "two recurrent layers of GD reach .1567, of GD++ .1106 with gamma .176, within 1, 1.5 and 3 %",
        r"\min E\, \tfrac12 \tfrac{a^2}{3} \sum_i r(\lambda_i)^2,\ N = d = 10,\ a = \tfrac12", (), (MEASURED,),
        domain="uniform inputs on (-0.5, 0.5)", measure=m.RECURRENT, source=f"{OSWALD}: gamma 0.179",
        full_only=(MEASURED,),
    ),
    Law(
        "DE4.correction", "the correction gamma falls with the number of examples: .099 at 25, .056 at 50, within 2 %",
        r"\gamma / N \text{ at the least risk},\ d = 10", (), (MEASURED,),
        domain="two recurrent layers, uniform inputs on (-0.5, 0.5)", measure=m.CORRECTIONS,
        source=f"{OSWALD}: 0.099 and 0.056", thorough=True,
    ),
    Law(
        "DE4.layers",
        "one layer reaches 1.154, two .362, within 3 %; two with curvature are below .07 in 999 contexts of 1,000",
        r"\min E \sum_i r(\lambda_i)^2,\ d = 5,\ N = 20", (), (MEASURED,),
        domain=ALL_BUT, measure=m.TWO_LAYERS, source="setting of Ahn et al. 2023", full_only=(MEASURED,),
    ),
    Law(
        "DE4.three",
        "three layers reach .134, within 3 %; with curvature below .0037 in 999 contexts of 1,000",
        r"\min E \sum_i r(\lambda_i)^2,\ d = 5,\ N = 20", (), (MEASURED,),
        domain=ALL_BUT, measure=m.THREE_LAYERS,
        source="setting of Ahn et al. 2023", thorough=True,
    ),
    Law(
        "DE5", "the map of the spectrum has its local maximum 4 / (27 gamma) at 1 / (3 gamma)",
        r"f' = (1 - \gamma\lambda)(1 - 3\gamma\lambda),\ "
        r"\tfrac{4}{27\gamma} - f = \gamma^2 (\lambda - \tfrac{1}{3\gamma})^2 (\tfrac{4}{3\gamma} - \lambda)",
        (case("slope", ("by hand", f.slope_by_hand), ("spectrum_map", f.slope), ((), ()), bounded=False),
         case("below the top", ("by hand", f.below_top_by_hand), ("spectrum_map", f.below_top), ((), ()),
              bounded=False)),
        (PROVED,), source=OSWALD,
    ),
    Law(
        "DE6", "one correction brings both ends of a spectrum together, and the condition number down",
        r"\kappa' = 4 (\kappa + \sqrt\kappa + 1)^3 / (27 \kappa (\sqrt\kappa + 1)^2)",
        (case("roots of the ends", ("by hand", f.gathered_by_hand), ("gather", f.gathered), ((), ()), bounded=False),),
        (PROVED,), source=VLADYMYROV,
    ),
    Law(
        "DE7", "near one the condition number comes down quadratically",
        r"\kappa' - 1 = (s - 1)^2 (s + 2)^2 (2 s + 1)^2 / (27 s^2 (s + 1)^2)",
        (case("roots of the ends", ("by hand", f.excess_by_hand), ("gather", f.excess), ((), ()), bounded=False),),
        (PROVED,), source=VLADYMYROV,
    ),
    Law(
        "DE8", "GD++ needs log kappa + log log 1/eps layers, GD about kappa/2 log 1/eps",
        r"L \le \lceil \log_{27/4} \kappa \rceil + \log_2 \log_2 \tfrac1\epsilon + 3", (), (MEASURED,),
        domain="kappa from 10 to 1e8, eps from 1e-3 to 1e-12; networks in float64 at kappa = 1e3", measure=m.LAYERS,
        source=f"{VLADYMYROV}, theorem 5.1", full_only=(MEASURED,),
    ),
    Law(
        "DE9", "Newton's iteration for an inverse", r"M_0 = \alpha S^\top,\ M_{k+1} = 2 M_k - M_k S M_k",
        (case("three steps", ("entry by entry", f.newton_loop(3)), ("newton_inverse", f.newton_library(3)),
              ((3, 3), ()), sample=well_conditioned, gradient=False),),
        source=f"Ben-Israel and Cohen 1966; {FU}", full_only=(BOUNDED,),
    ),
    Law(
        "DE10", "Newton squares what is missing to the inverse, GD multiplies it by a constant",
        r"I - M_k S = (I - \alpha S^\top S)^{2^k},\ I - M_k S = (I - \eta S)^k",
        (*(newton_case(f"Newton, {k} steps", k, d, f.newton_power(k), f.missing(f.newton_inverse, k))
           for k, d in ((1, 3), (3, 3), (5, 2))),
         *(newton_case(f"GD, {k} steps", k, 3, f.descent_power(k), f.missing(f.descent_inverse, k))
           for k in (0, 1, 7))),
        (PROVED,), source=FU,
    ),
    Law(
        "DE11", "Newton's step k is where GD on |S w - b|^2 / 2 is after 2^k steps",
        r"M_k b = w_{2^k}",
        tuple(case(f"Newton {k}, GD {2**k}",
                   ("gradient descent", f.descent_answer(f.squared_residual, 2**k)), ("Newton", f.newton_answer(k)),
                   ((2, 2), (2,), ()), gradient=False, bounded=False) for k in (0, 1, 2, 3)),
        (PROVED,), source=FU,
    ),
    Law(
        "DE11.quadratic", "the matrix of GD is that of GD on w'Sw / 2 - b'w", r"w_k = M_k b",
        (case("three steps", ("gradient descent", f.symmetric(f.descent_answer(f.quadratic, 3))),
              ("descent_inverse", f.symmetric(f.descent_matrix_answer(3))), ((3, 3), (3,), ()), gradient=False,
              bounded=False),),
        (PROVED,), domain="symmetric S",
    ),
    Law(
        "DE11.doubling", '"Newton\'s step k is where GD on the least-squares loss is after 2^k steps"',
        r"M_k b = w_{2^k},\ w_{j+1} = w_j - \alpha (S w_j - b)",
        (case("one step", ("Newton", f.symmetric(f.newton_answer(1))),
              ("gradient descent", f.symmetric(f.descent_answer(f.quadratic, 2))), ((1, 1), (1,), ())),),
        (REFUTED,), source="reading step counts of Newton and GD as one path: it holds for GD on |S w - b|^2",
    ),
    Law(
        "DE12", "two layers of linear attention make a step of Newton's iteration",
        r"Z \leftarrow Z - M S M;\ M \leftarrow M + (M + Z),\ Z \leftarrow Z - Z",
        (case("from any M", ("by hand", f.step_by_hand), ("lsa_layers", f.step_by_layers), ((2, 2), (2, 2)),
              gradient=False, sample=lambda rng: (rng.standard_normal((2, 2)), rng.standard_normal((2, 2)))),
         case("other blocks", ("before", f.as_before), ("after", f.left_over), ((2, 2), (2, 2)), gradient=False,
              bounded=False),
         case("three steps", ("newton_inverse", f.newton_library(3)), ("lsa_layers", f.newton_by_layers(3)),
              ((2, 2), ()), gradient=False, bounded=False)),
        source=GIANNOU, full_only=(BOUNDED,), dtypes=WIDE,
    ),
    Law(
        "DE13", "a head with one-hot positions copies labels to their inputs",
        r"(x_j, 0) \leftarrow (x_j, y_j),\ (x_q, 0) \leftarrow (x_q, 0)",
        (case("three examples", ("pairs", f.copied_loop), ("lsa", f.copied), prompt(3, 2), bounded=False),
         case("no example", ("pairs", lambda q: f.copied_loop(q[None][:0], q[:0], q)),
              ("lsa", lambda q: f.copied(q[None][:0], q[:0], q)), ((2,),), bounded=False)),
        (PROVED,), source=f"{OSWALD}, proposition 3",
    ),
    Law(
        "DE14", "with a softmax it copies up to a bound that falls with the sharpness",
        r"|\mathrm{copied}_t - c_{\pi(t)}| \le \epsilon \sum_i |c_i - c_{\pi(t)}|,\ "
        r"\epsilon = 1 / (e^\beta + T - 1)",
        (case("three examples", ("linear", f.labels_after(lambda x, y, q, s: f.copied(x, y, q))),
              ("softmax_copy", f.labels_after(f.softly_copied)), prompt(3, 2, ()), sample=sharp(3, 2),
              within=f.copy_bound),),
        (BOUNDED,), dtypes=WIDE, source=f"{OSWALD}, proposition 3",
    ),
    Law(
        "DE15", "copying and a layer of GD, on alternating tokens, are a step of GD",
        r"\hat y = \tfrac{\eta}{N} \sum_j y_j (x_j \cdot x_q)",
        tuple(case(name, ("gradient descent", f.descent_from_pairs(steps)), ("network", f.step_from_stream(steps)),
                   prompt(3, 2, ()), bounded=steps == 1, gradient=steps == 1)
              for name, steps in (("one step", 1), ("two steps", 2))),
        source=f"{OSWALD}, proposition 3; claim C21", full_only=(BOUNDED,), dtypes=WIDE,
    ),
    Law(
        "DE16", "diagonal heads act through four scalars", r"\omega_{ab} = \sum_k p_a^k q_b^k",
        (case("one layer", ("four_scalars", noise_levels.four_scalars), ("lsa", f.heads_layer), ((5, 3), (2, 2))),
         case("two layers", ("four_scalars", f.two_layers(noise_levels.four_scalars)),
              ("lsa", f.two_layers(f.heads_layer)), ((4, 3), (2, 2), (2, 2)), bounded=False, gradient=False)),
        source=VLADYMYROV, full_only=(BOUNDED,),
    ),
    Law(
        "DE17", "one diagonal head has omega_xx omega_yy = omega_xy omega_yx", r"\omega = p q^\top",
        (case("one head", ("lsa", f.one_head), ("four_scalars", f.of_rank_one), ((4, 3), (2,), (2,)), bounded=False),
         case("determinant", ("zero", f.zero), ("scalars", f.determinant), ((1, 2), (1, 2)), bounded=False)),
        (PROVED,), source=VLADYMYROV,
    ),
    Law(
        "DE17.two", '"one diagonal head reaches what two reach"', r"\omega_{xx} \omega_{yy} = \omega_{xy} \omega_{yx}",
        (case("two heads", ("as claimed", f.zero), ("scalars", f.determinant), ((2, 2), (2, 2))),),
        (REFUTED,), source=VLADYMYROV,
    ),
    Law(
        "DE18", "two layers of one scalar each are ridge regression at two levels of noise",
        r"c (1 + \omega_{yy} n \sigma_k^2) = n / (n + \sigma_k^2),\ k = 1, 2",
        (case("factors", ("ridge", f.ridge_factors), ("two_levels", f.adapted_factors), ((), (), ()), bounded=False),
         case("orthogonal inputs", ("by hand", f.adapted_by_hand), ("lsa", f.adapted),
              ((4, 4), (), (4,), (2,), (), ()), gradient=False, bounded=False)),
        (PROVED,), source=f"{VLADYMYROV}, theorem 5.2",
    ),
    Law(
        "DE18.oracle", "as n grows they come as near to the oracle as one likes, where constant ridge does not",
        r"\sigma_k^2 = u_k n,\ u = 0.1, 1,\ d = 5", (), (MEASURED,), domain="Gaussian inputs, n = 20, 160, 1280",
        measure=m.TWO_LEVELS, source=f"{VLADYMYROV}, theorem 5.2", full_only=(MEASURED,),
    ),
)  # fmt: skip
