"""What is timed: a function of one library for one rule."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

import numpy as np

from dualform.bench.problems import BOTH, Problem


@dataclass(frozen=True)
class Subject:
    """A function of a library.

    Args:
        name: "library: form".
        package: as it is installed; None for dualform itself.
        module: that must be importable.
        framework: "jax" or "torch".
        rules: those that it computes.
        load: `load(rule) -> f(**inputs) -> o`, imports on demand.
        layout: "BTHD" or "BHTD", that of its arrays.
        differentiable: whether its backward pass is timed too.
    """

    name: str
    package: str | None
    module: str
    framework: str
    rules: tuple[str, ...]
    load: Callable[[str], Callable]
    layout: str = "BTHD"
    differentiable: bool = True

    @property
    def version(self) -> str | None:
        """As installed, or None."""
        try:
            return version(self.package or "dualform") if find_spec(self.module.split(".")[0]) else None
        except PackageNotFoundError:
            return None

    def arrays(self, inputs: dict[str, np.ndarray]) -> dict[str, Any]:
        """The inputs in the layout and framework of the subject."""
        if self.layout == "BHTD":
            inputs = {name: np.ascontiguousarray(x.swapaxes(1, 2)) for name, x in inputs.items()}
        if self.framework == "torch":
            import torch

            return {name: torch.from_numpy(x) for name, x in inputs.items()}
        import jax.numpy as jnp

        return {name: jnp.asarray(x) for name, x in inputs.items()}

    def output(self, problem: Problem, inputs: dict[str, np.ndarray]) -> np.ndarray:
        """What it computes, as [B, T, H, V]."""
        o = np.asarray(self.load(problem.rule)(**self.arrays(inputs)))
        return o.swapaxes(1, 2) if self.layout == "BHTD" else o

    def program(self, problem: Problem, inputs: dict[str, np.ndarray]) -> Callable[[], Any]:
        """Runs once, to the end, what is timed."""
        f, arrays = self.load(problem.rule), self.arrays(inputs)
        make = _torch_program if self.framework == "torch" else _jax_program
        return make(f, arrays, problem.direction == BOTH)

    def one_after_another(self, problem: Problem, many: list[dict[str, np.ndarray]]) -> Callable[[], Any]:
        """Runs each of many inputs of one size, to the end, and keeps all results till its next run. JAX only."""
        import jax

        run = jax.jit(jax_function(self.load(problem.rule), problem.direction == BOTH))
        arrays = [self.arrays(inputs) for inputs in many]
        results: list[Any] = [None] * len(arrays)

        def each():
            for i, x in enumerate(arrays):
                results[i] = jax.block_until_ready(run(x))
            return results

        return each


def jax_function(f: Callable, backward: bool) -> Callable:
    """What is timed of a JAX function: f itself, or the gradient of half the sum of squares of what it returns."""
    import jax
    import jax.numpy as jnp

    return jax.grad(lambda arrays: 0.5 * jnp.sum(f(**arrays) ** 2)) if backward else lambda arrays: f(**arrays)


def _jax_program(f, arrays, backward: bool):
    import jax

    run = jax.jit(jax_function(f, backward))
    return lambda: jax.block_until_ready(run(arrays))


def _torch_program(f, arrays, backward: bool):
    import torch

    def forward():
        with torch.no_grad():
            return f(**arrays)

    def both():
        leaves = {name: x.detach().requires_grad_() for name, x in arrays.items()}
        loss = 0.5 * (f(**leaves) ** 2).sum()
        return torch.autograd.grad(loss, list(leaves.values()))

    return both if backward else forward
