"""Laws of the calls around a rule: batches and heads at once, and the final states of all packed sequences."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from dualform.laws.law import PROVED, Case, Law
from dualform.laws.rules.induction import quantified
from dualform.laws.rules.laws import K, V, gates, per_token, run, scaled, state
from dualform.prove import Input
from dualform.rules import RULES, Rule, final_states, over_heads

B, T, H = 2, 3, 2
"""Sequences, tokens, heads of values; their keys have one head."""


SEGMENTS = (0, -1, 0, 0, 1)
"""Two packed sequences, the first longer than a minibatch, with padding inside."""


def in_heads(rule: Rule) -> tuple:
    """Arrays [B, T, H, ...], with one head of keys, and states [B, H, ...]."""

    def at(x: Input, *front: int, skip: int = 0) -> Input:
        return Input((*front, *x.shape[skip:]), x.domain)

    own = {n: at(x, B, T, H, skip=1) if per_token(rule, n) else x for n, x in gates(rule, (), T).items()}
    states = jax.tree.map(lambda x: at(x, B, H), state(rule), is_leaf=lambda x: isinstance(x, Input))
    return (B, T, 1, K), (B, T, 1, K), (B, T, H, V), own, states, ()


def at_once(rule: Rule, form: str) -> Callable:
    """All sequences and heads in one call (F7)."""

    def f(q, k, v, gates, states, scale):
        more = {**gates, **scaled(rule, scale), **rule.tried}
        return over_heads(rule, q, k, v, form=form, initial_state=states, **more)

    return f


def one_by_one(rule: Rule) -> Callable:
    """A call for each sequence and head."""
    f = run(rule, "recurrent")

    def g(q, k, v, gates, states, scale):
        out = []
        for b in range(B):
            for h in range(H):
                own = {name: x[b, :, h] if per_token(rule, name) else x for name, x in gates.items()}
                S = jax.tree.map(lambda x, b=b, h=h: x[b, h], states)
                out.append(f(q[b, :, 0], k[b, :, 0], v[b, :, h], own, S, scale))
        o, states = jax.tree.map(lambda *x: jnp.stack(x).reshape(B, H, *x[0].shape), *out)
        return jnp.swapaxes(o, 1, 2), states

    return g


def all_states(rule: Rule, form: str) -> Callable:
    """The final states of the packed sequences (F8)."""

    def f(q, k, v, gates, initial_state, scale):
        more = {**gates, **scaled(rule, scale), **rule.tried, "initial_state": initial_state}
        return final_states(rule, q, k, v, segment_ids=np.array(SEGMENTS), form=form, **more)

    return f


def separate_states(rule: Rule) -> Callable:
    """Those of calls of their own; the initial state belongs to the first."""
    places = [np.flatnonzero(np.array(SEGMENTS) == segment) for segment in range(max(SEGMENTS) + 1)]

    def f(q, k, v, gates, initial_state, scale):
        states = []
        for place in places:
            own = {name: x[place] if per_token(rule, name) else x for name, x in gates.items()}
            states.append(run(rule, "recurrent")(q[place], k[place], v[place], own, initial_state, scale)[1])
            initial_state = None
        return jax.tree.map(lambda *x: jnp.stack(x), *states)

    return f


HEADS = tuple(
    Case(name, {"single calls": one_by_one(rule), "over_heads": at_once(rule, "auto")}, in_heads(rule),
         gradient=False, rules=(name,))
    for name, rule in RULES.items()
)  # fmt: skip
DIFFERENTIATED = ("normalized", "gated_delta", "titans", "mesa")
"""A rule of each kind of state, gates and minibatches: what is differentiated beside the rule is the same for all."""

STATES = tuple(
    Case(name, {"separate calls": separate_states(rule), "final_states": all_states(rule, "auto")},
         quantified(rule, len(SEGMENTS)), gradient=name in DIFFERENTIATED, rules=(name,))
    for name, rule in RULES.items()
)  # fmt: skip

LAWS = (
    Law("F7", "heads and sequences at once are calls of one head of one sequence", r"o_{bth} = f(q_{b,:,h}, \ldots)_t",
        HEADS, (PROVED,), domain=f"{B} sequences, {H} heads of values that share one of keys"),
    Law("F8", "the final states of packed sequences are those of separate calls", "",
        STATES, (PROVED,), domain="segment_ids with padding -1; the initial state belongs to the first"),
)  # fmt: skip
