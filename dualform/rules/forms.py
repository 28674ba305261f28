"""All forms of a rule, made from the equations in its record.

A rule's file ends with `descent, recurrent, parallel, chunked, step, errors = forms(RULE)`. Their signatures and
docstrings, which `help` shows, are made here too (`dualform.rules.signatures`).
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from dualform.rules import tokens
from dualform.rules.chunks import over_chunks
from dualform.rules.minibatch import MINIBATCH, Serving, at_minibatch, begins
from dualform.rules.record import Dual, Rule, layer
from dualform.rules.signatures import keywords_of, named
from dualform.rules.tokens import Call, over_tokens


class Run(NamedTuple):
    """A call whose arguments have been checked.

    `more` holds, by name, the options and the gates that are not per token.
    """

    call: Call
    state: Any
    gates: tuple[Array, ...]
    more: dict[str, Any]

    def wanted(self, function: Callable) -> dict[str, Any]:
        """Of `more` what a function of the record takes."""
        return _wanted(function, self.more)


def forms(rule: Rule) -> tuple[Callable, ...]:
    """(descent, recurrent, parallel, chunked, step, errors) of a rule."""
    makers = (descent, recurrent, parallel, chunked, step, errors)
    return tuple(named(rule, make.__name__, partial(make, rule)) for make in makers)


def descent(rule: Rule, q, k, v, given: dict[str, Any]) -> tuple[Array, Any]:
    """The update as it is meant, token by token."""
    return _by_token(rule, rule.descend, rule.descend_read or rule.read, begin(rule, q, k, v, given), given)


def recurrent(rule: Rule, q, k, v, given: dict[str, Any]) -> tuple[Array, Any]:
    """The update written out, token by token."""
    return _by_token(rule, rule.write, rule.read, begin(rule, q, k, v, given), given)


def parallel(rule: Rule, q, k, v, given: dict[str, Any]) -> tuple[Array, Any]:
    """One block of all tokens."""
    run = begin(rule, q, k, v, given)
    if not len(run.call.k):
        return run.call.finish(jnp.zeros_like(run.call.v)), run.state
    read, carry = rule.block(_carry(rule, run.state), *_of_block(rule, run), **run.wanted(rule.block))
    return _output(rule, run.call, read, given), _state(rule, carry)


def chunked(rule: Rule, q, k, v, given: dict[str, Any]) -> tuple[Array, Any]:
    """Blocks of tokens, one after the other."""
    run = begin(rule, q, k, v, given)
    arrays = {gate.name for gate in rule.gates} | {option.name for option in rule.options if option.arrays}
    wanted = run.wanted(rule.block)
    shared = {name: x for name, x in wanted.items() if name in arrays}
    options = {name: x for name, x in wanted.items() if name not in arrays}
    size = rule.longest_chunk(given["chunk_size"], **wanted) if rule.longest_chunk else given["chunk_size"]
    carry, of_block = _carry(rule, run.state), _of_block(rule, run)
    read, carry = over_chunks(rule.block, carry, of_block, size, shared=shared, **options)
    return _output(rule, run.call, read, given), _state(rule, carry)


def errors(rule: Rule, q, k, v, given: dict[str, Any]) -> Dual:
    """The block unrolled."""
    run = begin(rule, q, k, v, given)
    return rule.unroll(_carry(rule, run.state), *_of_block(rule, run), **run.wanted(rule.unroll))


def step(rule: Rule, state, q, k, v, given: dict[str, Any]) -> tuple[Array, Any]:
    """One token from a state."""
    state, dtype = tokens.wide(state), v.dtype
    serving = at_minibatch(state, given["minibatch"]) if MINIBATCH in rule.options else None
    state = serving.state if serving else state
    state = rule.state.of(state) if rule.state.make else state
    q, k, v = (jnp.asarray(x, layer(state).dtype) for x in (q, k, v))
    gates = {gate.name: jnp.asarray(given[gate.name], k.dtype) for gate in rule.gates}
    of_token = [gates[gate.name] for gate in rule.gates if gate.per_token]
    shared = {gate.name: jnp.broadcast_to(gates[gate.name], k.shape) for gate in rule.gates if not gate.per_token}
    more = shared | _options(rule, given, v)
    if rule.features:
        q, k = (x[0] for x in rule.features(q[None], k[None], **_wanted(rule.features, more)))
    carry = (state, serving.start) if serving else state
    carry, seen = _update(rule, rule.write, more)(carry, k, v, *of_token)
    read = rule.read(seen, q, **_wanted(rule.read, more))
    o = _scaled(rule, rule.finish(read) if rule.finish else read, given).astype(dtype)
    return o, Serving(carry[0], serving.start, serving.count + 1) if serving else carry


def begin(rule: Rule, q, k, v, given: dict[str, Any]) -> Run:
    """Checks the arguments of a form of a sequence; the state, zero if none is given.

    Raises:
        ValueError: as `tokens.arguments` and `tokens.initial`; an option that its check refuses.
    """
    call = tokens.arguments(rule.gates, q, k, v, given, given["segment_ids"])
    if rule.features:
        q, k = rule.features(call.q, call.k, **_wanted(rule.features, given))
        call = call._replace(q=call.blank(q), k=call.blank(k))
    state = tokens.initial(rule.state, given["initial_state"], call)
    call = call.beside(*jax.tree.leaves(state))
    shared = {gate.name: call.gates[gate.name] for gate in rule.gates if not gate.per_token}
    own = tuple(call.gates[gate.name] for gate in rule.gates if gate.per_token)
    return Run(call, state, own, shared | _options(rule, given, call.v))


def _options(rule: Rule, given: dict[str, Any], v: Array) -> dict[str, Any]:
    return {option.name: option.check(given[option.name], v) for option in rule.options}


def _wanted(function: Callable, more: dict[str, Any]) -> dict[str, Any]:
    return {name: more[name] for name in keywords_of(function) if name in more}


def _scaled(rule: Rule, o: Array, given: dict[str, Any]) -> Array:
    return o if rule.quotient else given["scale"] * o


def _output(rule: Rule, call: Call, read: Array, given: dict[str, Any]) -> Array:
    """The outputs of what the queries read."""
    if rule.finish:  # padding has read nothing, which would be divided by nothing
        read = rule.finish(read if call.padding is None else jnp.where(call.padding[:, None], 1, read))
    return call.finish(_scaled(rule, read, given))


def _carry(rule: Rule, state) -> Any:
    """What tokens hand on: the state, and with minibatches the layer at the start of the one in progress."""
    return (state, layer(state)) if MINIBATCH in rule.options else state


def _state(rule: Rule, carry) -> Any:
    return carry[0] if MINIBATCH in rule.options else carry


def _of_block(rule: Rule, run: Run) -> tuple:
    """The arguments of a block after its state."""
    marks = [
        begins(run.more["minibatch"], run.call) if mark == "begins" else tokens.MARKS[mark](run.call)
        for mark in rule.marks
    ]
    return (run.call.q, run.call.k, run.call.v, *run.gates, *marks)


def _update(rule: Rule, write: Callable, more: dict[str, Any]) -> Callable:
    """(carry, k_t, v_t, *gates) -> (carry, the state that the query reads)."""
    options = _wanted(write, more)
    of_seen = _wanted(rule.seen, more) if rule.seen else {}

    def update(carry, k, v, *gates):
        if MINIBATCH in rule.options:
            state, start = carry
            new = write(state, start, k, v, *gates, **options)
            return (new, start), new
        new = write(carry, k, v, *gates, **options)
        return new, rule.seen(carry, new, k, v, *gates, **of_seen) if rule.seen else new

    return update


def _by_token(rule: Rule, write: Callable, read: Callable, run: Run, given: dict[str, Any]) -> tuple[Array, Any]:
    update, of_tokens = _update(rule, write, run.more), (run.call.k, run.call.v, *run.gates)

    def begin_or_go_on(carry, begins, *token):
        state, start = carry
        return update((state, jnp.where(begins, layer(state), start)), *token)

    if MINIBATCH in rule.options:
        of_tokens = (begins(run.more["minibatch"], run.call), *of_tokens)
    each = begin_or_go_on if MINIBATCH in rule.options else update
    reads, carry = over_tokens(each, partial(read, **run.wanted(read)), _carry(rule, run.state), run.call, of_tokens)
    return _output(rule, run.call, reads, given), _state(rule, carry)
