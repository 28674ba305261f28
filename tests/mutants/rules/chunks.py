"""Wrong chunked forms and wrong packing: what crosses the edge of a chunk, of a minibatch, of a sequence.

The chunked forms here call `parallel` on one chunk after the other, in a Python loop: what goes wrong is what is handed
from one to the next. Chunks of `ttt` and `titans` hold two minibatches, where it is not the minibatch that goes wrong.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from dualform.laws.rules.family import PLACES, SEGMENTS, chosen, scattered
from dualform.laws.rules.laws import CHUNK, T, per_token, run
from dualform.rules import RULES
from dualform.testing.mutant import Mutant
from mutants.precision import rounded
from mutants.rules.arguments import first_field, nothing, stopped
from mutants.rules.common import packed, plain, plant, whole

MINIBATCHED = ("ttt", "titans")
EDGES = tuple(range(0, T, CHUNK))


def sliced(rule, part, q, k, v, gates):
    gates = {name: x[part] if per_token(RULES[rule], name) else x for name, x in gates.items()}
    return q[part], k[part], v[part], gates


def chunks(rule, carry=lambda S, first, gates: S, part=slice, last=lambda o, S, before: (o, S), size=None) -> Callable:
    """A chunked form.

    Args:
        rule: its name.
        carry: (state, initial state, gates of the chunk) -> what the next chunk begins with.
        part: (start, stop) -> the tokens of a chunk.
        last: (o, state, state before) -> those of a last chunk that is not full.
        size: of chunks; CHUNK, or 4 where minibatches of 2 must fit in.
    """
    size = size or (4 if rule in MINIBATCHED else CHUNK)

    def form(q, k, v, gates, first, scale):
        S, out = first, []
        for start in range(0, T, size):
            stop = min(start + size, T)
            tokens, before = sliced(rule, part(start, stop), q, k, v, gates), S
            o, S = run(RULES[rule], "parallel")(*tokens, S, scale)
            o = o[len(o) - (stop - start) :]
            if stop - start < size:
                o, S = last(o, S, before)
            elif stop < T:
                S = carry(S, first, tokens[3])
            out.append(o)
        return jnp.concatenate(out), S

    return form


def each_field(change):
    return lambda S, first, gates: jax.tree.map(change, S)


def again(S, first, gates):
    """The decay of the chunk's last token once more."""
    g = gates["g"][-1]
    return first_field(lambda x: x * jnp.broadcast_to(jnp.exp(g), x.shape))(S)


def without_last_decay(S, first, gates):
    g = gates["g"][-1]
    return first_field(lambda x: x * jnp.broadcast_to(jnp.exp(-g), x.shape))(S)


def second_lost(S, first, gates):
    """The second field begins anew: velocity, normaliser, or the sum of keys with keys."""
    return S._replace(**{S._fields[1]: jnp.zeros_like(S[1])})


NOT_CARRIED = ("state not carried", "every chunk begins from the initial state", dict(
    carry=lambda S, first, gates: first))  # fmt: skip
STALE_EDGE = ("boundary twice", "a chunk's last token also in the next", dict(
    part=lambda start, stop: slice(max(start - 1, 0), stop)))  # fmt: skip
REMAINDER = ("remainder dropped", "tokens after the last whole chunk are not written", dict(
    last=lambda o, S, before: (o, before)))  # fmt: skip
NO_OUTPUT = ("remainder not read", "zeros after the last whole chunk", dict(
    last=lambda o, S, before: (0 * o, S)))  # fmt: skip
FROM_ZERO = ("chunks from zero", "only the first chunk sees a state", dict(carry=lambda S, first, gates: nothing(S)))
TRUNCATED = ("state held constant", "no gradient from one chunk to the one before", dict(carry=each_field(stopped)))
NARROW = ("bfloat16 between chunks", "states handed on in bfloat16", dict(
    carry=each_field(lambda x: rounded(x, jnp.bfloat16))))  # fmt: skip
DECAY_AGAIN = ("decay twice at the edge", "the last token's decay applied again", dict(carry=again))
DECAY_MISSING = ("decay missing at the edge", "that of the last token is undone", dict(carry=without_last_decay))
SECOND = ("half a state", "of the state's two fields only the layer is carried", dict(carry=second_lost))
RESTARTED = ("minibatches restart", "every chunk begins a minibatch", dict(size=CHUNK))


def mixed(first_chunk):
    """Other queries, keys and values behind the end: a last chunk padded with what happens to lie there."""

    def program(rule):
        def form(q, k, v, gates, S, scale):
            pad = lambda x: jnp.concatenate([x, first_chunk(x)])  # noqa: E731
            longer = {name: pad(x) if per_token(RULES[rule], name) else x for name, x in gates.items()}
            o, S = run(RULES[rule], "parallel")(pad(q), pad(k), pad(v), longer, S, scale)
            return o[:T], S

        return form

    return program


NARROW_RULES = ("retention", "delta", "ttt", "linear_attn", "gla", "mesa")
PADDED_BY = {"last token": lambda x: x[-1:], "first tokens": lambda x: x[: -T % CHUNK]}

CHUNKED = (
    *(plant(rule, "chunked", name, why, chunks(rule, **parts)) for (name, why, parts), rules in (
        (NOT_CARRIED, tuple(RULES)),
        (STALE_EDGE, ("linear_attn", "normalized", "delta", "momentum")),
        (REMAINDER, ("gla", "gated_delta", "ttt", "rwkv7")),
        (NO_OUTPUT, ("delta", "momentum")),
        (FROM_ZERO, ("rwkv7", "longhorn")),
        (TRUNCATED, ("linear_attn", "delta")),
        (DECAY_AGAIN, ("gla", "gated_delta", "titans")), (DECAY_MISSING, ("retention", "kda")),
        (SECOND, ("normalized", "momentum", "titans")), (RESTARTED, MINIBATCHED),
    ) for rule in rules),
    *(whole(rule, "chunked", *NARROW[:2], chunks(rule, **NARROW[2])) for rule in NARROW_RULES),
    *(plant(rule, "chunked", f"padded with its {name}", "the last chunk's padding is written", mixed(cut)(rule))
      for rule, (name, cut) in zip(("retention", "mesa", "delta", "gla"), [*PADDED_BY.items()] * 2, strict=True)),
)  # fmt: skip


# Packed sequences: functions of the segment ids

IDS = np.array(SEGMENTS)


def labelled(rule, form, ids) -> Callable:
    """The form with other segment ids, and with the padding's output still zero."""
    more = {"chunk_size": CHUNK} if form == "chunked" else {}

    def program(*arguments):
        o, S = run(RULES[rule], form, segment_ids=np.array(ids), **more)(*arguments)
        return jnp.where((IDS == -1)[:, None], 0, o), S

    return program


LABELS = (
    ("reset one token late", "a sequence's first token still sees the one before", (0, 0, 1, -1, 1, 1, 2)),
    ("reset one token early", "a sequence's last token belongs to the next", (0, 1, 1, -1, 2, 2, 2)),
    ("never reset", "one sequence", (0, 0, 0, -1, 0, 0, 0)),
    ("padding written", "padding is a token like others", (0, 1, 1, 1, 1, 2, 2)),
    ("padding ends a sequence", "what follows padding starts anew", (0, 1, 1, -1, 2, 3, 3)),
)


def unmasked(rule, form):
    """Padding that is read: its output is not zero."""
    more = {"chunk_size": CHUNK} if form == "chunked" else {}

    def program(q, k, v, gates, S, scale):
        o, last = run(RULES[rule], form, segment_ids=IDS, **more)(q, k, v, gates, S, scale)
        return jnp.where((IDS == -1)[:, None], v, o), last

    return program


def one_by_one(rule, form, begin) -> Callable:
    """Sequence by sequence, each from `begin(number, initial state, final state of the one before)`."""

    def program(q, k, v, gates, S, scale):
        parts, last = {}, S
        for number, place in enumerate(PLACES):
            tokens = chosen(RULES[rule], place, q, k, v, gates)
            parts[place], last = run(RULES[rule], form)(*tokens, begin(number, S, last), scale)
        return scattered(parts), last

    return program


def every_segment(number, S, last):
    return S


def half_reset(number, S, last):
    """Of a state's two fields only the layer begins anew."""
    return S if number == 0 else first_field(jnp.zeros_like)(last)


def first_state(rule, form):
    """The final state of the first sequence."""

    def program(q, k, v, gates, S, scale):
        o, _ = run(RULES[rule], form, segment_ids=IDS)(q, k, v, gates, S, scale)
        return o, run(RULES[rule], form)(*chosen(RULES[rule], PLACES[0], q, k, v, gates), S, scale)[1]

    return program


def counted_through(rule, form):
    """Minibatches counted from the start of the call, not of each sequence: one sequence after the other, cut there."""

    def program(q, k, v, gates, S, scale):
        parts, count = {}, 0
        for number, place in enumerate(PLACES):
            S = S if number == 0 else nothing(S)
            for part in (place[: count % 2], place[count % 2 :]):
                if part:
                    tokens = chosen(RULES[rule], part, q, k, v, gates)
                    parts[part], S = run(RULES[rule], form)(*tokens, S, scale)
            count += len(place)
        return scattered(parts), S

    return program


TURNS = ("chunked", "parallel", "recurrent", "descent")
PACKED = (
    *(packed(rule, form, name, why, labelled(rule, form, ids))
      for i, rule in enumerate(RULES)
      for j, (name, why, ids) in enumerate(LABELS) if (i + j) % 5 == 0 or (i + 3 * j) % 10 == 7
      for form in (TURNS[(i + j) % 4],)),
    *(packed(rule, form, "initial state for all", "every sequence begins from it",
             one_by_one(rule, form, every_segment))
      for rule, form in (("delta", "recurrent"), ("normalized", "parallel"))),
    *(packed(rule, form, "first final state", "that of the first sequence", first_state(rule, form))
      for rule, form in (("linear_attn", "chunked"), ("kda", "parallel"))),
    *(packed(rule, form, "padding read", "the output at padding is not zero", unmasked(rule, form))
      for rule, form in (("gla", "recurrent"), ("gated_delta", "chunked"))),
    *(packed(rule, "chunked", "minibatches counted through", "from the call's start", counted_through(rule, "chunked"))
      for rule in MINIBATCHED),
    *(packed(rule, "recurrent", "half a reset", "the layer alone begins anew", one_by_one(
            rule, "recurrent", half_reset))
      for rule in ("momentum", "normalized")),
)  # fmt: skip

MUTANTS: tuple[Mutant, ...] = (*CHUNKED, *PACKED)

HARMLESS = (
    *(plant(rule, "chunked", "Python loop", "parallel calls, chunk by chunk", chunks(rule), plain(rule))
      for rule in ("normalized", "ttt", "momentum")),
    *(packed(rule, "parallel", "other ids", "that mean the same", labelled(rule, "parallel", (2, 4, 4, -1, 4, 9, 9)))
      for rule in ("delta",)),
)  # fmt: skip
