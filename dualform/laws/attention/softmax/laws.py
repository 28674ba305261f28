"""The laws of softmax attention over blocks: an exact mixture with a gate, and what the additive reading misses."""

from dualform import attention
from dualform.laws.attention.context.definitions import K, V, case
from dualform.laws.attention.softmax import definitions as m
from dualform.laws.law import BOUNDED, REFUTED, Law

SPLIT = ((3,), (2,), (3, V), (2, V))
"""Weights of own tokens and of demonstrations, and their values."""
SOFTMAX = ((3, V), (3, K), (2, V), (2, K), (K,), ())
BLOCKS = (((3,), (1,), (2,)), ((3, V), (1, V), (2, V)))
DAI = "Dai et al. 2022"

LAWS = (
    Law(
        "SX1", "softmax attention is an average with exponential weights", r"\sum_i w_i v_i / \sum_i w_i",
        (
            case("many queries", ("definition", m.summed_attn), ("softmax_attn", attention.softmax_attn),
                 ((5, V), (5, K), (2, K), ())),
            case("one query, default scale", ("definition", m.default_scale(m.summed_attn)),
                 ("softmax_attn", attention.softmax_attn), ((5, V), (5, K), (K,))),
            case("causal", ("definition", m.causal_attn), ("causal_softmax_attn", attention.causal_softmax_attn),
                 ((5, V), (5, K), (5, K), ())),
        ),
        (BOUNDED,), full_only=(BOUNDED,),
    ),
    Law(
        "SX2", "attention over demonstrations and own tokens is a convex mixture with a gate",
        r"\mathrm{Attn} = (1 - \lambda) \mathrm{Attn}_z + \lambda \mathrm{Attn}_d",
        (
            case("the mixture", ("all tokens", m.together), ("split_from_weights", m.mixture), SPLIT,
                 m.positive(*SPLIT)),
            case("its parts", ("definition", m.parts), ("split_from_weights", m.library_parts), SPLIT,
                 m.positive(*SPLIT)),
            case("many queries", ("definition", m.many_queries(m.parts)), ("split_from_weights", m.library_parts),
                 ((2, 3), (2, 2), *SPLIT[2:]), m.positive((2, 3), (2, 2), *SPLIT[2:]), bounded=False),
        ),
        domain="any weights whose sums are not zero", full_only=(BOUNDED,), source="He et al. 2022",
    ),
    Law(
        "SX2.shifted", "the same from queries and keys, shifted so that nothing overflows", r"w = e^{s}",
        (case("softmax", ("all tokens", m.softmax_together), ("softmax_split", m.softmax_mixture), SOFTMAX),),
        (BOUNDED,), full_only=(BOUNDED,),
    ),
    Law(
        "SX3", "attention over m blocks is a mixture with a softmax of their masses as gates",
        r"\mathrm{Attn} = \sum_j \lambda_j \mathrm{Attn}_j",
        (
            case("three blocks", ("all tokens", m.three_together), ("blocks_from_weights", m.three_blocks),
                 BLOCKS, m.block_settings(V)),
            case("outputs and gates", ("definition", m.three_gates), ("blocks_from_weights", m.library_gates),
                 BLOCKS, m.block_settings(V), bounded=False),
        ),
        full_only=(BOUNDED,),
    ),
    Law(
        "SX4", "the gate is a sigmoid of a difference of two log-sum-exp",
        r"\lambda = \sigma(\mathrm{lse}(s^d) - \mathrm{lse}(s))",
        (case("one query", ("definition", m.summed_gate), ("gate", attention.gate), ((3, K), (2, K), (K,), ())),),
        (BOUNDED,), full_only=(BOUNDED,),
    ),
    Law(
        "SX5", "each block may be shifted by a number of its own",
        r"w_i \to e^{s_i - c_j},\ W_j \to e^{c_j - c} W_j",
        (case("two blocks", ("unshifted", m.unshifted), ("shifted", m.shifted),
              ((3,), (2,), (3, V), (2, V), (), (), ()), m.shift_settings),),
        domain="any shifts", full_only=(BOUNDED,),
    ),
    Law(
        "SX6", "the additive reading misses what the gate takes from the zero-shot part",
        r"\mathrm{Attn} - (\mathrm{Attn}_z + \lambda \mathrm{Attn}_d) = -\lambda \mathrm{Attn}_z",
        (case("the gap", ("right-hand side", m.shrinkage), ("gap", m.additive_gap), SPLIT, m.positive(*SPLIT)),
         case("numerator and mass are additive", ("all tokens", m.numerator_and_mass), ("both blocks", m.sums_of_both),
              SPLIT, m.positive(*SPLIT))),
        full_only=(BOUNDED,),
    ),
    Law(
        "SX6.own", '"the query\'s own tokens contribute what they would without demonstrations", with a softmax',
        r"(1 - \lambda) \mathrm{Attn}_z = \mathrm{Attn}_z",
        (case("from weights", ("as claimed", m.zero_shot), ("with demonstrations", m.share_of_own_tokens),
              ((1,), (1,), (1, 1), (1, 1))),),
        (REFUTED,), source=f"claim C6, {DAI}",
    ),
    Law(
        "SX6.sum", '"the output is the zero-shot output plus that of the demonstrations", with a softmax',
        r"\mathrm{Attn} = \mathrm{Attn}_z + \mathrm{Attn}_d",
        (case("from weights", ("as claimed", m.sum_of_blocks), ("all tokens", m.together),
              ((1,), (1,), (1, 1), (1, 1))),),
        (REFUTED,), source=f"claim C5, {DAI}",
    ),
    Law(
        "SX6.fixed", '"demonstrations change softmax attention by a fixed matrix times the query"',
        r"\mathrm{Attn}(2q) - \mathrm{Attn}_z(2q) = 2 (\mathrm{Attn}(q) - \mathrm{Attn}_z(q))",
        (case("twice the query", ("twice the change", lambda V, K, Y, L, q: 2 * m.effect(V, K, Y, L, q)),
              ("change at twice the query", lambda V, K, Y, L, q: m.effect(V, K, Y, L, 2 * q)),
              ((1, 1), (1, 1), (1, 1), (1, 1), (1,))),),
        (REFUTED,), source=f"claim C5, {DAI}", full_only=(REFUTED,),
    ),
    Law(
        "SX7", "between equal scores the gate counts tokens", r"\lambda = n_d / (n + n_d)",
        (case("three own tokens, five demonstrations", ("counts", m.counted), ("gate", m.equal_scores),
              ((), (3, V), (5, V)), lambda rng: (1.5, *(rng.standard_normal((k, V)) for k in (3, 5))),
              gradient=False),),
        full_only=(BOUNDED,),
    ),
)  # fmt: skip
