"""Chapter 8: light finetuning, against rational loops and real training runs on digits."""

import re
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from earned import earns_what_it_claims
from hypothesis import given
from hypothesis import strategies as st
from mutants import MUTANTS

from dualform import digits, peft
from dualform.laws import check, find
from dualform.laws.law import BOUNDED, MEASURED, PROVED, REFUTED
from dualform.linear import with_bias
from dualform.prove import identical, rounding_bound

LAWS = [pytest.param(law, id=f"{law.label} {law.title[:40]}") for law in find("PE")]


def exact(x):
    """Floats as the rational numbers that they are."""
    return np.vectorize(Fraction, otypes=[object])(np.asarray(x, np.float64))


def loop_factors(A, B, E, X, s, frozen=False):
    """(PE2) in rational numbers, entry by entry."""
    for e, x in zip(E, X, strict=True):
        dA, dB = 0 * A, 0 * B
        for i in range(len(e)):
            for j in range(len(A)):
                back = sum(B[v, j] * e[i, v] for v in range(len(B)))
                seen = sum(A[j, k] * x[i, k] for k in range(A.shape[1]))
                for k in range(A.shape[1]):
                    dA[j, k] += s * back * x[i, k]
                for v in range(len(B)):
                    dB[v, j] += s * e[i, v] * seen
        A, B = A if frozen else A + dA, B + dB
    return A, B


def draw(seed, *shapes):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape).astype(np.float32) for shape in shapes]


# --- laws -------------------------------------------------------------------------------------------------------------


def test_every_labelled_identity_has_a_law_and_every_law_a_label():
    defined = re.findall(r"\\tag\{(\w+)\}", peft.__doc__)
    assert len(defined) == 15 and {law.label for law in find("PE")} == set(defined)
    for label in defined:
        assert any({PROVED, BOUNDED} & set(law.stamps) for law in find(label)), label


@pytest.mark.parametrize("law", LAWS)
def test_laws_earn_what_they_claim(law):
    earns_what_it_claims(law)


@pytest.mark.parametrize("law", [p for p in LAWS if BOUNDED in p.values[0].stamps])
def test_laws_are_bounded_in_bfloat16(law):
    result = check(law, BOUNDED, quick=True, dtypes=("bfloat16",))
    assert result.earned == BOUNDED, result.reason


def test_all_kinds_of_stamps_occur_and_every_claim_that_can_be_broken_is():
    assert {stamp for law in find("PE") for stamp in law.stamps} == {PROVED, BOUNDED, MEASURED, REFUTED}
    mine = [m for m in MUTANTS if m.label.startswith("PE")]
    assert len(mine) >= 30
    assert {m.label for m in mine} == {law.label for law in find("PE") if {PROVED, BOUNDED} & set(law.stamps)}


@pytest.mark.parametrize("law", [p for p in LAWS if REFUTED in p.values[0].stamps])
def test_counterexamples_are_larger_than_rounding(law):
    for case in law.cases:
        claimed, truth = case.forms.values()
        example = identical(claimed, truth, *case.inputs).counterexample
        with jax.enable_x64(True):
            arguments = jax.tree.map(np.float64, example.inputs)
            gap = np.abs(np.asarray(claimed(*arguments)) - np.asarray(truth(*arguments)))
            bound = sum(np.max(rounding_bound(f, *arguments)[1]) for f in (claimed, truth))
        assert np.max(gap) > bound


# --- factors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("T, B", [(0, 1), (1, 3), (3, 1), (3, 2)])
def test_training_is_that_of_the_loop(T, B, frozen):
    A, U, E, X = draw(T, (2, 3), (4, 2), (T, B, 4), (T, B, 3))

    def final(A, U, E, X):
        run = peft.bottleneck_run(A, U, 0.25 * E, X, scale=0.5, frozen=frozen)
        return run.A, run.B

    truth = loop_factors(*map(exact, (A, U, 0.25 * E, X)), Fraction(1, 2), frozen)
    bounds = rounding_bound(final, A, U, E, X)[1]
    for computed, expected, bound in zip(jax.jit(final)(A, U, E, X), truth, bounds, strict=True):
        assert (np.abs(exact(computed) - expected) <= exact(bound)).all()


@jax.jit
def trained_and_read(W, A, U, E, X, q):
    run = peft.bottleneck_run(A, U, E, X)
    return run.A, run.B, peft.lora(W, run.A, run.B, q), peft.lora_dual(W, A, U, E, X, run, q)


@given(st.integers(0, 2**32 - 1))
def test_integers_are_trained_without_any_rounding(seed):
    rng = np.random.default_rng(seed)
    shapes = ((3, 4), (2, 4), (3, 2), (2, 2, 3), (2, 2, 4), (4,))
    W, A, U, E, X, q = arguments = [rng.integers(-2, 3, s).astype(np.float32) for s in shapes]
    A_T, U_T, primal, dual = map(exact, trained_and_read(*arguments))
    final = loop_factors(*map(exact, (A, U, E, X)), 1)
    assert (A_T == final[0]).all() and (U_T == final[1]).all()
    truth = exact(W) @ exact(q) + final[1] @ (final[0] @ exact(q))
    assert max(abs(truth)) < 2**24
    assert (primal == truth).all() and (dual == truth).all()


def test_many_queries_are_single_ones():
    W, A, U, E, X, Q = draw(1, (3, 4), (2, 4), (3, 2), (2, 2, 3), (2, 2, 4), (5, 4))
    run = peft.bottleneck_run(A, U, E, X)
    forms = {
        "lora": lambda q: peft.lora(W, A, U, q, 0.5),
        "two stages": lambda q: peft.lora_dual(W, A, U, E, X, run, q, 0.5),
        "one stage": lambda q: peft.lora_frozen_dual(W, A, U, E.reshape(-1, 3), X.reshape(-1, 4), q, 0.5),
        "IA3": lambda q: peft.ia3_dual(W, U[:, 0], E[0], X[0], q),
        "BitFit": lambda q: peft.bitfit_dual(W, U[:, 0], E[0], q),
    }
    for name, form in forms.items():
        together, bound = np.asarray(form(Q), np.float64), rounding_bound(form, Q)[1]
        for row, b, q in zip(together, bound, Q, strict=True):
            one, own = np.asarray(form(q), np.float64), rounding_bound(form, q)[1]
            assert (np.abs(row - one) <= b + own).all(), name


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
def test_results_have_the_dtype_of_the_inputs(dtype):
    W, A, U, E, X, q = (jnp.asarray(x, dtype) for x in draw(
        2, (3, 4), (2, 4), (3, 2), (2, 2, 3), (2, 2, 4), (4,)))  # fmt: skip
    run = peft.bottleneck_run(A, U, E, X)
    assert run.A.dtype == jnp.float32  # factors stay wide while they are trained
    h, b1 = q[:3], A[:, 0]
    results = (
        peft.lora(W, A, U, q), peft.lora_dual(W, A, U, E, X, run, q), peft.ia3(W, U[:, 0], q),
        peft.lora_frozen_dual(W, A, U, E[0], X[0], q), peft.ia3_dual(W, U[:, 0], E[0], X[0], q),
        peft.bitfit_dual(W, U[:, 0], E[0], q), peft.adapter(h, A[:, :3], b1, U, h),
        peft.slots(h, A[:, :3], b1, U, h, b1), peft.merge_after(W, A[:, :3], U), peft.merge_beside(W, A, U),
        peft.bottleneck_sgd(A, U, X, lambda Y, t: jnp.sum(Y), 0.5)[2], peft.prefix_update(E[0], X[0]),
    )  # fmt: skip
    assert {x.dtype for x in results} == {jnp.dtype(dtype)}


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda W, A, U, q: peft.lora(W, A[:, :3], U, q), r"A: got shape \(2, 3\), expected \[r, K\]"),
        (lambda W, A, U, q: peft.lora(W, A, U[:, :1], q), r"B: got shape \(3, 1\), expected \[V, r\]"),
        (lambda W, A, U, q: peft.lora(W, A, U, q, np.nan), "scale: got nan"),
        (lambda W, A, U, q: peft.lora(W.astype(jnp.bfloat16), A, U, q), "W: got dtype bfloat16"),
        (lambda W, A, U, q: peft.lora(W, A, U, np.ones(4, int)), "x: got dtype int32, expected a float dtype"),
        (lambda W, A, U, q: peft.bottleneck_run(A, U, np.ones((2, 3), np.float32), q), r"E: got shape \(2, 3\)"),
        (lambda W, A, U, q: peft.adapter(q, A, q[:3], U, q), r"b1: got shape \(3,\), expected \[r\]"),
        (lambda W, A, U, q: peft.adapter(q[:3], A, q[:2], A.T, q), r"W1: got shape \(2, 4\), .*d = 3 as in h"),
        (lambda W, A, U, q: peft.ia3(W, q, q), r"l: got shape \(4,\), expected \[V\]"),
        (lambda W, A, U, q: peft.trained_numbers("qlora", 3, 4), "method: got 'qlora', expected one of full, lora"),
        (lambda W, A, U, q: peft.trained_numbers("lora", 3, 4, -1), "r: got -1, expected an integer of at least 0"),
    ],
)
def test_wrong_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(*draw(3, (3, 4), (2, 4), (3, 2), (4,)))


def test_counts_are_those_of_the_arrays():
    d, r = 6, 2
    W, A, U, b = draw(4, (d, d), (r, d), (d, r), (d,))
    sizes = {
        "full": (W,), "lora": (A, U), "lora_frozen": (U,), "adapter": (A, A[:, 0], U, b), "prefix": (A, U.T),
        "ia3": (b,), "bitfit": (b,),
    }  # fmt: skip
    for method, arrays in sizes.items():
        assert peft.trained_numbers(method, d, d, r) == sum(x.size for x in arrays), method


# --- real training runs: what `jax.grad` trained is what the recorded patterns sum to ---------------------------------

T, BATCH, RANK, ETA, SCALE = 12, 8, 3, 0.125, 2.0  # powers of two: what they multiply is not rounded


@pytest.fixture(scope="module")
def task():
    """Inverted digits of 4 by 4 pixels, for a layer that was fitted to digits as they are."""
    data = digits.load(0)
    pooled = data.train_x.reshape(-1, 4, 2, 4, 2).mean((2, 4)).reshape(-1, 16)
    labels = np.eye(10, dtype=np.float32)[data.train_y]
    gram = pooled[500:].T @ pooled[500:] + 10 * np.eye(16)
    W = np.linalg.solve(gram, pooled[500:].T @ (4 * labels[500:])).T.astype(np.float32)
    X = (1 - pooled[: T * BATCH]).reshape(T, BATCH, 16).astype(np.float32)
    queries = (1 - pooled[200:206]).astype(np.float32)
    return W, X, labels[: T * BATCH].reshape(T, BATCH, 10), queries


def cross_entropy(logits, labels):
    return -jnp.mean(jnp.sum(labels * jax.nn.log_softmax(logits), axis=1))


def agree(trained, programs, arguments):
    """Two programs of recorded arguments, and what training gave: within the sum of the two derived bounds."""
    dual = np.asarray(jax.jit(programs[1])(*arguments), np.float64)
    bounds = [rounding_bound(p, *arguments)[1] for p in programs]
    error, allowed = np.abs(np.asarray(trained, np.float64) - dual), sum(bounds)
    assert (error <= allowed).all()
    assert np.max(allowed) < 0.1 * np.max(np.abs(dual))  # not a bound that says nothing
    return np.max(error / allowed)


def replayed(A, U, E, X, activation, frozen):
    """The steps of `bottleneck_sgd` given its gradients: the same backward pass, by `jax.vjp`."""

    def step(factors, patterns):
        e, x = patterns
        forward = lambda A, U: SCALE * jnp.matmul(activation(jnp.matmul(x, A.T, precision="highest")), U.T,  # noqa: E731
                                                  precision="highest")  # fmt: skip
        A, U = factors
        dA, dU = jax.vjp(forward, A, U)[1](e / -ETA)
        return (A if frozen else A - ETA * dA, U - ETA * dU), None

    return jax.lax.scan(step, (A, U), (E, X))[0]


@pytest.mark.parametrize("name", ["LoRA", "LoRA, A frozen", "adapter, tanh", "adapter, ReLU"])
def test_a_real_run_is_the_sum_of_its_patterns(task, name):
    W, X, labels, queries = task
    rng = np.random.default_rng(0)
    frozen, adapter = "frozen" in name, "adapter" in name
    base = jnp.einsum("tbk,vk->tbv", X, W, precision="highest")
    if adapter:  # after the layer: its inputs are the layer's outputs
        f = peft.biased(jnp.tanh if "tanh" in name else jax.nn.relu)
        inputs, asked = with_bias(base), with_bias(queries @ W.T)
        A, U = (0.3 * rng.standard_normal((RANK, 11))).astype(np.float32), np.zeros((10, RANK + 1), np.float32)
    else:
        f, inputs, asked = (lambda z: z), jnp.asarray(X), queries
        A, U = (rng.standard_normal((RANK, 16)) / 4).astype(np.float32), np.zeros((10, RANK), np.float32)

    def loss(Y, t):
        return cross_entropy(base[t] + Y, jnp.asarray(labels)[t])

    A_T, U_T, E = jax.jit(lambda A, U: peft.bottleneck_sgd(A, U, inputs, loss, ETA, f, SCALE, frozen))(A, U)
    first, last = (loss(peft.bottleneck(*factors, inputs[0], f, SCALE), 0) for factors in ((A, U), (A_T, U_T)))
    assert last < 0.9 * first  # it did learn
    assert frozen == bool((A_T == A).all())

    def read(A, U, q):
        return SCALE * jnp.matmul(f(jnp.matmul(q, A.T, precision="highest")), U.T, precision="highest")

    def by_training(A, U, E, X, q):
        return read(*replayed(A, U, E, X, f, frozen), q)

    def by_patterns(A, U, E, X, q):
        run = peft.bottleneck_run(A, U, E, X, f, SCALE, frozen)
        return peft.bottleneck_dual(A, U, E, X, run, q, f, SCALE)

    arguments = tuple(map(np.asarray, (A, U, E, inputs, asked)))
    assert agree(read(A_T, U_T, asked), (by_training, by_patterns), arguments) > 0
    if frozen:  # one stage is enough

        def one_stage(A, U, E, X, q):
            nothing = jnp.zeros((10, 16), q.dtype)
            return peft.lora_frozen_dual(nothing, A, U, E.reshape(-1, 10), X.reshape(-1, 16), q, SCALE)

        agree(read(A_T, U_T, asked), (by_training, one_stage), arguments)


def test_a_real_run_of_ia3_and_of_bitfit_is_the_sum_of_its_patterns(task):
    W, X, labels, queries = task
    n = T * BATCH
    flat, targets = X.reshape(n, 16), labels.reshape(n, 10)

    def trained(read, start):
        """SGD, one pattern at a time: the vector and its error signals."""

        def step(vector, pattern):
            x, target = pattern
            objective = lambda v, zeros: cross_entropy((read(v, x) + zeros)[None], target[None])  # noqa: E731
            by_vector, by_output = jax.grad(objective, (0, 1))(vector, jnp.zeros(10))
            return vector - 0.0625 * by_vector, -0.0625 * by_output

        return jax.jit(lambda: jax.lax.scan(step, start, (flat, targets)))()

    def scaled(l, x):
        return l * jnp.matmul(W, x, precision="highest")

    def shifted(b, x):
        return jnp.matmul(W, x, precision="highest") + b

    def replay(read):
        def program(vector, E, X, Q):
            back = lambda v, p: v - 0.0625 * jax.vjp(lambda v: read(v, p[1]), v)[1](p[0] / -0.0625)[0]  # noqa: E731
            vector = jax.lax.scan(lambda v, p: (back(v, p), None), vector, (E, X))[0]
            return jax.vmap(lambda q: read(vector, q))(Q)

        return program

    for read, start, dual in (
        (scaled, np.ones(10, np.float32), lambda l, E, X, Q: peft.ia3_dual(W, l, E, X, Q)),
        (shifted, np.zeros(10, np.float32), lambda b, E, X, Q: peft.bitfit_dual(W, b, E, Q)),
    ):
        vector, E = trained(read, start)
        assert float(jnp.max(jnp.abs(vector - start))) > 0.1
        outputs = jax.vmap(lambda q, read=read, vector=vector: read(vector, q))(queries)
        agree(outputs, (replay(read), dual), (start, np.asarray(E), flat, queries))


# --- adapters and prefixes --------------------------------------------------------------------------------------------


def test_an_adapter_follows_the_rows_of_the_published_formula():
    """H + f(H W_1 + b_1) W_2 + b_2 with tokens as rows, in rational numbers."""
    arguments = draw(5, (6, 4), (2, 4), (2,), (4, 2), (4,))
    H, W1, b1, W2, b2 = map(exact, arguments)
    expected = H + np.maximum(H @ W1.T + b1, 0) @ W2.T + b2
    form = lambda *a: peft.adapter(*a)  # noqa: E731
    assert (np.abs(exact(form(*arguments)) - expected) <= exact(rounding_bound(form, *arguments)[1])).all()


def test_a_prefix_that_receives_all_attention_leaves_nothing_of_the_tokens():
    V, K, P_V, P_K, q = draw(6, (5, 3), (5, 4), (2, 3), (2, 4), (4,))
    split = peft.prefix_split(V, K, P_V, P_K + 200 * q[None] / (q @ q), q, scale=1.0)
    assert split.weight == 1.0 and np.isfinite(np.asarray(split.zsl)).all()
    assert (np.asarray(split.attn) == np.asarray(split.demo)).all()
    none = peft.prefix_split(V, K, P_V[:0], P_K[:0], q)
    assert none.weight == 0.0 and (np.asarray(none.attn) == np.asarray(none.zsl)).all()


def test_a_prefix_for_linear_attention_is_a_weight_of_its_rank():
    P_V, P_K = (np.asarray(x, np.float64) for x in draw(7, (2, 5), (2, 6)))
    with jax.enable_x64(True):
        assert np.linalg.matrix_rank(peft.prefix_update(P_V, P_K)) == 2
