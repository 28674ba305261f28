"""The delta rules: against a loop in float64 from the definition, and against each other in exact arithmetic."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dualform.laws.checks import VACUOUS, pullback
from dualform.linear import linear_attn
from dualform.prove import Input, identical, rounding_bound
from dualform.rules import delta, gated_delta, kda, longhorn, rwkv7
from dualform.rules import linear_attn as hebbian
from dualform.rules.triangular import solve_unit_lower

K, V = 3, 2
RULES = {"delta": delta, "gated_delta": gated_delta, "kda": kda, "rwkv7": rwkv7, "longhorn": longhorn}
GATES = {
    "delta": {"beta": "T"},
    "gated_delta": {"beta": "T", "g": "T"},
    "kda": {"beta": "T", "g": "TK"},
    "rwkv7": {"g": "TK", "a": "TK", "b": "TK"},
    "longhorn": {"beta": "T"},
}
FORMS = {
    "descent": {},
    "recurrent": {},
    "parallel": {},
    "chunked 3": {"chunk_size": 3},
    "chunked 8": {"chunk_size": 8},
    "chunked": {},
    "chunked 9": {"chunk_size": 9},
}
ALL = [name for name in FORMS if name != "chunked 9"]
rules = pytest.mark.parametrize("rule", RULES)


def form(rule, name, **more):
    """(q, k, v, gates, state, scale) -> (o, final state), by one form of a rule."""

    def run(q, k, v, gates, state, scale):
        function = getattr(RULES[rule], name.split()[0])
        return function(q, k, v, **gates, initial_state=state, scale=scale, **FORMS[name], **more)

    return run


# --- the oracle: a loop over tokens, in numpy, or in jax.numpy for its gradients --------------------------------------


def delta_token(xp, S, k, v, beta):
    return S + xp.outer(beta * (v - S @ k), k)


def gated_token(xp, S, k, v, beta, g):
    return delta_token(xp, xp.exp(g) * S, k, v, beta)


def kda_token(xp, S, k, v, beta, g):
    return delta_token(xp, S @ xp.diag(xp.exp(g)), k, v, beta)


def rwkv7_token(xp, S, k, v, g, a, b):
    return S @ (xp.diag(xp.exp(g)) + xp.outer(a, b)) + xp.outer(v, k)


def longhorn_token(xp, S, k, v, beta):
    """Where the gradient of (H1) vanishes: S' (I + beta k k') = S + beta v k'."""
    return xp.linalg.solve(xp.eye(len(k)) + beta * xp.outer(k, k), (S + beta * xp.outer(v, k)).T).T


TOKENS = dict(zip(RULES, (delta_token, gated_token, kda_token, rwkv7_token, longhorn_token), strict=True))


def loop(rule, q, k, v, gates, state, scale, ids=None, xp=np):
    """(D1), (B1), (K1), (W1), (H1), token by token, in the dtype of the arguments."""
    S, o, before = state, [], None
    for t in range(len(k)):
        segment = 0 if ids is None else ids[t]
        if segment == -1:
            o.append(xp.zeros(v.shape[1]))
            continue
        S = xp.zeros(S.shape) if before not in (None, segment) else S
        before = segment
        S = TOKENS[rule](xp, S, k[t], v[t], **{name: x[t] for name, x in gates.items()})
        o.append(scale * (S @ q[t]))
    return (xp.stack(o) if o else xp.zeros((0, v.shape[1]))), S


def draw(rule, T, seed=0, K=K, V=V):
    """Standard normal numbers, keys of length about 1, gates inside their domain; rounded to float32."""
    rng = np.random.default_rng(seed)
    q, k, v = (rng.standard_normal((T, d)) for d in (K, K, V))
    k /= 0.1 + np.linalg.norm(k, axis=1, keepdims=True)
    values = {"beta": rng.uniform(0, 2, T), "a": -k * rng.uniform(0, 1, (T, 1)), "b": k * rng.uniform(0, 1, (T, K))}
    gates = {
        name: -rng.exponential(size=T if axes == "T" else (T, K)) if name == "g" else values[name]
        for name, axes in GATES[rule].items()
    }
    return jax.tree.map(np.float32, (q, k, v, gates, rng.standard_normal((V, K)), 0.5))


def wide(arguments):
    return jax.tree.map(lambda x: np.asarray(x, np.float64), arguments)


def assert_within(computed, exact, bound, what=""):
    """Element by element, NaN failing."""
    for c, e, b in zip(*(jax.tree.leaves(x) for x in (computed, exact, bound)), strict=True):
        c, e, b = (np.asarray(x, np.float64) for x in (c, e, b))
        assert c.shape == e.shape
        assert np.isfinite(c).all(), what
        outside = ~(np.abs(c - e) <= b)
        assert not outside.any(), f"{what} at {np.argwhere(outside)[0]}: {c[outside][0]} for {e[outside][0]}"


def ids_of(T):
    """Three segments, the middle one a single token, and padding inside and at the end."""
    ids = np.sort(np.random.default_rng(T).integers(0, 2, T))
    ids[T // 2 :][ids[T // 2 :] == 1] += 1
    ids[[i for i in (1, T - 2) if 0 < i < T]] = -1
    return ids


# What XLA's float32 run is compared for, since compiling takes longest; the other programs are evaluated in float64.
COMPILED = [(9, "recurrent"), (9, "chunked 3")]


@rules
@pytest.mark.parametrize("T", [0, 1, 2, 7, 8, 9, 17])
def test_every_form_is_the_loop(rule, T):
    """Outputs and final states, with initial state, scale and, at odd lengths, packed sequences."""
    arguments = draw(rule, T, seed=T)
    more = {"segment_ids": ids_of(T)} if T % 2 else {}
    exact = loop(rule, *wide(arguments), more.get("segment_ids"))
    for name in ALL:
        function = form(rule, name, **more)
        value, bound = rounding_bound(function, *arguments)
        assert_within(value, exact, bound, name)
        if (T, name) in COMPILED:
            assert_within(jax.jit(function)(*arguments), exact, bound, f"compiled {name}")


@rules
def test_integers_agree_bit_for_bit(rule):
    """Keys along the axes, gates of 0 and -inf: no form rounds, under vmap over two heads neither."""
    rng = np.random.default_rng(0)
    T, heads = 5, 2
    q, v = (rng.integers(-3, 4, (heads, T, d)).astype(np.float32) for d in (K, V))
    k = np.eye(K, dtype=np.float32)[rng.integers(0, K, (heads, T))] * rng.choice([-1, 0, 1], (heads, T, 1)).astype("f")
    gates = {
        "beta": rng.choice([0, 1, 3] if rule == "longhorn" else [0, 1, 2], (heads, T)),
        "g": np.where(
            rng.uniform(size=(heads, T, K) if GATES[rule].get("g") == "TK" else (heads, T)) < 0.2, -np.inf, 0
        ),
        "a": -k[:, ::-1],
        "b": rng.integers(-1, 2, (heads, T, K)),
    }
    gates = {name: np.float32(gates[name]) for name in GATES[rule]}
    S = rng.integers(-3, 4, (heads, V, K)).astype(np.float32)
    for name in ("descent", "chunked 3"):
        o, final = jax.vmap(form(rule, name), in_axes=(0, 0, 0, 0, 0, None))(q, k, v, gates, S, 2.0)
        for h in range(heads):
            exact = loop(rule, *wide((q[h], k[h], v[h], {n: x[h] for n, x in gates.items()}, S[h], 2.0)))
            np.testing.assert_array_equal(o[h], exact[0])
            np.testing.assert_array_equal(final[h], exact[1])


# --- proofs -----------------------------------------------------------------------------------------------------------

T = 7  # in chunks of 3: whole chunks, and one that is padded
RESETS = {"none": [], "first": [0], "middle": [3], "last": [6], "adjacent": [2, 3]}


def inputs(rule, reset=(), tokens=T):
    """Symbolic (q, k, v, gates, state, scale)."""
    shapes = {"T": (tokens,), "TK": (tokens, K)}
    gates = {}
    for name, axes in GATES[rule].items():
        mask = np.zeros(shapes[axes], bool)
        mask[list(reset)] = True
        gates[name] = Input(shapes[axes], "log", mask if mask.any() else None) if name == "g" else shapes[axes]
    return (tokens, K), (tokens, K), (tokens, V), gates, (V, K), ()


COTANGENTS = ((T, V), (V, K))
gated = [(rule, reset) for rule in RULES for reset in RESETS if reset == "none" or "g" in GATES[rule]]


@pytest.mark.parametrize("rule, reset", gated)
def test_forms_are_equal(rule, reset):
    """From an arbitrary state, for arbitrary gates: (D1) = (D2), (B1) = (B2), (K1) = (K2), (W1) = (W2), (H1) = (H2)."""
    symbols = inputs(rule, RESETS[reset])
    for name in ("descent", "parallel", "chunked 3"):
        certificate = identical(form(rule, "recurrent"), form(rule, name), *symbols)
        assert certificate.equal is True, f"{name}: {certificate}"


@pytest.mark.parametrize("rule, reset", [(rule, r) for rule, r in gated if r in ("none", "adjacent")])
def test_gradients_are_equal(rule, reset):
    """With respect to everything, with cotangents on the output and the final state."""
    symbols = inputs(rule, RESETS[reset])
    for name in ("descent", "parallel", "chunked 3"):
        first, second = (pullback(form(rule, n)) for n in ("recurrent", name))
        certificate = identical(first, second, symbols, COTANGENTS)
        assert certificate.equal is True, f"{name}: {certificate}"


@rules
def test_steps_are_the_recurrence(rule):
    def served(q, k, v, gates, S, scale):
        rows = []
        for t in range(T):
            token = {name: x[t] for name, x in gates.items()}
            o_t, S = RULES[rule].step(S, q[t], k[t], v[t], **token, scale=scale)
            rows.append(o_t)
        return jnp.stack(rows), S

    assert identical(form(rule, "recurrent"), served, *inputs(rule, [3]))


PACKED = np.array([0, 0, -1, 1, 1, 1, 2])
PARTS = (slice(0, 2), None, slice(3, 6), slice(6, 7))  # None: a token of padding


def separately(rule):
    """The segments of PACKED one call at a time, the first from the given state, zeros at padding."""

    def run(q, k, v, gates, S, scale):
        rows = []
        for part in PARTS:
            if part is None:
                rows.append(jnp.zeros((1, V)))
                continue
            own = {name: x[part] for name, x in gates.items()}
            o, final = form(rule, "recurrent")(q[part], k[part], v[part], own, S, scale)
            rows.append(o)
            S = jnp.zeros((V, K))
        return jnp.concatenate(rows), final

    return run


@rules
def test_packed_sequences_are_separate_calls(rule):
    """Outputs, the last state, and every gradient, which is zero at padding."""
    for name in ("recurrent", "parallel", "chunked 3"):
        packed = form(rule, name, segment_ids=PACKED)
        assert identical(packed, separately(rule), *inputs(rule)), name
    assert identical(pullback(packed), pullback(separately(rule)), inputs(rule), COTANGENTS)


@rules
@pytest.mark.parametrize("cut", [1, 3, 5])
def test_a_sequence_may_be_split_anywhere(rule, cut):
    def resumed(q, k, v, gates, S, scale):
        rows = []
        for part in (slice(None, cut), slice(cut, None)):
            cut_gates = {name: x[part] for name, x in gates.items()}
            o, S = form(rule, "chunked 3")(q[part], k[part], v[part], cut_gates, S, scale)
            rows.append(o)
        return jnp.concatenate(rows), S

    assert identical(form(rule, "chunked 3"), resumed, *inputs(rule))


@rules
@pytest.mark.parametrize("ids", [None, PACKED], ids=["one sequence", "packed"])
def test_error_signals_give_the_output(rule, ids):
    """linear_attn over `errors`, plus what is left of the initial state, is the output: (F2)."""
    more = {} if ids is None else {"segment_ids": ids}

    def attended(q, k, v, gates, S, scale):
        dual = RULES[rule].errors(q, k, v, **gates, initial_state=S, **more)
        N = 2 * T if rule == "rwkv7" else T
        assert (dual.E.shape, dual.X.shape, dual.Q.shape, dual.weights.shape[:2]) == ((N, V), (N, K), (T, K), (T, N))
        g = gates.get("g", jnp.zeros(T))
        left = jnp.exp(jnp.cumsum(g, axis=0)).reshape(T, -1)
        left = left if ids is None else jnp.where((ids == 0)[:, None], left, 0)
        o = linear_attn(dual.E, dual.X, dual.Q, dual.weights) + (left * q) @ S.T
        return scale * (o if ids is None else jnp.where((ids == -1)[:, None], 0, o))

    output = form(rule, "recurrent", **more)
    assert identical(lambda *x: output(*x)[0], attended, *inputs(rule))


BETA, SCALAR, CHANNELS = (T,), Input((T,), "log"), Input((T, K), "log")
TOKENS_AND_STATE = ((T, K), (T, K), (T, V), (V, K))


def by(module, name="chunked", **more):
    more = {"chunk_size": 3, **more} if name == "chunked" else more
    return lambda q, k, v, S, **gates: getattr(module, name)(q, k, v, initial_state=S, **gates, **more)


REDUCTIONS = {
    "gated delta without decay is delta": (
        lambda q, k, v, S, beta: by(gated_delta)(q, k, v, S, beta=beta, g=jnp.zeros(T)),
        lambda q, k, v, S, beta: by(delta, "recurrent")(q, k, v, S, beta=beta),
        (BETA,),
    ),
    "kda with equal channels is gated delta": (
        lambda q, k, v, S, beta, g: by(kda)(q, k, v, S, beta=beta, g=jnp.tile(g[:, None], (1, K))),
        lambda q, k, v, S, beta, g: by(gated_delta, "recurrent")(q, k, v, S, beta=beta, g=g),
        (BETA, SCALAR),
    ),
    "rwkv7 with a = -beta k exp(g), b = k and values beta v is kda": (
        lambda q, k, v, S, beta, g: by(rwkv7)(q, k, beta[:, None] * v, S, g=g, a=-beta[:, None] * k * jnp.exp(g), b=k),
        lambda q, k, v, S, beta, g: by(kda, "recurrent")(q, k, v, S, beta=beta, g=g),
        (BETA, CHANNELS),
    ),
    "longhorn is delta with steps beta / (1 + beta |k|^2)": (
        lambda q, k, v, S, beta: by(longhorn)(q, k, v, S, beta=beta),
        lambda q, k, v, S, beta: by(delta, "recurrent")(q, k, v, S, beta=beta / (1 + beta * jnp.sum(k**2, axis=1))),
        (BETA,),
    ),
}


@pytest.mark.parametrize("name", REDUCTIONS)
def test_reductions(name):
    f, g, gates = REDUCTIONS[name]
    certificate = identical(f, g, *TOKENS_AND_STATE, *gates)
    assert certificate.equal is True, certificate


def test_delta_with_orthonormal_keys_is_linear_attention():
    """beta = 1, zero state, and the rows of any rotation as keys: Cayley's (I - A)(I + A)^-1, A skew."""

    def keys(x):
        A = jnp.array([[0, 1, 0], [-1, 0, 0], [0, 0, 0]]) * x[0]
        A = (
            A
            + jnp.array([[0, 0, 1], [0, 0, 0], [-1, 0, 0]]) * x[1]
            + jnp.array([[0, 0, 0], [0, 0, 1], [0, -1, 0]]) * x[2]
        )
        return jnp.linalg.solve(jnp.eye(3) + A, jnp.eye(3) - A)

    def learned(x, q, v):
        return delta.parallel(q, keys(x), v, beta=jnp.ones(3))

    assert identical(learned, lambda x, q, v: hebbian.recurrent(q, keys(x), v), (3,), (3, K), (3, V))
    assert (
        identical(learned, lambda x, q, v: hebbian.recurrent(q, x[:, None] * keys(x), v), (3,), (3, K), (3, V)).equal
        is False
    )


def test_a_decay_of_zero_resets_all_but_rwkv7():
    """After g = -inf the first state is forgotten, but rwkv7's a and b carry it over: the trap under (W3)."""

    def forgets(rule):
        run = form(rule, "recurrent")
        return identical(
            lambda q, k, v, gates, S, scale: run(q, k, v, gates, S, scale)[0][3:],
            lambda q, k, v, gates, S, scale: run(q, k, v, gates, 0 * S, scale)[0][3:],
            *inputs(rule, [3]),
        ).equal  # fmt: skip

    assert {rule: forgets(rule) for rule in ("gated_delta", "kda", "rwkv7")} == {
        "gated_delta": True,
        "kda": True,
        "rwkv7": False,
    }


# --- the triangular system --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("T", [1, 2, 7, 8, 9, 17, 25])
def test_solve_solves(T):
    """(I + L) X = B (U1), whatever is on and above the diagonal, and its gradient that of Gaussian elimination."""
    lower = np.tril(np.ones((T, T)), -1)

    def product(L, B):
        X = solve_unit_lower(L, B)
        return X + (L * lower) @ X

    assert identical(product, lambda L, B: B, (T, T), (T, V))
    if T < 10:
        eliminated = lambda L, B: jnp.linalg.solve(jnp.eye(T) + L * lower, B)  # noqa: E731
        assert identical(pullback(solve_unit_lower), pullback(eliminated), ((T, T), (T, V)), (T, V))


def test_solve_of_nothing_is_nothing():
    assert solve_unit_lower(jnp.zeros((0, 0)), jnp.zeros((0, 2))).shape == (0, 2)


@pytest.mark.parametrize("beta", [1.0, 2.0])
def test_solve_with_one_key_64_times(beta):
    """The case in which a Neumann series loses all digits; exactly, X_t = (1 - beta)^t sums of few terms."""
    rng = np.random.default_rng(0)
    L, B = np.full((64, 64), beta, np.float32), rng.integers(-8, 9, (64, V)).astype(np.float32)
    exact = np.zeros((64, V))
    for t in range(64):
        exact[t] = B[t] - beta * exact[:t].sum(0)
    np.testing.assert_array_equal(solve_unit_lower(L, B), exact)  # integers below 2^24: nothing rounds
    small = np.float32(0.7) * L
    _, bound = rounding_bound(solve_unit_lower, small, B)
    exact = np.zeros((64, V))
    for t in range(64):
        exact[t] = B[t] - small[t, 0].astype(float) * exact[:t].sum(0)
    assert_within(solve_unit_lower(small, B), exact, bound)
    assert bound.max() < VACUOUS * np.abs(exact).max()


# --- extreme values ---------------------------------------------------------------------------------------------------

LONG = 11  # in chunks of 9: one with a block of 8 and one of 1, one padded


def alternating(low, high):
    return np.where(np.arange(LONG) % 2, low, high)


# log decays, step sizes, which keys (indices of distinct ones; -1 is the zero key)
EXTREMES = {
    "resets, one key": (
        np.array([0, -np.inf, 0, -1, -np.inf, -np.inf, -1e4, -1e-12, 0, 0, -np.inf]),
        2.0,
        np.zeros(LONG, int),
    ),
    "alternating, zero keys": (alternating(-100.0, -0.01), 1.0, np.array([0, -1, 1, 1, -1, 0, 2, 2, -1, 0, 1])),
    "always reset": (np.full(LONG, -np.inf), alternating(1.0, 2.0), np.arange(LONG) % 3),
    "hardly any decay": (np.full(LONG, -1e-12), alternating(2.0, 0.0), np.arange(LONG) % 2),
}


def extreme(rule, case):
    g, beta, which = EXTREMES[case]
    q, k, v, gates, S, scale = draw(rule, LONG, seed=1)
    k = np.where(which[:, None] < 0, 0, k[which] / np.linalg.norm(k[which], axis=1, keepdims=True)).astype(np.float32)
    beta = np.broadcast_to(np.float32(beta), LONG)
    mixed = np.where(np.arange(K) == 1, g[::-1, None], g[:, None])  # one channel has its gates in reverse
    values = {"beta": beta, "g": mixed if GATES[rule].get("g") == "TK" else g, "a": -beta[:, None] * k, "b": k}
    return q, k, v, {name: np.float32(values[name]) for name in gates}, S, scale


def with_gradients(run):
    """(arguments, cotangents) -> (outputs, gradients)."""

    def both(arguments, cotangents):
        outputs, pull = jax.vjp(run, *arguments)
        return outputs, pull(cotangents)

    return both


@functools.cache
def chunked_with_gradients(rule):
    return jax.jit(with_gradients(form(rule, "chunked 9")))


@rules
@pytest.mark.parametrize("case", EXTREMES)
def test_extreme_values(rule, case):
    """Finite, and outputs and gradients within the bound of the float64 loop and of its gradients."""
    arguments = extreme(rule, case)
    rng = np.random.default_rng(2)
    cotangents = tuple(rng.standard_normal(s).astype(np.float32) for s in ((LONG, V), (V, K)))
    with jax.enable_x64(True):
        exact = with_gradients(lambda *x: loop(rule, *x, xp=jnp))(wide(arguments), wide(cotangents))
        exact = jax.tree.map(np.asarray, exact)
    value, bound = rounding_bound(with_gradients(form(rule, "chunked 9")), arguments, cotangents)
    assert_within(value, exact, bound, "evaluated")
    assert_within(chunked_with_gradients(rule)(arguments, cotangents), exact, bound, "compiled")


@rules
def test_half_precision_is_computed_in_float32(rule):
    """bfloat16 in: the state and, once rounded, the output are exactly those of float32 on the same numbers."""
    *arguments, state, _ = draw(rule, 4, seed=3)
    narrow = jax.tree.map(lambda x: jnp.asarray(x, jnp.bfloat16), arguments)
    same = jax.tree.map(lambda x: x.astype(jnp.float32), narrow)
    for name in ALL:
        o, S = jax.eval_shape(form(rule, name), *narrow, state, 1.0)
        assert (o.dtype, S.dtype) == (jnp.bfloat16, jnp.float32)
    run = jax.jit(form(rule, "recurrent"))
    (o, S), (expected, final) = run(*narrow, state, 1.0), run(*same, state, 1.0)
    np.testing.assert_array_equal(S, final)
    np.testing.assert_array_equal(o, expected.astype(jnp.bfloat16))


# --- bad input --------------------------------------------------------------------------------------------------------


@rules
def test_bad_input_is_refused(rule):
    q, k, v, gates, S, _ = draw(rule, 4)
    module = RULES[rule]
    with pytest.raises(ValueError, match="q: got shape"):
        module.recurrent(q[:, :2], k, v, **gates)
    with pytest.raises(ValueError, match="v: got dtype int32"):
        module.parallel(q, k, v.astype(np.int32), **gates)
    with pytest.raises(ValueError, match=r"initial_state: got shape .* looks transposed"):
        module.chunked(q, k, v, **gates, initial_state=S.T)
    with pytest.raises(ValueError, match="chunk_size: got 0"):
        module.chunked(q, k, v, **gates, chunk_size=0)
    with pytest.raises(ValueError, match="segment_ids: got ids that decrease"):
        module.errors(q, k, v, **gates, segment_ids=np.array([1, 1, 0, 0]))
    for name, gate in gates.items():
        with pytest.raises(ValueError, match=f"{name}: got shape"):
            module.parallel(q, k, v, **{**gates, name: gate[:3]})
        with pytest.raises(ValueError, match=f"{name}: got nan"):
            module.parallel(q, k, v, **{**gates, name: np.full_like(gate, np.nan)})
    if "g" in gates:
        with pytest.raises(ValueError, match="g: got 1, expected log decays of at most 0"):
            module.recurrent(q, k, v, **{**gates, "g": np.ones_like(gates["g"])})


def test_longhorn_refuses_negative_weights():
    q, k, v, gates, _, _ = draw("longhorn", 4)
    with pytest.raises(ValueError, match="beta: got -1, expected values of at least 0"):
        longhorn.parallel(q, k, v, beta=np.full_like(gates["beta"], -1))
