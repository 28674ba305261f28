"""Update rules as loops over tokens, written from their recurrences: the oracles of the tests of the rules.

The same loop runs in numpy's float64 for values and in `jax.numpy` under x64 for gradients. Beside each loop stands
what it takes to call the rule's forms: which arguments it has, of which shapes, and how to draw them.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dualform.laws.checks import output_shapes, pullback
from dualform.prove import Input, identical
from dualform.rules import gla, linear_attn, mesa, momentum, normalized, rwkv6, titans, ttt

AXES = {"step": "T", "momentum": "T", "bonus": "K", "log decay": "T", "log decays": "T K", "direction": "T K",
        "ridge": "K", "number": ""}  # fmt: skip
"""Kinds of arguments beside q, k, v, and their axes."""


@dataclass(frozen=True)
class Variant:
    """A rule with its options. Its forms are functions of (q, k, v, gates, state)."""

    name: str
    module: ModuleType
    token: Callable
    gates: dict[str, str]  # name -> kind
    state: tuple[str, ...] = ("V K",)
    make_state: Callable = lambda S: S  # from free arrays of these axes
    options: dict[str, Any] = field(default_factory=dict)
    norm: bool = False
    integers: bool = True  # on integers no form rounds
    provable: bool = True
    reads_first: bool = False  # the state before the token, and its decay
    V: int = 2
    K: int = 3

    def having(self, **options) -> "Variant":
        """With other options, of those that the rule has."""
        return replace(self, options={**self.options, **{n: x for n, x in options.items() if n in self.options}})

    def call(self, form, q, k, v, gates, state, **more):
        """A form from a state as the rule returns it."""
        return getattr(self.module, form)(q, k, v, initial_state=state, **gates, **self.options, **more)

    def program(self, form, **more) -> Callable:
        """A form from a state made of free arrays."""
        return lambda q, k, v, gates, state: self.call(form, q, k, v, gates, self.make_state(*state), **more)

    def inputs(self, T: int, resets=()) -> tuple:
        """What an identity quantifies over; log decays are -inf at the tokens `resets` (in channel 1)."""

        def symbol(kind, shape):
            if not kind.startswith("log"):
                return Input(shape)
            mask = np.zeros(shape, bool)
            mask[(list(resets), 1) if len(shape) == 2 else list(resets)] = True
            return Input(shape, "log", mask)

        return self._build(T, symbol)

    def draw(self, T: int, seed: int, *, integers: bool = False) -> tuple:
        """Arguments as float32 numpy arrays."""
        rng = np.random.default_rng(seed)
        number = _integer if integers else _real
        return self._build(T, lambda kind, shape: np.asarray(number(rng, kind, shape), np.float32))

    def per_token(self, name: str) -> bool:
        """Whether an argument beside q, k, v has one entry a token."""
        return "T" in AXES.get(self.gates.get(name, ""), "")

    def take(self, index, q, k, v, gates) -> tuple:
        """The arguments at one token, or at some."""
        gates = {name: x[index] if self.per_token(name) else x for name, x in gates.items()}
        return q[index], k[index], v[index], gates

    def _build(self, T, make):
        size = {"T": T, "V": self.V, "K": self.K}

        def array(kind, axes):
            return make(kind, tuple(size[a] for a in axes.split()))

        gates = {name: array(kind, AXES[kind]) for name, kind in self.gates.items()}
        if self.norm:
            gates["norm"] = ttt.LayerNorm(array("value", "V"), array("value", "V"), array("ridge", ""))
        tokens = array("key", "T K"), array("key", "T K"), array("value", "T V")
        return *tokens, gates, tuple(array("value", axes) for axes in self.state)

    def loop(self, q, k, v, gates, state, ids=None, xp=np):
        """The recurrence, token by token; `ids` are segment ids. Returns (o, final state)."""
        state, start, last, count, outputs = self.make_state(*state), None, None, 0, []
        for t in range(len(q)):
            segment = 0 if ids is None else ids[t]
            if segment == -1:
                outputs.append(xp.zeros(self.V))
                continue
            if last is not None and segment != last:
                state, count = jax.tree.map(xp.zeros_like, state), 0
            if count % self.options.get("minibatch", 1) == 0:
                start = jax.tree.leaves(state)[0]
            *token, at = self.take(t, q, k, v, gates)
            state, o = self.token(xp, state, start, *token, at, self.options)
            outputs.append(at.get("scale", 1.0) * o)
            last, count = segment, count + 1
        return (xp.stack(outputs) if outputs else xp.zeros((0, self.V))), state


def _real(rng, kind, shape):
    if kind in ("step", "momentum"):
        return rng.uniform(0, 1, shape)
    if kind == "ridge":
        return rng.uniform(0.5, 2.0, shape)
    return -rng.exponential(size=shape) if kind.startswith("log") else rng.standard_normal(shape)


def _integer(rng, kind, shape):
    """Small integers, and keys with at most one entry: with step sizes 0 and 1 no squared loss grows."""
    if kind in ("key", "direction"):
        return np.eye(shape[1])[rng.integers(0, shape[1], shape[0])] * rng.integers(-1, 2, (shape[0], 1))
    if kind.startswith("log"):
        return rng.choice([0.0, 0.0, -np.inf], shape)
    return rng.integers(0, 2, shape) if kind in ("step", "momentum") else rng.integers(-3, 4, shape)


# One token of each rule: (state, state at the minibatch's start, q, k, v, what else) -> (state, o) --------------------


def hebbian(xp, S, start, q, k, v, at, options):
    S = S + xp.outer(v, k)
    return S, S @ q


def normalised(xp, state, start, q, k, v, at, options):
    def phi(x):
        return xp.where(x >= 0, x + 1, xp.exp(xp.minimum(x, 0)))

    S, z = state.S + xp.outer(v, phi(k)), state.z + phi(k)
    return normalized.State(S, z), S @ phi(q) / (z @ phi(q))


def gated(xp, S, start, q, k, v, at, options):
    S = S * xp.exp(at["g"])[None, :] + xp.outer(v, k)
    return S, S @ q


def finch(xp, S, start, q, k, v, at, options):
    """Read, with the bonus for the token itself, then decay and write."""
    o = S @ q + v * (k @ (at["u"] * q))
    return S @ xp.diag(xp.exp(at["g"])) + xp.outer(v, k), o


def trained(xp, S, start, q, k, v, at, options):
    y = start @ k
    if "norm" not in at:
        S = S + at["beta"] * xp.outer(v - y, k)
        return S, S @ q
    weight, bias, eps = at["norm"]
    V, mean = len(y), xp.sum(y) / len(y)
    spread = xp.sqrt(xp.sum((y - mean) ** 2) / V + eps)
    hat = (y - mean) / spread
    jacobian = weight[:, None] * (xp.eye(V) - 1 / V - xp.outer(hat, hat) / V) / spread
    S = S - at["beta"] * xp.outer(jacobian.T @ (weight * hat + bias - v), k)
    return S, S @ q


def heavy_ball(xp, state, start, q, k, v, at, options):
    e = at["beta"] * (v if options["rule"] == "linear_attn" else v - state.S @ k)
    Z = at["mu"] * state.Z + xp.outer(e, k)
    S = state.S + Z
    return momentum.State(S, Z), S @ q


def titan(xp, state, start, q, k, v, at, options):
    Z = at["mu"] * state.Z + at["beta"] * xp.outer(v - start @ k, k)
    S = xp.exp(at["g"]) * state.S + Z
    return momentum.State(S, Z), S @ q


def ridge(xp, state, start, q, k, v, at, options):
    G = xp.exp(at["g"]) * state.G + at["beta"] * xp.outer(v, k)
    H = xp.exp(at["g"]) * state.H + at["beta"] * xp.outer(k, k)
    return mesa.State(G, H), G @ xp.linalg.solve(H + xp.diag(at["lam"]), q)


SCALE, STEP = {"scale": "number"}, {"beta": "step", "scale": "number"}
PAIR = {"state": ("V K", "V K"), "make_state": momentum.State}
MESA = {
    "gates": {"beta": "step", "g": "log decay", "lam": "ridge"},
    "state": ("V K", "K K"),
    "make_state": lambda G, B: mesa.State(G, B @ B.T),  # a sum of outer products
    "integers": False,
}
NORMALISED = {
    "gates": {},
    "state": ("V K", "K"),
    "make_state": lambda S, z: normalized.State(S, z * z),  # a sum of positive features
    "integers": False,
}

VARIANTS = {
    variant.name: variant
    for variant in (
        Variant("linear_attn", linear_attn, hebbian, SCALE),
        Variant("normalized", normalized, normalised, provable=False, **NORMALISED),
        Variant("gla", gla, gated, {"g": "log decays", **SCALE}),
        Variant("rwkv6", rwkv6, finch, {"g": "log decays", "u": "bonus", **SCALE}, reads_first=True),
        Variant("ttt", ttt, trained, STEP, options={"minibatch": 2}),
        Variant("ttt-norm", ttt, trained, STEP, options={"minibatch": 2}, norm=True, integers=False, V=4, K=2),
        Variant("momentum", momentum, heavy_ball, {"mu": "momentum", **STEP}, options={"rule": "linear_attn"}, **PAIR),
        Variant("momentum-delta", momentum, heavy_ball, {"mu": "momentum", **STEP}, options={"rule": "delta"}, **PAIR),
        Variant(
            "titans", titans, titan, {"mu": "momentum", "g": "log decay", **STEP}, options={"minibatch": 2}, **PAIR
        ),
        Variant("mesa", mesa, ridge, options={"solver": "exact"}, K=2, V=3, **MESA),
    )
}

UNKNOWN_FEATURES = Variant("normalized-any", normalized, None, options={"feature_map": jnp.tanh}, **NORMALISED)
CONJUGATE = Variant("mesa-cg", mesa, ridge, options={"solver": "cg", "iterations": 2}, K=2, V=3, **MESA)
PROVABLE = {x.name: x for x in (*VARIANTS.values(), UNKNOWN_FEATURES, CONJUGATE) if x.provable}

T, CHUNK = 7, 3
FORMS = {"descent": {}, "recurrent": {}, "parallel": {}, "chunked": {"chunk_size": CHUNK}}

every = pytest.mark.parametrize("rule", VARIANTS.values(), ids=VARIANTS.keys())
provable = pytest.mark.parametrize("rule", PROVABLE.values(), ids=PROVABLE.keys())


# Ways to compare ------------------------------------------------------------------------------------------------------


def wide(tree):
    """In float64."""
    return jax.tree.map(lambda x: np.asarray(x, np.float64), tree)


def run(f, arguments):
    """Compiled, but not for speed."""
    return jax.jit(f).lower(*arguments).compile(compiler_options={"xla_backend_optimization_level": 0})(*arguments)


def proved(f, g, inputs, gradient=False):
    """f = g, or the same of their vector-Jacobian products."""
    if gradient:
        f, g, inputs = pullback(f), pullback(g), (inputs, output_shapes(f, inputs))
    certificate = identical(f, g, *inputs)
    assert certificate.equal is True, str(certificate)


def within(computed, expected, bound, margin=0.1):
    """Element by element; and the bound says something: it is below a tenth of the largest element (or margin None)."""
    for c, e, b in zip(*map(jax.tree.leaves, (computed, expected, bound)), strict=True):
        c = np.asarray(c, np.float64)
        assert np.isfinite(c).all() and np.isfinite(b).all()
        assert (np.abs(c - e) <= b).all(), f"off by {np.max(np.abs(c - e))}, bound {np.max(b)}"
        assert margin is None or np.max(b, initial=0) <= margin * np.max(np.abs(e), initial=0)
