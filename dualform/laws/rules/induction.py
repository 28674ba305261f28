r"""All forms of a rule agree at every length: by induction over chunks.

The laws of chapter 4 compare the forms at seven tokens. For every number of tokens, with chunks of C, three things are
needed. Let $f$ be the recurrence, $h$ the chunked form, $x$ the tokens with their gates, $S$ a state.

*One chunk.* From an arbitrary state, n tokens at once are n tokens one by one, for each n from 1 to C:

$$ h(x_{1..n}, S) = \mathrm{step}(x_n, \ldots\, \mathrm{step}(x_2, \mathrm{step}(x_1, S))),
   \qquad 1 \le n \le C.                                                                                 \tag{F9} $$

*A fold.* More tokens are the first chunk and then the rest, from the state that the chunk left; the last chunk may be
a partial one:

$$ h(x_{1..T}, S) = \bigl( o,\; h(x_{C+1..T}, S') \bigr), \quad (o, S') = h(x_{1..C}, S),
   \qquad T > C;                                                                                          \tag{F10} $$

and the same for $f$. *Induction.* Claim: $f = h$ for all T and S. It holds up to T = C by (F9), and for T = 0, where
both return S. If it holds for all lengths below T, then (F10) takes the same chunk off both sides, equal by (F9), and
what is left is shorter and starts from equal states, of which the claim holds because S was arbitrary.

The reverse mode goes the same way. A pullback with arbitrary cotangents on outputs and final state composes: that of T
tokens is the pullback of the rest, and then that of the chunk, with the cotangent of S' that the first one returned.

What is proved by exact arithmetic, and what is not. (F9) is proved, values and pullbacks, for each n up to C, from
symbolic states and tokens; so are, in values, all patterns of hard resets inside a chunk. (F10) is proved for two
chunks and for two chunks and a partial third: h in values and pullbacks, f in values. That it goes on so for more
chunks is a property of the program: both forms are loops whose body does not know how many turns there are. It is
checked on the traced programs, forward and backward: at 101 and at 103 chunks, with and without a partial last one,
they must be the same text but for the numbers of tokens and chunks (`the_same_loop`). The induction itself is the
argument above. It is about real numbers (the bounded stamp is what floating point adds), at the sizes K, V and C that
were proved. Chunks of which the minibatch is no divisor are left to the laws at seven tokens.
"""

import re
from collections.abc import Callable
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np

from dualform.laws.checks import output_shapes, pullback
from dualform.laws.law import PROVED, Case, Law
from dualform.laws.rules.family import part
from dualform.laws.rules.laws import CHUNK, MINIBATCH, K, V, by_step, gates, run, state
from dualform.prove import Input
from dualform.prove.errors import ProofError
from dualform.prove.programs import Signature
from dualform.rules import RULES, Rule

TURNS = (101, 103)
"""Numbers of chunks at which programs are compared as texts: nothing else in them has these sizes."""


def size(rule: Rule) -> int:
    """Tokens of a chunk: a multiple of the minibatch, so that every chunk begins with one."""
    return MINIBATCH if "minibatch" in rule.tried else CHUNK


def quantified(rule: Rule, steps: int, resets: np.ndarray | None = None) -> tuple:
    """Tokens, an arbitrary state, a scale; log decays are -inf at the tokens, or tokens and channels, in `resets`."""
    own = gates(rule, (), steps)
    if resets is not None:
        own["g"] = Input(own["g"].shape, "log", np.broadcast_to(resets, own["g"].shape))
    return (steps, K), (steps, K), (steps, V), own, state(rule), ()


def chunked(rule: Rule) -> Callable:
    return run(rule, "chunked", chunk_size=size(rule))


def one_by_one(rule: Rule, steps: int) -> Callable:
    """Calls of the recurrence on `steps` tokens at a time, each from the state that the one before left."""
    f = run(rule, "recurrent")

    def g(q, k, v, gates, S, scale):
        out = []
        for start in range(0, len(q), steps):
            here = slice(start, start + steps)
            o, S = f(q[here], k[here], v[here], part(rule, gates, start, start + steps), S, scale)
            out.append(o)
        return jnp.concatenate(out), S

    return g


def one_chunk(rule: Rule) -> tuple[Case, ...]:
    """(F9) for every n, and for all patterns of resets inside a chunk."""
    C = size(rule)
    forms = {"token by token": by_step(rule), "chunked": chunked(rule)}
    full = {**forms, "recurrent": run(rule, "recurrent")}
    cases = [
        Case(f"{rule.name}: {n} of {C} tokens", full if n == C else forms, quantified(rule, n), rules=(rule.name,))
        for n in range(C, 0, -1)
    ]
    if any(gate.log for gate in rule.gates):
        for resets in reset_patterns(rule):
            where = "".join(str(int(x)) for x in resets.ravel())
            name = f"{rule.name}: {C} tokens, resets {where}"
            cases.append(Case(name, forms, quantified(rule, C, resets), gradient=False, rules=(rule.name,)))
    return tuple(cases)


def reset_patterns(rule: Rule) -> list[np.ndarray]:
    """All that whole tokens can be; with a gate per channel also a diagonal and its complement."""
    C = size(rule)
    per_channel = gates(rule)["g"].shape[1:]
    shape = C, *(1,) * len(per_channel)
    tokens = [np.array([n >> t & 1 for t in range(C)], bool).reshape(shape) for n in range(1, 2**C)]
    return [*tokens, np.eye(C, K, dtype=bool), ~np.eye(C, K, dtype=bool)] if per_channel else tokens


def folds(rule: Rule) -> tuple[Case, ...]:
    """(F10) for two chunks, and for two and a partial third; as a loop, for more."""
    C = size(rule)
    f, h = (the_same_loop(rule, form) for form in (run(rule, "recurrent"), chunked(rule)))
    parts, own = one_by_one(rule, C), (rule.name,)
    two, more = quantified(rule, 2 * C), quantified(rule, 2 * C + 1)
    return (
        Case(f"{rule.name}: 2 chunks of {C}", {"chunk by chunk": parts, "chunked": h}, two, rules=own),
        Case(f"{rule.name}: 2 chunks of {C} and a token", {"chunk by chunk": parts, "chunked": h}, more, rules=own),
        Case(
            f"{rule.name}: the recurrence", {"chunk by chunk": parts, "recurrent": f}, more, gradient=False, rules=own
        ),
    )


def the_same_loop(rule: Rule, form: Callable) -> Callable:
    """The form; the first time that it is traced, its programs at more chunks are compared.

    Raises:
        ProofError: when called, if they are not one text, so that the law which is about to be proved fails.
    """

    @cache
    def check():
        C = size(rule)
        for rest in range(min(C, 2)):
            one, other = (texts(form, quantified(rule, n * C + rest), C) for n in TURNS)
            for way, a, b in zip(("forward", "backward"), one, other, strict=True):
                if a != b:
                    pairs = zip(a.split("\n"), b.split("\n"), strict=False)
                    lines = next(((x, y) for x, y in pairs if x != y), "one of them goes on")
                    raise ProofError(f"{rule.name}: {TURNS} chunks are not the same loop {way}: {lines}")

    def checked(*arguments):
        check()
        return form(*arguments)

    return checked


def texts(form: Callable, inputs: tuple, C: int) -> tuple[str, ...]:
    """The traced form and its pullback as texts, in which the numbers of tokens and of chunks have names."""
    T = inputs[0][0]
    chunks = T // C
    named = {chunks + more: f"chunks {more:+d}" for more in range(-2, 3)}
    named |= {chunks * C + more: f"tokens {more:+d}" for more in range(-1, C + 2)}
    with_cotangent = inputs, output_shapes(form, inputs)
    return tuple(text(f, x, named) for f, x in ((form, inputs), (pullback(form), with_cotangent)))


def text(f: Callable, inputs: tuple, named: dict[int, str]) -> str:
    """The jaxpr, its addresses left out and numbers replaced by names."""
    signature = Signature.of(inputs)
    shapes = [jax.ShapeDtypeStruct(x.shape, jnp.result_type(float)) for x in signature.leaves]
    program = str(jax.make_jaxpr(f)(*jax.tree.unflatten(signature.tree, shapes)))
    program = re.sub(r"0x[0-9a-f]+", "", program)
    return re.sub(r"\b\d+\b", lambda found: named.get(int(found[0]), found[0]), program)


def every(make: Callable[[Rule], tuple[Case, ...]]) -> tuple[Case, ...]:
    return tuple(case for rule in RULES.values() for case in make(rule))


DOMAIN = f"any state; K = {K}, V = {V}, chunks of {CHUNK} ({MINIBATCH} for ttt and titans, as their minibatches)"

LAWS = (
    Law("F9", "one chunk is its tokens, one by one, from any state", r"h(x_{1..n}, S) = \mathrm{step}^n(x_{1..n}, S)",
        every(one_chunk), (PROVED,), domain=DOMAIN),
    Law("F10", "more tokens are a chunk and then the rest: with (F9), by induction, all forms agree at every length",
        r"h(x_{1..T}, S) = (o, h(x_{C+1..T}, S'))", every(folds), (PROVED,), domain=DOMAIN),
)  # fmt: skip
