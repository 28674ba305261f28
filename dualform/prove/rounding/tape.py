r"""The tape: every value of a program with its derivative, its local rounding and a bound on its error.

**The identity.** Take any two of three executions of the program on the same inputs: the computed one, the exact one
and the float64 one whose values $z$ the tape holds. Let $\delta_k$ be their difference at value $k$ and $D_{kp}$ the
derivative at $z$ with respect to operand $p$. Then, exactly,

$$ \delta_k = \sum_p D_{kp} \delta_p + q_k + \epsilon_k,
   \qquad\text{hence}\qquad  \delta_{\mathrm{out}} = \sum_k A_{\mathrm{out},k} (q_k + \epsilon_k),
   \quad A = (I - D)^{-1}, \tag{R2} $$

with $\epsilon_k$ the local roundings (R1) and $q_k$ what the derivative at $z$ leaves out. Reverse mode gives the rows
of $A$, so the first-order bound costs one sweep an output,

$$ |\delta_{\mathrm{out}}| \le \sum_k |A_{\mathrm{out},k}|\, s_k, \qquad s_k \ge |q_k| + |\epsilon_k|, \tag{R3} $$

and nothing wraps: errors that cancel along different paths cancel in $A$ before the absolute value is taken.

**Rigour to second order.** $q_k$ and the size at which $\epsilon_k$ is charged need *some* bound $r$ on the operands'
differences. One sweep forward in the order of the program gives it, each $r$ resting on earlier ones only:

$$ r_k = \sum_p |D_{kp}|\, r_p + s_k. \tag{R4} $$

This running bound is crude on long recursions, where it grows exponentially. As soon as it spoils a local bound, the
operands' $r$ are replaced by (R3) for those operands, whose $s$ are already known. Whatever is chosen stays a proof.

(R2) holds for *any* matrix in place of $D$ if $q$ absorbs the difference, and a sweep's own rounding is another
residual, |residual| <= SWEEP |D| r: both are in $s$. So derivatives need to be good, never perfect.

**Values computed twice.** A compiler computes an elementwise value again inside every kernel that reads it, and may
round it otherwise each time: one copy is contracted to an FMA, another is not. So a value stands for all its *copies*,
and two readers of it do not share its roundings. Only some values are *stored*: computed once and read from memory by
everyone (`Node.stored`: what loops carry, products of matrices, solutions of systems). With $m$ over the stored values,

$$ \delta_{\mathrm{out}} = \sum_m A_{\mathrm{out},m}\, e_m + e_{\mathrm{out}}, \qquad
   |e_k| \le \rho_k = s_k + \sum_{p \text{ not stored}} |D_{kp}|\, \rho_p: \tag{R8} $$

between stored values every path pays for its own roundings ($\rho$, `Node.own`, carried forward as the program runs);
errors of stored values alone may cancel. (R3) is then summed over the stored values, with $\rho_m$ for $s_m$.

Reference: Linnainmaa 1976, "Taylor expansion of the accumulated rounding error", BIT 16 (reverse mode was invented for
this purpose).
"""

from collections.abc import Callable, Sequence
from heapq import heappop, heappush

import numpy as np

from dualform.prove.rounding.charges import INFLATE, SWEEP, VANISHED
from dualform.prove.rounding.maps import Scale, Take
from dualform.prove.rounding.rewrites import joined

LOOSE = 0.05
"""Share of a local bound that the second order may take before the operands' bounds are tightened."""


SPENT = "the work allowed for tightening second-order terms is used up: later ones are crude"
"""Told to the user once the budget of a tape is spent."""


class Node:
    """A value: `z` in float64, `r` (R4), `own` (R8) or None for zero, and links (operand, derivative)."""

    __slots__ = (
        "buffer", "constant", "exact", "index", "links", "moves", "nonnegative", "origin", "own", "r", "shape",
        "stored", "tight", "z",
    )  # fmt: skip

    def __init__(self, z, r, links=(), local=None, moves=False, constant=False, stored=False):
        self.z, self.r, self.links, self.moves, self.stored = z, r, links, moves, stored
        self.own = inherited(links, local, z.shape)
        self.exact = not links and self.own is None and not np.any(r)  # all executions agree on it
        self.buffer: Node | None = None
        self.shape = z.shape
        self.constant = constant  # known to the compiler, which may fold it
        self.nonnegative = False
        self.tight = not any(p.links for p, _ in links)
        self.origin: dict = {}
        self.index = -1

    @property
    def high(self):
        """The largest magnitude in any execution."""
        return np.abs(self.z) + self.r

    @property
    def low(self):
        """The smallest magnitude in any execution."""
        return np.maximum(np.abs(self.z) - self.r, 0.0)


class Tape:
    """Records values in the order of the program.

    `pair` is 2 where the program runs in float64 itself, so that two roundings separate two executions; elsewhere
    `charges.unit` has added the float64 rounding to the other. `budget` limits the work spent on tightening, in
    elements swept. While `silent`, operations are recorded as exact: equations that hold between executions.
    """

    def __init__(self, pair: float = 1.0, budget: float = 6e8):
        self.nodes: list[Node] = []
        self.fallbacks: list[str] = []  # for the user: where a cruder bound was taken
        self.pair, self.budget = pair, budget
        self.silent = False
        self.size = 0
        self.mass = 0.0
        self._takes: dict[tuple, tuple] = {}

    def append(self, node: Node) -> Node:
        node.index = len(self.nodes)
        node.tight = node.tight or self.silent
        self.nodes.append(node)
        self.size += node.z.size
        if self.pair > 1 and not node.moves:
            self.mass += finite_sum(node.r)
        return node

    def vanished(self, links) -> float:
        """What the derivatives of one operation may have lost to underflow."""
        return VANISHED * sum(finite_sum(p.r) for p, _ in links) if self.pair > 1 else 0.0

    def source(self, z: np.ndarray, s: np.ndarray | None = None, constant=False) -> Node:
        """An input or constant that errs by at most `s`."""
        if s is None or not s.any():
            return self.append(Node(z, np.zeros(z.shape), constant=constant))
        return self.append(Node(z, s, local=s, constant=constant))

    def add(
        self,
        z: np.ndarray,
        links: Sequence[tuple],
        local: Callable,
        remainder: Callable | None = None,
        *,
        stored: bool = False,
        settled: np.ndarray | None = None,
    ) -> Node:
        """Records one rounding operation (R2).

        `local(m)` bounds its rounding where the result's magnitude is at most m, `remainder()` bounds q; both read
        the operands' `r` when called, since they are called again after tightening. Elements in `settled` are
        infinite in every execution.
        """
        constant = all(p.constant for p, _ in links)
        links = [(p, d) for p, d in links if not p.exact]
        push = q = np.zeros(())
        for attempt in (0, 1):
            if links:
                push = sum((d.push(p.r) for p, d in links[1:]), links[0][1].push(links[0][0].r))
                q = np.asarray(remainder() if remainder else 0.0)
            eps = np.broadcast_to(np.asarray(local(np.abs(z) + push + q), float), z.shape)
            if attempt or not links or not loose(z, push, q, eps):
                break
            if not sum([self.tighten(p) for p, _ in links]):
                break
        rest = q + SWEEP * push + self.vanished(links)
        spread = push + rest + self.pair * eps
        if self.silent:
            eps = np.zeros(z.shape)
        if not np.isfinite(z).all() or not np.isfinite(spread).all():
            rest, eps, spread = (sane(x, z, settled) for x in (rest, eps, spread))
        charged = np.broadcast_to(rest + eps, z.shape)
        if not links and not charged.any():
            return self.append(Node(z, np.zeros(z.shape), constant=constant))
        return self.append(Node(z, np.broadcast_to(spread, z.shape), links, charged, constant=constant, stored=stored))

    def move(self, z: np.ndarray, operand: Node, scale: float = 1.0) -> Node:
        """A value that costs no rounding: the operand, converted exactly or negated."""
        links = [] if operand.exact else [(operand, Scale(scale))]
        node = Node(z, operand.r, links, moves=True, constant=operand.constant)
        node.tight, node.origin = operand.tight, operand.origin
        return self.append(node)

    def store(self, operand: Node) -> Node:
        """The value written to memory by one reader: all that is read from there shares one copy (R8)."""
        if operand.own is None or operand.stored:
            return operand
        node = self.move(operand.z, operand)
        node.stored, node.nonnegative = True, operand.nonnegative
        return node

    def read(self, operand: Node) -> Node:
        """The copy in memory that all operations read which XLA does not fuse with what makes their operands."""
        if operand.buffer is None or not self.holds(operand.buffer):
            operand.buffer = self.store(operand)
        return operand.buffer

    def holds(self, node: Node) -> bool:
        """Whether the node is on the tape: a solve takes back what it recorded to find its matrix."""
        return node.index < len(self.nodes) and self.nodes[node.index] is node

    def gather(self, operands: Sequence[Node], index: np.ndarray) -> Node:
        """Element index[j] of the operands laid end to end."""
        flat, shape = index.ravel(), index.shape
        if len(operands) == 1:
            z, r = operands[0].z.ravel()[flat], operands[0].r.ravel()[flat]
        else:
            z = np.concatenate([p.z.ravel() for p in operands])[flat]
            r = np.concatenate([p.r.ravel() for p in operands])[flat]
        links = [] if all(p.exact for p in operands) else self._takes_of(operands, index, flat)
        node = Node(z.reshape(shape), r.reshape(shape), links, moves=True, constant=all(p.constant for p in operands))
        node.tight = all(p.tight for p, _ in links)
        node.nonnegative = all(p.nonnegative or (p.exact and not (p.z < 0).any()) for p in operands)
        node.origin = joined(operands, flat, shape)
        return self.append(node)

    def _takes_of(self, operands, index, flat) -> list:
        """The derivative of a movement; maps of indices that the interpreter keeps are kept here as well."""
        key = (id(index), *(p.exact for p in operands))
        if key not in self._takes:
            takes, start = [], 0
            for i, p in enumerate(operands):
                stop = start + p.z.size
                if not p.exact:
                    if len(operands) == 1:
                        takes.append((i, Take(flat, None, p.shape, index.shape)))
                    else:
                        (target,) = np.nonzero((flat >= start) & (flat < stop))
                        if len(target):
                            takes.append((i, Take(flat[target] - start, target, p.shape, index.shape)))
                start = stop
            self._takes[key] = (index, takes)
        return [(operands[i], take) for i, take in self._takes[key][1]]

    def tighten(self, node: Node) -> bool:
        """Replaces r by (R3) for this node; says whether it became much smaller."""
        if node.tight:
            return False
        if node.moves:
            node.tight = True
            if len(node.links) > 4 or not sum([self.tighten(p) for p, _ in node.links]):
                return False
            r = sum((d.push(p.r) for p, d in node.links), np.zeros(node.shape))
            node.r = np.fmin(node.r, r.reshape(node.shape))
            return True
        cost = node.z.size * (self.size + 50 * node.index)
        if cost > self.budget:
            if not any(text.startswith("the work") for text in self.fallbacks):
                self.fallbacks.append(
                    "the work allowed for tighter second-order terms is used up: later ones are crude"
                )
            return False
        self.budget -= cost
        node.tight = True
        r = (self.pair * bound(self, node)).reshape(node.shape)
        better = bool(np.sum(r) < 0.5 * np.sum(node.r)) or bool(np.isinf(node.r).any() > np.isinf(r).any())
        node.r = np.fmin(node.r, r)
        return better


def inherited(links, local, shape) -> np.ndarray | None:
    """(R8): the local bound and what operands that are not stored bring along; None where all of it is zero."""
    parts = [without_nan(d.push(p.own)) for p, d in links if p.own is not None and not p.stored]
    parts += [] if local is None else [local]
    if not parts:
        return None
    own = np.broadcast_to(sum(parts[1:], parts[0]), shape)
    return own if own.any() else None


def without_nan(r) -> np.ndarray:
    """A bound in which 0 times infinity is 0: where that infinity matters, the local bound is infinite."""
    return np.where(np.isnan(r), 0.0, r) if np.isnan(r).any() else r


def finite_sum(r) -> float:
    """Sum of the finite elements."""
    total = float(r.sum())
    return total if np.isfinite(total) else float(np.where(np.isfinite(r), r, 0.0).clip(0, 1e300).sum())


def loose(z, push, q, eps) -> bool:
    """Whether the second order spoils a local bound (a comparison with NaN or infinity says yes)."""
    first = float(eps.sum())
    second = float(q.sum()) * (z.size / max(q.size, 1)) + SWEEP * float(push.sum())
    return not (first < np.inf and second <= LOOSE * first and float(push.sum()) <= LOOSE * float(np.abs(z).sum()))


def sane(x, z, settled):
    """A bound without NaN: infinite where the value overflowed, zero where it is infinite in every execution."""
    x = np.where(np.isfinite(z), np.broadcast_to(x, z.shape), np.inf)
    x = np.where(np.isnan(x), np.inf, x)
    return x if settled is None else np.where(settled, 0.0, x)


def bound(tape: Tape, node: Node, floor: int = 0) -> np.ndarray:
    """(R3) for every element of a node: shape [size], as many elements at once as memory allows.

    Nodes recorded before `floor` are taken as independent, each with its own r.
    """
    size = node.z.size
    rows = max(1, min(size, int(3e7 / max(tape.size, 1))))
    parts = [sweep(tape, node, i, min(i + rows, size), floor) for i in range(0, size, rows)]
    return np.concatenate(parts) * INFLATE + VANISHED * tape.mass if parts else np.zeros(0)


def sweep(tape: Tape, node: Node, start: int, stop: int, floor: int = 0) -> np.ndarray:
    """(R3) for elements start..stop of a node, by one reverse sweep with a row an element."""
    seed = np.zeros((stop - start, node.z.size))
    seed[np.arange(stop - start), np.arange(start, stop)] = 1.0
    total = np.zeros(stop - start) if node.stored or node.own is None else weigh(seed, node.own)
    pending = {node.index: seed.reshape(len(seed), *node.shape)}
    queue = [-node.index]
    while queue:
        k = -heappop(queue)
        ct, current = pending.pop(k), tape.nodes[k]
        if current.stored and current.own is not None:
            total = total + weigh(ct, current.own)
        several = len(current.links) > 4
        for operand, d in current.links:
            part = d.vjp(ct)
            if several and not part.any():
                continue
            if operand.index < floor:
                total = total + weigh(part, operand.r)
                continue
            if operand.index in pending:
                pending[operand.index] = pending[operand.index] + part
            else:
                pending[operand.index] = part
                heappush(queue, -operand.index)
    return total


def weigh(ct, s) -> np.ndarray:
    """|ct| s for every row, with 0 times infinity = 0 (an infinite s that matters is infinite again downstream)."""
    a, flat = np.abs(ct).reshape(len(ct), -1), s.ravel()
    out = a @ flat
    if np.isnan(out).any() or np.isinf(flat).any():
        infinite = np.isinf(flat)
        out = np.where((a[:, infinite] > 0).any(axis=1), np.inf, a @ np.where(infinite, 0.0, flat))
    return np.where(np.isnan(out), np.inf, out)
