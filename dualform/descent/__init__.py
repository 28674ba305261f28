r"""Chapter 2. Where outer products come from: optimisers, and how much of each gradient is left after T steps.

Chapter 1 took the error signals as given. A trained layer's come from an optimiser, which clips, decays, keeps
momentum and averages. If each of its steps is affine in the state (weight, buffers) and in the gradient, with scalars
that may depend on the step and on the past, then so is the whole run:

$$ W_T = a_T W_0 + \sum_{t=1}^T c_t\, \bar g_t, \qquad \bar g_t \text{ the mean gradient of step } t.      \tag{O1} $$

The scalars follow from small matrices. For one entry of the weight, with buffer $b$ and average $\bar W$, a step reads
$[W, b, \bar W]_t^\top = M_t [W, b, \bar W]_{t-1}^\top + u_t\, \bar g_t$, so that with $r$ the row that reads out the
result

$$ r_T = [1, 0, 0] \text{ (or } [0, 0, 1] \text{ for the average)}, \qquad c_t = r_t u_t, \qquad r_{t-1} = r_t M_t,
   \qquad a_T = r_0 [1, 0, 1]^\top.                                                                        \tag{O2} $$

Special cases written as sums, with learning rates $\eta_t$, momentum $\mu$, decay $\lambda$ and averaging $\rho$:

$$ \text{SGD with any schedule:} \quad a_T = 1, \quad c_i = -\eta_i                                        \tag{O3} $$
$$ \text{heavy ball:} \quad a_T = 1, \quad c_i = -\sum_{t \ge i} \eta_t\, \mu^{t-i}                        \tag{O4} $$
$$ \text{Nesterov:} \quad a_T = 1, \quad c_i = -\eta_i - \mu \sum_{t \ge i} \eta_t\, \mu^{t-i}             \tag{O5} $$
$$ \text{decay, coupled or not, no momentum:} \quad a_T = \prod_t (1 - \eta_t\lambda), \quad
   c_i = -\eta_i \prod_{t>i} (1 - \eta_t\lambda)                                                           \tag{O6} $$
$$ \text{weight average:} \quad a_T = 1, \quad c_i = -\eta_i \sum_{t \ge i} (1-\rho)\,\rho^{T-t}            \tag{O7} $$

Clipping scales the gradient by a number that depends on all of it. Given the numbers of the recorded run, it is linear:

$$ \bar g_t \to s_t\, \bar g_t, \qquad s_t = \min(1, \mathrm{clip} / \mathrm{norm}_t)                      \tag{O8} $$

A mean gradient is itself a sum of outer products, over the $B_t$ patterns of its minibatch. So the trained layer is
attention over every pattern that it ever saw, each with its step's coefficient:

$$ W_T q = a_T W_0 q + \sum_{t,i} \frac{c_t}{B_t}\, g_{ti}\, (x_{ti} \cdot q)                              \tag{O9} $$

Adam divides each entry by the root of its own second moment. What is left is exact and elementwise, with a matrix
$C_i$ in place of the scalar $c_i$, $D_t$ its learning rates per entry and $a_T = \prod_t (1 - \eta_t \lambda)$
(decoupled decay only):

$$ y_j = a_T (W_0 q)_j - \sum_i g_{ij}\, x_i^\top \mathrm{diag}(C_i[j,:])\, q, \quad
   C_i = (1-\beta_1) \sum_{t \ge i} \prod_{s>t} (1-\eta_s\lambda)\, \beta_1^{t-i} D_t, \quad
   D_t = \frac{\eta_t}{1-\beta_1^t} \cdot \frac{1}{\sqrt{\hat v_t} + \epsilon}                            \tag{O10} $$

By (O9) the layer's change has at most as many dimensions as there were patterns, if the decay of $W_0$ is not counted
in:

$$ \mathrm{rank}(W_T - a_T W_0) \le \sum_t B_t                                                            \tag{O11} $$

For $W_T - W_0$ under decay this is false, for it contains $(a_T - 1) W_0$, and for Adam it is false from the first
step.

References: Polyak 1964, Some methods of speeding up the convergence of iteration methods; Nesterov 1983; Sutskever et
al. 2013, On the importance of initialization and momentum in deep learning; Kingma, Ba 2015 (arXiv 1412.6980);
Loshchilov, Hutter 2019 (arXiv 1711.05101); Irie, Csordas, Schmidhuber 2022 (arXiv 2202.05798).
"""

from dualform.descent.adam import adam_rates as adam_rates
from dualform.descent.adam import hadamard as hadamard
from dualform.descent.adam import hadamard_from_rates as hadamard_from_rates
from dualform.descent.adam import read_hadamard as read_hadamard
from dualform.descent.adam import run_from_rates as run_from_rates
from dualform.descent.closed import averaged as averaged
from dualform.descent.closed import decay as decay
from dualform.descent.closed import heavy_ball as heavy_ball
from dualform.descent.closed import nesterov as nesterov
from dualform.descent.closed import plain as plain
from dualform.descent.optimizer import Optimizer as Optimizer
from dualform.descent.probe import from_optax as from_optax
from dualform.descent.reading import mean_gradients as mean_gradients
from dualform.descent.reading import pattern_weights as pattern_weights
from dualform.descent.reading import read as read
from dualform.descent.sgd import clip_factors as clip_factors
from dualform.descent.sgd import coefficients as coefficients
from dualform.descent.sgd import run as run
