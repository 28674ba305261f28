"""How much memory a call takes at its peak, beside what it is given and what it returns."""

from pathlib import Path

import jax
import jax.numpy as jnp

from dualform.bench.problems import BOTH, Problem
from dualform.rules import RULES


def peak(problem: Problem) -> dict[str, float]:
    """Peak memory of one call on one head, after compilation, by the kernel's own count (Linux).

    Returns:
        bytes: above what the process held before its inputs were made; given, returned: bytes of inputs and results;
        ratio: bytes / (given + returned).
    """
    rule, (T, K, V) = RULES[problem.rule], (problem.T, problem.K, problem.V)
    shapes = {"q": (T, K), "k": (T, K), "v": (T, V)} | {gate.name: gate.shape(T=T, K=K) for gate in rule.gates}
    like = {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in shapes.items()}

    def forward(arrays):
        return rule(**arrays)[0]

    def loss(arrays):
        return 0.5 * jnp.sum(forward(arrays) ** 2)

    run = jax.jit(jax.grad(loss) if problem.direction == BOTH else forward).lower(like).compile()
    before = _kib("VmRSS")
    decays = {gate.name for gate in rule.gates if gate.log}
    arrays = {name: jnp.full(shape, -0.01 if name in decays else 0.01, jnp.float32) for name, shape in shapes.items()}
    jax.block_until_ready(arrays)
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak of the compiler
    results = jax.block_until_ready(run(arrays))
    used = 1024 * (_kib("VmHWM") - before)
    given, returned = (sum(x.nbytes for x in jax.tree.leaves(tree)) for tree in (arrays, results))
    return {"bytes": used, "given": given, "returned": returned, "ratio": used / (given + returned)}


def _kib(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field + ":"))
