r"""Chapter 4. The family of update rules: linear layers that are trained while they read.

Each is a module with the same forms, and a `Rule` in `RULES` that says which inner loss it descends, with which
optimiser, and where it is stable:

>>> from dualform.rules import RULES
>>> import jax.numpy as jnp
>>> q = k = v = jnp.eye(2)
>>> o, state = RULES["delta"](q, k, v, beta=jnp.ones(2))
>>> print(state)
[[1. 0.]
 [0. 1.]]

What a record holds stands in `dualform.rules.record`, how the forms are made from it in `dualform.rules.forms`.

**Conventions.** q and k are [T, K], v is [T, V], all of one float dtype; gates have that dtype or a wider one; what is
computed in 16 bits is computed in float32, and so are float64 arrays unless JAX is told to keep them
(`jax.config.update("jax_enable_x64", True)`). States are [V, K]. Refused are other shapes and dtypes, and, where values
can be seen (not under `jit`, `grad` and `vmap`), those that are not finite, segment ids that decrease, and gates that
are mistaken for another scale: log decays above 0, weights of `longhorn` and `mesa` below 0. The rest of a gate's
domain says where the rule is stable. Its equations, and all its laws, hold for every number: a negative beta is legal.
"""

from difflib import get_close_matches
from importlib import import_module
from types import ModuleType

from dualform.rules.heads import over_heads as over_heads
from dualform.rules.packing import final_states as final_states
from dualform.rules.record import Dual as Dual
from dualform.rules.record import Gate as Gate
from dualform.rules.record import Rule as Rule

NAMES = (
    "linear_attn", "normalized", "retention", "gla", "delta", "gated_delta", "kda", "rwkv7", "ttt", "momentum",
    "titans", "longhorn", "mesa", "rwkv6",
)  # fmt: skip
"""The modules of the rules, from the simplest to the most elaborate."""


class _Rules(dict[str, Rule]):
    """The rules by name; another name is answered with the nearest."""

    def __missing__(self, name):
        near = get_close_matches(str(name), self, 1, 0.5)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise KeyError(f"{name!r}, expected one of {', '.join(self)}{hint}")


class _Module(ModuleType):
    """The module of a rule, which is often called in place of the rule."""

    def __call__(self, *arguments, **keywords):
        name = self.__name__.rpartition(".")[2]
        raise TypeError(
            f"dualform.rules.{name} is a module; call RULES[{name!r}](q, k, v, ...), or one of its forms, such as "
            f"{name}.chunked(q, k, v, ...)"
        )


RULES: dict[str, Rule] = _Rules({name: import_module(f"dualform.rules.{name}").RULE for name in NAMES})
"""All rules by name."""

for _rule in RULES.values():
    _rule.module.__class__ = _Module
