"""Timing in turns: every round runs each program once, so that all see the same machine."""

import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np


class Times(NamedTuple):
    """Milliseconds of one program over the rounds."""

    best: float
    median: float
    rounds: int


def in_turns(
    programs: Mapping[str, Callable], *, seconds: float, least: int = 3, most: int = 200, done: Callable | None = None
) -> dict[str, Times]:
    """Runs each program once a round until a time is used up.

    Args:
        programs: name -> what runs to the end once.
        seconds: to spend on all rounds; compilation and a warm-up round come before.
        least, most: rounds.
        done: called before each program of the warm-up round, with its name.

    Two warm-up rounds: the first compiles, and allocators give fresh memory to the first large results.
    """
    for turn in range(2):
        for name, program in programs.items():
            if done is not None and turn == 0:
                done(name)
            program()
    times: dict[str, list[float]] = {name: [] for name in programs}
    started = time.perf_counter()
    for turn in range(most):
        if turn >= least and time.perf_counter() - started > seconds:
            break
        for name, program in programs.items():
            before = time.perf_counter()
            program()
            times[name].append(1e3 * (time.perf_counter() - before))
    return {name: Times(min(x), float(np.median(x)), len(x)) for name, x in times.items()}


def matmul(size: int = 1024) -> tuple[Callable, int]:
    """The machine's own float32 matrix product in JAX, and its flops."""
    import jax
    import jax.numpy as jnp

    a = jnp.asarray(np.random.default_rng(0).standard_normal((size, size), np.float32))
    run = jax.jit(lambda a: jnp.matmul(a, a, precision=jax.lax.Precision.HIGHEST))
    return lambda: jax.block_until_ready(run(a)), 2 * size**3
