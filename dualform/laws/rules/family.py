"""Laws that relate rules to each other and to their symmetries: cutting, packing, mixing, rotating sequences."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from dualform.laws.law import BOUNDED, MEASURED, PROVED, REFUTED, Case, Law, Measurement
from dualform.laws.rules.laws import CHUNK, K, T, V, everything, gates, inputs, per_token, read_out, run, state
from dualform.prove import Input
from dualform.rules import RULES, Rule

CUT = 4
"""A multiple of the minibatch, where every rule may be split."""
SEGMENTS = (0, 1, 1, -1, 1, 2, 2)
"""Three sequences, one with padding inside, across edges of chunks, out of step with the minibatches of the call."""
PLACES = tuple(tuple(t for t in range(T) if SEGMENTS[t] == segment) for segment in range(max(SEGMENTS) + 1))
"""The tokens of each sequence."""

ROTATES = tuple(name for name, rule in RULES.items() if rule.rotates)
"""Rules that any basis of the keys suits: no gate per channel, no feature map, mesa with one number lam."""
LINEAR = tuple(name for name, rule in RULES.items() if not rule.quotient)
"""Rules whose outputs are linear in values and initial states."""


def part(rule: Rule, gates: dict, start: int, stop: int | None) -> dict:
    """The gates of some tokens."""
    return {name: x[start:stop] if per_token(rule, name) else x for name, x in gates.items()}


def resumed(rule: Rule, form: str) -> Callable:
    """Two calls, the second from the state that the first left."""
    f = run(rule, form)

    def split(q, k, v, gates, initial_state, scale):
        first, S = f(q[:CUT], k[:CUT], v[:CUT], part(rule, gates, 0, CUT), initial_state, scale)
        second, S = f(q[CUT:], k[CUT:], v[CUT:], part(rule, gates, CUT, None), S, scale)
        return jnp.concatenate([first, second]), S

    return split


def packed(rule: Rule, form: str, **static) -> Callable:
    """Three sequences and a token of padding in one call; the initial state belongs to the first."""
    return run(rule, form, segment_ids=np.array(SEGMENTS), **static)


def packed_errors(rule: Rule) -> Callable:
    """The read-out of the dual form of the three, beside the final state of the recurrence."""

    def f(*arguments):
        o = read_out(rule, segment_ids=np.array(SEGMENTS))(*arguments)
        return o, packed(rule, "recurrent")(*arguments)[1]

    return f


def chosen(rule: Rule, place: tuple[int, ...], q, k, v, gates) -> tuple:
    """The arguments at some tokens."""

    def at(x):
        return jnp.concatenate([x[t : t + 1] for t in place])

    return at(q), at(k), at(v), {name: at(x) if per_token(rule, name) else x for name, x in gates.items()}


def scattered(parts: dict[tuple[int, ...], jax.Array]) -> jax.Array:
    """Outputs at the places that they belong to, and zeros elsewhere."""
    rows = {t: part[i] for place, part in parts.items() for i, t in enumerate(place)}
    return jnp.stack([rows.get(t, jnp.zeros(V)) for t in range(T)])


def separate(rule: Rule) -> Callable:
    """The same sequences in calls of their own; the final state is that of the last."""

    def f(q, k, v, gates, initial_state, scale):
        parts = {}
        for place in PLACES:
            tokens = chosen(rule, place, q, k, v, gates)
            parts[place], S = run(rule, "recurrent")(*tokens, initial_state, scale)
            initial_state = None
        return scattered(parts), S

    return f


def past(rule: Rule, form: str, changed: bool) -> Callable:
    """Outputs before token CUT, of a sequence whose later tokens may be others."""
    f = run(rule, form)

    def before(q, k, v, gates, initial_state, scale, others):
        if changed:
            tail = jax.tree.map(lambda x: x[CUT:], others[:3])
            q, k, v = (jnp.concatenate([x[:CUT], y]) for x, y in zip((q, k, v), tail, strict=True))
            gates = {
                name: jnp.concatenate([x[:CUT], others[3][name][CUT:]]) if per_token(rule, name) else x
                for name, x in gates.items()
            }
        return f(q, k, v, gates, initial_state, scale)[0][:CUT]

    return before


def mixed(rule: Rule, together: bool) -> Callable:
    """Values and states that are sums: one call on the sum, or the sum of two calls."""
    f = run(rule, "recurrent")

    def g(q, k, v, other_v, gates, initial_state, other_state, share, scale):
        add = jax.tree.map(lambda x, y: x + share * y, (v, initial_state), (other_v, other_state))
        if together:
            return f(q, k, add[0], gates, add[1], scale)
        one, two = f(q, k, v, gates, initial_state, scale), f(q, k, other_v, gates, other_state, scale)
        return jax.tree.map(lambda x, y: x + share * y, one, two)

    return g


def rotation(w):
    """An orthogonal 3 x 3 matrix with rational entries, by Cayley: (I - A)^-1 (I + A), A skew."""
    a, b, c = w
    zero = jnp.zeros(())
    A = jnp.stack([jnp.stack([zero, a, b]), jnp.stack([-a, zero, c]), jnp.stack([-b, -c, zero])])
    return jnp.linalg.solve(jnp.eye(3) - A, jnp.eye(3) + A)


def rotated(rule: Rule, turn: bool) -> Callable:
    """The output for keys and queries in another basis."""

    def f(q, k, v, gates, scale, w):
        R = rotation(w)
        q, k = (q @ R, k @ R) if turn else (q, k)
        return run(rule, "recurrent")(q, k, v, gates, None, scale)[0]

    return f


def each(make: Callable[[Rule], tuple[dict, tuple]], names=tuple(RULES), gradient=False, what="") -> tuple[Case, ...]:
    """One case a rule."""
    out = []
    for name in names:
        forms, quantified = make(RULES[name])
        out.append(Case(name + what, forms, quantified, gradient=gradient, rules=(name,)))
    return tuple(out)


LARGE = 2**11
"""Entries of values and states: more digits than 16-bit floats have, few enough for sums of products in float32."""


def integers(rule: Rule) -> Callable:
    """Inputs on which nothing rounds in float32: keys with one entry, gates that keep all or nothing.

    Everything is then a sum of few entries of v and of the initial state, with whole coefficients (halves in longhorn).
    """
    k, t = np.eye(K)[np.arange(T) % K], np.arange(T)

    def odd(rng, shape):
        return 2 * rng.integers(-LARGE // 2, LARGE // 2, shape) + 1

    def draw(rng):
        own = {gate.name: gate.whole(t, k) for gate in rule.gates}
        S = jax.tree.map(lambda x: odd(rng, x.shape), state(rule), is_leaf=lambda x: isinstance(x, Input))
        return rng.integers(-1, 2, (T, K)), k, odd(rng, (T, V)), own, S, 0.5

    return draw


def whole(rule: Rule) -> Case:
    """All forms where none may round; of rules that divide the final state alone."""
    all_forms = everything(rule)
    if rule.quotient:
        all_forms = {name: last_state(f) for name, f in all_forms.items()}
    return Case(
        f"{rule.name}, integers", all_forms, inputs(rule), sample=integers(rule), exact=True, rules=(rule.name,)
    )


def last_state(form: Callable) -> Callable:
    return lambda *arguments: form(*arguments)[1]


def _split(rule):
    return {"one call": run(rule, "recurrent"), "resumed": resumed(rule, "chunked")}, inputs(rule)


def _packed(rule):
    forms = {"recurrent": packed(rule, "recurrent"), "chunked": packed(rule, "chunked", chunk_size=CHUNK)}
    return {"separate": separate(rule), **forms}, inputs(rule)


def _packed_too(rule):
    forms = {"descent": packed(rule, "descent"), "parallel": packed(rule, "parallel"), "errors": packed_errors(rule)}
    return {"separate": separate(rule), **forms}, inputs(rule)


def _causal(rule):
    forms = {"same future": past(rule, "recurrent", False), "other future": past(rule, "chunked", True)}
    q, k, v, *_ = inputs(rule)
    return forms, (*inputs(rule), (q, k, v, gates(rule)))


def _linear(rule):
    q, k, v, own, S, scale = inputs(rule)
    return {"one call": mixed(rule, True), "two calls": mixed(rule, False)}, (q, k, v, v, own, S, S, (), scale)


def _rotated(rule):
    q, k, v, own, _, scale = inputs(rule)
    return {"as given": rotated(rule, False), "rotated": rotated(rule, True)}, (q, k, v, own, scale, (3,))


def reduction(rules: str, name: str, special: Callable, general: Callable, *quantified) -> Case:
    """One rule is another: which two, and where."""
    return Case(name, {"special": special, "general": general}, quantified, rules=tuple(rules.split()))


QKV = ((T, K), (T, K), (T, V))
S = (V, K)
STEP, DECAY = Input((T,)), Input((T,), "log")


def of(name: str, form: str = "recurrent", **static) -> Callable:
    """A rule's form with keyword gates, from an initial state."""
    options = {**RULES[name].tried, **static}
    return lambda q, k, v, S, **gates: RULES[name].form(form)(q, k, v, initial_state=S, **gates, **options)


def orthonormal(w):
    """Keys that are the rows of a rotation."""
    return rotation(w)


REDUCTIONS = (
    reduction("gated_delta delta", "gated delta at g = 0 is delta",
              lambda q, k, v, S, b: of("delta")(q, k, v, S, beta=b),
              lambda q, k, v, S, b: of("gated_delta")(q, k, v, S, beta=b, g=jnp.zeros(T)), *QKV, S, STEP),
    reduction("kda gated_delta", "kda with equal channels is gated delta",
              lambda q, k, v, S, b, g: of("gated_delta")(q, k, v, S, beta=b, g=g),
              lambda q, k, v, S, b, g: of("kda")(q, k, v, S, beta=b, g=jnp.broadcast_to(g[:, None], (T, K))),
              *QKV, S, STEP, DECAY),
    reduction("gla retention", "gla with equal channels is retention",
              lambda q, k, v, S, g: of("retention")(q, k, v, S, g=g),
              lambda q, k, v, S, g: of("gla")(q, k, v, S, g=jnp.broadcast_to(g[:, None], (T, K))), *QKV, S, DECAY),
    reduction("retention linear_attn", "retention at g = 0 is linear attention",
              lambda q, k, v, S: of("linear_attn")(q, k, v, S),
              lambda q, k, v, S: of("retention")(q, k, v, S, g=jnp.zeros(T)), *QKV, S),
    reduction("rwkv7 gated_delta", "rwkv7 with a = -beta e^g k, b = k, values beta v is gated delta",
              lambda q, k, v, S, b, g: of("gated_delta")(q, k, v, S, beta=b, g=g),
              lambda q, k, v, S, b, g: of("rwkv7")(
                  q, k, b[:, None] * v, S, g=jnp.broadcast_to(g[:, None], (T, K)),
                  a=-(b * jnp.exp(g))[:, None] * k, b=k), *QKV, S, STEP, DECAY),
    reduction("ttt delta", "ttt with minibatch 1 is delta", lambda q, k, v, S, b: of("delta")(q, k, v, S, beta=b),
              lambda q, k, v, S, b: of("ttt", minibatch=1)(q, k, v, S, beta=b), *QKV, S, STEP),
    reduction("ttt linear_attn", "ttt with one minibatch from zero is linear attention of beta v",
              lambda q, k, v, b: of("linear_attn")(q, k, b[:, None] * v, None),
              lambda q, k, v, b: of("ttt", minibatch=T)(q, k, v, None, beta=b), *QKV, STEP),
    reduction("momentum delta", "momentum at mu = 0 is delta", lambda q, k, v, S, b: of("delta")(q, k, v, S, beta=b),
              lambda q, k, v, S, b: _first(of("momentum", rule="delta")(q, k, v, (S, 0 * S), beta=b, mu=0.0)),
              *QKV, S, STEP),
    reduction("titans ttt", "titans at mu = 0, g = 0 is ttt", lambda q, k, v, S, b: of("ttt")(q, k, v, S, beta=b),
              lambda q, k, v, S, b: _first(
                  of("titans")(q, k, v, (S, 0 * S), beta=b, mu=0.0, g=jnp.zeros(T))), *QKV, S, STEP),
    reduction("longhorn delta", "longhorn is delta with beta / (1 + beta k.k)",
              lambda q, k, v, S, b: of("delta")(q, k, v, S, beta=b / (1 + b * jnp.sum(k * k, axis=1))),
              lambda q, k, v, S, b: of("longhorn")(q, k, v, S, beta=b), *QKV, S, STEP),
    reduction("delta linear_attn", "delta with beta = 1 and orthonormal keys from zero is linear attention",
              lambda q, v, w: of("linear_attn")(q, orthonormal(w), v, None),
              lambda q, v, w: of("delta")(q, orthonormal(w), v, None, beta=jnp.ones(K)), (K, K), (K, V), (3,)),
)  # fmt: skip


def _first(result):
    """The layer of a pair of states."""
    return result[0], result[1][0]


def pairing(first: bool) -> Callable:
    """<X, J(Y)> or <J(X), Y> for the linear part J(S) = S a b' of RWKV-7's update: equal if J is a gradient field."""

    def f(X, Y, a, b):
        turn = lambda M: jnp.outer(M @ a, b)  # noqa: E731
        return jnp.sum(X * turn(Y)) if first else jnp.sum(turn(X) * Y)

    return f


def ridge_limit(rng) -> Measurement:
    """How fast lam times mesa approaches linear attention: the slope of the error over lam, on log scales."""
    q, k, v = (rng.standard_normal(s).astype(np.float32) for s in QKV)
    target, _ = RULES["linear_attn"](q, k, v, form="recurrent")
    lams = np.array([1e1, 1e2, 1e3])

    def error(lam):
        o, _ = RULES["mesa"](q, k, v, beta=np.ones(T, np.float32), g=np.zeros(T, np.float32), lam=lam, form="recurrent")
        return float(jnp.max(jnp.abs(lam * o - target)) / jnp.max(jnp.abs(target)))

    errors = np.array([error(lam) for lam in lams])
    slopes = np.diff(np.log(errors)) / np.diff(np.log(lams))
    low, high = float(slopes.min()), float(slopes.max())
    return Measurement(
        float(slopes[-1]), low, high, float(errors[0]),
        "slope of the error between lam = 100 and 1000 (-1: proportional to 1/lam); control: its size at lam = 10",
        bool(abs(slopes[-1] + 1) < 0.05 and errors[0] > 10 * errors[-1]),
    )  # fmt: skip


LAWS = (
    Law("F1", "a sequence may be cut and resumed from the state", r"f(x_{1..T}, S_0) = f(x_{c..T}, f(x_{1..c}, S_0))",
        each(_split), (PROVED,), domain="at multiples of the minibatch for ttt and titans"),
    Law("F1.packed", "packed sequences are separate sequences, and padding does nothing", "",
        (*each(_packed, gradient=True), *each(_packed_too, what=", other forms")), (PROVED,),
        domain="segment_ids with padding -1"),
    Law("F1.integers", "where whole numbers suffice no form rounds, not even at hard resets", "",
        tuple(whole(rule) for rule in RULES.values()), (BOUNDED,),
        domain="float32; of normalized and mesa the final states"),
    Law("F1.causal", "no output depends on a later token", "", each(_causal), (PROVED,)),
    Law("F2", "outputs and states are linear in values and initial states", "",
        each(_linear, LINEAR), (PROVED,),
        domain="not in normalized's z nor in mesa's H"),
    Law("F2.rotation", "keys and queries may be rotated together",
        r"f(QR, KR, V) = f(Q, K, V)", each(_rotated, ROTATES),
        (PROVED,), domain="no gate per channel, no feature map, mesa with one lam; zero initial state"),
    Law("F2.gates", "one rule is another at special gates", "", REDUCTIONS, (PROVED,)),
    Law("W1", '"RWKV-7\'s general update is a gradient step"', r"S a b^\top \text{ is a gradient field}",
        (Case("general a, b", {"as claimed": pairing(True), "its transpose": pairing(False)}, (S, S, (K,), (K,)),
              rules=("rwkv7",)),),
        (REFUTED,), domain="a not parallel to b", source="readings of RWKV-7 as test-time training"),
    Law("Z2", "mesa with a strong ridge is linear attention", r"\lambda\, o \to \sum v (k \cdot q)", (), (MEASURED,),
        measure=ridge_limit),
)  # fmt: skip
