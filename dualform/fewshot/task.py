"""Episodes of real data: demonstrations say which of two digits is called +1, and the query has to follow them."""

from typing import NamedTuple

import numpy as np

ROWS, PIXELS = 8, 8
FEATURES = PIXELS + ROWS + 1
"""A token is a row of an image: its pixels, which row it is, and the label of its image, 0 where that is asked for."""


class Episodes(NamedTuple):
    """B episodes of n demonstrations and one query."""

    demos: np.ndarray  # [B, 8 n, FEATURES]
    query: np.ndarray  # [B, 8, FEATURES]
    label: np.ndarray  # [B] +1 or -1


def draw(x: np.ndarray, y: np.ndarray, rng: np.random.Generator, episodes: int, demos: int = 8) -> Episodes:
    """Episodes from images x [N, 64] in [0, 1] with digits y [N].

    Each has two digits of its own and calls one of them +1, at random; half of its demonstrations show each. So nothing
    but the demonstrations tells the query's label.
    """
    by_digit = [np.flatnonzero(y == digit) for digit in range(10)]
    images = np.empty((episodes, demos + 1, ROWS * PIXELS), np.float32)
    labels = np.empty((episodes, demos + 1), np.float32)
    for b in range(episodes):
        pair = rng.permutation(10)[:2]
        which = np.append(rng.permutation(np.arange(demos) % 2), rng.integers(2))
        images[b] = x[[rng.choice(by_digit[digit]) for digit in pair[which]]]
        labels[b] = 1 - 2 * which
    shown = labels * (np.arange(demos + 1) < demos)
    tokens = np.concatenate([
        images.reshape(episodes, demos + 1, ROWS, PIXELS),
        np.broadcast_to(np.eye(ROWS, dtype=np.float32), (episodes, demos + 1, ROWS, ROWS)),
        np.broadcast_to(shown[:, :, None, None], (episodes, demos + 1, ROWS, 1)),
    ], axis=-1)  # fmt: skip
    return Episodes(tokens[:, :demos].reshape(episodes, -1, FEATURES), tokens[:, demos], labels[:, demos])
