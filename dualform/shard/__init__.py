r"""Many devices: the same sums with the tokens, or the patterns, spread along an axis of a mesh.

Given its gates, keys and values, every rule of the family is affine in its state. What a part of a sequence does to the
state, seen as rows, is therefore one matrix A and one matrix B, however long the part is:

$$ S_{end} = S_{start} A + B.                                                                              \tag{Y1} $$

One part after another is again such a map, and putting maps after each other is associative:

$$ (A_1, B_1) \text{ then } (A_2, B_2) = (A_1 A_2,\; B_1 A_2 + B_2).                                       \tag{Y2} $$

No rule needs formulas of its own for A and B. B is the final state from a state of zeros. A is what happens to the unit
rows, if nothing is written to them; and since the rows of a layer do not meet, one run of the rule itself, of a layer
with more outputs whose values are zero, gives both:

$$ \begin{pmatrix} I \\ 0 \end{pmatrix} \xrightarrow{\text{rule, values } (0, v)}
   \begin{pmatrix} A \\ B \end{pmatrix}.                                                                   \tag{Y3} $$

So each of P devices summarises its own tokens; the maps are put after each other over devices, in ceil(log2 P) steps;
and each device runs the rule once more from the state that it now knows,

$$ S_p = S_0 A_1 \cdots A_{p-1} + \sum_{j<p} B_j A_{j+1} \cdots A_{p-1}, \qquad
   o_p = \mathrm{rule}(q_p, k_p, v_p;\; S_p).                                                              \tag{Y4} $$

With A of b blocks [m, m] and states of b blocks [R, m] (the table in `dualform.shard.maps`), a device sends

$$ b\, m\, \bigl( \lceil \log_2 P \rceil (m + R) + R \bigr) + b\, m\, R                                     \tag{Y5} $$

numbers, of which the last term is the final state, summed over devices to be on all. T is not in it. The frozen dual
form needs less: attention over patterns is a sum over patterns,

$$ \mathrm{LinearAttn}(E, X, x) = \sum_{p=1}^{P} \mathrm{LinearAttn}(E_p, X_p, x),                          \tag{Y6} $$

one sum of M V numbers over devices, whatever n.

A layer norm inside the update (T3) is not affine in the state, so `ttt` with a norm has no such form. Minibatches must
lie within a device; where they do not fit, tokens are padded at the end, which no rule notices.

References: Blelloch 1990, Prefix sums and their applications; Martin, Cundy 2018, Parallelizing linear recurrent neural
nets over sequence length (arXiv 1709.04057); Sun et al. 2024, Linear attention sequence parallelism (arXiv 2404.02882).
"""

from dualform.shard.patterns import linear_attn as linear_attn
from dualform.shard.sequence import run as run
from dualform.shard.sequence import simulate as simulate
from dualform.shard.sequence import traffic as traffic
