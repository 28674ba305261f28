"""What is computed: inputs of one size for every subject, in numpy."""

from typing import NamedTuple

import numpy as np

RULES = ("linear_attn", "retention", "delta", "gated_delta")
"""The rules that other libraries have on CPU too."""
FORWARD, BOTH = "forward", "forward + backward"


class Problem(NamedTuple):
    """One rule at one size; the loss of the backward pass is half the sum of squares of the output."""

    rule: str
    T: int
    B: int = 1
    H: int = 8
    K: int = 64
    V: int = 64
    direction: str = FORWARD


def inputs(problem: Problem, seed: int = 0) -> dict[str, np.ndarray]:
    """q, k, v [B, T, H, ...] and the gates of the rule, float32.

    Keys have length 1, log decays are those of sigmoid gates (about -0.3 on average), step sizes lie in (0, 1).
    """
    rng = np.random.default_rng(seed)
    B, T, H, K, V = problem.B, problem.T, problem.H, problem.K, problem.V
    q, k = rng.standard_normal((2, B, T, H, K), np.float32)
    found = {"q": q, "k": k / np.linalg.norm(k, axis=-1, keepdims=True)}
    found["v"] = rng.standard_normal((B, T, H, V), np.float32)
    if "delta" in problem.rule:
        found["beta"] = 1 / (1 + np.exp(-rng.standard_normal((B, T, H), np.float32)))
    if problem.rule in ("retention", "gated_delta"):
        found["g"] = -np.log1p(np.exp(-rng.normal(2, 1, (B, T, H)))).astype(np.float32)
    return found


def useful_flops(problem: Problem) -> int:
    """Multiplications and additions of the recurrence itself: 4 K V a token, 8 for delta rules; thrice with both."""
    per_token = (8 if "delta" in problem.rule else 4) * problem.K * problem.V
    return per_token * problem.B * problem.T * problem.H * (3 if problem.direction == BOTH else 1)
