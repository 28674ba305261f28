"""`identical` proves nothing that depends on which pivots a factorisation chooses, and what holds for all of them."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from soundness import differ_in_floats, not_proved, proved

from dualform.prove import degree

A, B, V = (3, 3), (2, 3, 3), (3,)


def factors(a):
    return lax.linalg.lu(a)[0]


def pivots(a):
    return lax.linalg.lu(a)[1]


def order(a):
    return lax.linalg.lu(a)[2]


def zero(*arguments):
    return jnp.zeros(())


def one(*arguments):
    return jnp.ones(())


def number(x):
    return jnp.asarray(x).astype(float)


def minor(a):
    return a[0, 0]


def loose_solve(a, b):
    """Says that it solves 0 x = 0, and returns the order of the rows of another matrix."""
    return lax.custom_linear_solve(lambda x: 0 * x, 0 * b, lambda product, b: number(order(a)) + 0 * b)


def square_solve(a, b):
    """A product that is not linear has two solutions, between which pivots choose."""
    sign = 1 - 2.0 * (order(a)[0] == 0)
    return lax.custom_linear_solve(lambda x: x * x, b * b, lambda product, c: sign * b)


def counted(a):
    """A loop that runs as often as the first row says."""
    return lax.while_loop(lambda s: s[0] < order(a)[0], lambda s: (s[0] + 1, s[1] + 1.0), (0, 0.0))[1]


def walked(a):
    return lax.scan(lambda c, i: (c * 2 + number(i), None), 0.0, order(a))[0]


def sign_of(order):
    """Of a permutation, from its inversions."""
    n = order.shape[-1]
    upper = jnp.triu(jnp.ones((n, n), bool), 1)
    return 1 - 2.0 * (jnp.sum((order[:, None] > order[None, :]) & upper) % 2)


def determinant(a, signed=True):
    lu, _, order = lax.linalg.lu(a)
    return jnp.prod(jnp.diag(lu)) * (sign_of(order) if signed else 1.0)


def leibniz(a):
    n, total = len(a), jnp.zeros(())
    for order in itertools.permutations(range(n)):
        inversions = sum(order[i] > order[j] for i in range(n) for j in range(i + 1, n))
        term = (-1.0) ** inversions
        for i in range(n):
            term = term * a[i, order[i]]
        total = total + term
    return total


def of_the_rows(a):
    lu, _, order = lax.linalg.lu(a)
    return (jnp.tril(lu, -1) + jnp.eye(len(a))) @ jnp.triu(lu) - a[order]


SWAPPED = np.array([[1.0, 2, 3], [9, 1, 2], [3, 3, 1]], np.float32)
MOVED = np.array([[1.0, 2, 3], [3, 1, 2], [9, 3, 1]], np.float32)
ODD = np.eye(3, dtype=np.float32)[[1, 0, 2]]
TALL = np.array([[1.0, 2], [9, 1], [3, 3], [4, 4]], np.float32)

FALSE_PIVOTS = {
    "second-row-first": (lambda a: number(order(a)[0] == 1), zero, SWAPPED),
    "second-row-never": (lambda a: number(order(a)[0] != 1), one, SWAPPED),
    "scipy": (lambda a: jax.scipy.linalg.lu(a)[0][1, 0], zero, SWAPPED),
    "scipy-permuted": (lambda a: jax.scipy.linalg.lu(a, permute_l=True)[0][0, 0], one, SWAPPED),
    "pivot": (lambda a: number(pivots(a)[0] == 1), zero, SWAPPED),
    "second-pivot": (lambda a: number(pivots(a)[1] == 2) * number(order(a)[0] == 1), zero, SWAPPED),
    "middle-of-an-order": (lambda a: number(order(a)[1] == 1), zero, np.diag([3.0, 2.0, 1.0]).astype(np.float32)),
    "upper-corner": (lambda a: factors(a)[0, 0], minor, SWAPPED),
    "lower-entry": (lambda a: factors(a)[1, 0], lambda a: a[1, 0] / a[0, 0], SWAPPED),
    "factors": (factors, lambda a: factors(a * jnp.array([[8.0], [1.0], [1.0]])), SWAPPED),
    "indexed-rows": (lambda a: a[order(a)][0], lambda a: a[0], SWAPPED),
    "in-a-loop": (counted, zero, SWAPPED),
    "in-a-branch": (lambda a: lax.cond(order(a)[0] == 1, lambda: 1.0, lambda: 0.0), zero, SWAPPED),
    "in-a-scan": (walked, lambda a: jnp.asarray(4.0), SWAPPED),
    "sorted-by-it": (lambda a: a[0][jnp.argsort(order(a))], lambda a: a[0], SWAPPED),
    "sum-of-products": (lambda a: number(order(a) @ jnp.arange(3)), lambda a: jnp.asarray(5.0), SWAPPED),
    "remainder": (lambda a: number((order(a)[0] * 5 + 1) % 3 == 0), zero, SWAPPED),
    "scattered": (lambda a: jnp.zeros(3).at[order(a)[0]].add(1.0), lambda a: jnp.eye(3)[2], SWAPPED),
    "tall": (lambda a: number(order(a)[0] == 1), zero, TALL),
    "tall-pivot": (lambda a: number(pivots(a)[0] == 2), zero, TALL[::-1].copy()),
    "wide": (lambda a: factors(a)[0, 2], lambda a: a[0, 2], np.array([[1.0, 2, 3], [9, 1, 2]], np.float32)),
    "batch": (lambda a: number(order(a)[1, 0] == 1), zero, np.stack([np.eye(3, dtype=np.float32), SWAPPED])),
    "mapped": (lambda a: jax.vmap(order)(a)[1, 0] * 1.0, zero, np.stack([np.eye(3, dtype=np.float32), SWAPPED])),
    "of-a-product": (lambda a: number(order(a @ a)[0] == 1), zero, SWAPPED[::-1].copy()),
    "determinant-without-sign": (lambda a: determinant(a, signed=False), leibniz, ODD),
    "two-factorisations": (lambda a: number(order(a)[0]), lambda a: number(order(a.T)[0]), SWAPPED),
    "in-a-solve-of-nothing": (lambda a: loose_solve(a, a[0])[0], zero, SWAPPED),
    "in-a-solve-of-squares": (lambda a: square_solve(a, a[0])[0], lambda a: -a[0, 0], SWAPPED),
    "beside-a-solve": (
        lambda a: jnp.linalg.solve(a, a[0])[0] + number(order(a)[0] == 1),
        lambda a: jnp.linalg.solve(a, a[0])[0], SWAPPED,
    ),
    "right-hand-side": (
        lambda a: jnp.linalg.solve(a, number(order(a))), lambda a: jnp.linalg.solve(a, jnp.array([0.0, 1, 2])), SWAPPED
    ),
    "matrix": (
        lambda a: jnp.linalg.inv(a + jnp.diag(number(order(a)))), lambda a: jnp.linalg.inv(a), SWAPPED
    ),
    "transposed-by-mistake": (
        lambda a: jax.scipy.linalg.lu_solve(jax.scipy.linalg.lu_factor(a), a[0], trans=1),
        lambda a: jnp.linalg.solve(a, a[0]), SWAPPED,
    ),
    "gradient": (
        jax.grad(lambda a: jnp.sum(factors(a)[0])), lambda a: jnp.zeros((3, 3)).at[0].set(1.0), SWAPPED
    ),
    "degree-of-one-order": (
        lambda a: jnp.where(order(a)[0] == 1, a[0, 0] ** 3, a[0, 0]), lambda a: a[0, 0], 2 * SWAPPED
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FALSE_PIVOTS)
def test_what_pivots_decide_is_not_proved(name):
    f, g, matrix = FALSE_PIVOTS[name]
    assert differ_in_floats(f, g, matrix) or name == "in-a-solve-of-squares", "the identity is not false"
    not_proved(f, g, matrix.shape)


TRUE_PIVOTS = {
    "order-is-a-permutation": (lambda a: number(jnp.sum(order(a))), lambda a: jnp.asarray(3.0), A),
    "sorted-order": (lambda a: number(jnp.sort(order(a))), lambda a: jnp.arange(3.0), A),
    "factors-of-the-rows": (of_the_rows, jnp.zeros_like, A),
    "scipy-factors": (lambda a: (lambda p, l, u: p @ l @ u)(*jax.scipy.linalg.lu(a)), lambda a: a, A),
    "scipy-tall": (lambda a: (lambda p, l, u: p @ l @ u)(*jax.scipy.linalg.lu(a)), lambda a: a, (4, 2)),
    "scipy-wide": (lambda a: (lambda p, l, u: p @ l @ u)(*jax.scipy.linalg.lu(a)), lambda a: a, (2, 4)),
    "scipy-batch": (
        lambda a: (lambda p, l, u: p @ l @ u)(*jax.vmap(jax.scipy.linalg.lu)(a)), lambda a: a, (2, 2, 2)
    ),
    "permutation-matrix": (lambda a: (lambda p: p @ p.T)(jax.scipy.linalg.lu(a)[0]), lambda a: jnp.eye(3), A),
    "determinant-2": (determinant, leibniz, (2, 2)),
    "determinant-3": (determinant, leibniz, A),
    "determinant-4": (determinant, leibniz, (4, 4)),
    "determinant-of-a-product": (
        lambda a, b: determinant(a @ b), lambda a, b: determinant(a) * determinant(b), A, A
    ),
    "square-of-a-determinant": (lambda a: jnp.prod(jnp.diag(factors(a))) ** 2, lambda a: leibniz(a) ** 2, A),
    "lu-solve": (
        lambda a, b: jax.scipy.linalg.lu_solve(jax.scipy.linalg.lu_factor(a), b), jnp.linalg.solve, A, V
    ),
    "lu-solve-transposed": (
        lambda a, b: jax.scipy.linalg.lu_solve(jax.scipy.linalg.lu_factor(a), b, trans=1),
        lambda a, b: jnp.linalg.solve(a.T, b), A, V,
    ),
    "inverse-of-nine": (lambda a, b: jnp.linalg.inv(a) @ b, jnp.linalg.solve, (9, 9), (9,)),
    "batch-of-solves": (
        jax.vmap(jnp.linalg.solve), lambda a, b: jnp.einsum("bij,bj->bi", jnp.linalg.inv(a), b), (2, 4, 4), (2, 4)
    ),
    "gradient-of-a-solve": (
        jax.grad(lambda a, b: jnp.sum(jnp.linalg.solve(a, b)), 1),
        lambda a, b: jnp.linalg.solve(a.T, jnp.ones(6)), (6, 6), (6,),
    ),
    "gradient-in-the-matrix": (
        jax.grad(lambda a, b: jnp.sum(jnp.linalg.solve(a, b))),
        lambda a, b: -jnp.outer(jnp.linalg.solve(a.T, jnp.ones(5)), jnp.linalg.solve(a, b)), (5, 5), (5,),
    ),
    "solve-in-a-scan": (
        lambda a, b: lax.scan(lambda c, x: (jnp.linalg.solve(a, c) + x, None), jnp.zeros(5), b)[0],
        lambda a, b: jnp.linalg.inv(a) @ (jnp.linalg.inv(a) @ b[0] + b[1]) + b[2], (5, 5), (3, 5),
    ),
    "unused-factors": (lambda a: a[0] * 2 + 0 * a[0], lambda a: (order(a), a[0] + a[0])[1], (7, 7)),
    "a-triangle-has-one-order": (
        lambda a: factors(jnp.triu(a)), lambda a: jnp.triu(a), A
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TRUE_PIVOTS)
def test_what_holds_for_all_pivots_is_proved(name):
    f, g, *inputs = TRUE_PIVOTS[name]
    proved(f, g, *inputs)


def test_more_orders_than_can_be_tried_are_undecided():
    certificate = not_proved(determinant, lambda a: determinant(a.T), (6, 6))
    assert "more than 200 orders" in certificate.reason


def test_the_checks_of_a_solve_are_part_of_its_failure_probability():
    def solve(a, b):
        return jnp.linalg.solve(a, b)

    def by_hand(a, b):
        c = jnp.array([[a[1, 1], -a[0, 1]], [-a[1, 0], a[0, 0]]])
        return c @ b / (a[0, 0] * a[1, 1] - a[0, 1] * a[1, 0])

    checked, plain = (proved(f, by_hand, (2, 2), (2,)).failure_probability for f in (solve, by_hand))
    assert checked > plain


def test_degrees_hold_for_every_order_of_pivots():
    assert degree(lambda a: jnp.where(order(a)[0] == 1, a[0, 0] ** 9, a[0, 0]), (2, 2)) == 9
