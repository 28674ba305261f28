"""Keys, by the geometry that decides what a linear layer can store.

free             any values (`dualform.testing.values`)
unit             rows of length 1
orthonormal      rows that do not meet: every value is recalled exactly; needs n <= K
duplicate        few distinct unit rows: later values must overwrite or add
zero             unit rows, some of them zero: tokens that must leave no trace
rank_deficient   small integers of a rank below min(n, K), exactly: a Gram matrix that cannot be inverted
"""

from collections.abc import Sequence

import numpy as np
from hypothesis import strategies as st

from dualform.testing.floats import rounded
from dualform.testing.values import arrays

KINDS = ("free", "unit", "orthonormal", "duplicate", "zero", "rank_deficient")

_SEEDS = st.integers(0, 2**32 - 1)


def keys(n: int, K: int, dtype=np.float32, *, kinds: Sequence[str] = KINDS) -> st.SearchStrategy[np.ndarray]:
    """Keys `[n, K]` of the kinds asked for, those left out that the shape does not allow.

    Args:
        n: number of keys (rows); 0 is legal.
        K: key width, at least 1.
        dtype: float dtype.
        kinds: which of `KINDS`.

    Raises:
        ValueError: a kind is not known, or none of those asked for exists in this shape.
    """
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        raise ValueError(f"kinds: got {unknown[0]!r}, expected some of {', '.join(KINDS)}")
    possible = {
        "free": True,
        "unit": True,
        "orthonormal": n <= K,
        "duplicate": n >= 2,
        "zero": n >= 1,
        "rank_deficient": min(n, K) >= 1,
    }
    strategies = {
        "free": lambda: arrays((n, K), dtype),
        "unit": lambda: unit_keys(n, K, dtype),
        "orthonormal": lambda: orthonormal_keys(n, K, dtype),
        "duplicate": lambda: duplicate_keys(n, K, dtype),
        "zero": lambda: keys_with_zeros(n, K, dtype),
        "rank_deficient": lambda: rank_deficient_keys(n, K, dtype),
    }
    chosen = [strategies[kind]() for kind in kinds if possible[kind]]
    if not chosen:
        raise ValueError(f"kinds: got {tuple(kinds)} for n = {n}, K = {K}, where none exists; add 'unit' or 'free'")
    return st.one_of(chosen)


def unit_keys(n: int, K: int, dtype=np.float32) -> st.SearchStrategy[np.ndarray]:
    """Rows of length 1, normalised in float64 and rounded once: | |k|^2 - 1 | <= 2 u + u^2."""
    return _SEEDS.map(lambda seed: rounded(_unit_rows(np.random.default_rng(seed), n, K), dtype))


def orthonormal_keys(n: int, K: int, dtype=np.float32) -> st.SearchStrategy[np.ndarray]:
    """Orthonormal rows from a QR factorisation in float64, rounded once.

    Raises:
        ValueError: n > K, where no n rows of width K are orthonormal.
    """
    if n > K:
        raise ValueError(f"n: got {n} keys of width K = {K}, expected n <= K; more rows cannot be orthonormal")

    def drawn(seed: int) -> np.ndarray:
        columns, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((K, n)))
        return rounded(columns.T, dtype)

    return _SEEDS.map(drawn)


def duplicate_keys(n: int, K: int, dtype=np.float32) -> st.SearchStrategy[np.ndarray]:
    """Unit rows of which at least two are the same.

    Raises:
        ValueError: n < 2, where nothing can be a duplicate.
    """
    if n < 2:
        raise ValueError(f"n: got {n}, expected at least 2 keys; one key has no duplicate")

    def drawn(seed: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        distinct = _unit_rows(rng, n - 1 - int(rng.integers(0, n - 1)), K)
        return rounded(distinct[rng.integers(0, len(distinct), n)], dtype)

    return _SEEDS.map(drawn)


def keys_with_zeros(n: int, K: int, dtype=np.float32) -> st.SearchStrategy[np.ndarray]:
    """Unit rows, at least one of them replaced by zeros.

    Raises:
        ValueError: n < 1, where there is no row to replace.
    """
    if n < 1:
        raise ValueError(f"n: got {n}, expected at least 1 key; an empty array has no zero row")

    def drawn(seed: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        rows = _unit_rows(rng, n, K)
        rows[rng.permutation(n)[: rng.integers(1, n + 1)]] = 0.0
        return rounded(rows, dtype)

    return _SEEDS.map(drawn)


def rank_deficient_keys(n: int, K: int, dtype=np.float32) -> st.SearchStrategy[np.ndarray]:
    """Keys whose rank is below min(n, K): a product of integer factors in -2..2, hence free of rounding.

    Raises:
        ValueError: n < 1, where no rank is below min(n, K).
    """
    if min(n, K) < 1:
        raise ValueError(f"n, K: got {n}, {K}, expected at least 1 each; an empty array has full rank")

    def drawn(seed: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        # At most 4 columns, so that |entries| <= 16 are exact in every dtype, bfloat16 included.
        rank = int(rng.integers(0, min(n, K, 5)))
        return rounded(rng.integers(-2, 3, (n, rank)) @ rng.integers(-2, 3, (rank, K)), dtype)

    return _SEEDS.map(drawn)


def _unit_rows(rng: np.random.Generator, n: int, K: int) -> np.ndarray:
    rows = rng.standard_normal((n, K))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)
