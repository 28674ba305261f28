"""`identical` on identities that it has never seen: true ones are proved, false ones refuted, nothing is invented."""

import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from dualform.prove import Certificate, Input, ProofError, UnsupportedPrimitive, degree, identical
from dualform.prove.draw import draw
from dualform.prove.primes import chance_of_division, is_safe, safe_prime
from dualform.prove.programs import Signature, trace_both

PRIME = safe_prime(np.random.default_rng(0))
M20 = 2**20 - 1
T, K, V = 5, 3, 2
TRIL = np.tri(T, dtype=bool)
QKV = ((T, K), (T, K), (T, V))
LOG = Input((T,), "log")


def proved(f, g, *inputs, **options) -> Certificate:
    certificate = identical(f, g, *inputs, **options)
    assert certificate.equal is True, certificate
    assert certificate.failure_probability < 1e-12
    assert certificate.counterexample is None
    return certificate


def refuted(f, g, *inputs, **options) -> Certificate:
    """Refuted, and the counterexample stands when both functions are run again in float64."""
    certificate = identical(f, g, *inputs, **options)
    assert certificate.equal is False, certificate
    example = certificate.counterexample
    i, element = re.fullmatch(r"result (\d+), element (\[.*\])", example.path).groups()
    with jax.enable_x64(True):
        values = [np.asarray(jax.tree.leaves(h(*example.inputs))[int(i)])[tuple(json.loads(element))] for h in (f, g)]
    assert values[0] == pytest.approx(example.f, rel=1e-12)
    assert values[1] == pytest.approx(example.g, rel=1e-12)
    assert abs(values[0] - values[1]) > example.bound
    return certificate


def undecided(f, g, *inputs, match: str, **options) -> Certificate:
    certificate = identical(f, g, *inputs, **options)
    assert certificate.equal is None, certificate
    assert re.search(match, certificate.reason), certificate.reason
    assert certificate.counterexample is None
    return certificate


# programs -------------------------------------------------------------------------------------------------------------


def delta_recurrent(q, k, v, beta, S0=None):
    def step(S, item):
        q, k, v, beta = item
        S = S + beta * jnp.outer(v - S @ k, k)
        return S, S @ q

    S0 = jnp.zeros((v.shape[1], k.shape[1])) if S0 is None else S0
    return lax.scan(step, S0, (q, k, v, beta))[1]


def delta_triangular(q, k, v, beta, S0=None, strict=-1, read=0):
    """The error signals by one unit-triangular solve."""
    S0 = jnp.zeros((v.shape[1], k.shape[1])) if S0 is None else S0
    A = jnp.tril(beta[:, None] * (k @ k.T), strict) + jnp.eye(len(k))
    E = jax.scipy.linalg.solve_triangular(A, beta[:, None] * (v - k @ S0.T), lower=True)
    return jnp.tril(q @ k.T, read) @ E + q @ S0.T


def decayed(q, k, v, g):
    """One gate a token, or one for each token and channel."""

    def step(S, item):
        q, k, v, g = item
        S = S * jnp.broadcast_to(jnp.exp(g), S.shape) + jnp.outer(v, k)
        return S, S @ q

    return lax.scan(step, jnp.zeros((v.shape[1], k.shape[1])), (q, k, v, g))[1]


def decayed_parallel(q, k, v, g, off=0):
    c = jnp.cumsum(g)
    weights = jnp.exp(jnp.where(TRIL, c[:, None] - jnp.roll(c, off)[None], -jnp.inf))
    return (weights * (q @ k.T)) @ v


def decayed_channels(q, k, v, g):
    c = jnp.cumsum(g, 0)
    weights = jnp.exp(jnp.where(TRIL[:, :, None], c[:, None] - c[None], -jnp.inf))
    return jnp.einsum("tk,tsk,sk,sv->tv", q, weights, k, v)


def decayed_halves(q, k, v, g):
    """Two half gates, one on each side of the product."""
    c = jnp.cumsum(g)
    half = jnp.exp(0.5 * jnp.where(TRIL, c[:, None] - c[None], 0.0))
    return (jnp.where(TRIL, half * (q @ k.T) * half, 0.0)) @ v


def decayed_segments(q, k, v, g):
    """Sums over segments: no infinity is subtracted, so hard resets are legal."""
    inside = np.tri(T, k=-1, dtype=bool)
    sums = jnp.cumsum(jnp.where(inside, jnp.broadcast_to(g[:, None], (T, T)), 0.0), 0)
    return (jnp.exp(jnp.where(TRIL, sums, -jnp.inf)) * (q @ k.T)) @ v


def gated_delta_recurrent(q, k, v, beta, g):
    def step(S, item):
        q, k, v, beta, g = item
        A = jnp.exp(g) * S
        S = A + beta * jnp.outer(v - A @ k, k)
        return S, S @ q

    return lax.scan(step, jnp.zeros((v.shape[1], k.shape[1])), (q, k, v, beta, g))[1]


def gated_delta_triangular(q, k, v, beta, g):
    c = jnp.cumsum(g)
    weights = jnp.exp(jnp.where(TRIL, c[:, None] - c[None], -jnp.inf))
    A = jnp.tril(beta[:, None] * weights * (k @ k.T), -1) + jnp.eye(T)
    E = jnp.linalg.solve(A, beta[:, None] * v)
    return (weights * (q @ k.T)) @ E


def sherman_morrison(x, y):
    """Rank-1 updates of the inverse of I + sum x x'."""

    def step(P, x):
        return P - jnp.outer(P @ x, x @ P) / (1 + x @ P @ x), None

    return lax.scan(step, jnp.eye(x.shape[1]), x)[0] @ (x.T @ y)


def ridge(x, y):
    return jnp.linalg.solve(jnp.eye(x.shape[1]) + x.T @ x, x.T @ y)


def softmax(s):
    return jnp.exp(s) / jnp.exp(s).sum()


def shifted_softmax(s, m):
    e = jnp.exp(s - m)
    return e / e.sum()


def attend(s, v):
    return softmax(s) @ v


def convex_split(s, v):
    """Attention to two blocks, mixed by the share of the second."""
    a, b = jnp.exp(s[:2]), jnp.exp(s[2:])
    share = b.sum() / (a.sum() + b.sum())
    return (1 - share) * attend(s[:2], v[:2]) + share * attend(s[2:], v[2:])


BLOCKS = slice(0, 2), slice(2, 4)


def merged_blocks(s, v, m):
    """Each block with a shift of its own, rescaled to a common one."""
    parts = [(jnp.exp(s[i] - m[j]) @ v[i], jnp.exp(s[i] - m[j]).sum()) for j, i in enumerate(BLOCKS)]
    scales = [jnp.exp(m[j] - m[2]) for j in range(2)]
    numerator = sum(c * n for c, (n, _) in zip(scales, parts, strict=True))
    return numerator / sum(c * d for c, (_, d) in zip(scales, parts, strict=True))


def squared_loss(w, x, y):
    return 0.5 * jnp.sum((x @ w - y) ** 2)


def vandermonde(x):
    return jnp.prod(jnp.array([1.0])) * (x[1] - x[0]) * (x[2] - x[0]) * (x[2] - x[1])


def squarings(n):
    return lambda x: lax.fori_loop(0, n, lambda i, y: y * y, x)


# true -----------------------------------------------------------------------------------------------------------------


TRUE = {
    "delta-rule": (delta_recurrent, delta_triangular, *QKV, (T,)),
    "delta-rule-with-state": (delta_recurrent, delta_triangular, *QKV, (T,), (V, K)),
    "sherman-morrison": (sherman_morrison, ridge, (32, 8), (32,)),
    "push-through": (
        lambda x, y: jnp.linalg.solve(x.T @ x + 0.25 * jnp.eye(3), x.T @ y),
        lambda x, y: x.T @ jnp.linalg.solve(x @ x.T + 0.25 * jnp.eye(5), y),
        (5, 3), (5,),
    ),
    "woodbury": (
        lambda a, u, v: jnp.linalg.inv(a + u @ v),
        lambda a, u, v: jnp.linalg.inv(a) - jnp.linalg.inv(a) @ u @ jnp.linalg.solve(
            jnp.eye(2) + v @ jnp.linalg.inv(a) @ u, v @ jnp.linalg.inv(a)
        ),
        (4, 4), (4, 2), (2, 4),
    ),
    "block-inverse": (
        lambda a: jnp.linalg.inv(a)[:2, :2],
        lambda a: jnp.linalg.inv(a[:2, :2] - a[:2, 2:] @ jnp.linalg.solve(a[2:, 2:], a[2:, :2])),
        (4, 4),
    ),
    "solve-is-inverse": (jnp.linalg.solve, lambda a, b: jnp.linalg.inv(a) @ b, (4, 4), (4,)),
    "determinant-of-a-product": (
        lambda a, b: jnp.linalg.det(a @ b), lambda a, b: jnp.linalg.det(a) * jnp.linalg.det(b), (3, 3), (3, 3)
    ),
    "determinant-of-vandermonde": (lambda x: jnp.linalg.det(jnp.vander(x, increasing=True)), vandermonde, (3,)),
    "lu-solve": (
        lambda a, b: jax.scipy.linalg.lu_solve(jax.scipy.linalg.lu_factor(a), b), jnp.linalg.solve, (4, 4), (4, 2)
    ),
    "four-squares": (
        lambda a, b: (a @ a) * (b @ b),
        lambda a, b: (a @ b) ** 2
        + (a[0] * b[1] - a[1] * b[0] + a[2] * b[3] - a[3] * b[2]) ** 2
        + (a[0] * b[2] - a[2] * b[0] + a[3] * b[1] - a[1] * b[3]) ** 2
        + (a[0] * b[3] - a[3] * b[0] + a[1] * b[2] - a[2] * b[1]) ** 2,
        (4,), (4,),
    ),
    "scan-by-halves": (
        lambda a, x: lax.scan(lambda c, i: (c * i[0] + i[1],) * 2, 0.0, (a, x))[1],
        lambda a, x: lax.associative_scan(lambda l, r: (l[0] * r[0], l[1] * r[0] + r[1]), (a, x))[1],
        (7,), (7,),
    ),
    "exp-of-sums": (
        lambda a, b: jnp.exp(a * a + b), lambda a, b: jnp.exp(a * a) * jnp.exp(b * b) * jnp.exp(b - b * b), (3,), (3,)
    ),
    "exp-doubled": (lambda x: jnp.exp(2 * x * x), lambda x: jnp.exp(x * x) ** 2, ()),
    "exp-halved": (lambda x: jnp.exp(0.5 * x * x) ** 2, lambda x: jnp.exp(x * x), ()),
    "exp-of-thirds": (lambda x: jnp.exp(x * x / 3) ** 3, lambda x: jnp.exp(x * x), ()),
    "exp-negated": (lambda x: jnp.exp(-x * x), lambda x: 1 / jnp.exp(x * x), ()),
    "exp-of-zero": (lambda x: jnp.exp(x * x - x**2), lambda x: x / x, ()),
    "exp-of-constants": (lambda x: x * jnp.exp(1.0) * jnp.exp(0.5), lambda x: x * jnp.exp(0.75) ** 2, ()),
    "exp-of-quotients": (lambda x, y: jnp.exp(x / y) * jnp.exp((y - x) / y), lambda x, y: jnp.exp(1.0) + 0 * x, (), ()),
    "expm1": (lambda x: jnp.expm1(x * x), lambda x: jnp.exp(x * x) - 1, (2,)),
    "nested-exp-alike": (lambda x: jnp.exp(x + jnp.exp(x)), lambda x: jnp.exp(jnp.exp(x) + x), ()),
    "softmax-shift": (lambda s, m: softmax(s * s), lambda s, m: shifted_softmax(s * s, m), (4,), ()),
    "softmax-convex-split": (attend, convex_split, (4,), (4, 2)),
    "softmax-merged-blocks": (lambda s, v, m: attend(s, v), merged_blocks, (4,), (4, 2), (3,)),
    "softmax-of-scores": (
        lambda q, k, v, m: softmax(k @ q) @ v,
        lambda q, k, v, m: shifted_softmax(k @ q, m) @ v,
        (2,), (4, 2), (4, 3), (),
    ),
    "softmax-gradient": (
        lambda s, v, c: jax.grad(lambda s: attend(s, v) @ c)(s),
        lambda s, v, c: softmax(s) * (v @ c - softmax(s) @ v @ c),
        (4,), (4, 2), (2,),
    ),
    "unknown-functions": (
        lambda w, x: jnp.cbrt(w @ x) + jnp.sin(w @ x),
        lambda w, x: jnp.sin(x @ w.T) + jnp.cbrt((x[None] @ w.T)[0]),
        (3, 2), (2,),
    ),
    "square-of-a-root": (lambda x: jnp.linalg.norm(x) ** 2, lambda x: x @ x, (4,)),
    "square-of-a-reciprocal-root": (lambda x: lax.rsqrt(x @ x) ** 2 * (x @ x), lambda x: x[0] / x[0], (4,)),
    "gradient": (
        jax.grad(squared_loss), lambda w, x, y: x.T @ (x @ w - y), (3,), (4, 3), (4,)
    ),
    "all-gradients": (
        jax.grad(squared_loss, (0, 1, 2)),
        lambda w, x, y: (x.T @ (x @ w - y), jnp.outer(x @ w - y, w), y - x @ w),
        (3,), (4, 3), (4,),
    ),
    "hessian": (jax.hessian(squared_loss), lambda w, x, y: x.T @ x + 0 * w[0], (3,), (4, 3), (4,)),
    "pytrees": (
        lambda p: {"sum": p["a"][0] + p["a"][1], "both": (p["b"], p["a"][0] * 2)},
        lambda p: {"sum": p["a"][1] + p["a"][0], "both": (p["b"] * 1.0, p["a"][0] + p["a"][0])},
        {"a": [(2,), Input(2)], "b": Input((1, 2))},
    ),
    "arrays-give-their-shapes": (
        lambda x, y: x + y, lambda x, y: y + x, np.zeros(3), jax.ShapeDtypeStruct((3,), np.float32)
    ),
    "masks-and-indices": (
        lambda x: (x * 2, jnp.arange(3), x == x), lambda x: (x + x, jnp.array([0, 1, 2]), np.ones(3, bool)), (3,)
    ),
    "no-elements": (lambda x: x * 2, lambda x: x + x, (0, 3)),
    "no-inputs": (lambda: jnp.float32(0.75) * 4, lambda: jnp.float32(3.0)),
    "removable-singularity": (lambda x: (x * x - 1) / (x - 1), lambda x: x + 1, ()),
    "constants": (lambda x: x * jnp.full(3, 0.1), lambda x: 0.1 * x, (3,)),
}  # fmt: skip


@pytest.mark.parametrize("name", TRUE)
def test_true_identities_are_proved(name):
    f, g, *inputs = TRUE[name]
    proved(f, g, *inputs)


CONDITIONS = {
    "removable-singularity": "where no denominator is zero",
    "square-of-a-root": "where the argument of sqrt is not negative",
    "square-of-a-reciprocal-root": "where the argument of rsqrt is positive",
    "sherman-morrison": "where no denominator is zero",
    "exp-of-quotients": "where no denominator is zero",
    "determinant-of-vandermonde": None,
    "four-squares": None,
    "delta-rule": None,
    "unknown-functions": None,
}


@pytest.mark.parametrize("name", CONDITIONS)
def test_proofs_say_where_they_hold(name):
    found = proved(*TRUE[name]).conditions
    expected = CONDITIONS[name]
    assert found == () if expected is None else any(condition.startswith(expected) for condition in found)


@pytest.mark.parametrize("name", ["delta-rule-with-state", "softmax-convex-split", "push-through"])
def test_their_vector_jacobian_products_are_proved_too(name):
    f, g, *shapes = TRUE[name]
    result = jax.eval_shape(f, *[jax.ShapeDtypeStruct(x, np.float32) for x in shapes])

    def pullback(h):
        return lambda arguments, cotangent: jax.vjp(h, *arguments)[1](cotangent)

    proved(pullback(f), pullback(g), tuple(shapes), result.shape)


def test_exponentials_are_reported():
    assert proved(*TRUE["delta-rule"]).method == "none"
    assert proved(*TRUE["nested-exp-alike"]).method == "independent variables"
    assert "relations" in proved(*TRUE["exp-doubled"]).method
    assert proved(*TRUE["unknown-functions"]).opaque == ("cbrt", "sin")


# gates ----------------------------------------------------------------------------------------------------------------


GATED = {
    "scalar": (decayed, decayed_parallel, *QKV, (T,)),
    "channels": (decayed, decayed_channels, *QKV, (T, K)),
    "halves": (decayed, decayed_halves, *QKV, (T,)),
    "segments": (decayed, decayed_segments, *QKV, (T,)),
    "gated-delta": (gated_delta_recurrent, gated_delta_triangular, *QKV, (T,), (T,)),
}


@pytest.mark.parametrize("name", GATED)
def test_gates_declared_as_logarithms(name):
    f, g, *shapes, gate = GATED[name]
    certificate = proved(f, g, *shapes, Input(gate, "log"))
    assert certificate.log_inputs == (len(shapes),)
    assert certificate.inferred == ()


@pytest.mark.parametrize("name", GATED)
def test_gates_are_recognised(name):
    f, g, *shapes = GATED[name]
    certificate = proved(f, g, *shapes)
    assert certificate.log_inputs == certificate.inferred == (len(shapes) - 1,)
    assert f"inputs [{len(shapes) - 1}] read as logarithms" in str(certificate)


RESETS = {"none": [], "first": [0], "middle": [2], "last": [T - 1], "two": [1, 2], "all": list(range(T))}


@pytest.mark.parametrize("where", RESETS)
def test_hard_resets(where):
    reset = np.isin(np.arange(T), RESETS[where])
    proved(decayed, decayed_segments, *QKV, Input((T,), "log", reset=reset))


def test_a_form_that_forgets_a_reset_is_refuted():
    def forgetful(q, k, v, g):
        return decayed_segments(q, k, v, jnp.where(jnp.isneginf(g), 0.0, g))

    reset = Input((T,), "log", reset=np.arange(T) == 2)
    refuted(decayed, forgetful, *QKV, reset)
    proved(decayed, forgetful, *QKV, LOG)


def test_a_form_that_subtracts_infinities_is_not_proved():
    """exp(c_i - c_j) is NaN after a reset."""
    undecided(
        decayed, decayed_parallel, *QKV, Input((T,), "log", reset=np.arange(T) == 2), match=r"turn -inf into \+inf"
    )


def test_programs_may_return_logarithms():
    proved(lambda g: (jnp.exp(g), jnp.cumsum(g)), lambda g: (jnp.exp(2 * g) / jnp.exp(g), jnp.tri(T) @ g), LOG)
    refuted(lambda g: (jnp.exp(g), 2 * g), lambda g: (jnp.exp(g), g), LOG)
    proved(lambda g, x: (jnp.exp(g), g + x**9), lambda g, x: (jnp.exp(g), x**9 + g), LOG, (T,))
    refuted(lambda g, x: (jnp.exp(g), g + x**3), lambda g, x: (jnp.exp(g), g + x), LOG, (T,))


def test_a_logarithm_is_never_also_a_number():
    """g g is no sum of gates, so g stays a field input and exp(g) an exponential of a field value."""
    certificate = proved(lambda g: jnp.exp(g) * g * g, lambda g: g**2 * jnp.exp(g), (T,))
    assert certificate.log_inputs == ()
    undecided(lambda g: jnp.exp(g) * g, lambda g: jnp.exp(g) * g, LOG, match="log-domain")


# false ----------------------------------------------------------------------------------------------------------------


def one_element_off(x):
    return jnp.asarray(x @ x).at[3, 5].add(x[0, 0] * 2.0**-12)


def half_merged(s, v, m):
    """The sums of the blocks are not rescaled with their numerators."""
    parts = [(jnp.exp(s[i] - m[j]) @ v[i], jnp.exp(s[i] - m[j]).sum()) for j, i in enumerate(BLOCKS)]
    return sum(jnp.exp(m[j] - m[2]) * n for j, (n, _) in enumerate(parts)) / sum(d for _, d in parts)


FALSE = {
    "wrong-mask": (delta_recurrent, lambda *a: delta_triangular(*a, read=-1), *QKV, (T,)),
    "mask-off-by-one": (delta_recurrent, lambda *a: delta_triangular(*a, strict=-2), *QKV, (T,)),
    "swapped-transpose": (lambda w, x: w @ x, lambda w, x: w.T @ x, (3, 3), (3,)),
    "swapped-outer-product": (lambda e, x: jnp.outer(e, x), lambda e, x: jnp.outer(x, e), (3,), (3,)),
    "sherman-morrison-without-1": (
        sherman_morrison, lambda x, y: jnp.linalg.solve(2 * jnp.eye(4) + x.T @ x, x.T @ y), (8, 4), (8,)
    ),
    "times-2**61": (lambda x: x * 2.0**61, lambda x: x, ()),
    "times-2**122": (lambda x: x * 2.0**61 * 2.0**61, lambda x: x, (2,)),
    "over-2**61": (lambda x: x / 2.0**61, lambda x: x, ()),
    "sign": (lambda x, y: (x - y) ** 3, lambda x, y: (y - x) ** 3, (2,), (2,)),
    "one-coefficient": (lambda x, y: x + y * 2.0**-24, lambda x, y: x, (3,), (3,)),
    "one-element": (lambda x: x @ x, one_element_off, (8, 8)),
    "one-result": (lambda x: (x, x * 2), lambda x: (x, x * 2 + x[0] * 0.5), (3,)),
    "scan-lengths": (lambda x: jnp.cumsum(x)[-1], lambda x: jnp.cumsum(x[:-1])[-1], (6,)),
    "decay-off-by-one": (decayed, lambda *a: decayed_parallel(*a, off=1), *QKV, LOG),
    "decay-of-halves": (decayed, lambda q, k, v, g: decayed_parallel(q, k, v, 0.5 * g), *QKV, LOG),
    "decay-inferred": (decayed, lambda q, k, v, g: decayed_parallel(q, k, v, -g), *QKV, (T,)),
    "softmax-unnormalised": (attend, lambda s, v: jnp.exp(s) @ v, (3,), (3, 2)),
    "softmax-shift-half-done": (
        lambda s, m: softmax(s * s), lambda s, m: jnp.exp(s * s - m) / jnp.exp(s * s).sum(), (3,), ()
    ),
    "softmax-merged-wrongly": (lambda s, v, m: attend(s, v), half_merged, (4,), (4, 2), (3,)),
    "exp-of-a-product": (lambda x, y: jnp.exp(x * y), lambda x, y: jnp.exp(x) * jnp.exp(y), (), ()),
    "exp-of-a-square": (lambda x: jnp.exp(x * x), lambda x: jnp.exp(x) ** 2, ()),
    "gradient-without-half": (
        jax.grad(squared_loss), lambda w, x, y: 2 * x.T @ (x @ w - y), (3,), (4, 3), (4,)
    ),
    "another-unknown-function": (lambda x: jnp.tanh(x), lambda x: jnp.sin(x), (2,)),
    "unknown-of-another-argument": (lambda x: jnp.tanh(x), lambda x: jnp.tanh(2 * x), (2,)),
    "root-of-a-square": (lambda x: jnp.sqrt(x * x), lambda x: x, ()),
    "determinant-of-a-sum": (
        lambda a, b: jnp.linalg.det(a + b), lambda a, b: jnp.linalg.det(a) + jnp.linalg.det(b), (2, 2), (2, 2)
    ),
    "nested-exp": (lambda x: jnp.exp(jnp.exp(x)), lambda x: jnp.exp(x) * jnp.exp(x), ()),
    "relu": (lambda x: jax.nn.relu(x), lambda x: x, (3,)),
    "leaky-relu": (lambda x: jnp.where(x > 0, x, 0.5 * x), lambda x: jnp.where(x > 0, x, 0.25 * x), (3,)),
    "sort": (lambda x: jnp.sort(x * x), lambda x: x * x, (3,)),
    "absolute-value": (lambda x: jnp.abs(x @ x), lambda x: jnp.abs(x).sum() ** 2, (3,)),
    "softmax-of-jax": (lambda x: jax.nn.softmax(x), lambda x: jax.nn.softmax(2 * x), (3,)),
}  # fmt: skip


@pytest.mark.parametrize("name", FALSE)
def test_false_identities_are_refuted(name):
    f, g, *inputs = FALSE[name]
    refuted(f, g, *inputs)


def test_counterexamples_are_small():
    """Whole numbers no larger than they need to be, and as many zeros as possible."""
    inputs = refuted(*FALSE["mask-off-by-one"]).counterexample.inputs
    flat = np.concatenate([x.ravel() for x in inputs])
    assert set(np.abs(flat)) <= {0.0, 1.0}
    assert np.count_nonzero(flat) <= 8  # one query, two keys and values, and their two step sizes
    example = refuted(lambda x, y: x * y, lambda x, y: x * x, (4,), (4,)).counterexample
    assert np.count_nonzero(np.concatenate(example.inputs)) <= 2


# differences that float64 does not show when the functions are run again: constants are what they were when traced


def test_a_tenth_is_not_one_tenth():
    """0.1 in float32 is 13421773 / 2**27."""
    certificate = identical(lambda x: 0.1 * x, lambda x: x / 10, ())
    assert certificate.equal is False
    (x,) = certificate.counterexample.inputs
    assert certificate.counterexample.f == float(np.float32(0.1)) * x
    assert certificate.counterexample.g == x / 10


@pytest.mark.parametrize("places", [40, 60, 100])
def test_differences_below_float64_are_found_exactly(places):
    refuted(lambda x, y: x + y * 2.0**-places, lambda x, y: x, (), ())


def test_exponents_that_agree_modulo_one_group_order():
    """exp(2**60 u) = exp(c u) modulo one q: the degree in exp(u) says that nothing follows."""
    q = PRIME // 2
    c = 2**60 - q

    def small(g):
        for _ in range(60):
            g = g * 0.5
        return jnp.exp(float(c >> 40) * 2.0**40 * g + float(c >> 20 & M20) * 2.0**20 * g + float(c & M20) * g)

    certificate = identical(jnp.exp, small, Input((), "log"))
    assert certificate.equal is not True
    assert certificate.degree >= 2**59


# undecided ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [60, 61, 62, 70, 2000])
def test_a_degree_that_is_too_large_is_never_a_proof(n):
    """x**(2**n) against itself, written differently; and against something else that no trial could tell apart."""
    certificate = undecided(squarings(n), lambda x: squarings(n - 1)(x * x), (), match="degree bound too large")
    assert certificate.degree >= 2**60
    assert json.dumps(certificate.to_dict())


def test_more_trials_are_suggested_where_they_would_do():
    """(2**49 / 2**60)**3 is above 1e-12, its fourth power... is what the reason says."""
    f, g = squarings(48), lambda x: squarings(47)(x * x)
    certificate = undecided(f, g, (), match=r"trials=\d+ would do")
    enough = int(re.search(r"trials=(\d+)", certificate.reason)[1])
    proved(f, g, (), trials=enough)
    undecided(f, g, (), match="would do", trials=enough - 1)


UNDECIDED = {
    "pythagoras": (lambda x: jnp.sin(x) ** 2 + jnp.cos(x) ** 2, lambda x: jnp.ones_like(x), "unknown functions"),
    "exp-of-half-a-log": (lambda x: jnp.exp(0.5 * jnp.log(x)), jnp.sqrt, "unknown functions"),
    "relu-twice": (lambda x: jax.nn.relu(jax.nn.relu(x)), jax.nn.relu, "unknown functions"),
    "sorted-twice": (lambda x: jnp.sort(jnp.sort(x)), lambda x: jnp.sort(x), "'sort'"),
    "division-by-zero": (lambda x: x / (x - x), lambda x: x / (x - x), "divides by zero"),
    "zero-over-zero": (lambda x: (x - x) / (x - x), lambda x: x, "divides by zero"),
    "infinite-constant": (lambda x: x + jnp.inf, lambda x: x + jnp.inf, "divides by zero|infinite"),
    "singular-solve": (lambda x: jnp.linalg.solve(jnp.outer(x, x), x), lambda x: x, "divides by zero"),
}  # fmt: skip


@pytest.mark.parametrize("name", UNDECIDED)
def test_equal_or_undefined_programs_are_never_refuted(name):
    """What cannot be proved stays undecided, with the reason."""
    f, g, match = UNDECIDED[name]
    undecided(f, g, (3,), match=match)


def test_the_reason_names_the_primitive_and_the_source_line():
    def f(x):
        return jnp.sort(x)

    line = f.__code__.co_firstlineno + 1
    undecided(f, lambda x: jnp.sort(x), (3,), match=rf"primitive 'sort' .*test_identical\.py:{line} in ")
    with pytest.raises(UnsupportedPrimitive, match=rf"primitive 'sort' .*test_identical\.py:{line} in "):
        degree(f, (3,))


def test_undefined_values_spoil_what_they_reach():
    """0/0 compares as false with everything, running products keep it, a scattered one stays."""
    zero = lambda x: (x - x) / (x - x)  # noqa: E731
    assert identical(lambda x: jnp.where(zero(x) > -jnp.inf, x, 2 * x), lambda x: x, (3,)).equal is not True
    assert identical(lambda x: jnp.where(jnp.isfinite(zero(x)), x, 2 * x), lambda x: x, (3,)).equal is not True
    assert identical(lambda x: jnp.where(zero(x) == zero(x), x, 2 * x), lambda x: x, (3,)).equal is not True
    index = np.array([0])
    spoiled = {
        "cumprod": lambda x: jnp.cumprod(jnp.stack([zero(x)[0], x[1]])),
        "reverse": lambda x: lax.cumprod(jnp.stack([x[1], zero(x)[0]]), reverse=True),
        "cumsum": lambda x: jnp.cumsum(jnp.stack([zero(x)[0], x[1]])),
        "scatter": lambda x: x.at[index].add(zero(x)[:1]),
        "scatter-mul": lambda x: x.at[index].multiply(zero(x)[:1]),
        "dot": lambda x: jnp.outer(zero(x), x) @ x,
        "prod": lambda x: jnp.prod(zero(x)),
        "solve": lambda x: jnp.linalg.solve(jnp.eye(3) + jnp.diag(zero(x)), x),
        "exp": lambda x: jnp.exp(zero(x)),
        "tanh": lambda x: jnp.tanh(zero(x)),
    }
    signature = Signature.of([(3,)])
    for f in spoiled.values():
        with pytest.raises(ProofError, match="divides by zero"):
            draw(trace_both(f, f, signature), PRIME, signature.leaves, np.random.default_rng(0))


def test_undefined_values_under_a_mask_do_not_matter():
    keep = jnp.array([True, False, True])
    certificate = proved(
        lambda x: jnp.where(keep, jnp.exp(x / jnp.where(keep, x, 0.0)) * jnp.cumprod(x), x),
        lambda x: jnp.where(keep, jnp.exp(1.0) * jnp.cumprod(x), x),
        (3,),
    )
    assert certificate.method != "none"


def test_results_that_depend_on_pivots_are_not_proved():
    """In floats the largest pivot wins: L and U are no rational functions, though what is solved with them is."""

    def doolittle(a):
        ratio = a[1, 0] / a[0, 0]
        return (
            jnp.array([[1.0, 0.0], [0.0, 0.0]]) * a[0, 0]
            + jnp.array([[0.0, 1.0], [0.0, 0.0]]) * a[0, 1]
            + (
                jnp.array([[0.0, 0.0], [1.0, 0.0]]) * ratio
                + jnp.array([[0.0, 0.0], [0.0, 1.0]]) * (a[1, 1] - ratio * a[0, 1])
            )
        )

    for seed in range(3):
        assert identical(lambda a: lax.linalg.lu(a)[0], doolittle, (2, 2), seed=seed).equal is not True
    undecided(lambda a: lax.linalg.lu(a)[0], lambda a: lax.linalg.lu(1.0 * a)[0], (3, 3), match="pivots")
    undecided(lambda a: lax.linalg.lu(a)[1], lambda a: lax.linalg.lu(a)[1], (3, 3), match="pivots")


# certificates ---------------------------------------------------------------------------------------------------------


def test_fields_of_a_proof():
    certificate = proved(*TRUE["delta-rule"], seed=5)
    assert certificate.verdict == "proved"
    assert bool(certificate)
    assert certificate.degree == 3 * T + 1
    assert len(set(certificate.primes)) == certificate.trials == 3
    assert all(is_safe(p) and 2**60 < p < 2**61 for p in certificate.primes)
    assert certificate.seed == 5
    assert certificate.over_rationals
    assert 0 < certificate.height_bits < 183
    assert certificate.reason == ""
    rate = certificate.degree / 2**60 + chance_of_division(certificate.height_bits)
    assert certificate.failure_probability == pytest.approx(rate**3, rel=1e-3)
    assert "proved over the rationals: degree at most 16, 3 trials" in str(certificate)


def test_fields_of_a_refutation():
    certificate = refuted(*FALSE["sign"])
    assert certificate.verdict == "refuted"
    assert not certificate
    assert certificate.failure_probability == 0
    assert re.match(r"refuted: at result 0, element \[\d\]: f = \S+, g = \S+ on inputs \[\[", str(certificate))


def test_fields_of_no_decision():
    certificate = undecided(lambda x: jnp.sort(x), lambda x: jnp.sort(1 * x), (3,), match="sort")
    assert certificate.verdict == "undecided"
    assert not certificate
    assert certificate.failure_probability == 1
    assert str(certificate).startswith("undecided: primitive 'sort'")


@pytest.mark.parametrize("pair", [TRUE["pytrees"], TRUE["softmax-shift"], FALSE["decay-off-by-one"], FALSE["relu"]])
def test_certificates_are_plain_data(pair):
    certificate = identical(*pair)
    back = json.loads(json.dumps(certificate.to_dict()))
    assert back["verdict"] == certificate.verdict
    assert back["degree"] == certificate.degree
    assert back["primes"] == list(certificate.primes)
    assert (back["counterexample"] is None) == (certificate.counterexample is None)


def test_the_seed_decides_everything():
    one, two, other = (identical(*FALSE["sign"], seed=s) for s in (3, 3, 4))
    assert json.dumps(one.to_dict()) == json.dumps(two.to_dict())
    assert one.primes != other.primes


@pytest.mark.parametrize("trials", [1, 2, 5])
def test_trials_multiply(trials):
    certificate = identical(*TRUE["four-squares"], trials=trials)
    assert certificate.equal is True
    rate = 4 / 2**60 + chance_of_division(certificate.height_bits)
    assert certificate.failure_probability == pytest.approx(rate**trials, rel=1e-3)


def test_proofs_leave_the_configuration_alone():
    before = jax.config.jax_enable_x64
    refuted(*FALSE["relu"])
    assert jax.config.jax_enable_x64 == before


def test_programs_are_traced_in_the_default_float():
    """2**-30 is lost beside 1 in float32 constants, not in float64 ones."""

    def f(x):
        return x * (1 + 2.0**-30)

    assert identical(f, lambda x: x, ()).equal is True
    with jax.enable_x64(True):
        assert identical(f, lambda x: x, ()).equal is False


def test_a_program_that_insists_on_float32_is_refuted_exactly():
    """It cannot be run in float64 at all: its carry has another type."""

    def f(x):
        return lax.scan(lambda c, item: (c + item, None), jnp.zeros((), jnp.float32), x)[0]

    certificate = identical(f, lambda x: x.sum() + x[0], (3,))
    assert certificate.equal is False
    assert certificate.counterexample.f != certificate.counterexample.g


# bad input ------------------------------------------------------------------------------------------------------------


def same(x):
    return x


BAD = {
    "float-shape": (lambda: identical(same, same, 3.0), "inputs: expected shapes"),
    "negative-shape": (lambda: identical(same, same, (-1,)), "inputs: expected shapes"),
    "fractional-shape": (lambda: identical(same, same, (2.5,)), "inputs: expected shapes"),
    "string": (lambda: identical(same, same, "3"), "inputs: expected shapes"),
    "boolean": (lambda: identical(same, same, (True,)), "inputs: expected shapes"),
    "integer": (lambda: identical(same, same, 3), "inputs: expected shapes"),
    "integers": (lambda: identical(lambda x, y: x, lambda x, y: y, 2, 2), "inputs: expected shapes"),
    "list": (lambda: identical(same, same, [3, 4]), "inputs: expected shapes"),
    "input-of-floats": (lambda: Input((2.0,)), "shape: expected a tuple of non-negative integers"),
    "input-of-a-negative": (lambda: Input(-1), "shape: expected a tuple of non-negative integers"),
    "input-of-a-boolean": (lambda: Input(True), "shape: expected a tuple of non-negative integers"),
    "unknown-domain": (lambda: Input((2,), "real"), r"domain: expected one of \('field', 'log'\), got 'real'"),
    "reset-on-a-field": (lambda: Input((2,), reset=np.zeros(2, bool)), "reset: expected a boolean array"),
    "reset-of-numbers": (lambda: Input((2,), "log", reset=np.zeros(2)), "reset: expected a boolean array"),
    "reset-of-another-shape": (lambda: Input((2,), "log", reset=np.zeros(3, bool)), "reset: expected a boolean array"),
    "no-function": (lambda: identical(3, same, (2,)), "f: expected a function"),
    "too-few-inputs": (lambda: identical(lambda x, y: x, lambda x, y: y, (2,)), "inputs: got 1"),
    "too-many-inputs": (lambda: identical(same, same, (2,), (2,)), "inputs: got 2"),
    "other-structure": (lambda: identical(lambda x: (x, x), same, (2,)), "expected results of one structure"),
    "other-shape": (lambda: identical(lambda x: x[:1], same, (2,)), "expected results of one structure"),
    "no-trials": (lambda: identical(same, same, (2,), trials=0), "trials: expected an integer from 1 to 1000, got 0"),
    "half-a-trial": (lambda: identical(same, same, (2,), trials=1.5), "trials: expected an integer"),
    "too-many-trials": (lambda: identical(same, same, (2,), trials=1001), "trials: expected an integer from 1 to 1000"),
    "negative-seed": (lambda: identical(same, same, (2,), seed=-1), "seed: expected a non-negative integer, or None"),
    "fractional-seed": (
        lambda: identical(same, same, (2,), seed=0.5),
        "seed: expected a non-negative integer, or None",
    ),
    "degree-of-no-function": (lambda: degree(3, (2,)), "f: expected a function"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    call, match = BAD[name]
    with pytest.raises(ValueError, match=match):
        call()


def test_integers_are_shapes_of_vectors():
    assert Input(3) == Input((3,))
    assert Input(np.int64(3)).shape == (3,)
    proved(lambda x: x * 2, lambda x: x + x, Input(3))


def test_errors_of_the_engine_are_value_errors():
    assert issubclass(UnsupportedPrimitive, ProofError)
    assert issubclass(ProofError, ValueError)


def test_a_mask_of_one_element_is_concrete():
    """isfinite of a number is a mask of shape (), not a numpy scalar, which the interpreter took for data."""
    assert identical(lambda x: jnp.where(jnp.isfinite(x), x, 0.0), lambda x: x, ())
