"""The laws of chapter 4: every form of every update rule is the same function, gradients included."""

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
from dualform.rules.ttt import LayerNorm

T, K, V = 7, 3, 2
CHUNK, MINIBATCH = 3, 2
"""Chunk edges lie inside the proof, and no multiple of anything is a multiple of anything else."""

LABELS = {
    "linear_attn": "A2", "normalized": "N2", "retention": "E2", "gla": "G2", "delta": "D2", "gated_delta": "B2",
    "kda": "K2", "rwkv7": "W2", "ttt": "T2", "momentum": "M3", "titans": "J2", "longhorn": "H3", "mesa": "Z3",
}  # fmt: skip
"""The equation that unrolls each rule."""
OTHER_LABELS = {"ttt": "T3", "normalized": "N1"}
"""The equation of those that are no rational functions under another option."""

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


def run(rule: Rule, form: str, /, **static) -> Callable:
    """A form as a function of `inputs`."""
    options = {**OPTIONS.get(rule.name, {}), **static}

    def f(q, k, v, gates, initial_state, scale):
        return rule.form(form)(q, k, v, **gates, initial_state=initial_state, **scaled(rule, scale), **options)

    return f


def by_step(rule: Rule, /, **static) -> Callable:
    """The serving form, token by token."""
    options = {**OPTIONS.get(rule.name, {}), **static}

    def f(q, k, v, gates, state, scale):
        out = []
        for t in range(len(q)):
            now = {name: x[t] if per_token(rule, name) else x for name, x in gates.items()}
            o, state = rule.form("step")(state, q[t], k[t], v[t], **now, **scaled(rule, scale), **options)
            out.append(o)
        return jnp.stack(out), getattr(state, "state", state)

    return f


def per_token(rule: Rule, name: str) -> bool:
    """Whether a gate has an entry for every token; what is no gate, as a layer norm, has not."""
    return any(gate.name == name and gate.axes for gate in rule.gates)


def read_out(rule: Rule, /, **static) -> Callable:
    """(F2): the error signals read by the one `linear_attn`, and what is left of the initial state."""
    options = {**OPTIONS.get(rule.name, {}), **static}

    def f(q, k, v, gates, initial_state, scale):
        dual = rule.form("errors")(q, k, v, **gates, initial_state=initial_state, **options)
        o = linear_attn(dual.E, dual.X, dual.Q, dual.weights, **scaled(rule, scale))
        if initial_state is None:
            return o
        return o + left_over(rule, dual.Q, k, v, gates, initial_state, scale, **options)

    return f


READ_BY = {"normalized": "linear_attn", "mesa": "retention"}
"""Rules whose queries change: with those of the dual form, the initial layer is read as another rule does."""


def left_over(rule: Rule, Q, k, v, gates, initial_state, scale, /, **options):
    """What the queries of the dual form read of the initial state: the recurrence over tokens that write nothing."""
    options |= scaled(rule, scale)
    if rule.name in READ_BY:
        rule, initial_state = RULES[READ_BY[rule.name]], initial_state[0]
        options = {name: x for name, x in options.items() if name == "segment_ids"}
    silent = {name: 0 * x if name in ("beta", "a") else x for name, x in gates.items()}
    if "norm" not in gates:
        silent = {gate.name: silent[gate.name] for gate in rule.gates}
    k, v, silent = jax.tree.map(lambda x: x.astype(Q.dtype), (k, 0 * v, silent))
    return rule.form("recurrent")(Q, k, v, **silent, initial_state=initial_state, **options)[0]


def output(rule: Rule, form: str, /, **static) -> Callable:
    """The output of a form."""
    f = run(rule, form, **static)
    return lambda *arguments: f(*arguments)[0]


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


def forms(rule: Rule, /, *names: str, **static) -> dict[str, Callable]:
    """The recurrence and the forms that equal it."""
    return {name: run(rule, name, **static) for name in ("recurrent", *names)}


def everything(rule: Rule, /, **static) -> dict[str, Callable]:
    """All forms that return outputs and the final state."""
    chunked = {"chunked": run(rule, "chunked", chunk_size=CHUNK, **static)}
    return {**forms(rule, "descent", "parallel", **static), **chunked, "step": by_step(rule, **static)}


def signals(rule: Rule, /, **static) -> dict[str, Callable]:
    """The output, and the read-out of the dual form."""
    return {"recurrent": output(rule, "recurrent", **static), "errors": read_out(rule, **static)}


def cases(rule: Rule) -> tuple[Case, ...]:
    """All forms; with gates also at hard resets; the dual form's read-out; chunks longer than the sequence; serving."""
    patterns = PATTERNS if any(gate.log for gate in rule.gates) else {"forms": ()}
    out = []
    for name, resets in patterns.items():
        case = Case(name, everything(rule), inputs(rule, resets), sample=sample(rule), gradient=not resets)
        out.append(replace(case, bounded=not resets))
    long = {"recurrent": run(rule, "recurrent"), "chunked": run(rule, "chunked", chunk_size=64)}
    out.append(Case("one chunk", long, inputs(rule), gradient=False, bounded=False))
    out.append(Case("errors, read out", signals(rule), inputs(rule), sample=sample(rule)))
    if "reset in the middle" in patterns:
        at_reset = inputs(rule, PATTERNS["reset in the middle"])
        out.append(Case("errors at a reset", signals(rule), at_reset, gradient=False, bounded=False))
    return (*out, *options_of(rule))


def options_of(rule: Rule) -> tuple[Case, ...]:
    """The forms under options of which another value is the default."""
    if rule.name == "momentum":
        delta = {"rule": "delta"}
        return (
            Case("delta error", everything(rule, **delta), inputs(rule), sample=sample(rule)),
            Case("delta errors, read out", signals(rule, **delta), inputs(rule), sample=sample(rule)),
        )
    if rule.name == "mesa":
        # In exact arithmetic K iterations are an exact solve. A padded chunk would divide 0 by 0: one chunk of all.
        cg = {"solver": "cg", "iterations": K}
        one_chunk = {"chunked": run(rule, "chunked", chunk_size=T, **cg)}
        iterated = {"exact": run(rule, "recurrent"), **forms(rule, "parallel", **cg), **one_chunk}
        iterated |= {"step": by_step(rule, **cg)}
        read = {"exact": output(rule, "recurrent"), "errors": read_out(rule, **cg)}
        names = {"conjugate gradients": iterated, "conjugate gradients, read out": read}
        return tuple(
            Case(name, {n: from_root(f) for n, f in all_forms.items()}, ridges(inputs(rule)), gradient=False,
                 bounded=False)
            for name, all_forms in names.items()
        )  # fmt: skip
    return ()


def ridges(quantified: tuple) -> tuple:
    """The same, with one ridge per channel of the keys."""
    q, k, v, own, start, scale = quantified
    return q, k, v, {**own, "lam": Input((K,))}, start, scale


def from_root(form: Callable) -> Callable:
    """From a state of mesa whose H is a sum of outer products, as conjugate gradients need it: given by its root."""

    def f(q, k, v, gates, root, scale):
        return form(q, k, v, gates, root._replace(H=root.H @ root.H.T), scale)

    return f


def normed(quantified: tuple) -> tuple:
    """The same for ttt, trained through a layer norm."""
    q, k, v, own, start, scale = quantified
    norm = LayerNorm(Input((V,)), Input((V,)), Input(()))
    return q, k, v, {**own, "norm": norm}, start, scale


def sample_norm(rng):
    q, k, v, own, start, scale = sample(RULES["ttt"])(rng)
    norm = LayerNorm(rng.standard_normal(V), rng.standard_normal(V), rng.uniform(0.5, 1))
    return q, k, v, {**own, "norm": norm}, start, scale


def own_law(rule: Rule) -> Law:
    """The law of a rule: every form is the same function."""
    return Law(
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


def more_laws() -> tuple[Law, ...]:
    """Forms that are no rational functions: a layer norm inside the update, and elu + 1 as the feature map."""
    ttt, normalized = RULES["ttt"], RULES["normalized"]
    elu = {"feature_map": "elu+1"}
    return (
        Law("T3", "ttt through a layer norm: every form is the same function", "",
            (Case("forms", everything(ttt), normed(inputs(ttt)), sample=sample_norm),
             Case("errors, read out", signals(ttt), normed(inputs(ttt)), sample=sample_norm)),
            domain="any initial state", source=ttt.paper, dtypes=("float32", "bfloat16"), draws=1,
            quick=("recurrent", "chunked"), full_only=(BOUNDED,)),
        Law("N1", "normalized by elu + 1: every form is the same function", "",
            (Case("forms", everything(normalized, **elu), inputs(normalized), sample=sample(normalized)),
             Case("errors, read out", signals(normalized, **elu), inputs(normalized), sample=sample(normalized))),
            (BOUNDED,), domain="any positive initial normaliser", source=normalized.paper,
            dtypes=("float32", "bfloat16"), draws=1, quick=("recurrent", "chunked"), full_only=(BOUNDED,)),
    )  # fmt: skip


LAWS = (*(own_law(rule) for rule in RULES.values()), *more_laws())
