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

from importlib import import_module

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

RULES: dict[str, Rule] = {name: import_module(f"dualform.rules.{name}").RULE for name in NAMES}
"""All rules by name."""
