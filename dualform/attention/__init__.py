r"""Chapter 5. Attention as implicit finetuning.

The claim is that a head which reads demonstrations does what finetuning does, because its output can be written
$F_{ICL}(q) = (W_{ZSL} + \Delta W_{ICL})\, q$, and a finetuned head's $F_{FT}(q) = (W_{ZSL} + \Delta W_{FT})\, q$. The
modules take it apart:

- `update`: both weights for a head without softmax, the three terms of $\Delta W_{FT}$, their ranks, and each as
  attention over training patterns (IC1 to IC6, IC8);
- `tuning`: a run of SGD on keys and values, whose recorded error signals rebuild it (IC7);
- `heads`: several heads (IC9);
- `similarity`: the published measure of likeness, and what it says of unrelated updates (IC10, IC11);
- `softmax` and `blocks`: with the softmax, demonstrations enter as an exact convex mixture with a gate (SX1 to SX7);
- `momentum`, `averages` and `heavy_ball`: momentum attention in both published variants, and momentum (MA1 to MA11).

**When is the additive split legitimate?** It is exact for attention without softmax: unnormalised scores, any number of
heads, causal or not. It is not an identity for anything that divides by the sum of its weights; there the
demonstrations take the share $\lambda(q)$ away from the zero-shot part (SX2), and the additive reading is off by
$\lambda\, \mathrm{Attn}_z$ (SX6). Numerators and masses stay additive, each by itself.
"""

from dualform.attention.averages import fft_convolve as fft_convolve
from dualform.attention.averages import learned_average as learned_average
from dualform.attention.averages import learned_kernel as learned_kernel
from dualform.attention.averages import past_average as past_average
from dualform.attention.blocks import Blocks as Blocks
from dualform.attention.blocks import Split as Split
from dualform.attention.blocks import blocks_from_weights as blocks_from_weights
from dualform.attention.blocks import gate as gate
from dualform.attention.blocks import softmax_blocks as softmax_blocks
from dualform.attention.blocks import softmax_split as softmax_split
from dualform.attention.blocks import split_from_weights as split_from_weights
from dualform.attention.heads import linear_heads as linear_heads
from dualform.attention.heavy_ball import heavy_ball_attn as heavy_ball_attn
from dualform.attention.heavy_ball import heavy_ball_softmax as heavy_ball_softmax
from dualform.attention.heavy_ball import heavy_ball_weights as heavy_ball_weights
from dualform.attention.momentum import moattn as moattn
from dualform.attention.momentum import moattn_learned as moattn_learned
from dualform.attention.similarity import unrelated_cosine as unrelated_cosine
from dualform.attention.similarity import update_similarity as update_similarity
from dualform.attention.softmax import causal_softmax_attn as causal_softmax_attn
from dualform.attention.softmax import softmax_attn as softmax_attn
from dualform.attention.tuning import Finetuned as Finetuned
from dualform.attention.tuning import finetune as finetune
from dualform.attention.tuning import squared as squared
from dualform.attention.update import Ranks as Ranks
from dualform.attention.update import Terms as Terms
from dualform.attention.update import ft_terms as ft_terms
from dualform.attention.update import ft_update as ft_update
from dualform.attention.update import icl_split as icl_split
from dualform.attention.update import rank_bounds as rank_bounds
from dualform.attention.update import two_hop as two_hop
