"""Small inputs on which two programs differ, verified in float64.

Modulo a prime two programs differ at a random point, which convinces but teaches nothing. Here the same programs are
run in float64 on small integers (negative halves for logarithms) until they differ by more than their rounding bounds
together; then every entry that can be made zero, and every other that can be made one, is.
"""

from collections.abc import Callable

import jax
import numpy as np

from dualform.prove.certificate import Counterexample
from dualform.prove.errors import ProofError
from dualform.prove.programs import Signature
from dualform.prove.rounding import rounding_bound

TRIES = 64
SHRINKS = 600
SLACK = 2.0**-30
"""Relative difference demanded where no rounding bound can be derived."""


def find(f: Callable, g: Callable, signature: Signature, rng: np.random.Generator) -> Counterexample | None:
    """A small counterexample, or None if float64 shows none."""
    with jax.enable_x64(True):
        pair = [jax.jit(lambda leaves, h=h: jax.tree.leaves(signature.call(h, leaves))) for h in (f, g)]

        def gap(leaves) -> tuple[int, int] | None:
            return _gap(*([np.asarray(x) for x in h(leaves)] for h in pair))

        for attempt in range(TRIES):
            leaves = [_small(x, rng, attempt) for x in signature.leaves]
            if gap(leaves) is not None:
                leaves = _shrink(leaves, signature, gap)
                found = _verified(f, g, signature, leaves, [[np.asarray(x) for x in h(leaves)] for h in pair], gap(leaves))
                if found is not None:
                    return found
    return None


def _small(x, rng: np.random.Generator, attempt: int) -> np.ndarray:
    size = 1 + attempt // 16
    if x.domain == "log":
        return np.where(x.mask, -np.inf, -0.5 * rng.integers(0, 2 * size + 1, x.shape))
    return rng.integers(-size, size + 1, x.shape).astype(np.float64)


def _gap(a: list[np.ndarray], b: list[np.ndarray]) -> tuple[int, int] | None:
    """(result, flat element) of the largest relative difference between finite values, if there is one."""
    best, where = SLACK, None
    for i, (x, y) in enumerate(zip(a, b, strict=True)):
        x, y = np.ravel(x).astype(np.float64), np.ravel(y).astype(np.float64)
        with np.errstate(invalid="ignore"):
            scale = np.maximum(np.maximum(np.abs(x), np.abs(y)), 1.0)
            ratio = np.where(np.isfinite(x) & np.isfinite(y), np.abs(x - y) / scale, 0.0)
        if ratio.size and ratio.max() > best:
            best, where = float(ratio.max()), (i, int(ratio.argmax()))
    return where


def _shrink(leaves: list[np.ndarray], signature: Signature, gap: Callable) -> list[np.ndarray]:
    """Entries replaced by zero where the difference survives, else by one: first whole arrays, then element by element."""
    left = SHRINKS
    for i, x in enumerate(leaves):
        if not np.any(signature.leaves[i].mask):
            trial = [*leaves[:i], np.zeros_like(x), *leaves[i + 1 :]]
            left -= 1
            if gap(trial) is not None:
                leaves = trial
    for target in (0.0, 1.0):
        for i in range(len(leaves)):
            for j in range(leaves[i].size):
                old = leaves[i].flat[j]
                if left <= 0 or old in (0.0, target) or not np.isfinite(old) or (target and signature.leaves[i].domain == "log"):
                    continue
                x = leaves[i].copy()
                x.flat[j] = target
                left -= 1
                if gap([*leaves[:i], x, *leaves[i + 1 :]]) is not None:
                    leaves = [*leaves[:i], x, *leaves[i + 1 :]]
    return leaves


def _verified(f, g, signature: Signature, leaves, values, where) -> Counterexample | None:
    """The counterexample, if its difference exceeds what rounding can do."""
    i, j = where
    a, b = (float(np.ravel(v[i])[j]) for v in values)
    arguments = jax.tree.unflatten(signature.tree, leaves)
    bound = _rounding(f, arguments, i, j) + _rounding(g, arguments, i, j)
    if not abs(a - b) > bound:
        return None
    place = tuple(int(k) for k in np.unravel_index(j, values[0][i].shape))
    return Counterexample(arguments, a, b, f"result {i}, element {list(place)}", bound)


def _rounding(f, arguments, i: int, j: int) -> float:
    """The derived bound of one element; where none can be derived, the slack that `_gap` demanded covers it."""
    try:
        _, bound = rounding_bound(f, *arguments)
    except ProofError:
        return 0.0
    return float(np.ravel(jax.tree.leaves(bound)[i])[j])
