r"""What every update rule shares: arguments, packed sequences, chunks, the record that describes a rule.

A rule reads tokens $(q_t, k_t, v_t)$ and keeps a weight matrix $S_t \in R^{V \times K}$ that it trains while it reads,
one step of an inner optimiser per token, and that it reads after writing:

$$ S_t = \mathrm{update}(S_{t-1}, k_t, v_t, \ldots), \qquad o_t = \mathrm{scale} \cdot S_t q_t.           \tag{F1} $$

Unrolled, the output is linear attention over the error signals that the updates wrote, plus what is left of the initial
state (F2); `errors` returns these signals and weights, and `dualform.linear.linear_attn` reads them.

$$ o_t = \mathrm{scale} \Bigl( \sum_{i \le t} e_i\, (x_i \cdot \mathrm{diag}(w_{ti})\, q_t)
       + \text{initial}_t \Bigr)                                                                          \tag{F2} $$

**Packed sequences.** `segment_ids` [T] tell where one sequence ends and the next begins; the state is reset there,
which is a log decay of minus infinity. Tokens with id -1 are padding: their inputs are replaced by zeros, so that they
neither write, nor decay, nor receive a gradient, and their output is zero.
"""

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from dualform import _check
from dualform._numerics import dot

Tokens = Float[Array, "T K"]
Values = Float[Array, "T V"]
State = Float[Array, "V K"]


class Dual(NamedTuple):
    """A rule unrolled (F2): error signals E [N, V], weights [T, N] or [T, N, K], inputs X [N, K], queries Q [T, K]."""

    E: Array
    weights: Array
    X: Array
    Q: Array


@dataclass(frozen=True)
class Gate:
    """An argument of a rule beside q, k, v: its axes ("T" or "T K"), its domain, and whether it is a logarithm."""

    name: str
    axes: str
    domain: str
    log: bool = False


@dataclass(frozen=True)
class Rule:
    """An update rule as data; docs, laws and the checking kit are generated from it.

    Args:
        name: its key in `RULES`.
        module: where its forms are.
        loss: the inner loss, in TeX.
        optimiser: what takes the step on it.
        recurrence: in TeX.
        gates: arguments beside q, k, v.
        state: "S", or the names of a pair such as "S, Z".
        stability: when the state cannot blow up.
        paper: author, year, title, arXiv id.
        aliases: names in other libraries.
        chunk: tokens a chunk of the form "auto" on CPU, the fastest of 8, 16, 32 and 64 (`dualform bench`).
    """

    name: str
    module: ModuleType
    loss: str
    optimiser: str
    recurrence: str
    gates: tuple[Gate, ...] = ()
    state: str = "S"
    stability: str = "always"
    paper: str = ""
    aliases: tuple[str, ...] = ()
    chunk: int = 32

    def form(self, name: str) -> Callable:
        """One of "descent", "recurrent", "parallel", "chunked", "errors", "step"."""
        return getattr(self.module, name)

    def __call__(self, q, k, v, *, form: str = "auto", **arguments):
        """Runs the rule in a form.

        "auto" takes the fastest that was measured: on CPU chunks of `chunk` tokens, elsewhere the chunks of the chunked
        form, and one block, without a loop, where the sequence is no longer than that. A `chunk_size` is respected.
        """
        forms = ("descent", "recurrent", "parallel", "chunked")
        if form == "auto":
            form, arguments = self._fastest((*jnp.shape(k), 0)[0], arguments)
        if form not in forms:
            raise ValueError(f"form: got {form!r}, expected 'auto' or one of {forms}")
        return self.form(form)(q, k, v, **arguments)

    def _fastest(self, T: int, arguments: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        if "chunk_size" in arguments or jax.default_backend() != "cpu":
            return "chunked", arguments
        return ("parallel", arguments) if T <= self.chunk else ("chunked", {**arguments, "chunk_size": self.chunk})


class Call(NamedTuple):
    """Checked and widened arguments of a rule."""

    q: Array
    k: Array
    v: Array
    gates: dict[str, Array]
    starts: Array | None  # [T] the first token of every segment but the first
    padding: Array | None  # [T]
    dtype: Any  # of the output

    def beside(self, *states: Array) -> "Call":
        """The same call, at least as wide as the states that it meets."""
        wide = jnp.result_type(self.v, *states)
        q, k, v, gates = jax.tree.map(lambda x: x.astype(wide), (self.q, self.k, self.v, self.gates))
        return self._replace(q=q, k=k, v=v, gates=gates)

    def finish(self, o: Array) -> Array:
        """The output in the dtype of the input, zero at padding."""
        if self.padding is not None:
            o = jnp.where(self.padding[:, None], 0, o)
        return o.astype(self.dtype)


def arguments(q, k, v, gates: dict[str, tuple[Any, str]], segment_ids=None) -> Call:
    """Checks and widens the arguments that all forms share.

    Args:
        q, k: [T, K]. v: [T, V]. One dtype.
        gates: name -> (value, axes): "T" or "T K" per token, "" for a number, "T |" for either.
        segment_ids: int [T] or None.

    Raises:
        ValueError: shapes, dtypes, concrete values that are not finite (or +inf, NaN in a log decay g).
    """
    sizes: _check.Sizes = {}
    k = _check.array("k", k, "T K", sizes)
    q, v = _check.array("q", q, "T K", sizes), _check.array("v", v, "T V", sizes)
    dtype = _check.same_dtype(q=q, k=k, v=v)
    checked = {}
    for name, (value, axes) in gates.items():
        if name == "g":
            checked[name] = _log_decay(name, value, axes, sizes)
        else:
            checked[name] = _check.array(name, value, axes, sizes) if axes else jnp.asarray(_check.scalar(name, value))
        if checked[name].ndim:
            _check.no_narrower(dtype, **{name: checked[name]})
    wide = _check.compute_dtype(q, *checked.values())
    checked = {name: x.astype(wide) for name, x in checked.items()}
    q, k, v = (x.astype(wide) for x in (q, k, v))
    if segment_ids is None:
        return Call(q, k, v, checked, None, None, dtype)
    starts, padding = boundaries(segment_ids, len(k))
    blank = lambda x: jnp.where(padding.reshape(-1, *(1,) * (x.ndim - 1)), 0, x) if x.ndim else x  # noqa: E731
    return Call(blank(q), blank(k), blank(v), {n: blank(x) for n, x in checked.items()}, starts, padding, dtype)


def _log_decay(name: str, value, axes: str, sizes) -> Array:
    g = _check.array(name, value, axes, sizes, finite=False)
    if _check.is_concrete(g) and not np.all(np.asarray(g, np.float64) <= 0):
        raise ValueError(
            f"{name}: got {np.max(np.asarray(g, np.float64)):g}, expected log decays of at most 0 "
            "(-inf is a hard reset); pass logarithms, e.g. jax.nn.log_sigmoid(x)"
        )
    return g


def boundaries(segment_ids: Int[Array, " T"], T: int) -> tuple[Array, Array]:
    """(first token of every segment but the first, padding), both [T].

    Raises:
        ValueError: not integers [T], or concrete ids that decrease.
    """
    ids = jnp.asarray(segment_ids)
    if not jnp.issubdtype(ids.dtype, jnp.integer) or ids.shape != (T,):
        raise ValueError(f"segment_ids: got {ids.dtype}{list(ids.shape)}, expected integers [{T}], one per token")
    padding = ids == -1
    seen = jax.lax.cummax(ids) if T else ids
    before = jnp.concatenate([jnp.full((1,), -1, ids.dtype), seen[:-1]]) if T else ids
    if _check.is_concrete(ids):
        known = np.asarray(ids)
        real = known[known != -1]
        if (known < -1).any() or (np.diff(real) < 0).any():
            raise ValueError(
                "segment_ids: got ids that decrease, expected non-decreasing ids and -1 for padding; sort them"
            )
    return ~padding & (ids > before) & (before != -1), padding


def initial(state, shape: tuple[int, ...], dtype, name: str = "initial_state") -> Array:
    """A state of the given shape, zero where none is given."""
    if state is None:
        return jnp.zeros(shape, dtype)
    x = _check.float_array(name, state)
    if x.shape != shape:
        hint = "; it looks transposed: states here are [V, K]" if x.shape == shape[::-1] else ""
        raise ValueError(f"{name}: got shape {x.shape}, expected {shape}{hint}")
    _check.require_finite(name, x)
    return x.astype(jnp.promote_types(dtype, x.dtype))


def initial_pair(state, kind: type, shapes: tuple, dtype):
    """The two arrays of a state such as (S, Z), in one dtype: zero where none is given.

    Args:
        state: a pair, or None.
        kind: the NamedTuple to return.
        shapes: of its two fields.
        dtype: the least to return.
    """
    if state is None:
        state = (None, None)
    elif not isinstance(state, tuple) or len(state) != 2:
        got = f"shape {state.shape}" if hasattr(state, "shape") else f"a {type(state).__name__}"
        raise ValueError(
            f"initial_state: got {got}, expected a pair ({', '.join(kind._fields)}); pass what another call returned"
        )
    fields = zip(kind._fields, state, shapes, strict=True)
    arrays = [initial(x, shape, dtype, f"initial_state.{name}") for name, x, shape in fields]
    return kind(*(x.astype(jnp.result_type(*arrays)) for x in arrays))


def wide(state):
    """A serving state in float32 or wider: 16 bits would lose small writes beside a large state, token after token."""

    def widen(x):
        x = jnp.asarray(x)
        return x.astype(_check.compute_dtype(x)) if jnp.issubdtype(x.dtype, jnp.floating) else x

    return jax.tree.map(widen, state)


def resets(g: Array | None, starts: Array | None, like: Array) -> Array | None:
    """Log decays with -inf where a segment starts; None where nothing decays."""
    if starts is None:
        return g
    g = jnp.zeros(len(like), like.dtype) if g is None else g
    return jnp.where(starts.reshape(-1, *(1,) * (g.ndim - 1)), -jnp.inf, g)


SHORT = 128
"""Tokens of the longest block whose decays are summed by products and masks, T^3 and T^2 additions, which are faster
than cumulative sums while they are few."""


def spans(g: Array) -> Array:
    r"""The log decay between two tokens of g [T] or [T, K], $\sum_{i < s \le t} g_s$ at [t, i], and -inf where i > t.

    Each span is summed as that span. Differences of prefix sums would cancel where decays are strong (float32 is off by
    2e-4 at alternating -100 and -0.01) and give NaN after a reset.
    """
    T = len(g)
    s, i = jnp.arange(T)[:, None], jnp.arange(T)[None, :]
    if g.ndim == 1 and T <= SHORT:  # a product with zeros and ones sums all spans; a reset, no number of it, cuts them
        reset = g == -jnp.inf
        part = jnp.sum(_up_to(reset), axis=1)
        total = dot(_up_to(jnp.where(reset, 0, g)), (s > i).astype(g.dtype))
        return jnp.where((s >= i) & (part[:, None] == part[None, :]), total, -jnp.inf)
    later = (s > i).reshape(T, T, *(1,) * (g.ndim - 1))
    total = jnp.cumsum(jnp.where(later, g[:, None], 0), axis=0)
    return jnp.where((s >= i).reshape(later.shape), total, -jnp.inf)


def from_start(g: Array) -> Array:
    r"""The log decay from the initial state up to and with each token, $\sum_{s \le t} g_s$."""
    return jnp.sum(_up_to(g), axis=1) if g.ndim == 1 and len(g) <= SHORT else jnp.cumsum(g, axis=0)


def _up_to(g: Float[Array, " T"]) -> Float[Array, "T T"]:
    """g_s at [t, s] for s up to t, else 0."""
    t = jnp.arange(len(g))
    return jnp.where(t[:, None] >= t[None, :], g[None, :], 0)


def to_end(g: Array) -> Array:
    r"""The log decay after each token up to the end, $\sum_{s > t} g_s$, summed as it stands."""
    if g.ndim == 1 and len(g) <= SHORT:
        t = jnp.arange(len(g))
        return jnp.sum(jnp.where(t[:, None] < t[None, :], g[None, :], 0), axis=1)
    return jnp.cumsum(jnp.concatenate([g[1:], jnp.zeros_like(g[:1])])[::-1], axis=0)[::-1]


def causal(scores: Float[Array, "T T"]) -> Float[Array, "T T"]:
    """Scores of a token with itself and earlier ones."""
    return jnp.tril(scores)


def over_tokens(update: Callable, read: Callable, state, call: Call, tokens: tuple):
    """Folds `update(state, *token) -> state` over tokens, with `read(state, q_t)` after each.

    Returns (o [T, V], final state). The first token of a segment finds a state of zeros; padding leaves it alone.
    """

    def token(state, x):
        start, padding, q_t, rest = x
        if start is not None:
            state = jax.tree.map(lambda S: jnp.where(start, 0, S), state)
        new = update(state, *rest)
        if padding is not None:
            new = jax.tree.map(lambda after, before: jnp.where(padding, before, after), new, state)
        return new, read(new, q_t)

    state, o = jax.lax.scan(token, state, (call.starts, call.padding, call.q, tokens))
    return call.finish(o), state
