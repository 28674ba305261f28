r"""Chapter 6. Softmax attention as linear attention in feature space, and what is lost when the softmax is dropped.

If features $\phi$ have the inner product $\phi(q) \cdot \phi(k) = e^{q \cdot k}$, then softmax attention is linear
attention (L2) with keys $\phi(k_i)$ and a rescaled query, a layer that was trained on them and is read twice:

$$ \sum_i \frac{e^{q \cdot k_i}}{\sum_j e^{q \cdot k_j}}\, v_i = \mathrm{LinearAttn}(V, \phi(K), \hat q), \qquad
   \hat q = \frac{\phi(q)}{\sum_i \phi(k_i) \cdot \phi(q)}.                                               \tag{FE1} $$

Such features need infinitely many entries. Finitely many give an approximation whose error is known. (The scale of the
scores is divided evenly: its root multiplies keys and queries. It is left out of the formulas.)

**Taylor features** cut the exponential series off. With multi-indices $\alpha$, $x^\alpha = \prod_j x_j^{\alpha_j}$,

$$ \phi(x)_\alpha = \frac{x^\alpha}{\sqrt{\alpha!}}, \quad |\alpha| \le p: \qquad
   \phi(q) \cdot \phi(k) = T_p(q \cdot k) = \sum_{j \le p} \frac{(q \cdot k)^j}{j!},                      \tag{FE2} $$

and by Lagrange's form of the remainder, $e^s - T_p(s) = e^{\theta s} s^{p+1}/(p+1)!$ with $0 < \theta < 1$,

$$ |T_p(s) / e^s - 1| \le \delta_p(s) = \frac{|s|^{p+1}}{(p+1)!}\, e^{\max(-s, 0)}.                       \tag{FE3} $$

Weights that are off by the relative errors $\delta_i$, $|\delta_i| \le \delta < 1$, change attention with output $y$ by

$$ \hat y - y = \frac{\sum_i p_i \delta_i (v_i - y)}{1 + \sum_i p_i \delta_i}, \qquad
   |\hat y - y|_c \le \frac{\delta}{1 - \delta} \bigl(\max_i v_{ic} - \min_i v_{ic}\bigr).                 \tag{FE4} $$

**Random features** are unbiased for any m directions $w_r$ that are standard normal. With $\lambda = |q + k|^2$ the
mean squared errors of $\phi(q) \cdot \phi(k)$ for independent directions are, exactly,

$$ \phi(x) = m^{-1/2} \bigl(e^{w_r \cdot x - |x|^2/2}\bigr)_r: \qquad
   \mathrm{MSE}_+ = e^{2 q \cdot k}\, (e^{\lambda} - 1) / m                                               \tag{FE5} $$
$$ \phi(x) = (2m)^{-1/2} \bigl(e^{\pm w_r \cdot x - |x|^2/2}\bigr)_r: \qquad
   \mathrm{MSE} = \tfrac12 (1 - e^{-\lambda})\, \mathrm{MSE}_+                                            \tag{FE6} $$
$$ \phi(x) = m^{-1/2} e^{|x|^2/2} \bigl(\cos w_r \cdot x, \sin w_r \cdot x\bigr)_r: \qquad
   \mathrm{MSE} = e^{|q|^2 + |k|^2} \bigl(1 - e^{-|q - k|^2}\bigr)^2 / (2m)                               \tag{FE7} $$

Each follows from $E\, e^{w \cdot z} = e^{|z|^2/2}$. Directions that are orthogonal within blocks of K spread more
evenly. For two orthogonal ones, $(w_1 \cdot z, w_2 \cdot z)$ are two coordinates of a uniform direction, times $|z|$
and two independent lengths. With both exponentials expanded, moments sum by Vandermonde's identity to Kummer's function
${}_1F_1(K; K/2; |z|^2/2) = E\, e^{w_1 \cdot z + w_2 \cdot z}$. In a form without cancellation, with $f$ the part of the
$m^2$ ordered pairs that are orthogonal, $f = (m-1)/m$ for one block,

$$ \mathrm{MSE}_\perp = e^{2 q \cdot k} \Bigl( \frac{e^\lambda - 1}{m} - f \cdot
   E_{N \sim \mathrm{Poisson}(\lambda)} \Bigl[1 - \prod_{j<N} \frac{K + j}{K + 2j}\Bigr] \Bigr)            \tag{FE8} $$

and since $1 - \prod_{j<N} \frac{K+j}{K+2j} \ge \frac{2}{K+2} (1 - 2^{1-N})$ for $N \ge 1$, it is at most (for one
block the bound of Choromanski et al.)

$$ \mathrm{MSE}_\perp \le \mathrm{MSE}_+
   - \frac{2 f}{K+2} \Bigl(e^{q \cdot k} - e^{-(|q|^2+|k|^2)/2}\Bigr)^2.                                \tag{FE9} $$

All this is for *uniform* orthogonal matrices. The Q of a QR factorisation of a Gaussian matrix is uniform only once the
signs are fixed; the raw one has a corner that is never positive, and features made of it are biased:

$$ G = QR, \qquad Q\, \mathrm{sign}(\mathrm{diag}(R)) \text{ is uniform.}                                  \tag{FE10} $$

**Dropping the softmax** is another thing than approximating it. With $s_i = \mathrm{scale}\; k_i \cdot q$,
$t_i = s_i - \bar s$, and bars for means over the n keys, softmax attention is exactly

$$ y = y_1 + r, \quad y_1 = \bar v + \frac1n \sum_i t_i v_i, \quad
   r = \frac{\sum_i (e^{t_i} - 1 - t_i)(v_i - y_1)}{\sum_i e^{t_i}}, \quad
   |r|_c \le \frac{\sqrt 3}{36} (\max s - \min s)^2 (\max_i v_{ic} - \min_i v_{ic}).                      \tag{FE11} $$

Bound: let $y(\tau)$ be the output at scores $\tau s$. Then $y(0) + y'(0) = y_1$ and $y''(\tau)$ is the third moment
$E[(s - \mu)^2 (v - m)]$ under the weights at $\tau$. For s and v in [0, 1] it is largest at extreme v, that is for an
event B of probability b with $E[s^2|B] \le x$ and $E[s^2|\text{not } B] \ge y^2$, where x and y are the means of s on
either side: at most $b(1-b)(x(1-x) + (1-2b)(x-y)^2)$, whose largest value is $b(1-b)(1-2b) = \sqrt3/18$ at
$b = (3-\sqrt3)/6$, $x = 1$, $y = 0$. Two score values with a share b of the keys at the upper one attain it as scores
shrink, so no smaller constant holds.

Linear attention $\sum_i s_i v_i$ therefore differs from softmax attention by three gaps that do not go away as the
scores shrink to zero or are of first order in them, and by the remainder, which is of second order:

$$ y = \sum_i s_i v_i - \Bigl(1 - \frac1n\Bigr) \sum_i s_i v_i - \bar s\, \bar v + \bar v + r.           \tag{FE12} $$

What is right to first order is a dual form as well: a layer $[0, \bar v]$ on inputs $[k, 1]$ that has taken one step of
gradient descent, of learning rate `scale`, on the mean squared error of its values.

$$ y_1 = \Bigl([0, \bar v] + \sum_i e_i\, [k_i, 1]^\top\Bigr) [q, 1], \qquad
   e_i = \frac{\mathrm{scale}}{n} (v_i - \bar v)
       = -\mathrm{scale}\, \frac{\partial}{\partial y_i} \frac{1}{2n} \sum_j |y_j - v_j|^2 \Big|_{y_j = \bar v}.
                                                                                                          \tag{FE13} $$

References: Rahimi, Recht 2007, Random features for large-scale kernel machines; Yu et al. 2016, Orthogonal random
features (arXiv 1610.09072); Katharopoulos et al. 2020 (arXiv 2006.16236); Choromanski et al. 2021, Rethinking attention
with Performers (arXiv 2009.14794); Dai et al. 2022 (arXiv 2212.10559); Ren, Liu 2024, Towards understanding how
transformers learn in-context through a representation learning lens (arXiv 2310.13220).
"""

from dualform.features.attend import feature_attn as feature_attn
from dualform.features.attend import feature_map as feature_map
from dualform.features.attend import random_attn as random_attn
from dualform.features.attend import taylor_attn as taylor_attn
from dualform.features.attend import taylor_attn_bound as taylor_attn_bound
from dualform.features.first_order import Gaps as Gaps
from dualform.features.first_order import Surrogate as Surrogate
from dualform.features.first_order import gaps_from_weights as gaps_from_weights
from dualform.features.first_order import remainder_bound as remainder_bound
from dualform.features.first_order import softmax_gaps as softmax_gaps
from dualform.features.first_order import surrogate as surrogate
from dualform.features.first_order import surrogate_attn as surrogate_attn
from dualform.features.mse import hyperbolic_mse as hyperbolic_mse
from dualform.features.mse import orthogonal_bound as orthogonal_bound
from dualform.features.mse import orthogonal_mse as orthogonal_mse
from dualform.features.mse import positive_mse as positive_mse
from dualform.features.mse import trigonometric_mse as trigonometric_mse
from dualform.features.projections import gaussian as gaussian
from dualform.features.projections import haar as haar
from dualform.features.projections import orthogonal as orthogonal
from dualform.features.random_maps import MAPS as MAPS
from dualform.features.random_maps import hyperbolic_features as hyperbolic_features
from dualform.features.random_maps import positive_features as positive_features
from dualform.features.random_maps import stable_shift as stable_shift
from dualform.features.random_maps import trigonometric_features as trigonometric_features
from dualform.features.taylor import feature_count as feature_count
from dualform.features.taylor import monomials as monomials
from dualform.features.taylor import taylor_bound as taylor_bound
from dualform.features.taylor import taylor_exp as taylor_exp
from dualform.features.taylor import taylor_features as taylor_features
from dualform.features.taylor import taylor_weights as taylor_weights
