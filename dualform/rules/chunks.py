r"""A rule folded over chunks of tokens, with a backward pass that keeps one state per chunk.

A rule's block maps a state and some tokens to outputs and the next state. A sequence is that block, folded:

$$ (o_{[j]}, S_{j+1}) = \mathrm{block}(S_j, \mathrm{tokens}_{[j]}), \qquad j = 0, \dots, T / C - 1.       \tag{U4} $$

The forward pass keeps the states $S_j$ and nothing else. The backward pass takes the chunks from the last to the first
and differentiates one block at a time, from its kept state:

$$ (\bar S_j, \overline{\mathrm{tokens}}_{[j]})
   = \mathrm{vjp}\bigl(\mathrm{block}, (S_j, \mathrm{tokens}_{[j]})\bigr)(\bar o_{[j]}, \bar S_{j+1}).     \tag{U5} $$

Chunks are cut out of the sequences where they lie, and results are written where they belong. Handing them to
`lax.scan` as [T / C, C, ...] means the same, but under `jax.vmap` over heads every sequence is transposed for it first:
on a CPU that took as long as the products (4,096 tokens, 8 heads of width 64). Forward-mode derivatives of the fold are
not defined; those of the other forms are.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dualform import _check


class Fold(NamedTuple):
    """What is the same for every chunk and is not an array."""

    block: Callable
    options: tuple[tuple[str, Any], ...]
    size: int

    def __call__(self, state, tokens, shared):
        return self.block(state, *tokens, **shared, **dict(self.options))


def over_chunks(block: Callable, state, tokens: tuple, chunk_size: int, *, shared: dict | None = None, **options):
    """Folds a block over chunks of tokens (U4).

    Args:
        block: `block(state, *tokens, **shared, **options) -> (outputs, state)`; a function of a module, so that a call
            outside `jit` finds the program that an earlier one compiled.
        state: before the first token.
        tokens: arrays [T, ...] or None. Where T is 0 the block gets one token of zeros, which must be harmless: k = v =
            0, beta = 0 and g = 0 leave a state alone.
        chunk_size: tokens a chunk, at least 1. Where it does not divide T, the last chunk is shorter, a program of its
            own; padding would copy the sequences, which takes as long as the products.
        shared: arrays that all chunks use, by name.
        options: anything hashable that is not an array, by name.

    Returns:
        (outputs [T, ...], final state).

    Cost: T / chunk blocks in sequence; the backward pass keeps T / chunk states, and computes each block once more.
    """
    fold = Fold(block, tuple(sorted(options.items())), _check.count("chunk_size", chunk_size, least=1))
    T = len(jax.tree.leaves(tokens)[0])
    if T == 0:
        tokens = jax.tree.map(lambda x: jnp.zeros((1, *x.shape[1:]), x.dtype), tokens)
    if T <= fold.size:
        o, state = fold(state, tokens, shared or {})
        return jax.tree.map(lambda x: x[:T], o), state
    smooth, rest = (jax.tree.map(lambda x, keep=keep: x if _is_float(x) == keep else None, tokens) for keep in (1, 0))
    return _folded(fold, state, smooth, rest, shared or {})


@partial(jax.jit, static_argnums=0)
@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _folded(fold, state, smooth, rest, shared):
    """(U4); `smooth` are the tokens that have derivatives, `rest` those that have none."""
    o, state, _ = _forward(fold, state, smooth, rest, shared, keep=False)
    return o, state


def _keep(fold, state, smooth, rest, shared):
    o, state, states = _forward(fold, state, smooth, rest, shared, keep=True)
    return (o, state), (states, smooth, rest, shared)


def _back(fold, kept, cotangents):
    """(U5), from the last chunk to the first. Cotangents of tokens are written over arrays that were read (`_buffers`).

    Each turn of the loop (`chunk`) differentiates one block from its kept state, writes the cotangents of its tokens,
    and only then reads what the next turn needs (`arrived`). Reading after writing lets the compiler update the buffers
    in place: were a buffer read and written in the same turn, the compiler would copy it.
    """
    states, smooth, rest, shared = kept
    d_o, d_state = cotangents
    count, last = divmod(_length(smooth), fold.size)
    (read, outline), (tokens, tree) = jax.tree.flatten((d_o, states)), jax.tree.flatten(smooth)
    buffers, numbers = _buffers(read, tokens, even=not last)

    def arrived(buffers, i, size):
        d_o, states = jax.tree.unflatten(outline, buffers[: len(read)])
        return _cut(d_o, i, fold.size, size), jax.tree.map(lambda x: x[i], states)

    def chunk(i, size, carry):
        d_state, buffers, (d_o, state), d_shared = carry

        def block(state, smooth, shared):
            return fold(state, _merged(smooth, _cut(rest, i, fold.size, size)), shared)

        _, pull = jax.vjp(block, state, _cut(smooth, i, fold.size, size), shared)
        d_state, d_smooth, more = pull((d_o, d_state))
        for number, x in zip(numbers, jax.tree.leaves(d_smooth), strict=True):
            buffer = buffers[number]
            x = _put(buffer, x.reshape(-1, *buffer.shape[1:]), i, fold.size * len(buffer) // _length(smooth))
            buffers = [*buffers[:number], x, *buffers[number + 1 :]]
        return (
            d_state,
            buffers,
            arrived(buffers, jnp.maximum(i - 1, 0), fold.size),
            jax.tree.map(jnp.add, d_shared, more),
        )

    end = jnp.asarray(count if last else count - 1)  # not multiplied here: programs of all lengths read alike (F10)
    first = arrived(buffers, end, last or fold.size)
    carry = d_state, buffers, first, jax.tree.map(jnp.zeros_like, shared)
    carry = _alike(carry, (states, smooth, shared, d_o, d_state))
    if last:
        carry = chunk(count, last, carry)
    carry = jax.lax.fori_loop(0, count, lambda j, carry: chunk(count - 1 - j, fold.size, carry), carry)
    d_state, buffers, _, d_shared = carry
    d_smooth = [buffers[number].reshape(x.shape) for number, x in zip(numbers, tokens, strict=True)]
    return d_state, jax.tree.unflatten(tree, d_smooth), None, d_shared


def _buffers(read, tokens, *, even: bool):
    """The buffers of the backward pass, and for each array of tokens the number of the buffer for its cotangent.

    The first buffers are the arrays that are read once: the output's cotangent and the kept states. A cotangent of the
    same size and dtype is written over one of these, which saves finding and clearing memory. Any other cotangent gets
    a new buffer. New buffers are filled with different numbers: the compiler merges equal arrays and then copies them.

    Args:
        read: the arrays that are read once.
        tokens: the arrays whose cotangents are written.
        even: there is no shorter last chunk, so that states may take as much memory as tokens.
    """
    buffers, numbers = list(read), []
    for x in tokens:
        same = [y.dtype == x.dtype and (y.shape == x.shape or (even and y.size == x.size)) for y in read]
        free = [n for n, fits in enumerate(same) if fits and n not in numbers]
        numbers.append(free[0] if free else len(buffers))
        buffers += [] if free else [jnp.full_like(x, len(buffers))]
    return buffers, numbers


_folded.__wrapped__.defvjp(_keep, _back)


def _forward(fold, state, smooth, rest, shared, *, keep: bool):
    """Outputs, final state, and the states before each chunk if they are kept."""
    tokens = _merged(smooth, rest)
    T = _length(smooth)
    count, last = divmod(T, fold.size)
    o, after = jax.eval_shape(lambda *x: fold(*x), state, _cut(tokens, 0, fold.size, fold.size), shared)
    state = jax.tree.map(lambda x, y: x.astype(y.dtype), state, after)
    o = jax.tree.map(lambda x: jnp.zeros((T, *x.shape[1:]), x.dtype), o)
    states = jax.tree.map(lambda x: jnp.zeros((count + bool(last) if keep else 0, *x.shape), x.dtype), state)

    def chunk(i, size, carry):
        o, state, states = carry
        if keep:
            states = jax.tree.map(lambda all, one: all.at[i].set(one), states, state)
        mine, state = fold(state, _cut(tokens, i, fold.size, size), shared)
        return _put(o, mine, i, fold.size), state, states

    carry = _alike((o, state, states), (state, tokens, shared))
    carry = jax.lax.fori_loop(0, count, lambda i, carry: chunk(i, fold.size, carry), carry)
    return chunk(count, last, carry) if last else carry


def _cut(tokens, i, chunk_size: int, size: int):
    """The tokens of chunk i, of which the last may have fewer than the others."""
    return jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, i * chunk_size, size), tokens)


def _put(whole, part, i, chunk_size: int):
    return jax.tree.map(lambda x, y: jax.lax.dynamic_update_slice_in_dim(x, y, i * chunk_size, 0), whole, part)


def _length(tokens) -> int:
    return len(jax.tree.leaves(tokens)[0])


def _merged(smooth, rest):
    """Tokens as they were before they were told apart."""
    return jax.tree.map(lambda x, y: y if x is None else x, smooth, rest, is_leaf=lambda x: x is None)


def _is_float(x) -> bool:
    return jnp.issubdtype(x.dtype, jnp.inexact)


def _alike(carry, others):
    """The start of a loop, marked as different on every device where what meets it inside is (`jax.shard_map`)."""
    axes = frozenset().union(*map(_varying, jax.tree.leaves(others)))

    def mark(x):
        new = tuple(axes - _varying(x))
        return jax.lax.pcast(x, new, to="varying") if new else x

    return jax.tree.map(mark, carry)


def _varying(x) -> frozenset:
    """The axes of a mesh along which a value differs, inside `jax.shard_map`."""
    kind = jax.typeof(x)
    return kind.vma if hasattr(kind, "vma") else kind.manual_axis_type.varying  # the name before JAX 0.10, and since
