r"""Chapter 8. Light finetuning: low-rank factors, adapters, prefixes, scales and biases as dual forms.

Full finetuning writes patterns $e_i x_i^\top$ into a weight (L1). Light methods freeze the weight and train something
smaller beside it. What they train still receives outer products, so each of them is attention over its training data,
with other keys, other values, or in two stages.

**LoRA** adds a product of two thin factors, $A \in R^{r \times K}$ and $B \in R^{V \times r}$:

$$ y = W x + s\, B A x.                                                                                     \tag{PE1} $$

With the error signal $e$ of the layer's *output* (L6), a step of gradient descent on both factors is, for one pattern
or summed over a minibatch,

$$ B \leftarrow B + s\, e\, (A x)^\top, \qquad A \leftarrow A + s\, (B^\top e)\, x^\top,                    \tag{PE2} $$

both from the factors as they were. Training starts at $B_0 = 0$, where A does not move. After the first step

$$ F(q) = W q + s^2 \sum_i e_i\, (A_0 x_i \cdot A_0 q), \qquad
   \Delta W = s^2 \Bigl( \sum_i e_i x_i^\top \Bigr) A_0^\top A_0:                                           \tag{PE3} $$

the dual form of full finetuning, with every score seen through a random projection. If A stays frozen this is the
whole story, for any number of steps and any start,

$$ F(q) = W q + s B_0 A q + s^2 \sum_i e_i\, (A x_i \cdot A q).                                             \tag{PE4} $$

If both factors are trained, the query passes through two attentions. The first rebuilds what A has become, the second
what B has become; the keys $h_i = A_{i-1} x_i$ of the second are those of the time of training:

$$ z(q) = A_0 q + \sum_i a_i\, (x_i \cdot q), \quad a_i = s B_{i-1}^\top e_i, \qquad
   F(q) = W q + s B_0 z(q) + s^2 \sum_i e_i\, (h_i \cdot z(q)).                                             \tag{PE5} $$

Whatever the optimiser and the number of steps, the change has few dimensions,

$$ \mathrm{rank}(B A) \le r, \qquad \mathrm{rank}(B_n A_n - B_0 A_0) \le 2 r, \qquad
   B_0 = 0 \Rightarrow \mathrm{rank}(B_n A_n) \le \min(r, n),                                               \tag{PE6} $$

the last for n patterns of SGD without decay.

**Adapters** put a narrow network after a layer,

$$ \mathrm{Adapter}(h) = h + W_2\, f(W_1 h + b_1) + b_2,                                                    \tag{PE7} $$

attention over r learned slots: the rows $w_j$ of $W_1$ are keys, the columns $v_j$ of $W_2$ are values, and f stands
where attention has its softmax. A ReLU gives each slot a gate that is 0 or 1:

$$ \mathrm{Adapter}(h) = h + b_2 + \sum_{j=1}^r g_j\, (w_j \cdot h + b_{1j})\, v_j,
   \qquad g_j = \frac{f(w_j \cdot h + b_{1j})}{w_j \cdot h + b_{1j}}.                                       \tag{PE8} $$

Only without f are they changes of a weight: multiplied from the left if the adapter follows the layer, LoRA if it lies
beside it,

$$ h = W x: \quad (I + W_2 W_1)\, W x, \qquad\qquad W x + W_2 W_1 x = (W + W_2 W_1)\, x.                    \tag{PE9} $$

Trained, an adapter is (PE5) with f between the stages, $a_i = f'(z_i) \odot W_2^\top e_i$, $h_i = f(z_i)$, biases as
weights of a constant input (L7):

$$ z(q) = A_0 q + \sum_i a_i\, (x_i \cdot q), \qquad
   F(q) = s B_0 f(z(q)) + s^2 \sum_i e_i\, (h_i \cdot f(z(q))).                                            \tag{PE10} $$

**A prefix** of k trained keys and values in front of the tokens is an update for linear attention, and a mixture for
softmax attention, whose gate $\lambda(q)$ is the share of the attention that the prefix receives:

$$ \mathrm{LinearAttn}([P_V; V], [P_K; K], q) = \mathrm{LinearAttn}(V, K, q) + P_V^\top P_K\, q,           \tag{PE11} $$
$$ \mathrm{Attn}([P_V; V], [P_K; K], q) = (1 - \lambda)\, \mathrm{Attn}(V, K, q)
   + \lambda\, P_V^\top \mathrm{softmax}(P_K q).                                                           \tag{PE12} $$

To linear attention a prefix is LoRA with $A = P_K$, $B = P_V^\top$. To softmax attention the last term is an adapter
with softmax for f (He et al. 2022), and the factor $1 - \lambda$ shrinks what was there.

**IA3** rescales outputs: V trained numbers, and yet a change of full rank,

$$ y = l \odot W x, \; \Delta W = \mathrm{diag}(l - 1)\, W, \; (l \odot k) \cdot q = k \cdot (l \odot q), \tag{PE13} $$

and its dual form has a score for each output feature in place of one number:

$$ F(q) = \Bigl( l_0 + \sum_i e_i \odot W x_i \Bigr) \odot W q.                                            \tag{PE14} $$

**BitFit** trains biases, whose key is the constant 1, so every pattern counts alike for every query:

$$ F(q) = W q + b_0 + \sum_i e_i \cdot 1.                                                                  \tag{PE15} $$

Momentum, decay and schedules enter each factor's sum through chapter 2's coefficients; Adam through (O10).

References: Hu et al. 2021, LoRA (arXiv 2106.09685); Houlsby et al. 2019, Parameter-efficient transfer learning for NLP
(arXiv 1902.00751); Li, Liang 2021, Prefix-tuning (arXiv 2101.00190); Liu et al. 2022, IA3 (arXiv 2205.05638); Ben
Zaken et al. 2021, BitFit (arXiv 2106.10199); He et al. 2022, Towards a unified view of parameter-efficient transfer
learning (arXiv 2110.04366); Zhang et al. 2023, LoRA-FA (arXiv 2308.03303).
"""

from dualform.peft.adapters import adapter as adapter
from dualform.peft.adapters import adapter_factors as adapter_factors
from dualform.peft.adapters import biased as biased
from dualform.peft.adapters import merge_after as merge_after
from dualform.peft.adapters import merge_beside as merge_beside
from dualform.peft.adapters import slots as slots
from dualform.peft.bottleneck import Run as Run
from dualform.peft.bottleneck import bottleneck as bottleneck
from dualform.peft.bottleneck import bottleneck_dual as bottleneck_dual
from dualform.peft.bottleneck import bottleneck_run as bottleneck_run
from dualform.peft.bottleneck import bottleneck_sgd as bottleneck_sgd
from dualform.peft.lora import lora as lora
from dualform.peft.lora import lora_dual as lora_dual
from dualform.peft.lora import lora_frozen_dual as lora_frozen_dual
from dualform.peft.prefix import prefix_split as prefix_split
from dualform.peft.prefix import prefix_update as prefix_update
from dualform.peft.scaling import bitfit_dual as bitfit_dual
from dualform.peft.scaling import ia3 as ia3
from dualform.peft.scaling import ia3_dual as ia3_dual
from dualform.peft.sizes import trained_numbers as trained_numbers
