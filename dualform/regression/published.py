r"""What von Oswald et al. published of one layer, and the inputs with which it fits.

Their paper draws inputs uniform on (-1, 1). The best step of gradient descent on inputs uniform on $(-a, a)$ and its
loss have closed forms (RK8, RK15), in which $a$ is nothing but a scale:

$$ p^*(a) = p^*(1) / a^2, \qquad L^*(a) = a^2\, L^*(1), \qquad L^*(a) = \tfrac12\, R(p^*(a)).       \tag{TR10} $$

So a published loss and a published learning rate each imply an $a$. Both imply one half, and so does their code, whose
inputs are `Uniform(0.5)`.

References: von Oswald et al. 2023 (arXiv 2212.07677), section 3; github.com/google-research/self-organising-systems,
transformers_learn_icl_by_gd, `constructed_token_setup.ipynb` and `src/data.py`.
"""

from dualform.regression.optimum import uniform_limit
from dualform.regression.risks import uniform_risk

INPUTS, EXAMPLES = 10, 10
LOSS, TASKS = 0.20468888, 10_000
"""Half the mean squared error of one step in the notebook, and of how many tasks."""
RATE, GRID = 0.6, 0.1
"""The best learning rate over N as the notebook prints it, and between which steps of eta it was looked for."""


def best_loss(half_width: float) -> float:
    """L*(a): the smallest loss of one step, with ten inputs and ten examples (TR10).

    >>> print(f"{best_loss(0.5):.6f} {best_loss(1.0):.6f}")
    0.206229 0.824916
    """
    return 0.5 * uniform_risk(INPUTS, EXAMPLES, half_width)


def best_rate(half_width: float) -> float:
    """p*(a) over N: the step that is best (TR10).

    >>> print(f"{best_rate(0.5):.5f} {best_rate(1.0):.5f}")
    0.60606 0.15152
    """
    return uniform_limit(INPUTS, EXAMPLES, half_width) / EXAMPLES


def implied_half_width(loss: float) -> float:
    """The a for which the best loss is this one (TR10).

    >>> print(f"{implied_half_width(LOSS):.4f}")
    0.4981
    """
    return (loss / best_loss(1.0)) ** 0.5
