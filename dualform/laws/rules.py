"""The laws of chapter 3: every form of every update rule is the same function, gradients included."""

from collections.abc import Callable
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np

from dualform.laws.law import BOUNDED, Case, Law
from dualform.linear import linear_attn
from dualform.prove import Input
from dualform.rules import RULES, Rule
from dualform.rules.mesa import State as Mesa
from dualform.rules.momentum import State as Moving
from dualform.rules.normalized import State as Normalized

T, K, V = 7, 3, 2
CHUNK, MINIBATCH = 3, 2
"""Chunk edges lie inside the proof, and no multiple of anything is a multiple of anything else."""

LABELS = {
    "linear_attn": "A2", "normalized": "N2", "retention": "E2", "gla": "G2", "delta": "D2", "gated_delta": "B2",
    "kda": "K2", "rwkv7": "W2", "ttt": "T2", "momentum": "M3", "titans": "J2", "longhorn": "H3", "mesa": "Z3",
}  # fmt: skip
"""The equation that unrolls each rule."""

PATTERNS = {"no reset": (), "reset first": (0,), "reset in the middle": (3,), "resets last and before": (5, 6)}


def squares(x):
    """A feature map that is a polynomial, so that the normaliser is rational."""
    return x * x + 1


OPTIONS: dict[str, dict] = {
    "normalized": {"feature_map": squares},
    "ttt": {"minibatch": MINIBATCH},
    "titans": {"minibatch": MINIBATCH},
}
"""Static arguments of the rules in the laws."""


def state(rule: Rule):
    """The shapes of a rule's state."""
    S = Input((V, K))
    pairs = {"S, Z": Moving(S, S), "S, z": Normalized(S, Input((K,))), "G, H": Mesa(S, Input((K, K)))}
    return pairs.get(rule.state, S)


def gates(rule: Rule, resets: tuple[int, ...] = (), steps: int = T) -> dict[str, Input]:
    """The shapes and domains of a rule's gates; log decays are -inf at the tokens in `resets`."""
    out = {}
    for gate in rule.gates:
        shape = tuple({"T": steps, "K": K}[axis] for axis in gate.axes.split())
        mask = np.zeros(shape, bool)
        if gate.log and resets:
            mask[list(resets)] = True
        out[gate.name] = Input(shape, "log" if gate.log else "field", mask if mask.any() else None)
    return out


def inputs(rule: Rule, resets: tuple[int, ...] = ()) -> tuple:
    """What a rule's laws quantify over: q, k, v, gates, the initial state, the scale."""
    return ((T, K), (T, K), (T, V), gates(rule, resets), state(rule), ())


def scaled(rule: Rule, scale) -> dict:
    """The scale, for the rules that have one."""
    return {} if rule.name in ("normalized", "mesa") else {"scale": scale}


def run(rule: Rule, form: str, **static) -> Callable:
    """A form as a function of `inputs`."""
    options = {**OPTIONS.get(rule.name, {}), **static}

    def f(q, k, v, gates, initial_state, scale):
        return rule.form(form)(q, k, v, **gates, initial_state=initial_state, **scaled(rule, scale), **options)

    return f


def by_step(rule: Rule, **static) -> Callable:
    """The serving form, token by token."""
    options = {**OPTIONS.get(rule.name, {}), **static}

    def f(q, k, v, gates, state, scale):
        out = []
        for t in range(T):
            now = {name: x[t] if jnp.ndim(x) else x for name, x in gates.items()}
            o, state = rule.form("step")(state, q[t], k[t], v[t], **now, **scaled(rule, scale), **options)
            out.append(o)
        return jnp.stack(out), getattr(state, "state", state)

    return f


def read_out(rule: Rule) -> Callable:
    """(F2): the error signals read by the one `linear_attn`, from a zero initial state."""
    options = OPTIONS.get(rule.name, {})

    def f(q, k, v, gates, scale):
        dual = rule.form("errors")(q, k, v, **gates, **options)
        return linear_attn(*_attention(dual), **scaled(rule, scale))

    return f


def _attention(dual):
    return dual.E, dual.X, dual.Q, dual.weights


def output(rule: Rule, form: str) -> Callable:
    """The output of a form from a zero initial state."""
    options = OPTIONS.get(rule.name, {})

    def f(q, k, v, gates, scale):
        return rule.form(form)(q, k, v, **gates, **scaled(rule, scale), **options)[0]

    return f


def sample(rule: Rule) -> Callable:
    """Unit keys and gates from the inside of their domains."""

    def draw(rng):
        k = rng.standard_normal((T, K))
        k /= np.linalg.norm(k, axis=1, keepdims=True)
        values = {
            "beta": lambda s: rng.uniform(0, 1, s), "mu": lambda s: rng.uniform(0, 0.95, s),
            "g": lambda s: -rng.exponential(size=s), "lam": lambda s: rng.uniform(1, 2, s),
            "a": lambda s: -rng.uniform(0, 1, (s[0], 1)) * k, "b": lambda s: k,
        }  # fmt: skip
        own = {name: values[name](x.shape) for name, x in gates(rule).items()}
        start = jax.tree.map(lambda x: _positive(rng, x.shape), state(rule), is_leaf=lambda x: isinstance(x, Input))
        return rng.standard_normal((T, K)), k, rng.standard_normal((T, V)), own, start, 0.5

    return draw


def _positive(rng, shape):
    """A state; square ones are sums of outer products, as mesa's H is."""
    x = rng.standard_normal(shape)
    return np.abs(x) if len(shape) == 1 else x @ x.T if shape == (K, K) else x


def forms(rule: Rule, *names: str) -> dict[str, Callable]:
    """The recurrence and the forms that equal it."""
    return {"recurrent": run(rule, "recurrent"), **{name: run(rule, name) for name in names}}


def cases(rule: Rule) -> tuple[Case, ...]:
    """All forms; with gates also at hard resets; the dual form's read-out; chunks longer than the sequence; serving."""
    chunked = {"chunked": run(rule, "chunked", chunk_size=CHUNK)}
    patterns = PATTERNS if any(gate.log for gate in rule.gates) else {"": ()}
    out = []
    for name, resets in patterns.items():
        everything = {**forms(rule, "descent", "parallel"), **chunked, "step": by_step(rule)}
        case = Case(name or "forms", everything, inputs(rule, resets), sample=sample(rule), gradient=not resets)
        out.append(replace(case, bounded=not resets))
    long = {"recurrent": run(rule, "recurrent"), "chunked": run(rule, "chunked", chunk_size=64)}
    out.append(Case("one chunk", long, inputs(rule), gradient=False, bounded=False))
    read = {"recurrent": output(rule, "recurrent"), "errors": read_out(rule)}
    q, k, v, own, _, scale = inputs(rule)
    out.append(Case("errors, read out", read, (q, k, v, own, scale), sample=_without_state(rule), gradient=False))
    return tuple(out)


def _without_state(rule: Rule) -> Callable:
    def draw(rng):
        q, k, v, own, _, scale = sample(rule)(rng)
        return q, k, v, own, scale

    return draw


LAWS = tuple(
    Law(
        LABELS[rule.name],
        f"{rule.name}: every form is the same function",
        rule.recurrence,
        cases(rule),
        domain="any initial state" if rule.stability == "always" else f"any initial state; stable if {rule.stability}",
        source=rule.paper,
        dtypes=("float32", "bfloat16"),
        draws=1,
        quick=("recurrent", "chunked"),
        full_only=() if rule.name in ("retention", "gated_delta") else (BOUNDED,),
    )
    for rule in RULES.values()
)
