"""The laws of rules over many devices, on the program that each device runs (`dualform.shard.simulate`)."""

from collections.abc import Callable

from dualform.laws.law import PROVED, Case, Law
from dualform.laws.rules.laws import inputs, run, scaled
from dualform.rules import RULES, Rule

DEVICES = 3


def over_devices(rule: Rule) -> Callable:
    """The rule over tokens that lie on three devices, of which the last has fewer."""

    def f(q, k, v, gates, state, scale):
        from dualform import shard

        options = {**rule.tried, **scaled(rule, scale)}
        return shard.simulate(rule.name, DEVICES, q, k, v, **gates, initial_state=state, chunk_size=2, **options)

    return f


def case(rule: Rule, resets=()) -> Case:
    forms = {"one device": run(rule, "recurrent"), f"{DEVICES} devices": over_devices(rule)}
    what = f", resets {resets}" if resets else ""
    return Case(f"{rule.name}{what}", forms, inputs(rule, resets), gradient=False, rules=(rule.name,))


CASES = tuple(
    case(rule, resets)
    for rule in RULES.values()
    for resets in ((), (3, 4))
    if not resets or any(gate.log for gate in rule.gates)
)

LAWS = (
    Law("Y4", "a sequence may lie on many devices", r"(o, S) \text{ on one device} = (o, S) \text{ on many}", CASES,
        (PROVED,), domain="from any initial state; ttt without a layer norm", full_only=(PROVED,)),
)  # fmt: skip
