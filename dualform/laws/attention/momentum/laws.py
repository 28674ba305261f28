"""The laws of momentum attention, as printed and as posted, and of the momentum that it is named after."""

from dualform import attention
from dualform.laws.attention.context.definitions import K, V, case
from dualform.laws.attention.momentum import definitions as m
from dualform.laws.law import BOUNDED, MEASURED, PROVED, REFUTED, Case, Experiment, Law
from dualform.prove import Input

TOKENS = ((5, V), (5, K), (5, K))
DAI, POSTED = "Dai et al. 2022", "the model file that Dai et al. posted"
LOGS = Input((), "log")
KERNEL = ((5, 2), (2, 3), (2, 3), ())
"""Values, gamma, delta, scale."""

LAWS = (
    Law(
        "MA1", "momentum attention as printed: an average of the past values beside softmax attention",
        r"\mathrm{MoAttn}_t = \mathrm{Attn}_t + \sum_{i<t} \eta^{t-i} v_i",
        (Case("five positions", {"definition": m.published, "moattn": m.moattn("recurrent")},
              (*TOKENS, (), ()), m.momentum_settings(5, V, K)),),
        (BOUNDED,), source=DAI, full_only=(BOUNDED,),
    ),
    Law(
        "MA2", "the average as a recurrence", r"m_t = \eta (m_{t-1} + v_{t-1})",
        (Case("six positions", {"sum": m.past_sum, "recurrent": m.average("recurrent"), "by weights": m.average("sum")},
              ((6, V), ()), m.average_settings(6, V)),
         case("no position", ("sum", lambda V, eta: V * eta), ("recurrent", m.average("recurrent")), ((0, V), ()))),
        full_only=(BOUNDED,),
    ),
    Law(
        "MA3", "momentum attention as posted: a learned sum of exponentials for each channel",
        r"\kappa_c(\tau) = D^{-1/2} \sum_n \gamma_{cn} \sigma(\delta_{cn})^\tau",
        (case("the average", ("definition", m.kernel_sum), ("by sum", m.learned("sum")), KERNEL,
              m.kernel_settings(5, 2, 3)),),
        source=POSTED, full_only=(PROVED, BOUNDED),
    ),
    Law(
        "MA3.softmax", "the same beside softmax attention", r"\mathrm{Attn}_t + m_t",
        (case("five positions", ("definition", m.posted), ("moattn_learned", m.posted_library("recurrent")),
              (*TOKENS, (V, 3), (V, 3), ()),
              lambda rng: (*(rng.standard_normal(s) for s in (*TOKENS, (V, 3), (V, 3))), 0.5)),),
        (BOUNDED,), source=POSTED, full_only=(PROVED, BOUNDED),
    ),
    Law(
        "MA4", "the learned average as a recurrence of all components",
        r"z_{tcn} = \sigma(\delta_{cn}) z_{t-1,cn} + v_{tc}",
        (case("five positions", ("definition", m.kernel_sum), ("recurrent", m.learned("recurrent")), KERNEL,
              m.kernel_settings(5, 2, 3)),),
        full_only=(PROVED, BOUNDED),
    ),
    Law(
        "MA5", "Fourier transforms of twice the length compute the same average",
        r"m = F^{-1}(F[\kappa, 0] F[v, 0])", (),
        (MEASURED,), domain="1,024 positions, float32; small beside the largest outputs, not beside each",
        measure=Experiment(m.fourier_error, {"fft": attention.fft_convolve}), source=POSTED, full_only=(MEASURED,),
    ),
    Law(
        "MA6", "heavy ball is linear attention that favours the old",
        r"S_t q_t = \sum_{i \le t} c_{ti} v_i (k_i \cdot q_t),\ c_{ti} = \sum_{s=i}^t \mu^{s-i}",
        (Case("five positions", {"recurrence": m.heavy_ball_sum, "heavy_ball_attn": attention.heavy_ball_attn,
                                 "optimiser's coefficients": m.by_optimizer}, (*TOKENS, (), ()),
              m.momentum_settings(5, V, K)),),
        source="Polyak 1964", full_only=(BOUNDED,),
    ),
    Law(
        "MA6.layer", "its layer is the running sum of RetNet's states, its velocity the last of them",
        r"Z_t = \text{RetNet}_t",
        (case("four positions", ("momentum", m.running_sum), ("retention", m.of_retention),
              ((4, V), (4, K), (4, K), LOGS, (V, K)), gradient=False, bounded=False),),
        (PROVED,),
    ),
    Law(
        "MA6.printed", "the gradient descent printed beside momentum attention is heavy ball with rate gamma eta",
        r"\Theta_t = \Theta_{t-1} - \gamma \sum_{i<t} \eta^{t-i} g_i",
        (case("four steps", ("as printed", m.printed_recursion), ("heavy ball", m.as_heavy_ball),
              ((V, K), (4, V, K), (), ()), gradient=False, bounded=False),),
        (PROVED,), source=DAI,
    ),
    Law(
        "MA7", "the extra term of momentum attention is the velocity of a bias", r"m_t = \mu Z_{t-1},\ k_i = 1",
        (case("five positions", ("past_average", m.average("recurrent")), ("bias", m.bias_velocity), ((5, V), ()),
              gradient=False, bounded=False),),
        (PROVED,), source="claim C19",
    ),
    Law(
        "MA8", "momentum attention and heavy ball differ for every eta and mu: at query zero by the average",
        r"\mathrm{LinearAttn}_t + m_t - S_t q_t = m_t \text{ at } q_t = 0",
        (case("at query zero", ("average", lambda V, K, eta, mu: m.sum_over_past(V, eta)),
              ("difference", m.difference_at_zero),
              ((4, V), (4, K), (), ()), gradient=False, bounded=False),
         case("momentum attention's excess", ("average", lambda V, K, Q, eta: m.sum_over_past(V, eta)),
              ("at any query", m.excess(m.without_softmax)), ((4, V), (4, K), (4, K), ()), gradient=False,
              bounded=False),
         case("heavy ball's excess", ("at the sum of two queries", m.both_queries), ("summed", m.one_by_one),
              ((4, V), (4, K), (4, K), (4, K), ()), gradient=False, bounded=False)),
        (PROVED,), domain="any eta and mu; the average is zero for eta = 0 or values that cancel", source="claim C19",
    ),
    Law(
        "MA8.momentum", '"momentum attention is momentum"', r"\mathrm{LinearAttn}_t + m_t = S_t q_t,\ \mu = \eta",
        (case("two positions", ("momentum attention", m.without_softmax), ("heavy ball", attention.heavy_ball_attn),
              ((2, 1), (2, 1), (2, 1), ())),),
        (REFUTED,), source=f"claim C19, {DAI}",
    ),
    Law(
        "MA9", "heavy ball favours the old, momentum attention the recent",
        r"c_{t,i} - c_{t,i+1} = \mu^{t-i},\ \eta^{t-i} - \eta^{t-i-1} = -(1-\eta) \eta^{t-i-1}",
        (case("five positions", ("powers", m.powers(5)), ("weights", m.age_steps(5)), ((), ()), gradient=False,
              bounded=False),),
        (PROVED,), domain="the signs follow for eta and mu between 0 and 1",
    ),
    Law(
        "MA10", "momentum on the values filters the scores over time",
        r"\sum_t \bar v_t (k_t \cdot q) = \sum_i v_i \sum_{t \ge i} \mu^{t-i} (k_t \cdot q)",
        (case("five positions", ("recurrence", m.momentum_on_values), ("filtered scores", m.filtered_scores),
              ((5, V), (5, K), (K,), ()),
              lambda rng: (*(rng.standard_normal(s) for s in ((5, V), (5, K), (K,))), rng.uniform(0.3, 0.95))),),
        full_only=(PROVED, BOUNDED),
    ),
    Law(
        "MA10.layer", '"momentum on the values is momentum on the layer"', r"\sum_t \bar v_t (k_t \cdot q) = S_T q",
        (case("two positions", ("values", m.momentum_on_values), ("layer", m.heavy_ball_at_end),
              ((2, 1), (2, 1), (1,), ())),),
        (REFUTED,), source="reading an average of values as momentum", full_only=(REFUTED,),
    ),
    Law(
        "MA11", "softmax attention with heavy ball's coefficients", r"c_{ti} e^{s_{ti}}",
        (case("four positions", ("definition", m.weighted_softmax),
              ("heavy_ball_softmax", attention.heavy_ball_softmax),
              ((4, V), (4, K), (4, K), (), ()), m.momentum_settings(4, V, K)),),
        (BOUNDED,), full_only=(BOUNDED,),
    ),
)  # fmt: skip
