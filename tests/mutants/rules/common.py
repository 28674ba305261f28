"""What the planted bugs of chapter 4 share: where they are planted, and recurrences written out once more.

Programs take (q, k, v, gates, initial state, scale), as the forms do in the laws. The recurrences here are written from
the equations of the rules, not from their code, for a program to go wrong in one place only.
"""

from collections.abc import Callable, Iterable

import jax
import jax.numpy as jnp

from dualform.laws import Case, find
from dualform.laws.rules import laws
from dualform.laws.rules.family import last_state
from dualform.rules import RULES
from dualform.testing.mutant import Mutant

LAYERS = ("linear_attn", "retention", "gla", "delta", "gated_delta", "kda", "longhorn")
"""Rules whose state is the layer alone, written once a token: S = A + e k', with A the decayed state."""
SQUARED = ("delta", "gated_delta", "kda", "longhorn")
"""Of these, the ones that subtract what the layer returns already."""
DECAYING = ("retention", "gla", "gated_delta", "kda")
CHANNELS = ("gla", "kda", "rwkv7")
"""Rules with a decay for every key channel."""
SCALED = tuple(name for name, rule in RULES.items() if not rule.quotient)
FORMS = ("descent", "recurrent", "parallel", "chunked", "step", "errors")

READ = "errors, read out"
LABELS = {"F1", *(law.label for law in laws.LAWS)}
"""Of the laws in which bugs are planted: those of one rule, and that of packed sequences."""


def plain(rule: str) -> str:
    """The case of a rule's law in which nothing is reset."""
    return "no reset" if any(gate.log for gate in RULES[rule].gates) else "forms"


def plant(rule: str, form: str, name: str, why: str, program: Callable, case: str | None = None, what="") -> Mutant:
    """A wrong form of a rule, in the case without resets unless another is named."""
    case = case or (READ if form == "errors" else plain(rule))
    return Mutant(f"{rule}, {what or form}: {name}", RULES[rule].label, form, program, why, case)


def packed(rule: str, form: str, name: str, why: str, program: Callable) -> Mutant:
    """A wrong form in the law of packed sequences."""
    case = rule if form in ("recurrent", "chunked") else f"{rule}, other forms"
    return Mutant(f"{rule}, {form}, packed: {name}", "F1", form, program, why, case)


def whole(rule: str, form: str, name: str, why: str, program: Callable) -> Mutant:
    """A wrong form in the law that on whole numbers nothing rounds; of rules that divide, its final state."""
    if RULES[rule].quotient:
        program = last_state(program)
    return Mutant(f"{rule}, {form}, whole numbers: {name}", "F1", form, program, why, f"{rule}, integers")


def original(rule: str, form: str, case: str | None = None) -> Callable:
    """The form that a mutant replaces."""
    case = case or (READ if form == "errors" else plain(rule))
    return _case(RULES[rule].label, case).forms[form]


def _case(label: str, name: str) -> Case:
    return next(case for law in find(label) for case in law.cases if case.name == name)


def scan(update: Callable, read: Callable | None = None, *, before: bool = False) -> Callable:
    """state <- update(state, k, v, gates of the token), read after it, or before.

    Args:
        update: one token.
        read: (state, q) -> o; the state times the query if None.
        before: read the state that the token found.
    """
    read = read or (lambda S, q: S @ q)

    def form(q, k, v, gates, state, scale):
        per_token = {name: x for name, x in gates.items() if x.ndim}
        number = {name: x for name, x in gates.items() if not x.ndim}

        def token(state, x):
            q_t, k_t, v_t, now = x
            new = update(state, k_t, v_t, {**now, **number})
            return new, scale * read(state if before else new, q_t)

        state, o = jax.lax.scan(token, state, (q, k, v, per_token))
        return o, state

    return form


def decayed(S, now):
    """The state that has forgotten, by one decay or by one for every channel."""
    return S * jnp.broadcast_to(jnp.exp(now["g"]), S.shape) if "g" in now else S


def step_size(rule, k, now):
    return now["beta"] / (1 + now["beta"] * k @ k) if rule == "longhorn" else now["beta"]


def signal(rule, S, k, v, now):
    """What a token writes at its key."""
    return step_size(rule, k, now) * (v - S @ k) if rule in SQUARED else v


def layer(rule: str) -> Callable:
    """One token of a rule of `LAYERS`."""

    def update(S, k, v, now):
        A = decayed(S, now)
        return A + jnp.outer(signal(rule, A, k, v, now), k)

    return update


def generalised(S, k, v, now):
    """One token of RWKV-7."""
    return decayed(S, now) + jnp.outer(S @ now["a"], now["b"]) + jnp.outer(v, k)


def token(rule: str) -> Callable:
    """One token of a rule whose state is the layer alone."""
    return generalised if rule == "rwkv7" else layer(rule)


def late(x):
    """Every token with what belongs to the one before it; nothing for the first."""
    return jnp.concatenate([jnp.zeros_like(x[:1]), x[:-1]])


def early(x):
    """Every token with what belongs to the one after it; nothing for the last."""
    return jnp.concatenate([x[1:], jnp.zeros_like(x[:1])])


def across(rules: Iterable[str], rows: Iterable[tuple], make: Callable) -> tuple[Mutant, ...]:
    """`make(rule, *row)` for every rule and row."""
    return tuple(make(rule, *row) for rule in rules for row in rows)


def by_rule(rule: str, mutants: Iterable[Mutant]) -> list[Mutant]:
    """Those that are planted in a rule."""
    return [m for m in mutants if m.label in LABELS and m.name.startswith(f"{rule}, ")]


def table() -> str:
    """How many bugs are planted in each form of each rule, in Markdown."""
    from mutants import MUTANTS

    rows = []
    for rule in RULES:
        planted = by_rule(rule, MUTANTS)
        rows.append([*(sum(m.form == form for m in planted) for form in FORMS), len(planted)])
    rows.append([sum(column) for column in zip(*rows, strict=True)])
    lines = [f"| rule | {' | '.join(FORMS)} | all |", "|---" * (len(FORMS) + 2) + "|"]
    names = [*RULES, "all"]
    lines += [f"| {name} | {' | '.join(map(str, row))} |" for name, row in zip(names, rows, strict=True)]
    return "\n".join(lines) + "\n"
