"""The laws of chapter 8: low-rank factors, adapters, prefixes, scales and biases."""

import jax
import jax.numpy as jnp

from dualform import peft
from dualform.attention import split_from_weights
from dualform.laws.descent.laws import determinant, zero
from dualform.laws.law import BOUNDED, MEASURED, PROVED, REFUTED, Case, Law
from dualform.laws.linear.definitions import read
from dualform.laws.peft.definitions import (
    FACTORS,
    LINEAR,
    PATTERNS,
    TANH,
    B,
    K,
    T,
    V,
    adapter_by,
    adapter_dual,
    adapter_settings,
    adapter_sum,
    adapter_trained,
    added,
    after,
    after_merged,
    beside,
    beside_merged,
    bitfit_trained,
    by_hand,
    changed,
    descended,
    determinant_2,
    factored,
    first_scores,
    first_step,
    first_weight,
    flat,
    frozen_dual,
    frozen_trained,
    ia3_trained,
    lora_settings,
    lora_trained,
    lora_two_stage,
    masked,
    merged,
    minors,
    n,
    no_minors,
    prefix_as_adapter,
    prefix_as_lora,
    prefix_in_floats,
    prefix_linear,
    prefix_mixed,
    prefix_softmax,
    prefix_updated,
    product_determinant,
    projected_scores,
    r,
    recorded,
    relu_slots,
    scaled_keys,
    scaled_output,
    scaled_outputs,
    scaled_query,
    scaled_values,
    scaled_weight,
    slot_by_slot,
    squared_by_hand,
    squared_replayed,
    squared_sgd,
    trained_by_hand,
    trained_determinant,
)

ADAPTER = ((K,), (r, K), (r,), (K, r), (K,))
LORA = ((V, K), *FACTORS, *PATTERNS, (K,), ())

LAWS = (
    Law(
        "PE1", "LoRA is a layer plus a product of two thin factors", "y = W x + s B A x",
        (
            Case("many inputs", {"factored": factored, "merged": merged, "lora": peft.lora},
                 ((V, K), *FACTORS, (n, K), ())),
            Case("the change", {"factored": lambda A, U, x, s: s * read(U, read(A, x)),
                                "bottleneck": lambda A, U, x, s: peft.bottleneck(A, U, x, scale=s)},
                 (*FACTORS, (K,), ())),
        ),
        source="Hu et al. 2021; claim C35", full_only=(BOUNDED,),
    ),
    Law(
        "PE2", "both factors receive outer products", r"B += s e (A x)^\top,\ A += s B^\top e x^\top",
        (
            Case("LoRA", {"by hand": by_hand(LINEAR), "recorded": recorded(LINEAR[0]),
                          "descent": descended(LINEAR[0])}, (*FACTORS, *PATTERNS, ())),
            Case("frozen A", {"by hand": by_hand(LINEAR, True), "recorded": recorded(LINEAR[0], True),
                              "descent": descended(LINEAR[0], True)}, (*FACTORS, *PATTERNS, ()), bounded=False),
            Case("through tanh", {"by hand": by_hand(TANH), "recorded": recorded(jnp.tanh),
                                  "descent": descended(jnp.tanh)}, (*FACTORS, *PATTERNS, ()), gradient=False),
            Case("squared loss", {"by hand": squared_by_hand, "sgd": squared_sgd,
                                  "its error signals": squared_replayed},
                 ((1, 2), (2, 1), (2, 2, 2), (2, 2, 2), ()), gradient=False, bounded=False),
        ),
        source="chain rule", full_only=(BOUNDED,),
    ),
    Law(
        "PE3", "LoRA's first step is full finetuning's, with projected scores",
        r"\Delta W = s^2 (\sum_i e_i x_i^\top) A_0^\top A_0",
        (Case("from B = 0", {"first step": first_step, "projected scores": first_scores, "weight": first_weight},
              ((V, K), (r, K), (n, V), (n, K), (K,), ())),),
        domain="B = 0 at the start", source="claim C35", full_only=(BOUNDED,),
    ),
    Law(
        "PE4", "with A frozen one kernel serves all steps",
        r"F(q) = W q + s B_0 A q + s^2 \sum_i e_i (A x_i \cdot A q)",
        (Case("two steps", {"trained": frozen_trained, "dual": frozen_dual}, LORA, sample=lora_settings),),
        source="Zhang et al. 2023; claim C35", full_only=(BOUNDED,),
    ),
    Law(
        "PE5", "LoRA is attention over its training data, in two stages",
        r"F(q) = W q + s B_0 z + s^2 \sum_i e_i (h_i \cdot z), \quad z = A_0 q + \sum_i a_i (x_i \cdot q)",
        (Case("two steps", {"by hand": trained_by_hand, "trained": lora_trained, "dual": lora_two_stage}, LORA,
              sample=lora_settings),),
        source="claim C35", full_only=(BOUNDED,),
    ),
    Law(
        "PE4.both", "\"with both factors trained the kernel is still that of A at the start\"",
        r"F(q) = W q + s B_0 A_0 q + s^2 \sum_i e_i (A_0 x_i \cdot A_0 q)",
        (Case("two steps", {
            "as claimed": lambda A, E, X, q: peft.lora_frozen_dual(
                jnp.zeros((1, 1)), A, jnp.zeros((1, 1)), *flat(E, X), q),
            "both trained": lambda A, E, X, q: lora_trained(
                jnp.zeros((1, 1)), A, jnp.zeros((1, 1)), E, X, q, jnp.ones(())),
        }, ((1, 1), (2, 1, 1), (2, 1, 1), (1,))),),
        (REFUTED,), full_only=(REFUTED,), source="analyses of LoRA with A frozen, read as LoRA",
    ),
    Law(
        "PE6", "what LoRA changes has rank r at most, whatever trained it", r"\mathrm{rank}(B A) \le r",
        (
            Case("r = 1, all minors", {"zero": no_minors, "minors": lambda U, A: minors(U @ A)}, ((3, 1), (1, 4))),
            Case("r = 2, 3 x 3", {"zero": zero, "determinant": product_determinant}, ((3, 2), (2, 3))),
        ),
        (PROVED,), domain="any optimiser", source="claim C35",
    ),
    Law(
        "PE6.sgd", "n patterns of SGD from B = 0 change LoRA's product in at most n dimensions",
        r"B_0 = 0 \Rightarrow \mathrm{rank}(B_n A_n) \le n",
        (Case("two patterns, r = 3, 3 x 3", {"zero": zero, "determinant": trained_determinant},
              ((3, 3), (2, 1, 3), (2, 1, 3)), gradient=False),),
        (PROVED,), domain="SGD without decay", source="claims C35, C45",
    ),
    Law(
        "PE6.start", "from any start the change has rank 2 r at most",
        r"\mathrm{rank}(B_n A_n - B_0 A_0) \le 2 r",
        (Case("r = 1, 3 x 3", {"zero": zero, "determinant": lambda *a: determinant(changed(*a))},
              ((1, 3), (3, 1), (3, 1, 3), (3, 1, 3)), gradient=False),),
        (PROVED,), source="claim C35",
    ),
    Law(
        "PE6.rank", "\"LoRA's change has rank r\", counted from a start that is not zero",
        r"\mathrm{rank}(B_n A_n - B_0 A_0) \le r",
        (Case("r = 1, 2 x 2", {"zero": zero, "determinant": lambda *a: determinant_2(changed(*a))},
              ((1, 2), (2, 1), (1, 1, 2), (1, 1, 2))),),
        (REFUTED,), source="the rank of the product taken for the rank of its change",
    ),
    Law(
        "PE7", "an adapter is a narrow network beside the identity", r"h + W_2 f(W_1 h + b_1) + b_2",
        (
            Case("tanh", {"as written": adapter_sum(jnp.tanh), "adapter": adapter_by(jnp.tanh)}, ADAPTER),
            Case("many inputs", {"as written": lambda h, W1, b1, W2, b2: jnp.stack(
                                     [adapter_sum(jnp.tanh)(x, W1, b1, W2, b2) for x in h]),
                                 "adapter": adapter_by(jnp.tanh)}, ((n, K), *ADAPTER[1:])),
            Case("W_2 = 0 leaves the network as it was", {
                "h": lambda h, W1, b1: h,
                "adapter": lambda h, W1, b1: peft.adapter(h, W1, b1, jnp.zeros((K, r), h.dtype),
                                                          jnp.zeros(K, h.dtype), jnp.tanh)}, ADAPTER[:3]),
        ),
        source="Houlsby et al. 2019; claim C34", full_only=(BOUNDED,),
    ),
    Law(
        "PE8", "an adapter is attention over learned slots, f in place of the softmax",
        r"h + b_2 + \sum_j g_j (w_j \cdot h + b_{1j}) v_j",
        (
            Case("a ReLU's mask as data", {"as written": masked, "slots": peft.slots}, (*ADAPTER, (r,))),
            Case("tanh", {"slot by slot": slot_by_slot, "adapter": adapter_by(jnp.tanh)}, ADAPTER),
        ),
        source="claim C34; Geva et al. 2021", full_only=(BOUNDED,),
    ),
    Law(
        "PE8.relu", "with a ReLU the gates are 0 or 1", r"g_j = [w_j \cdot h + b_{1j} > 0]",
        (Case("ReLU", {"as written": adapter_sum(jax.nn.relu), "adapter": adapter_by(jax.nn.relu),
                       "slots": relu_slots}, ADAPTER),),
        (BOUNDED,), domain="scores away from zero", source="claim C34", full_only=(BOUNDED,),
    ),
    Law(
        "PE8.lora", "\"an adapter is an update of a weight, like LoRA\"",
        r"\mathrm{Adapter}(2 h) = 2\, \mathrm{Adapter}(h)",
        (Case("no biases", {
            "as claimed": lambda h, W1, W2: 2 * adapter_by(jnp.tanh)(h, W1, jnp.zeros(1), W2, jnp.zeros(1)),
            "adapter": lambda h, W1, W2: adapter_by(jnp.tanh)(2 * h, W1, jnp.zeros(1), W2, jnp.zeros(1)),
        }, ((1,), (1, 1), (1, 1))),),
        (REFUTED,), full_only=(REFUTED,), domain="f not linear", source="the weight-update reading of light finetuning",
    ),
    Law(
        "PE9", "without f an adapter is a change of the weight: from the left after it, LoRA beside it",
        r"(I + W_2 W_1) W, \quad W + W_2 W_1",
        (
            Case("after", {"adapter": after, "merged": after_merged}, ((V, K), (r, V), (V, r), (K,))),
            Case("beside", {"adapter": beside, "merged": beside_merged, "LoRA": lambda W, W1, W2, x: peft.lora(
                W, W1, W2, x)}, ((V, K), (r, K), (V, r), (K,))),
            Case("rank of the change, r = 2, 3 x 3", {
                "zero": zero, "determinant": lambda W, W1, W2: determinant(peft.merge_after(W, W1, W2) - W),
            }, ((3, 3), (2, 3), (3, 2)), bounded=False),
        ),
        source="He et al. 2022", full_only=(BOUNDED,),
    ),
    Law(
        "PE10", "a trained adapter is attention in two stages, f between them",
        r"F(q) = B_0 f(z) + \sum_i e_i (h_i \cdot f(z))",
        (Case("tanh, biases, two steps", {"trained": adapter_trained, "dual": adapter_dual},
              ((r, 3), (r,), (3, r), (3,), (T, B, 3), (T, B, 3), (3,)), sample=adapter_settings, gradient=False),),
        source="tanh enters the proof as an unknown function; claim C34", full_only=(BOUNDED,),
    ),
    Law(
        "PE11", "a prefix is an update of rank k for linear attention", r"\Delta W = P_V^\top P_K",
        (
            Case("two of prefix", {"over all": prefix_linear, "updated": prefix_updated, "LoRA": prefix_as_lora},
                 ((n, V), (n, K), (2, V), (2, K), (K,))),
            Case("k = 1, all minors", {"zero": no_minors, "minors": lambda U, A: minors(
                peft.prefix_update(U.T, A))}, ((3, 1), (1, 4)), bounded=False),
        ),
        source="claim C35", full_only=(BOUNDED,),
    ),
    Law(
        "PE12", "a prefix is a mixture for softmax attention", r"(1 - \lambda) \mathrm{Attn} + \lambda \mathrm{Attn}_P",
        (Case("two of prefix", {"over all": prefix_softmax, "split": prefix_mixed, "adapter": prefix_as_adapter},
              ((n, V), (n, K), (2, V), (2, K), (K,))),),
        domain="exponentials as independent variables", source="He et al. 2022, eq. 7; claim C35",
        full_only=(BOUNDED,),
    ),
    Law(
        "PE12.shifted", "the mixture with shifted exponentials",
        r"(1 - \lambda) \mathrm{Attn} + \lambda \mathrm{Attn}_P",
        (Case("two of prefix", {"over all": prefix_softmax, "prefix_split": prefix_in_floats},
              ((n, V), (n, K), (2, V), (2, K), (K,))),),
        (BOUNDED,), full_only=(BOUNDED,),
    ),
    Law(
        "PE12.added", "\"a prefix is added to what softmax attention returns\"",
        r"\mathrm{Attn} + \lambda \mathrm{Attn}_P",
        (Case("one of each", {
            "as claimed": added, "mixture": lambda w, w_P, values, P_V: split_from_weights(w, w_P, values, P_V).attn,
        }, ((1,), (1,), (1, 1), (1, 1))),),
        (REFUTED,), full_only=(REFUTED,), source="claim C35, with a softmax",
    ),
    Law(
        "PE13", "IA3 changes a weight from the left, a metric, or an output", r"\Delta W = \mathrm{diag}(l - 1) W",
        (
            Case("a layer", {"outputs": scaled_outputs, "weight": scaled_weight, "ia3": peft.ia3},
                 ((V, K), (V,), (K,))),
            Case("keys of attention", {"keys": scaled_keys, "query": scaled_query}, ((n, V), (n, K), (K,), (K,)),
                 bounded=False),
            Case("values of attention", {"values": scaled_values, "output": scaled_output},
                 ((n, V), (n, K), (V,), (K,))),
            Case("its determinant", {
                "product": lambda W, l: jnp.prod(l - 1) * determinant(W),
                "determinant": lambda W, l: determinant((l - 1)[:, None] * W)}, ((3, 3), (3,)), bounded=False),
        ),
        source="Liu et al. 2022", full_only=(BOUNDED,),
    ),
    Law(
        "PE13.few", "\"few trained numbers mean a change of low rank\"", r"\mathrm{rank}(\mathrm{diag}(l - 1) W) < V",
        (Case("2 x 2", {"zero": zero, "determinant": lambda W, l: determinant_2((l - 1)[:, None] * W)},
              ((2, 2), (2,))),),
        (REFUTED,), full_only=(REFUTED,), source="light finetuning taken for low-rank finetuning",
    ),
    Law(
        "PE14", "a trained scale has a score for each output feature",
        r"F(q) = (l_0 + \sum_i e_i \odot W x_i) \odot W q",
        (
            Case("one query", {"trained": ia3_trained, "dual": peft.ia3_dual},
                 ((V, K), (V,), (n, V), (n, K), (K,))),
            Case("many queries", {"trained": lambda W, l, E, X, Q: jnp.stack([ia3_trained(W, l, E, X, q) for q in Q]),
                                  "dual": peft.ia3_dual}, ((V, K), (V,), (n, V), (n, K), (2, K))),
        ),
        full_only=(BOUNDED,),
    ),
    Law(
        "PE15", "a trained bias is attention with scores of 1", r"F(q) = W q + b_0 + \sum_i e_i",
        (
            Case("one query", {"trained": bitfit_trained, "dual": peft.bitfit_dual}, ((V, K), (V,), (n, V), (K,))),
            Case("many queries", {"trained": lambda W, b, E, Q: jnp.stack([bitfit_trained(W, b, E, q) for q in Q]),
                                  "dual": peft.bitfit_dual}, ((V, K), (V,), (n, V), (2, K))),
        ),
        source="Ben Zaken et al. 2021", full_only=(BOUNDED,),
    ),
    Law(
        "PE3.average", "the projected scores are full finetuning's on average, and spread around it",
        r"E[x^\top A^\top A q] = (r / K)\, x \cdot q", (), (MEASURED,), domain="entries of A of variance 1 / K",
        measure=projected_scores, full_only=(MEASURED,),
    ),
)  # fmt: skip
