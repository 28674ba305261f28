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
from dualform.rules.ttt import LayerNorm

T, K, V = 7, 3, 2
CHUNK, MINIBATCH = 3, 2
"""Chunk edges lie inside the proof, and no multiple of anything is a multiple of anything else."""

PATTERNS = {"no reset": (), "reset first": (0,), "reset in the middle": (3,), "resets last and before": (5, 6)}


SIZES = {"T": T, "K": K, "V": V}


def state(rule: Rule):
    """The shapes of a rule's state."""
    return rule.state.build(lambda axes: Input(tuple(SIZES[axis] for axis in axes)))


def gates(rule: Rule, resets: tuple[int, ...] = (), steps: int = T) -> dict[str, Input]:
    """The shapes and domains of a rule's gates; log decays are -inf at the tokens in `resets`."""
    out = {}
    for gate in rule.gates:
        shape = gate.shape(T=steps, K=K)
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
    return {} if rule.quotient else {"scale": scale}


def run(rule: Rule, form: str, /, **static) -> Callable:
    """A form as a function of `inputs`."""
    options = {**rule.tried, **static}

    def f(q, k, v, gates, initial_state, scale):
        return rule.form(form)(q, k, v, **gates, initial_state=initial_state, **scaled(rule, scale), **options)

    return f


def by_step(rule: Rule, /, **static) -> Callable:
    """The serving form, token by token."""
    options = {**rule.tried, **static}

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
    gate = rule.gate(name)
    return gate is not None and gate.per_token


def read_out(rule: Rule, /, **static) -> Callable:
    """(F2): the error signals read by the one `linear_attn`, and what is left of the initial state."""
    options = {**rule.tried, **static}

    def f(q, k, v, gates, initial_state, scale):
        dual = rule.form("errors")(q, k, v, **gates, initial_state=initial_state, **options)
        o = linear_attn(dual.E, dual.X, dual.Q, dual.weights, **scaled(rule, scale))
        if initial_state is None:
            return o
        return o + left_over(rule, dual.Q, k, v, gates, initial_state, scale, **options)

    return f


def left_over(rule: Rule, Q, k, v, gates, initial_state, scale, /, **options):
    """What the queries of the dual form read of the initial state: the recurrence over tokens that write nothing.

    Where the dual form has queries of its own, in place of a quotient, the Hebbian rule of the same decays reads them.
    """
    options |= scaled(rule, scale)
    if rule.quotient:
        rule, initial_state = RULES["retention" if rule.gate("g") else "linear_attn"], initial_state[0]
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
        own = {name: rule.gate(name).draw(rng, x.shape, k) for name, x in gates(rule).items()}
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
        rule.label,
        f"{rule.name}: every form is the same function",
        rule.recurrence,
        tuple(replace(case, rules=(rule.name,)) for case in cases(rule)),
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
    settings = {"dtypes": ("float32", "bfloat16"), "draws": 1, "quick": ("recurrent", "chunked"),
                "full_only": (BOUNDED,)}  # fmt: skip
    return (
        Law("T3", "ttt through a layer norm: every form is the same function", "",
            two_cases(ttt, normed(inputs(ttt)), sample_norm), domain="any initial state", source=ttt.paper, **settings),
        Law("N1", "normalized by elu + 1: every form is the same function", "",
            two_cases(normalized, inputs(normalized), sample(normalized), feature_map="elu+1"), (BOUNDED,),
            domain="any positive initial normaliser", source=normalized.paper, **settings),
    )  # fmt: skip


def two_cases(rule: Rule, quantified: tuple, draw: Callable, **options) -> tuple[Case, ...]:
    """All forms, and the read-out of the dual form."""
    programs = {"forms": everything(rule, **options), "errors, read out": signals(rule, **options)}
    return tuple(Case(name, f, quantified, sample=draw, rules=(rule.name,)) for name, f in programs.items())


LAWS = (*(own_law(rule) for rule in RULES.values()), *more_laws())
