"""Random programs: a directed graph of operations with much fan-out, and shapes that are known to be dangerous."""

from dataclasses import replace

import numpy as np

from tests.fuzz.arrays import difference
from tests.fuzz.operations import OPERATIONS, SPECIAL
from tests.fuzz.pool import LARGEST, Pool
from tests.fuzz.programs import Program, Value

DTYPES = ("float32", "float32", "float32", "float32", "float32", "float32", "float32", "float64", "bfloat16", "float16")
SHAPES = ((3, 4), (2, 3), (4, 4), (2, 6), (8, 3), (8, 3), (4, 6), (4, 2), (1, 5), (5,), (8,), (2, 2, 3))
LARGE = ((8, 12), (16,), (32,), (4, 16), (16, 4))
"""Where a compiler begins to use vectors, and several of them at once."""
WEIGHTS = np.array([w for w, _ in OPERATIONS])
RULES = [rule for _, rule in OPERATIONS]


def program(rng: np.random.Generator, dtype: str | None = None) -> Program:
    """One random program of 4 to 14 operations, but for those that nothing reads."""
    dtype = dtype or str(rng.choice(DTYPES))
    pool = Pool(rng, dtype, extreme=float(rng.choice([0.0, 0.1, 0.4])))
    inputs = _inputs(rng, dtype)
    pool.largest = max(LARGEST, inputs[0].size)
    pool.values += inputs
    statements: list = []
    special = rng.random() < 0.5
    if special:
        _add(pool, statements, SPECIAL[rng.integers(len(SPECIAL))])
    first = statements[0].out if statements else None
    target = len(statements) + int(rng.integers(0, 3) if special else rng.integers(4, 13))
    for _ in range(60):
        if len(statements) >= target:
            break
        _add(pool, statements, RULES[rng.choice(len(RULES), p=WEIGHTS / WEIGHTS.sum())])
    if special or rng.random() < 0.3:
        for _ in range(4):
            chosen = first if rng.random() < 0.7 else statements[-1].out if statements else None
            if _add(pool, statements, lambda p, x=chosen: difference(p, x)):
                break
    if not statements:
        return program(rng, dtype)
    result = statements[-1].out
    made = Program(tuple(inputs), tuple(statements), result, dtype, "grad" if rng.random() < 0.12 else None)
    return _joined(pool, made).pruned()


def _add(pool: Pool, statements: list, rule) -> bool:
    made = rule(pool)
    if made is not None:
        statements.append(made)
    return made is not None


def _joined(pool: Pool, made: Program) -> Program:
    """The result plus the other values of its shape that nothing reads, so that few statements are wasted."""
    read = {x.name for s in made.statements for x in s.operands}
    idle = [
        s.out
        for s in made.statements
        if s.out.name not in read and s.out is not made.result and s.out.shape == made.result.shape
    ]
    statements, result = list(made.statements), made.result
    for x in idle[:2]:
        if x.dtype == result.dtype:
            joined = pool.add("add", pool.pick(["{0} + {1}", "{0} - {1}", "{0} * {1}"]), (result, x), result.shape)
            statements.append(joined)
            result = joined.out
    return replace(made, statements=tuple(statements), result=result)


def _inputs(rng, dtype: str) -> list[Value]:
    choices = LARGE if rng.random() < 0.08 else SHAPES
    shape = choices[rng.integers(len(choices))]
    shapes = [shape]
    if rng.random() < 0.6:
        shapes.append(shape if rng.random() < 0.6 else shape[1:] if len(shape) > 1 else shape)
    if rng.random() < 0.2:
        shapes.append((*shape[:-1], 1))
    return [Value(name, s, dtype) for name, s in zip("xyz", shapes, strict=False)]
