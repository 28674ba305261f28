"""Optimisers with every option of `dualform.descent.Optimizer`, and runs with recorded clip factors.

The combinations are those that the reference optimiser accepts: Nesterov momentum needs a momentum above zero
and no dampening.
"""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from hypothesis import strategies as st

if TYPE_CHECKING:
    from dualform.descent import Optimizer

STEP_COUNTS = (0, 1, 2, 3, 7)
"""Numbers of steps: none, before, at and after the first use of a momentum buffer, and a few more."""


class OptimizerRun(NamedTuple):
    """An optimiser, the number of its steps, and what clipping recorded.

    Attributes:
        optimizer: a `dualform.descent.Optimizer`.
        steps: T, the number of steps.
        scale: clip factors `[T]` in (0, 1], or None where nothing was clipped.
    """

    optimizer: "Optimizer"
    steps: int
    scale: np.ndarray | None


@st.composite
def optimizers(draw: st.DrawFn, steps: int | None = None, *, clip: bool | None = None) -> "Optimizer":
    """Optimisers: learning rate constant or scheduled, momentum, Nesterov, dampening, both decays, clipping, EMA.

    Args:
        draw: supplied by Hypothesis.
        steps: T, which allows schedules `[T]` of the learning rate; None draws constants only.
        clip: True draws a clip norm, False none, None both.

    Returns:
        A `dualform.descent.Optimizer` whose options are multiples of 1/64, exact in float32 and bfloat16 alike.
        It shrinks to plain gradient descent with eta = 1.
    """
    from dualform.descent import Optimizer  # here, because drawing optimisers is optional

    momentum = draw(_fractions(0, 64))
    nesterov = momentum > 0 and draw(st.booleans())
    weight_decay = draw(_fractions(0, 32))
    clipped = draw(st.booleans()) if clip is None else clip
    return Optimizer(
        eta=draw(_learning_rates(steps)),
        momentum=momentum,
        nesterov=nesterov,
        dampening=draw(_fractions(0, 64)) if momentum > 0 and not nesterov else 0.0,
        weight_decay=weight_decay,
        decoupled=weight_decay > 0 and draw(st.booleans()),
        clip=draw(st.sampled_from((1.0, 0.25, 4.0))) if clipped else None,
        ema=draw(st.one_of(st.none(), _fractions(0, 63))),
    )


@st.composite
def optimizer_runs(draw: st.DrawFn, step_counts: tuple[int, ...] = STEP_COUNTS) -> OptimizerRun:
    """Runs: an optimiser, its number of steps, and clip factors min(1, clip / norm) of drawn gradient norms."""
    steps = draw(st.sampled_from(step_counts))
    optimizer = draw(optimizers(steps))
    if optimizer.clip is None:
        return OptimizerRun(optimizer, steps, None)
    norms = draw(st.lists(st.sampled_from((0.5, 1.0, 2.0, 8.0, 64.0)), min_size=steps, max_size=steps))
    return OptimizerRun(optimizer, steps, np.minimum(1.0, float(optimizer.clip) / np.array(norms)))


def _fractions(low: int, high: int) -> st.SearchStrategy[float]:
    """low/64 to high/64, the ends drawn more often; shrinks to low/64."""
    return st.one_of(st.sampled_from((low, high)), st.integers(low, high)).map(lambda numerator: numerator / 64)


def _learning_rates(steps: int | None) -> st.SearchStrategy:
    constant = st.sampled_from((1.0, 0.5, 0.125, 0.0))
    if steps is None:
        return constant
    scheduled = st.lists(_fractions(0, 64), min_size=steps, max_size=steps).map(np.array)
    return st.one_of(constant, scheduled)
