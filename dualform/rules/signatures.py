"""The signatures and docstrings of a rule's forms, made from its record."""

import inspect
from collections.abc import Callable
from functools import cache
from textwrap import fill, indent
from typing import Any

from dualform.rules.record import REQUIRED, Rule

WIDTH = 112

COSTS = {
    "descent": "as `recurrent`, with a gradient per token.",
    "recurrent": "O(T K V) time, O(K V) memory, T sequential steps.",
    "parallel": "O(T^2 (K + V)) time, O(T^2) memory.",
    "chunked": "O(T (K V + chunk (K + V))) time, T / chunk sequential steps; backward keeps one state per chunk.",
    "step": "O(K V) time and memory.",
    "errors": "that of `parallel`.",
}
"""Of most rules; the record has those of the others."""


def named(rule: Rule, form: str, run: Callable) -> Callable:
    """A form with the signature and the docstring of its rule.

    Args:
        rule: its record.
        form: its name.
        run: (q, k, v, arguments by name) -> results; of "step" (state, q, k, v, arguments by name).

    Returns:
        The form. It raises TypeError, naming the rule and its gates, where an argument is missing or unknown.
    """
    signature = signature_of(rule, form)
    positional = [n for n, x in signature.parameters.items() if x.kind is x.POSITIONAL_OR_KEYWORD]

    def call(*arguments: Any, **keywords: Any) -> Any:
        try:
            given = signature.bind(*arguments, **keywords)
        except TypeError as reason:
            raise TypeError(f"{rule.name}.{form}: {reason}; its signature is {form}{signature}") from None
        given.apply_defaults()
        values = given.arguments
        return run(*(values.pop(name) for name in positional), values)

    call.__name__ = call.__qualname__ = form
    call.__module__ = f"dualform.rules.{rule.name}"
    call.__doc__ = docstring(rule, form)
    call.__signature__ = signature
    return call


def signature_of(rule: Rule, form: str) -> inspect.Signature:
    """(q, k, v, *, gates, options, scale=1.0, initial_state=None, segment_ids=None), as far as the form takes them."""
    P = inspect.Parameter
    first = ("state", "q_t", "k_t", "v_t") if form == "step" else ("q", "k", "v")
    keywords: dict[str, Any] = {gate.name: P.empty for gate in rule.gates}
    keywords |= {option.name: P.empty if option.default is REQUIRED else option.default for option in rule.options}
    if form != "errors" and not rule.quotient:
        keywords["scale"] = 1.0
    if form != "step":
        keywords |= {"initial_state": None, "segment_ids": None}
    if form == "chunked":
        keywords["chunk_size"] = rule.chunk_size
    parameters = [P(name, P.POSITIONAL_OR_KEYWORD) for name in first]
    parameters += [P(name, P.KEYWORD_ONLY, default=default) for name, default in keywords.items()]
    return inspect.Signature(parameters)


@cache
def keywords_of(function: Callable) -> tuple[str, ...]:
    """The names of the arguments that a function of a record takes by name."""
    parameters = inspect.signature(function).parameters.values()
    return tuple(x.name for x in parameters if x.kind in (x.KEYWORD_ONLY, x.POSITIONAL_OR_KEYWORD))


def docstring(rule: Rule, form: str) -> str:
    """What a form is, its arguments, results, errors and cost."""
    summary = fill(_summary(rule, form), WIDTH)
    cost = fill(f"Cost: {rule.costs.get(form, COSTS[form])}", WIDTH)
    parts = [summary, _arguments(rule, form), _returns(rule, form), _raises(rule), cost]
    if form == "recurrent":
        parts.append(rule.example.strip())
    return "\n\n".join([*parts, f"References: {rule.paper}."])


def _summary(rule: Rule, form: str) -> str:
    u, d = rule.update, rule.label
    return {
        "descent": f"({u}) as it is meant: {rule.optimiser}, by `jax.grad` of the inner loss, token by token.",
        "recurrent": f"({u}) written out, token by token.",
        "parallel": f"({d}) over the whole sequence at once.",
        "chunked": f"({d}) inside chunks, the state carried between them (U4).",
        "step": f"({u}) for one token from a state: the form that serves.",
        "errors": f"({d}) as data: error signals, weights, inputs and queries, for `dualform.linear.linear_attn`.",
    }[form]


def _arguments(rule: Rule, form: str) -> str:
    one = form == "step"
    state = f"`State` ({rule.state})" if rule.state.make else "[V, K]"
    lines = [f"state: {state}, or what an earlier call returned."] if one else []
    lines += ["q_t, k_t: [K] query and key.", "v_t: [V] value."] if one else []
    lines += [] if one else ["q, k: [T, K] queries and keys.", "v: [T, V] values."]
    lines += [f"{gate.name}: {_shape(gate, one)} {gate.meaning}." for gate in rule.gates]
    lines += [f"{option.name}: {option.meaning}." for option in rule.options]
    if form != "errors" and not rule.quotient:
        lines.append("scale: multiplies the output, never the state.")
    if not one:
        lines.append(f"initial_state: {state}, zero if None.")
        lines.append("segment_ids: int [T] of packed sequences, -1 for padding.")
    if form == "chunked":
        lines.append("chunk_size: tokens a chunk, at least 1; it need not divide T.")
    return "Args:\n" + "\n".join(indent(fill(x, WIDTH - 4, subsequent_indent="    "), "    ") for x in lines)


def _shape(gate, one: bool) -> str:
    return "a number:" if one and gate.axes in ("T", "T |") else gate.shape_text.replace("[T, ", "[" if one else "[T, ")


def _returns(rule: Rule, form: str) -> str:
    state = "`State`" if rule.state.make else "state [V, K]"
    text = {
        "step": f"o_t [V] in the dtype of v_t, and the {state} after the token.",
        "errors": "`Dual` (E [N, V], weights [T, N] or [T, N, K], X [N, K], Q [T, K]), in float32 or wider.",
    }.get(form, f"o [T, V] in the dtype of q, and the final {state}, in float32 or wider.")
    return f"Returns:\n    {text}"


def _raises(rule: Rule) -> str:
    checked = [f"{gate.name} not in {gate.domain}" for gate in rule.gates if gate.log or gate.least is not None]
    checked += [f"an unknown {option.name}" for option in rule.options]
    refused = ", ".join(["what the conventions of `dualform.rules` refuse", *checked])
    text = fill(f"ValueError: {refused}.", WIDTH - 4, subsequent_indent="    ")
    return "Raises:\n" + indent(text + "\nTypeError: an argument that is missing or unknown.", "    ")
