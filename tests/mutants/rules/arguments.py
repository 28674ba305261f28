"""Wrong programs for any rule of chapter 4: arguments and results that are lost, moved, turned or cut from gradients.

Each wraps the form that it replaces, so that what is wrong is the one thing that its description says.
"""

from collections.abc import Callable
from itertools import cycle

import jax
import jax.numpy as jnp

from dualform.laws.rules.laws import T, run
from dualform.rules import RULES
from dualform.testing.mutant import Mutant
from mutants.rules.common import FORMS, SCALED, early, late, original, plant


def changed(rule, form, *, case=None, **changes):
    """A form of other arguments: `name=change` for q, k, v, gates, state, scale or a gate."""

    def program(q, k, v, gates, state, scale):
        given = dict(q=q, k=k, v=v, gates=gates, state=state, scale=scale)
        for name, change in changes.items():
            if name in given:
                given[name] = change(given[name])
            else:
                given["gates"] = {**given["gates"], name: change(given["gates"][name])}
        return original(rule, form, case)(*given.values())

    return program


def first_field(change):
    """Something done to the layer, whatever else the state holds."""

    def state(S):
        return type(S)(change(S[0]), *S[1:]) if isinstance(S, tuple) else change(S)

    return state


def nothing(state):
    return jax.tree.map(jnp.zeros_like, state)


def turned(S):
    """A state that is stored as [K, V], read as [V, K]."""
    return S.T.reshape(S.shape)


def returned(rule, form, change) -> Callable:
    """A form whose results go wrong: `change(o, state, arguments) -> (o, state)`."""

    def program(*arguments):
        return change(*original(rule, form)(*arguments), arguments)

    return program


def without_last(rule, form, arguments):
    """The state after all tokens but the last."""
    q, k, v, gates, state, scale = arguments
    gates = {name: x[: T - 1] if x.ndim else x for name, x in gates.items()}
    return run(RULES[rule], form)(q[: T - 1], k[: T - 1], v[: T - 1], gates, state, scale)[1]


def backwards(change: Callable) -> Callable:
    """The identity, whose cotangent is changed: a backward pass that somebody wrote by hand."""
    same = jax.custom_vjp(lambda x: x)
    same.defvjp(lambda x: (x, x), lambda x, ct: (change(x, ct),))
    return same


stopped = jax.lax.stop_gradient
flipped = backwards(lambda x, ct: -ct)
of_the_decay = backwards(lambda g, ct: ct * jnp.exp(-g))
"""The gradient of the decay itself handed back as that of its logarithm."""
total = backwards(lambda g, ct: jnp.broadcast_to(jnp.sum(ct, axis=0, keepdims=True), ct.shape))
"""One gradient for all tokens: that of a decay that is the same for each."""


def of_state(rule, form, change):
    return plant(rule, form, "initial state lost", "every call starts from zero", changed(rule, form, state=change))


FORGETFUL = tuple(of_state(rule, form, nothing) for i, rule in enumerate(RULES) for form in (FORMS[i % 5], "errors"))
"""The bug that no test from a zero state can see."""

TURNED = tuple(
    plant(rule, form, "transposed state", "a state stored as [K, V] read as [V, K]",
          changed(rule, form, state=first_field(turned)))
    for rule, form in zip([*RULES][::2], cycle((*FORMS, "chunked")))
)  # fmt: skip

SCALES = (
    ("no scale", "the scale ignored", lambda rule, form: changed(rule, form, scale=jnp.ones_like)),
    ("scaled state", "the scale multiplies the state too",
     lambda rule, form: returned(rule, form, lambda o, S, a: (o, jax.tree.map(lambda x: a[5] * x, S)))),
    ("root of K", "the scale of softmax attention, unasked",
     lambda rule, form: changed(rule, form, q=lambda q: q * q.shape[1] ** -0.5)),
)  # fmt: skip
SCALING = tuple(
    plant(rule, form, *SCALES[i % 3][:2], SCALES[i % 3][2](rule, form))
    for i, (rule, form) in enumerate(
        zip(SCALED, cycle(("parallel", "chunked", "step", "recurrent", "descent", "chunked", "parallel", "step",
                           "recurrent", "chunked", "parallel"))))
)  # fmt: skip

FINAL = tuple(
    plant(rule, form, "final state of the token before", "the last token's write is not in the final state",
          returned(rule, form, lambda o, S, a, rule=rule, form=form: (o, without_last(rule, form, a))))
    for rule, form in zip([*RULES][1::2], cycle(("descent", "parallel", "recurrent")))
)  # fmt: skip

GATES = (
    ("retention", "chunked", "g", "decay one token late", late), ("retention", "errors", "g", "decay early", early),
    ("delta", "chunked", "beta", "step size one token late", late),
    ("gated_delta", "parallel", "g", "decay one token late", late),
    ("gla", "step", "g", "decay early", early), ("kda", "chunked", "g", "decay one token late", late),
    ("gated_delta", "errors", "beta", "step size one token late", late),
    ("rwkv7", "chunked", "g", "decay one token late", late), ("kda", "step", "beta", "step size early", early),
    ("rwkv7", "step", "b", "write-back key early", early),
    ("ttt", "parallel", "beta", "step size one token late", late),
    ("momentum", "chunked", "mu", "momentum one token late", late),
    ("momentum", "errors", "mu", "momentum early", early),
    ("titans", "chunked", "mu", "momentum one token late", late), ("titans", "parallel", "g", "decay early", early),
    ("longhorn", "errors", "beta", "step size one token late", late),
    ("mesa", "parallel", "g", "decay one token late", late), ("mesa", "chunked", "beta", "input gate early", early),
)  # fmt: skip
SHIFTED = tuple(
    plant(rule, form, name, "a gate off by one token", changed(rule, form, **{gate: shift}))
    for rule, form, gate, name, shift in GATES
)

BACKWARD = (
    ("linear_attn", "parallel", "k", "stopped keys", "the keys held constant", stopped),
    ("normalized", "recurrent", "state", "stopped initial state", "no gradient to the initial state",
     lambda state: jax.tree.map(stopped, state)),
    ("retention", "chunked", "g", "stopped gates", "no gradient to the gates", stopped),
    ("retention", "parallel", "g", "sign of the gate's gradient", "a hand-written backward pass", flipped),
    ("gla", "chunked", "g", "gradient of the decay", "the factor exp g is missing", of_the_decay),
    ("delta", "parallel", "beta", "stopped step sizes", "no gradient to the step sizes", stopped),
    ("delta", "step", "state", "stopped initial state", "no gradient to the initial state", stopped),
    ("gated_delta", "parallel", "g", "gradient of the decay", "the factor exp g is missing", of_the_decay),
    ("gated_delta", "errors", "g", "stopped gates", "no gradient to the gates", stopped),
    ("kda", "parallel", "g", "one gradient for all tokens", "summed over tokens, as of a constant", total),
    ("rwkv7", "parallel", "a", "sign of a's gradient", "that of the removal key -a", flipped),
    ("ttt", "parallel", "beta", "stopped step sizes", "no gradient to the step sizes", stopped),
    ("momentum", "parallel", "mu", "stopped momenta", "no gradient to the momenta", stopped),
    ("titans", "step", "mu", "sign of the momenta's gradient", "a hand-written backward pass", flipped),
    ("longhorn", "parallel", "beta", "gradient of log beta", "that of another parameter",
     backwards(lambda beta, ct: ct * beta)),
    ("mesa", "step", "lam", "stopped ridge", "no gradient to the ridge", stopped),
)  # fmt: skip
CUT_OFF = tuple(
    plant(rule, form, name, why, changed(rule, form, **{gate: change}))
    for rule, form, gate, name, why, change in BACKWARD
)

MUTANTS: tuple[Mutant, ...] = (*FORGETFUL, *TURNED, *SCALING, *FINAL, *SHIFTED, *CUT_OFF)

HARMLESS = tuple(
    plant(rule, form, name, "an identity with a right backward pass", changed(rule, form, **{gate: change}))
    for rule, form, gate, name, change in (
        ("gla", "chunked", "g", "custom rule", backwards(lambda g, ct: ct)),
        ("delta", "parallel", "k", "two signs", lambda k: 0 - (0 - k)),
    )
)
