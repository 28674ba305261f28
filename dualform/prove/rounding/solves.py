r"""Linear systems: substitution and factorisation.

The computed solution of a triangular system by substitution, row by row in any order, solves a nearby one
(Higham, lemma 8.4): $|A \hat x - b| \le \gamma_{k_i + 2} |A||\hat x|$ in row $i$ with $k_i$ entries before the diagonal
(two more roundings where the diagonal is inverted first). Gaussian elimination with the pivots of float64 has
$|A \hat x - b| \le 3 \gamma_n P^\top |L||U| |\hat x|$ (Higham, theorem 9.4). So both are one statement: the residual
$f$ is a local rounding of the *right-hand side*,

$$ A x = b + f, \qquad x_1 - x_2 = A^{-1} \bigl[(b_1 - b_2) + (f_1 - f_2) - (A_1 - A_2) x - \dots\bigr], \tag{R7} $$

and the derivative goes through $A^{-1}$, computed once; what is wrong with the computed inverse is part of q. The
second order contains the solution's own error, which a fixed point $F(r) \le r$ of the affine bound F verifies.

Underflow in a factorisation costs eta an entry of L or U, times what that entry meets.

Assumptions: a solver that substitutes (LAPACK does; XLA's block inversion on accelerators does not) and partial
pivoting whose factors are no larger than float64's.

Reference: Higham, *Accuracy and Stability of Numerical Algorithms*, 2nd ed. 2002, ch. 8-10.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

from dualform._numerics import from_scipy
from dualform.prove.errors import unsupported
from dualform.prove.rounding.charges import SWEEP, U64, VANISHED, Unit, product, unit_of
from dualform.prove.rounding.contractions import dot
from dualform.prove.rounding.maps import Blocks, Dims, Scale
from dualform.prove.rounding.tape import Node, Tape, bound


class Factors:
    """The factors of a matrix, never looked into: only their size |L||U| enters, and only in a solve."""

    def __init__(self, matrix: np.ndarray, size: np.ndarray, shape: tuple):
        self.matrix, self.size, self.shape = matrix, size, shape


def lu(tape: Tape, eqn, a: Node) -> list[Factors]:
    """The three results of `lu` (factors, pivots, permutation)."""
    n, factorise = a.shape[-1], from_scipy("linalg", "lu")
    size = np.empty((int(np.prod(a.shape[:-2])), n, n))
    for i, matrix in enumerate(a.z.reshape(-1, *a.shape[-2:])):
        finite = np.isfinite(matrix).all()
        p, low, up = factorise(matrix) if finite else (np.eye(n), np.full((n, n), np.inf), np.eye(n))
        size[i] = p @ (np.abs(low) @ np.abs(up))
    return [Factors(a.z, size.reshape(a.shape), tuple(v.aval.shape)) for v in eqn.outvars]


def cholesky(tape: Tape, eqn, a: Node) -> list[Factors]:
    """|L||L'| from the Cholesky factor of the symmetric part."""
    matrix = (a.z + np.swapaxes(a.z, -1, -2)) / 2
    try:
        low = np.abs(np.linalg.cholesky(matrix))
        size = low @ np.swapaxes(low, -1, -2)
    except np.linalg.LinAlgError:
        size = np.full(a.shape, np.inf)
    return [Factors(a.z, size, tuple(v.aval.shape)) for v in eqn.outvars]


def triangular_solve(tape: Tape, eqn, a: Node, b: Node) -> list[Node]:
    p, unit = eqn.params, unit_of(eqn)
    a, b = tape.read(a), tape.read(b)
    left, n, axes = p["left_side"], a.shape[-1], (a.z.ndim - 1, a.z.ndim - 2)
    matrix = _triangle(tape, a, p["lower"], p["unit_diagonal"])
    if p["transpose_a"]:
        matrix = tape.gather([matrix], _swap(np.arange(a.z.size).reshape(a.shape)))
    shapes = (a.shape, b.shape) if left else (b.shape, a.shape)
    dims = Dims(((axes[:1], axes[1:]), (tuple(range(axes[1])),) * 2), *shapes)
    effective, errs = (matrix.z, matrix.r) if left else (_swap(matrix.z), _swap(matrix.r))
    entries = (np.abs(effective) + errs > 0) | np.eye(n, dtype=bool)
    gamma = product(entries.sum(axis=-1, keepdims=True) + 1.0, unit.u)
    lower = p["lower"] == (left != p["transpose_a"])
    diagonal = np.abs(_diagonal(effective))
    normal = (diagonal - _diagonal(errs) > 4 * unit.tiny) & (diagonal + _diagonal(errs) < unit.largest / 8)
    invertible = np.where(normal, 0.0, np.inf)  # a solver may multiply by the rounded reciprocal

    def apply(x: Node) -> Node:
        return dot(tape, dims, *((matrix, x) if left else (x, matrix)), unit)

    def substitute(rhs):
        parts = [np.broadcast_to(m, (*rhs.shape[:-2], *m.shape[-2:])) for m in (effective, rhs)]
        lines = [m.reshape(-1, *m.shape[-2:]) for m in parts]
        solve_one = partial(from_scipy("linalg", "solve_triangular"), lower=lower, check_finite=False)
        solved = [solve_one(m, v) for m, v in zip(*lines, strict=True)]
        return np.array(solved).reshape(rhs.shape)

    def local(high):
        sized = np.abs(effective) + errs
        terms = sized @ high
        f = gamma * terms + n * unit.tiny * (2 + sized.max(-1, keepdims=True))
        return np.where(terms > unit.largest, np.inf, f) + invertible

    system = System(effective, apply, local, substitute, left, False)
    return [solve(tape, system, b, unit)]


def _triangle(tape: Tape, a: Node, lower: bool, unit_diagonal: bool) -> Node:
    """The part of a that is read; the rest is neither read nor wrong."""
    n = a.shape[-1]
    keep = np.tri(n, k=-1 if unit_diagonal else 0, dtype=bool)
    numbers = np.arange(a.z.size).reshape(a.shape)
    rest = tape.source(np.broadcast_to(np.eye(n) * unit_diagonal, a.shape), constant=True)
    return tape.gather([a, rest], np.where(keep if lower else keep.T, numbers, a.z.size + numbers))


def _diagonal(x):
    return np.diagonal(x, axis1=-2, axis2=-1)[..., None]


def _swap(x):
    return np.swapaxes(x, -1, -2)


class System(NamedTuple):
    """A x = b, or x A = b where not `left`; x and b are vectors where `vector`."""

    matrix: np.ndarray  # as it acts from the left on columns
    apply: Callable  # records A x without rounding
    local: Callable  # |f| given the largest |x|, both as columns
    substitute: Callable  # x from b, as columns, in float64
    left: bool
    vector: bool

    def columns(self, v):
        """A value in b's layout as columns."""
        return v[..., None] if self.vector else v if self.left else _swap(v)

    def layout(self, v):
        """Columns in b's layout."""
        return v[..., 0] if self.vector else v if self.left else _swap(v)


def solve(tape: Tape, system: System, b: Node, unit: Unit) -> Node:
    """(R7): the solution as a node behind its right-hand side."""
    columns, layout = system.columns, system.layout
    inverse, wrong = _inverse(system.matrix)
    try:
        x = layout(system.substitute(columns(b.z)))
    except np.linalg.LinAlgError:
        inverse = None
    if inverse is None or not np.isfinite(b.z).all():
        return tape.source(np.full(b.shape, np.nan), np.full(b.shape, np.inf))
    carry = np.abs(inverse)
    mark, size = len(tape.nodes), tape.size
    r = np.maximum(2 * layout(carry @ (columns(b.r) + system.local(columns(np.abs(x))))), unit.tiny)
    for _ in range(12):
        del tape.nodes[mark:]
        tape.size = size
        rhs = _right_hand_side(tape, system, b, x, r, mark)
        own = layout(wrong @ columns(r))
        reached = layout(carry @ columns(rhs.r)) + own
        if (reached <= r).all():
            break
        r = 1.5 * np.maximum(reached, r)
    else:
        return tape.source(x, np.full(x.shape, np.inf))
    over = (columns(np.abs(x) + r) > unit.largest).any(axis=-2, keepdims=True)  # the other unknowns need this one
    own = own + layout(np.where(over, np.inf, 0.0 * columns(x)))
    node = tape.add(x, [(rhs, _Through(inverse, system, b.shape))], lambda m: own, stored=True)
    node.r = np.where(np.isinf(node.r), np.inf, np.fmin(node.r, r))
    return node


def _right_hand_side(tape: Tape, system: System, b: Node, x, r, mark: int) -> Node:
    """b + f - (A_1 - A_2) x - ... as a node; x errs by r, but that is the left-hand side's business."""
    unknown = tape.append(Node(x, r, stored=True))
    tape.silent = True
    try:
        applied = system.apply(unknown)
    finally:
        tape.silent = False
    f = system.layout(system.local(system.columns(np.abs(x) + r)))
    links = [(applied, Scale(-1.0)), *([] if b.exact else [(b, Scale())])]
    node = Node(np.zeros(b.shape), r, links, f, stored=True)  # the system is solved once
    node.tight = True
    tape.append(node)
    node.r = (tape.pair * bound(tape, node, mark)).reshape(b.shape)
    return node


class _Through:
    """The inverse as a linear map on b's layout."""

    def __init__(self, inverse, system: System, shape: tuple):
        self.system = system
        inner = system.columns(np.empty(shape)).shape
        self.blocks = Blocks(inverse, inner, inner, inner[-1])

    def vjp(self, ct):
        return self.system.layout(self.blocks.vjp(self.system.columns(ct)))

    def push(self, r):
        return self.system.layout(self.blocks.push(self.system.columns(r)))


def _inverse(matrix):
    """An approximate inverse X and a bound on |I - X A|; None where there is none."""
    n = matrix.shape[-1]
    try:
        inverse = np.linalg.inv(matrix)
    except np.linalg.LinAlgError:
        return None, None
    if not np.isfinite(inverse).all():
        return None, None
    residual = np.abs(np.eye(n) - inverse @ matrix)
    error = (n + 2) * U64 * (np.abs(inverse) @ np.abs(matrix) + np.eye(n)) + n * VANISHED
    return inverse, residual + error


def custom_linear_solve(interpreter, tape: Tape, eqn, *operands) -> list[Node]:
    """`jnp.linalg.solve` and its kin: the matrix is read off the program that multiplies by it."""
    lengths, programs = eqn.params["const_lengths"], eqn.params["jaxprs"]
    consts = operands[: lengths.matvec]
    skip = lengths.matvec + lengths.vecmat
    factors = [x for x in operands[skip : skip + lengths.solve] if isinstance(x, Factors)]
    rhs = operands[sum(lengths) :]
    if not factors or len(rhs) != 1 or any(isinstance(x, Factors) for x in consts):
        raise unsupported(eqn, "rounding", "only solves by LU and Cholesky factors are known, not iterative ones")
    (b,), factor, unit = rhs, factors[0], unit_of(eqn)

    def apply(x: Node) -> Node:
        (out,) = interpreter.run(programs.matvec, [*consts, x])
        return out

    matrix = _probe(tape, apply, b)
    size, n = _matching(eqn, factor, matrix), b.shape[-1]
    gamma = float(product(3 * n + 1, unit.u))

    def local(high):
        terms = size @ high  # a flushed entry of L meets |U||x|, one of U meets |x|
        f = gamma * terms + n * unit.tiny * (2 + size.max()) * (1 + high.sum(axis=-2, keepdims=True))
        return np.where((terms > unit.largest) | (size.max() > unit.largest / 8), np.inf, f)

    system = System(matrix, apply, local, lambda rhs: np.linalg.solve(matrix, rhs), True, True)
    return [solve(tape, system, b, unit)]


def _probe(tape: Tape, apply, b: Node) -> np.ndarray:
    """The matrices [..., n, n] of a linear program on vectors [..., n], column by column."""
    n = b.shape[-1]
    matrix = np.zeros((*b.shape, n))
    mark, size = len(tape.nodes), tape.size
    tape.silent = True
    try:
        for j in range(n):
            column = apply(tape.source(np.broadcast_to(np.eye(n)[j], b.shape), constant=True))
            matrix[..., j] = column.z
    finally:
        tape.silent = False
        del tape.nodes[mark:]
        tape.size = size
    return matrix


def _matching(eqn, factor: Factors, matrix: np.ndarray) -> np.ndarray:
    """|L||U| of every matrix of the program, by finding the factored matrix (or its transpose) that it is."""
    n = matrix.shape[-1]
    known = np.concatenate([x.reshape(-1, n, n) for x in (factor.matrix, _swap(factor.matrix))])
    sizes = np.concatenate([x.reshape(-1, n, n) for x in (factor.size, _swap(factor.size))])
    out = np.empty_like(matrix).reshape(-1, n, n)
    for i, m in enumerate(matrix.reshape(-1, n, n)):
        distance = np.abs(known - m).sum(axis=(1, 2))
        best = int(np.argmin(np.where(np.isnan(distance), np.inf, distance)))
        if distance[best] > SWEEP * np.abs(m).sum():
            raise unsupported(eqn, "rounding", "the matrix that was factored is not the one that is solved")
        out[i] = sizes[best]
    return out.reshape(matrix.shape)
