r"""Chapter 7. A context as a patch of the next weight.

A contextual layer, say attention, turns a token into a vector: z when the token sees its whole context, a when it sees
less. Whatever it is, the next layer multiplies that vector by a weight W, and then

$$ (W + \Delta W)\, a = W z, \qquad \Delta W = \frac{W (z - a)\, a^\top}{|a|^2}, \qquad a \ne 0.            \tag{CP1} $$

Everything after that product is the same, so the network answers for this token as if it had seen the context. In the
words of chapter 1 the patch is a single pattern: key a, the input without context, and the error signal of one step
of gradient descent on $\tfrac12 |W' a - W z|^2$ from $W' = W$, with the learning rate $1 / |a|^2$ that ends at zero:

$$ \Delta W\, q = \frac{W (z - a)}{|a|^2}\, (a \cdot q)
             = -\frac{1}{|a|^2} \nabla_{W'} \tfrac12 |W' a - W z|^2 \Big|_{W' = W} q.                       \tag{CP2} $$

It is not the only change that does this. All others are $D = \Delta W + Z (I - a a^\top / |a|^2)$, for some Z, and they
are larger: the two parts are orthogonal, so that

$$ |D|^2 = |\Delta W|^2 + |Z (I - a a^\top / |a|^2)|^2.                                                     \tag{CP3} $$

**Whole blocks.** With a skip connection, the residual stream $u$ ($u_1$ with context, $u_0$ without) goes round W as
well, and the output bias has to carry the difference:

$$ u_1 + W_2 f(W u_1 + b) + b_2 = u_0 + W_2 f((W + \Delta W) u_0 + b) + b_2 + \Delta b_2, \qquad
   \Delta b_2 = u_1 - u_0,                                                                                  \tag{CP4} $$

with (CP1) for $z = u_1$, $a = u_0$. A norm in front of W only changes what W reads:

$$ \Delta W = \frac{W (n_1 - n_0)\, n_0^\top}{|n_0|^2}, \qquad n_i = \mathrm{norm}(u_i), \qquad
   \Delta b_2 = u_1 - u_0.                                                                                  \tag{CP5} $$

A gated block $u + W_d\, h$, $h = f(W_g n) \odot W_u n$, has no bias. Both inner weights are patched by (CP5), and the
outer one carries the stream, in the direction of the hidden vector that the patched gates produce:

$$ \Delta W_d = \frac{(u_1 - u_0)\, h^\top}{|h|^2}, \qquad h = f(W_g n_1) \odot W_u n_1 \ne 0.              \tag{CP6} $$

**What the context's tokens contribute.** If the contextual layer is linear attention, $z - a$ is
$\sum_i v_i (k_i \cdot q)$ over the tokens of the context, and each brings a patch of its own. If it is softmax
attention, the exact split has a gate $\lambda(q)$, the share of the attention that the context receives, and the patch
is that of a difference:

$$ \Delta W = \sum_i (k_i \cdot q)\, \frac{W v_i\, a^\top}{|a|^2}, \qquad
   \Delta W = \lambda(q)\, \frac{W (\mathrm{attn}_{context} - a)\, a^\top}{|a|^2}.                          \tag{CP7} $$

**One token of the context after another.** Let $a_i$ be the input when the token sees the first i tokens of the
context. All patches have the same key $a_0$, add up, and never exceed rank 1:

$$ W_i = W_{i-1} + \frac{W (a_i - a_{i-1})\, a_0^\top}{|a_0|^2}, \qquad W_i a_0 = W a_i.                    \tag{CP8} $$

Or let $a_i$ be the input when the first i tokens are gone, each absorbed by the weight as it goes:

$$ W_i = W_{i-1} + \frac{W_{i-1} (a_{i-1} - a_i)\, a_i^\top}{|a_i|^2}, \qquad W_i a_i = W a_0.              \tag{CP9} $$

Since $W_{i-1} a_{i-1} = W a_0$ whatever i, (CP9) is the delta rule (D1), the normalised one, on one fixed value:

$$ W_i = W_{i-1} + \beta_i (v - W_{i-1} a_i)\, a_i^\top, \quad \beta_i = 1 / |a_i|^2, \; v = W a_0.      \tag{CP10} $$

Both are exact for the token, and they are different matrices: of rank 1 and of rank up to n.

**What a patch is not.** It is exact for the token that it was made for. For another one, with $a_t$ and $z_t$, it is
off by

$$ (W + \Delta W)\, a_t - W z_t = W \Bigl( (z - a) \frac{a \cdot a_t}{|a|^2} - (z_t - a_t) \Bigr),         \tag{CP11} $$

so "a context is a weight update" holds once per token, not once per context. The best that one patch can do for n
tokens, with rows $a_t$ in A, $W (z_t - a_t)$ in R, is a regression,

$$ \Delta W = \arg\min_D |A D^\top - R|^2 + \rho |D|^2
            = R^\top (A A^\top + \rho I_n)^{-1} A = R^\top A\, (A^\top A + \rho I_K)^{-1},                 \tag{CP12} $$

exact for up to K tokens with independent inputs ($\rho = 0$). Beyond K tokens an error is left. With
$J(D) = |A D^\top - R|^2 + \rho |D|^2$, every other D adds its distance to what the best one leaves:

$$ J(D) = J(\Delta W) + |A (D - \Delta W)^\top|^2 + \rho |D - \Delta W|^2, \qquad
   J(\Delta W) = |R|^2 - |A\, \Delta W^\top|^2 - \rho |\Delta W|^2.                                        \tag{CP13} $$

One contextual layer does have a patch for all tokens at once: linear attention whose context is a fixed matrix S,
$z_t = a_t + S a_t$. Its patch is $W S$, of the rank of the context, and (CP12) finds it from any K independent tokens.

References: Dherin, Munn, Mazzawi, Wunder, Gonzalvo 2025, Learning without training: the implicit dynamics of in-context
learning (arXiv 2507.16003); Goldwaser et al. 2025 (arXiv 2511.17864), gated blocks; Mazzawi et al. 2025 (arXiv
2510.08734), patches shared by tokens; Innocenti, Achour 2025 (arXiv 2512.11255), on skips, norms and all positions.
"""

from dualform.patch.block import BlockPatch as BlockPatch
from dualform.patch.block import GatedPatch as GatedPatch
from dualform.patch.block import RMSNorm as RMSNorm
from dualform.patch.block import block_patch as block_patch
from dualform.patch.block import gated_patch as gated_patch
from dualform.patch.sequence import absorbing_patches as absorbing_patches
from dualform.patch.sequence import growing_patches as growing_patches
from dualform.patch.shared import shared_patch as shared_patch
from dualform.patch.token import context_patch as context_patch
from dualform.patch.token import least_norm as least_norm
from dualform.patch.token import patch_errors as patch_errors
