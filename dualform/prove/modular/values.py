r"""Values modulo $p = 2q + 1$: residues, and exponents of exponentials."""

from collections.abc import Sequence

import numpy as np


class Residue:
    """Elements of F_p; `bad` marks those that a division by zero spoiled (a later mask may still drop them).

    `root` is set on a square root, to what it is the root of: its square is then known.
    """

    __slots__ = ("bad", "r", "root")

    def __init__(self, r: np.ndarray, bad: np.ndarray | None = None, root: "Residue | None" = None):
        self.r, self.bad, self.root = r, bad if bad is not None and bad.any() else None, root

    @property
    def shape(self):
        return self.r.shape

    @property
    def mask(self) -> np.ndarray:
        return np.zeros(self.shape, bool) if self.bad is None else np.broadcast_to(self.bad, self.shape)


class Exponent:
    r"""Logarithms $a = \ell + s$: `e` in Z_q, plus the residue `s` (or None), minus infinity where `reset`."""

    __slots__ = ("e", "reset", "s")

    def __init__(self, e: np.ndarray, reset: np.ndarray, s: np.ndarray | None = None):
        self.e, self.reset = e, np.broadcast_to(reset, e.shape)
        self.s = None if s is None else np.broadcast_to(s, e.shape)

    @property
    def shape(self):
        return self.e.shape

    @property
    def is_field(self) -> bool:
        """No logarithm is in it: only moved beside some."""
        return not self.e.any() and not self.reset.any()


Value = Residue | Exponent


def spoiled(*values: Residue) -> np.ndarray | None:
    """Elements that are bad in any operand."""
    if all(x.bad is None for x in values):
        return None
    out = np.zeros(np.broadcast_shapes(*(x.shape for x in values)), bool)
    for x in values:
        out = out | x.mask
    return out


def gather_residues(operands: Sequence[Residue], index: np.ndarray) -> Residue:
    """Elements of residues laid end to end."""
    bad = None
    if any(x.bad is not None for x in operands):
        bad = np.concatenate([x.mask.ravel() for x in operands])[index]
    flat = operands[0].r.ravel() if len(operands) == 1 else np.concatenate([x.r.ravel() for x in operands])
    return Residue(flat[index], bad)


def gather_exponents(operands: Sequence[Exponent], index: np.ndarray) -> Exponent:
    """Elements of exponents laid end to end."""
    e, reset = (np.concatenate([np.ravel(getattr(x, part)) for x in operands])[index] for part in ("e", "reset"))
    s = None
    if any(x.s is not None for x in operands):
        s = np.concatenate([np.zeros(x.e.size, np.uint64) if x.s is None else x.s.ravel() for x in operands])[index]
    return Exponent(e, reset, s)
