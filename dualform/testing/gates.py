"""Gates and step sizes: what multiplies a state or an update, at the values where implementations break.

Random gates of the kind `log_sigmoid(normal)` stay near -1 and never reach the edges: a decay of exactly 1,
a decay so strong that `exp(-cumsum(g))` overflows (from 88.7 in float32), a hard reset. The edges are drawn
here as often as the interior.
"""

import math

import numpy as np
from hypothesis import strategies as st

from dualform.testing.floats import rounded
from dualform.testing.values import ELEMENTWISE_UP_TO

LOG_DECAYS = (0.0, -1e-12, -50.0, -1e4, -math.inf)
"""No decay; a decay that rounds to 1; one that survives alone but not summed; one whose exp is 0; a hard reset."""

STEP_SIZES = (0.0, 1.0, 2.0)
"""The token ignored, the token stored exactly (unit key), the reflection at the edge of stability."""

MOMENTA = (0.0, 0.5, 0.9, 1.0 - 2.0**-10, 1.0)
"""None; exact in binary; usual; near 1, where (1 - mu^n)/(1 - mu) cancels; 1, where it is 0/0."""


def log_decays(shape: tuple[int, ...], dtype=np.float32, *, reset: bool = True) -> st.SearchStrategy[np.ndarray]:
    """Log decays g <= 0, with 0, -1e-12, -50, -1e4 and, where `reset`, -inf among them; shrinks to no decay.

    Args:
        shape: of the gate: `(T,)` or, per channel, `(T, K)`.
        dtype: float dtype; what it cannot hold as a normal number is 0 (-1e-12 in float16).
        reset: draw -inf too: a decay of exactly 0, by which packed sequences are told apart.
    """
    specials = LOG_DECAYS if reset else LOG_DECAYS[:-1]
    return _mixed(shape, dtype, specials, -20.0, 0.0)


def step_sizes(shape: tuple[int, ...], dtype=np.float32, *, high: float = 2.0) -> st.SearchStrategy[np.ndarray]:
    """Step sizes beta in [0, high], with 0, 1 and 2 among them as far as `high` allows; shrinks to zeros.

    The delta rule with unit keys is stable for beta in [0, 2] and contracts in (0, 2).
    """
    if not 0 < high < math.inf:
        raise ValueError(f"high: got {high}, expected a positive number; use 2.0, the edge of stability")
    return _mixed(shape, dtype, tuple(beta for beta in STEP_SIZES if beta <= high), 0.0, high)


def momenta(shape: tuple[int, ...] = (), dtype=np.float32) -> st.SearchStrategy[np.ndarray]:
    """Momentum factors mu in [0, 1], 0 and 1 and a value near 1 among them; shrinks to zero."""
    return _mixed(shape, dtype, MOMENTA, 0.0, 1.0)


def _mixed(shape, dtype, specials, low, high) -> st.SearchStrategy[np.ndarray]:
    """Specials and the interval between `low` and `high`: element by element if small, by seed if large."""
    if math.prod(shape) <= ELEMENTWISE_UP_TO:
        element = st.one_of(st.sampled_from(specials), st.floats(low, high, allow_subnormal=False))
        size = math.prod(shape)
        listed = st.lists(element, min_size=size, max_size=size)
        return listed.map(lambda elements: rounded(np.reshape(elements, shape), dtype))

    def seeded(seed: int, share: float) -> np.ndarray:
        rng = np.random.default_rng(seed)
        special = rng.choice(np.array(specials), shape)
        interior = rng.uniform(low, high, shape)
        return rounded(np.where(rng.uniform(size=shape) < share, special, interior), dtype)

    # The shares 0 and 1 matter: a gate with no special value at all, and one with nothing else.
    drawn = st.builds(seeded, st.integers(0, 2**32 - 1), st.sampled_from((0.0, 0.1, 0.5, 1.0)))
    uniform = st.sampled_from(specials).map(lambda special: rounded(np.full(shape, special), dtype))
    return st.one_of(uniform, drawn)
