r"""A part of a sequence as one affine map of the state.

Given its gates, keys and values, every rule is affine in its state and treats the rows of the state alike: token t
takes each row r to $r A_t + b_t$, with a $b_t$ of its own for each. What is a row differs. Where a rule erases along a
key (`Rule.mixes`), channels mix and $A_t$ is [K, K], or [2K, 2K] for a layer and its velocity side by side. Where it
only decays, every channel has its own $A_t$, a number, or [2, 2] for layer and velocity. Both are b matrices [m, m]
that act on states [b, R, m]:

    channels apart   one layer S                        [K, V, 1]
                     a layer and what else it sums,
                       (S, z) or (G, H), stacked        [K, V + 1, 1], [K, V + K, 1]
                     layer and velocity (S, Z)          [K, V, 2]
    channels mix     one layer S                        [1, V, K]
                     (S, Z), side by side               [1, V, 2K]

Arrays of a state whose axes begin with V are written by values (`StateKind.axes`): each is a layer. Other arrays are
rows below it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dualform._numerics import dot
from dualform.rules.record import Rule, StateKind

Rows = Float[Array, "b R m"]
Map = Float[Array, "b m+R m"]
"""A [b, m, m], and below it B [b, R, m]: what a part makes of the unit rows and of a state of zeros (Y3)."""


@dataclass(frozen=True)
class View:
    """How a rule's states are rows.

    Args:
        kind: what the rule keeps.
        like: a state, or the shapes of one.
        mixes: whether channels mix.
    """

    kind: StateKind
    like: Any
    mixes: bool

    @classmethod
    def of(cls, rule: Rule, like, /, **options) -> "View":
        """The view of a rule's states, under its options."""
        return cls(rule.state, like, rule.mixes(**options))

    def rows(self, state) -> Rows:
        """A state as rows."""
        layers, below = self._split(state)
        if below is not None:
            layers = (jnp.concatenate([layers[0], jnp.atleast_2d(below)]),)
        if self.mixes:
            return jnp.concatenate(layers, axis=1)[None]
        return jnp.stack(layers, axis=-1).swapaxes(0, 1)

    def state(self, rows: Rows | Map):
        """Rows as a state. A `Map` becomes the state of a layer that has m more outputs, above its own."""
        layers, below = self._split(self.like)
        parts = jnp.split(rows[0], len(layers), axis=1) if self.mixes else [x.T for x in jnp.moveaxis(rows, -1, 0)]
        if below is not None:
            height = below.size // layers[0].shape[1]
            parts = [parts[0][:-height], parts[0][-height:].reshape(below.shape)]
        return self.kind.of(parts)

    def _split(self, state) -> tuple[tuple, Any]:
        """(the layers; what else the state holds, None if nothing)."""
        arrays = list(zip(self.kind.axes, jax.tree.leaves(state), strict=True))
        below = [x for axes, x in arrays if axes[0] != "V"]
        return tuple(x for axes, x in arrays if axes[0] == "V"), below[0] if below else None

    def unit(self) -> Map:
        """The map of no tokens: A = I, B = 0."""
        zero = jnp.zeros_like(self.rows(jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), self.like)))
        b, _, m = zero.shape
        return jnp.concatenate([jnp.broadcast_to(jnp.eye(m, dtype=zero.dtype), (b, m, m)), zero], axis=1)


def constant(rows: Rows) -> Map:
    """The map that makes the same of every state: A = 0."""
    b, _, m = rows.shape
    return jnp.concatenate([jnp.zeros((b, m, m), rows.dtype), rows], axis=1)


def through(x: Rows | Map, part: Map) -> Rows | Map:
    """What a part makes of a state (Y1), or of the map of the tokens before it (Y2)."""
    m = part.shape[2]
    A, B = part[:, :m], part[:, m:]
    return dot(x, A) + jnp.pad(B, [(0, 0), (x.shape[1] - B.shape[1], 0), (0, 0)])


def after(form: Callable, view: View, start: Map, v: Float[Array, "T V"]) -> Map:
    """The map of all tokens up to the end of a part from that of the tokens before it; from `View.unit` its own (Y3).

    `form(v=..., initial_state=...)` is run once: the rows of A are outputs of the layer like any others, whose values
    are zero.
    """
    values = jnp.concatenate([jnp.zeros((len(v), start.shape[2]), v.dtype), v], axis=1)
    return view.rows(form(v=values, initial_state=view.state(start))[1])
