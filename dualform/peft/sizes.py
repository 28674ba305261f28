"""How many numbers each method trains."""

from collections.abc import Callable

from dualform import _check

TRAINED: dict[str, Callable[[int, int, int], int]] = {
    "full": lambda V, K, r: V * K,
    "lora": lambda V, K, r: r * (V + K),
    "lora_frozen": lambda V, K, r: r * V,
    "adapter": lambda V, K, r: 2 * r * V + r + V,
    "prefix": lambda V, K, r: r * (V + K),
    "ia3": lambda V, K, r: V,
    "bitfit": lambda V, K, r: V,
}
"""Method -> numbers trained at one layer [V, K]; r is the rank, the width of the bottleneck or the prefix length."""


def trained_numbers(method: str, V: int, K: int, r: int = 0) -> int:
    """How many numbers a method trains at one layer from K to V features.

    Args:
        method: one of `TRAINED`: "full", "lora", "lora_frozen", "adapter", "prefix", "ia3", "bitfit".
        V, K: features out and in; an adapter sits on the V outputs.
        r: rank, width of the bottleneck, or length of the prefix; not used by "full", "ia3" and "bitfit".

    Returns:
        The count.

    Raises:
        ValueError: an unknown method, or sizes that are no integers.

    >>> trained_numbers("lora", 4096, 4096, 8), trained_numbers("full", 4096, 4096)
    (65536, 16777216)
    >>> trained_numbers("adapter", 768, 768, 64)  # 2 r d + r + d
    99136
    """
    if method not in TRAINED:
        raise ValueError(f"method: got {method!r}, expected one of {', '.join(TRAINED)}; see TRAINED")
    V, K = _check.count("V", V, least=1), _check.count("K", K, least=1)
    return TRAINED[method](V, K, _check.count("r", r))
