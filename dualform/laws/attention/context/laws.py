"""The laws of attention as an update: in context, by finetuning; those with a softmax and with momentum follow."""

import jax.numpy as jnp

from dualform import attention
from dualform.laws.attention.context import definitions as c
from dualform.laws.attention.context.definitions import D, K, V, case
from dualform.laws.law import BOUNDED, MEASURED, PROVED, REFUTED, Case, Law

HEAD = ((V, D), (K, D))
"""W_V and W_K."""
DAI = "Dai et al. 2022"


def context(own, demos, queries=()):
    """What (IC1) and (IC2) quantify over."""
    return (*HEAD, (own, D), (demos, D), (*queries, K))


def training(m, n):
    """What (IC6) quantifies over: m training tokens, n own tokens."""
    return (*HEAD, (m, V), (m, K), (m, D), (n, D))


def square(m, n):
    """The same for a head of three values and three keys."""
    return ((3, 3), (3, 3), (m, 3), (m, 3), (m, 3), (n, 3))


LAWS = (
    Law(
        "IC1", "a head without softmax is linear attention over demonstrations and own tokens",
        r"F(q) = \sum_i W_V x'_i (W_K x'_i \cdot q) + \sum_i W_V x_i (W_K x_i \cdot q)",
        (case("one query", ("definition", c.in_context), ("linear_attn", c.one_attention), context(3, 2)),),
        source=DAI, full_only=(BOUNDED,),
    ),
    Law(
        "IC1.outer", '"linear attention adds outer products $e_i \\otimes (x_i \\cdot x)$"',
        r"\sum_i e_i \otimes (x_i \cdot x) \text{ has the axes of the output}",
        (case("one query", ("axes as written", lambda e, x, q: jnp.full((), float(jnp.outer(e, jnp.dot(x, q)).ndim))),
              ("axes of the output", lambda e, x, q: jnp.full((), float((e * jnp.dot(x, q)).ndim))),
              ((V,), (K,), (K,))),),
        (REFUTED,), source="claim C3: the score is a number, and a vector times a number has one axis",
    ),
    Law(
        "IC2", "demonstrations change the weight of a head without softmax", r"F(q) = (W_{ZSL} + \Delta W_{ICL}) q",
        (
            case("one query", ("all tokens", c.in_context), ("split", c.split_head), context(3, 2)),
            case("many queries", ("all tokens", c.in_context), ("split", c.split_head), context(3, 2, (3,)),
                 bounded=False),
            case("no demonstration", ("all tokens", c.in_context), ("split", c.split_head), context(3, 0),
                 bounded=False),
            case("no own token", ("all tokens", c.in_context), ("split", c.split_head), context(0, 2), bounded=False),
        ),
        source=f"{DAI}; claims C5, C6", full_only=(BOUNDED,),
    ),
    Law(
        "IC3", "each demonstration is a step of gradient descent on the Hebbian loss",
        r"-\nabla \ell_i = W_V x'_i (W_K x'_i)^\top",
        (case("two demonstrations", ("gradient descent", c.hebbian_run), ("split", c.split_weight),
              context(3, 2)[:-1]),),
        source="claim C7", full_only=(BOUNDED,),
    ),
    Law(
        "IC3.squared", '"each demonstration is a step of gradient descent on the squared loss"',
        r"-\nabla \tfrac12 |W W_K x' - W_V x'|^2 = W_V x' (W_K x')^\top",
        (case("one demonstration", ("as claimed", c.split_weight), ("gradient descent", c.squared_run),
              context(1, 1)[:-1]),),
        (REFUTED,), domain="where the zero-shot weight already says something", source="readings of claim C7",
    ),
    Law(
        "IC4", "finetuned keys and values change the weight by three terms",
        r"\Delta W_{FT} = \Delta W_V G W_K^\top + W_V G \Delta W_K^\top + \Delta W_V G \Delta W_K^\top",
        (
            Case("three own tokens", {"after minus before": c.change, "ft_update": attention.ft_update,
                                     "three terms": c.three_terms}, (*HEAD, *HEAD, (3, D)), c.ft_settings),
            case("term by term", ("Gram matrix", c.separate_terms), ("ft_terms", c.library_terms),
                 (*HEAD, *HEAD, (3, D)), c.ft_settings),
            case("no own token", ("after minus before", c.change), ("ft_update", attention.ft_update),
                 (*HEAD, *HEAD, (0, D))),
        ),
        source=f"{DAI}; claim C8", full_only=(BOUNDED,),
    ),
    Law(
        "IC5", "a finetuned update has the rank of two of its terms, not of three",
        r"\mathrm{rank}\, \Delta W_{FT} \le \min(r_V, r_X) + \min(r_K, r_X)",
        (case("one training token, 3 x 3", ("determinant", c.low_rank), ("zero", c.zero), square(1, 3), gradient=False),
         case("one own token, 3 x 3", ("determinant", c.low_rank), ("zero", c.zero), square(3, 1), gradient=False)),
        (PROVED,),
    ),
    Law(
        "IC5.tokens", '"the finetuned update of n training tokens has rank at most n"',
        r"\mathrm{rank}\, \Delta W_{FT} \le r_V",
        (case("one training token, 3 x 3", ("minor", c.minor), ("zero", c.zero), square(1, 3)),),
        (REFUTED,), source="carrying claim C45 over from one layer to a product of two", full_only=(REFUTED,),
    ),
    Law(
        "IC5.query", '"the finetuned update has at most the rank of the query\'s own tokens"',
        r"\mathrm{rank}\, \Delta W_{FT} \le r_X",
        (case("one own token, 3 x 3", ("minor", c.minor), ("zero", c.zero), square(3, 1)),),
        (REFUTED,), source="carrying the bound of each term over to their sum", full_only=(REFUTED,),
    ),
    Law(
        "IC6", "each term of a finetuned update is attention in two hops",
        r"\Delta W_{FT}\, q \text{ by attention alone}",
        (case("one query", ("weights", c.terms_at_query), ("two_hop", c.hops), (*training(2, 3), (K,))),
         case("many queries", ("weights", c.terms_at_query), ("two_hop", c.hops), (*training(2, 3), (2, K)),
              bounded=False)),
        source="(IC4) with the dual form of each projection", full_only=(BOUNDED,),
    ),
    Law(
        "IC7", "a head finetuned by SGD is attention over its training tokens",
        r"F_{FT}(q) = (W_{ZSL} + \Delta W_{FT}) q",
        (Case("squared loss", {"by hand": c.finetuned_by_hand, **c.finetuned_forms()}, c.tuning(2, 2, 3),
              c.tuning_settings, gradient=False),
         Case("loss through tanh", {"gradient descent": c.finetuned_by_gradient(c.through_tanh),
                                    **c.finetuned_forms(c.through_tanh)}, c.tuning(2, 2, 3), c.tuning_settings,
              gradient=False, bounded=False)),
        domain="two sequences of two tokens, read in a third context", source=f"{DAI}; claim C8", full_only=(BOUNDED,),
    ),
    Law(
        "IC7.digits", "a head finetuned on handwritten digits is attention over its training tokens",
        r"F_{FT}(q) = (W_{ZSL} + \Delta W_{FT}) q",
        (Case("rows of digits", {"gradient descent": c.finetuned_by_gradient(attention.squared), **c.finetuned_forms()},
              c.DIGITS, c.digit_rows, gradient=False),),
        (BOUNDED,), domain="8 rows of two images, read at a third", source=f"{DAI}; claim C8",
        dtypes=("float32",), full_only=(BOUNDED,),
    ),
    Law(
        "IC8", "the finetuned update vanishes with the query's own context, the in-context one does not depend on it",
        r"\Delta W_{FT}(cX) = c^2 \Delta W_{FT}(X)",
        (case("smaller context", ("scaled update", lambda a, b, da, db, X, s: s * s * c.change(a, b, da, db, X)),
              ("scaled tokens", lambda a, b, da, db, X, s: attention.ft_update(a, b, da, db, s * X)),
              (*HEAD, *HEAD, (3, D), ()), bounded=False, gradient=False),
         case("other context", ("gain in one context", lambda a, b, X, Y, demo, q: c.gain(a, b, X, demo, q)),
              ("gain in another", lambda a, b, X, Y, demo, q: c.gain(a, b, Y, demo, q)),
              (*HEAD, (3, D), (2, D), (2, D), (K,)), bounded=False, gradient=False)),
        (PROVED,), source="claim C9",
    ),
    Law(
        "IC8.kind", '"in-context learning and finetuning make the same kind of update"',
        r"\Delta W_{FT}(X) = \Delta W_{FT}(Y), \text{ as } \Delta W_{ICL}(X) = \Delta W_{ICL}(Y)",
        (case("two contexts", ("one context", lambda a, b, da, db, X, Y: attention.ft_update(a, b, da, db, X)),
              ("other context", lambda a, b, da, db, X, Y: attention.ft_update(a, b, da, db, Y)),
              (*HEAD, *HEAD, (1, D), (1, D))),),
        (REFUTED,), source=f"claim C9, {DAI}",
    ),
    Law(
        "IC9", "a layer of several heads is one weight, changed by the sum of its heads' updates",
        r"y = \sum_h W_O^h (W_{ZSL}^h + \Delta W_{ICL}^h) W_Q^h x",
        (Case("two heads", {"token by token": c.summed_layer, "linear_heads": c.layer_of_heads,
                            "one weight": c.one_weight}, (c.OUT, *c.HEADS[1:], (2, D), (2, D), (D,))),),
        full_only=(PROVED, BOUNDED),
    ),
    Law(
        "IC9.mask", "the causal mask of several heads ends with the query's own position", r"i \le n - M + t",
        tuple(case(name, ("loop", c.causal_loop), ("linear_heads", c.causal_heads),
                   ((4, 2, V), (4, 2, K), (queries, 2, K), ()), bounded=queries == 2)
              for name, queries in (("as many queries as tokens", 4), ("the last two tokens", 2))),
        full_only=(PROVED, BOUNDED),
    ),
    Law(
        "IC10", "the published similarity is the cosine of two differences of unit vectors",
        r"\cos(\hat h_a - \hat h, \hat h_b - \hat h)",
        (case("random states", ("definition", c.cosine_of_updates), ("update_similarity", c.library_cosine),
              ((8,), (8,), (8,)), gradient=False),),
        (BOUNDED,), dtypes=("float64", "float32"), full_only=(BOUNDED,), source=DAI,
    ),
    Law(
        "IC10.smaller", '"the smaller the similarity, the closer the two updates"',
        r"\cos = 0 \text{ for equal updates}",
        (case("equal updates", ("as claimed", lambda h, a: jnp.zeros(())),
              ("update_similarity", lambda h, a: c.library_cosine(h, a, a)), ((3,), (3,))),),
        (REFUTED,), source="claim C16: it is a cosine, 1 for equal updates",
    ),
    Law(
        "IC11", "unrelated updates of states that are normalised first look alike, and how much",
        r"(1 - s)^2 / (s^2 c + (1 - s)^2) = (1 - s) / 2,\ c = s^{-2} - 1",
        (case("in s", ("middle", c.published_cosine), ("right", lambda s: (1 - s) / 2), ((),), bounded=False),),
        (PROVED,),
    ),
    Law(
        "IC11.orthogonal", "orthogonal updates have that similarity", r"h \perp a \perp b",
        (Case("in the ratio", {"formula": c.of_ratio, "unrelated_cosine": attention.unrelated_cosine,
                               "orthogonal vectors": c.orthogonal}, ((),), lambda rng: (rng.uniform(1, 8),)),),
        (BOUNDED,), dtypes=("float64", "float32"), full_only=(BOUNDED,),
    ),
    Law(
        "IC11.random", "random updates of squared length three times the state's have similarity 1/4", r"c = 3", (),
        (MEASURED,), domain="2,048 features", measure=c.unrelated_updates, full_only=(MEASURED,),
        source="claim C13's measure",
    ),
)  # fmt: skip

"""Every law in one wide and one narrow dtype, on one draw: their number makes up for it."""
