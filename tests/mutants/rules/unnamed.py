"""Bugs that any rule can have, planted in the rules that have no list of their own.

The other modules write bugs for rules by name. A rule that they do not name gets these, made from its record: its gates
late, ignored or without a gradient, its state, its scale and its packing wrong, in every form.
"""

from collections.abc import Iterator

import jax.numpy as jnp

from dualform.rules import RULES
from dualform.testing.mutant import Mutant
from mutants.rules import arguments, chunks, pairs, quotients, states, tokens
from mutants.rules.arguments import changed, flipped, nothing, of_state, returned, stopped, without_last
from mutants.rules.chunks import NARROW
from mutants.rules.common import FORMS, by_rule, late, packed, plain, plant, whole

ENOUGH = 20
"""Bugs of a rule that has a list of its own."""

BY_NAME = tuple(m for module in (arguments, tokens, pairs, chunks, states, quotients) for m in module.MUTANTS)
UNNAMED = tuple(name for name in RULES if len(by_rule(name, BY_NAME)) < ENOUGH)


def of_gates(rule: str) -> Iterator[Mutant]:
    """Each gate late (or doubled, where all tokens share it), ignored, or held constant, in turn in every form."""
    for n, gate in enumerate(RULES[rule].gates):
        for i, form in enumerate(FORMS):
            if gate.per_token and i % 2 == n % 2:
                yield plant(
                    rule, form, f"{gate.name} one token late", "off by one", changed(rule, form, **{gate.name: late})
                )
            elif i % 2 == n % 2:
                yield plant(
                    rule, form, f"{gate.name} doubled", "counted twice", changed(rule, form, **{gate.name: double})
                )
            else:
                yield plant(rule, form, f"{gate.name} ignored", "as if it were zero",
                            changed(rule, form, **{gate.name: jnp.zeros_like}))  # fmt: skip
        for form, name, change in (("parallel", "stopped", stopped), ("chunked", "of the wrong sign", flipped)):
            yield plant(rule, form, f"gradient of {gate.name} {name}", "a hand-written backward pass",
                        changed(rule, form, **{gate.name: change}))  # fmt: skip


def of_rule(rule: str) -> Iterator[Mutant]:
    """Bugs of state, scale, chunks and packing."""
    for form in ("descent", "recurrent", "step"):
        yield of_state(rule, form, nothing)
    if not RULES[rule].quotient:
        yield plant(rule, "chunked", "no scale", "the scale ignored", changed(rule, "chunked", scale=jnp.ones_like))
    for form in ("chunked", "parallel"):
        yield plant(rule, form, "final state one token old", "the last token's write is not in the final state",
                    returned(rule, form, lambda o, S, a, form=form: (o, without_last(rule, form, a))))  # fmt: skip
    yield whole(rule, "chunked", *NARROW[:2], chunks.chunks(rule, **NARROW[2]))
    name, why, ids = chunks.LABELS[0]
    yield packed(rule, "parallel", name, why, chunks.labelled(rule, "parallel", ids))


def double(x):
    return 2 * x


MUTANTS: tuple[Mutant, ...] = tuple(bug for rule in UNNAMED for make in (of_gates, of_rule) for bug in make(rule))

HARMLESS = tuple(
    plant(rule, "chunked", "Python loop", "parallel calls, chunk by chunk", chunks.chunks(rule), plain(rule))
    for rule in UNNAMED
)
