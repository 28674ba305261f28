r"""The record of an update rule: all that is true of one rule stands here, and everything else reads it.

A rule reads tokens $(q_t, k_t, v_t)$ and keeps a weight matrix $S_t \in R^{V \times K}$ that it trains while it reads,
one step of an inner optimiser per token, and that it reads after writing:

$$ S_t = \mathrm{update}(S_{t-1}, k_t, v_t, \ldots), \qquad o_t = \mathrm{scale} \cdot S_t q_t.           \tag{F1} $$

Unrolled, the output is linear attention over the error signals that the updates wrote, plus what is left of the initial
state (F2); `errors` returns these signals and weights, and `dualform.linear.linear_attn` reads them.

$$ o_t = \mathrm{scale} \Bigl( \sum_{i \le t} e_i\, (x_i \cdot \mathrm{diag}(w_{ti})\, q_t)
       + \text{initial}_t \Bigr)                                                                          \tag{F2} $$

A rule's file holds its equations as functions, and a `Rule` that names them. `dualform.rules.forms` makes the forms.
"""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from dualform._numerics import dot

REQUIRED: Any = object()
"""The default of an option that has none."""

FORMS = ("descent", "recurrent", "parallel", "chunked")
"""The forms that map a sequence to outputs and a final state."""


class Dual(NamedTuple):
    """A rule unrolled (F2): error signals E [N, V], weights [T, N] or [T, N, K], inputs X [N, K], queries Q [T, K]."""

    E: Array
    weights: Array
    X: Array
    Q: Array


@dataclass(frozen=True)
class Gate:
    """An argument of a rule beside q, k, v that is an array.

    Args:
        name: of the argument.
        axes: "T", "T K" or "K"; an empty alternative stands for one number, as in "T |" or "| K".
        domain: the values that it may have, in words.
        meaning: what it does, for the docstrings.
        log: whether it is the logarithm of a decay.
        least: the least value that is accepted, None for any.
        above: `least` itself is refused.
        at_start: the value that replaces it at the first token of a packed sequence, None for its own.
        draw: (rng, shape, keys [T, K]) -> an array from the inside of the domain.
        whole: (token numbers [T], keys [T, K]) -> an array at which nothing rounds, for keys with one entry.
    """

    name: str
    axes: str
    domain: str
    meaning: str
    draw: Callable
    whole: Callable
    log: bool = False
    least: float | None = None
    above: bool = False
    at_start: float | None = None

    @property
    def per_token(self) -> bool:
        """Whether it has an entry for every token."""
        return "T" in self.axes

    @property
    def layouts(self) -> tuple[tuple[str, ...], ...]:
        """The alternatives of `axes`: ("T",) and (), for example. The first is the one that laws and tests take."""
        return tuple(tuple(layout.split()) for layout in self.axes.split("|"))

    @property
    def full(self) -> tuple[str, ...]:
        """The alternative with the most axes, for which one number stands."""
        return max(self.layouts, key=len)

    def shape(self, **sizes: int) -> tuple[int, ...]:
        """Of the first alternative, at these sizes of the axes."""
        return tuple(sizes[axis] for axis in self.layouts[0])

    @property
    def shape_text(self) -> str:
        """The alternatives in words: "[T] or a number"."""
        return " or ".join(f"[{', '.join(layout)}]" if layout else "a number" for layout in self.layouts)


@dataclass(frozen=True)
class Option:
    """An argument of a rule that is no array of tokens: it chooses what the rule does.

    Args:
        name: of the argument.
        meaning: for the docstrings.
        default: `REQUIRED` if there is none.
        check: (value, v) -> the value to use; raises ValueError. v is [T, V] or [V], in the dtype of the computation.
        arrays: whether the value holds arrays.
        tried: the value that laws and tests take where they need one that is a rational function, or any.
    """

    name: str
    meaning: str
    default: Any = REQUIRED
    check: Callable = lambda value, v: value
    arrays: bool = False
    tried: Any = REQUIRED


def one_of(name: str, choices: tuple[str, ...]) -> Callable:
    """The check of an option that is one of some names."""

    def check(value, v):
        if value not in choices:
            raise ValueError(f"{name}: got {value!r}, expected one of {choices}")
        return value

    return check


@dataclass(frozen=True)
class StateKind:
    """What a rule keeps: one array, or a NamedTuple of two.

    Args:
        axes: of each array. Those that begin with V are written by values, row by row.
        make: the NamedTuple; None for one array.
    """

    axes: tuple[str, ...] = ("V K",)
    make: Any = None

    @property
    def names(self) -> tuple[str, ...]:
        return self.make._fields if self.make else ("S",)

    def __str__(self) -> str:
        return ", ".join(self.names)

    def of(self, arrays) -> Any:
        """The state that consists of these arrays."""
        return self.make(*arrays) if self.make else arrays[0]

    def build(self, make: Callable[[tuple[str, ...]], Any]) -> Any:
        """The state whose arrays are `make(axes)`."""
        return self.of([make(tuple(axes.split())) for axes in self.axes])


MATRIX = StateKind()


def as_rule(rule) -> "Rule":
    """A rule, given by its record or by its name in `RULES`.

    Raises:
        ValueError: neither, or another name.
    """
    from dualform.rules import RULES

    if isinstance(rule, Rule):
        return rule
    try:
        return RULES[rule]
    except (KeyError, TypeError) as reason:
        text = reason.args[0] if isinstance(reason, KeyError) else f"a {type(rule).__name__}"
        raise ValueError(f"rule: got {text}; pass a name or a record of dualform.rules.RULES") from None


def layer(state) -> Array:
    """The weight matrix of a state, its first array."""
    return jax.tree.leaves(state)[0]


def read_layer(state, q):
    """The output of the layer for a query."""
    return dot(layer(state), q)


@dataclass(frozen=True, eq=False)
class Rule:
    """An update rule as data. Forms, laws, the sharded programs, docs and the checking kit are made from it.

    The functions are those of one token or of a block of tokens, from a state, without `scale`. Each takes the gates in
    their order, and of the options and of the gates that are not per token those that its signature names. A rule with
    minibatches gets the layer at the minibatch's start after the state.

    Args:
        name: its key in `RULES` and the name of its module.
        write: (state, k_t, v_t, *gates) -> state.
        descend: the same as it is meant, by `jax.grad` of the inner loss.
        block: (state, q, k, v, *gates, *marks) -> (what the queries read [T, V], state).
        unroll: the same arguments -> `Dual`.
        read: (state, q_t) -> what the query reads.
        finish: what was read -> outputs, where that differs.
        descend_read: `read` as it is meant, where that differs.
        seen: (state before, state after, k_t, v_t, *gates) -> the state that is read; None is the one after.
        features: (q, k) -> what the state sees of queries and keys, where that differs.
        gates: arrays beside q, k, v. options: what else it takes. state: what it keeps.
        marks: what `block` gets of the packing: names in `dualform.rules.tokens.MARKS`.
        loss: the inner loss, in TeX. optimiser: what takes the step on it. recurrence: in TeX.
        update, label: the equations of one token and of the unrolled rule.
        stability: when the state cannot blow up. paper: author, year, title, arXiv id.
        aliases: names in other libraries.
        quotient: the output is divided by what the state has read: there is no `scale`, outputs are not linear in the
            state, and integers round.
        rotates: keys and queries may be rotated together.
        erases: whether a token mixes the channels of the state; a function of the options where they decide.
        chunk_size: default of the form `chunked`.
        longest_chunk: (chunk_size, options) -> the size that is used, where not every size will do.
        chunk: tokens a chunk of the form "auto" on CPU, the fastest of 8, 16, 32 and 64 (`dualform bench`).
        example: a doctest for `recurrent`.
        costs: form -> its cost, where it is not that of most rules.
    """

    name: str
    write: Callable
    descend: Callable
    block: Callable
    unroll: Callable
    loss: str
    optimiser: str
    recurrence: str
    update: str
    label: str
    example: str
    paper: str
    read: Callable = read_layer
    descend_read: Callable | None = None
    finish: Callable | None = None
    seen: Callable | None = None
    features: Callable | None = None
    gates: tuple[Gate, ...] = ()
    options: tuple[Option, ...] = ()
    state: StateKind = MATRIX
    marks: tuple[str, ...] = ()
    stability: str = "always"
    aliases: tuple[str, ...] = ()
    quotient: bool = False
    rotates: bool = True
    erases: bool | Callable[..., bool] = False
    chunk_size: int = 64
    longest_chunk: Callable | None = None
    chunk: int = 32
    costs: Mapping[str, str] = field(default_factory=dict)

    @property
    def module(self) -> ModuleType:
        """Where its forms are."""
        return importlib.import_module(f"dualform.rules.{self.name}")

    @property
    def tried(self) -> dict[str, Any]:
        """The options that laws and tests take."""
        return {option.name: option.tried for option in self.options if option.tried is not REQUIRED}

    def gate(self, name: str) -> Gate | None:
        """The gate of this name, None if there is none."""
        return next((gate for gate in self.gates if gate.name == name), None)

    def mixes(self, **options) -> bool:
        """Whether a token mixes the channels of the state, under these options."""
        return self.erases(**options) if callable(self.erases) else self.erases

    def form(self, name: str) -> Callable:
        """One of "descent", "recurrent", "parallel", "chunked", "errors", "step"."""
        return getattr(self.module, name)

    def __call__(self, q, k, v, *, form: str = "auto", **arguments):
        """Runs the rule in a form.

        "auto" takes the fastest that was measured: on CPU chunks of `chunk` tokens, elsewhere the chunks of the chunked
        form, and one block, without a loop, where the sequence is no longer than that. A `chunk_size` is respected.
        """
        if form == "auto":
            form, arguments = self._fastest((*jnp.shape(k), 0)[0], arguments)
        if form not in FORMS:
            raise ValueError(f"form: got {form!r}, expected 'auto' or one of {FORMS}")
        return self.form(form)(q, k, v, **arguments)

    def _fastest(self, T: int, arguments: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        if "chunk_size" in arguments or jax.default_backend() != "cpu":
            return "chunked", arguments
        return ("parallel", arguments) if T <= self.chunk else ("chunked", {**arguments, "chunk_size": self.chunk})


# Gates that several rules have ----------------------------------------------------------------------------------------


def reset_at_middle(t, k):
    """Log decays of 0 and, just after the middle, a hard reset."""
    return np.where(t == len(t) // 2 + 1, -np.inf, 0.0)


BETA = Gate(
    "beta", "T", "[0, 1], or [0, 2] for reflections", "step size of each token; 0 writes nothing",
    draw=lambda rng, shape, k: rng.uniform(0, 1, shape), whole=lambda t, k: np.ones(len(t)),
)  # fmt: skip
MU = Gate(
    "mu", "T |", "[0, 1)", "the part of the velocity that is left at each token, in [0, 1]",
    draw=lambda rng, shape, k: rng.uniform(0, 0.95, shape), whole=lambda t, k: t % 2, at_start=0.0,
)  # fmt: skip
DECAY = Gate(
    "g", "T", "[-inf, 0]", "log decay before each token's write, at most 0; -inf forgets everything",
    draw=lambda rng, shape, k: -rng.exponential(size=shape), whole=reset_at_middle, log=True, at_start=-np.inf,
)  # fmt: skip
CHANNEL_DECAY = Gate(
    "g", "T K", "[-inf, 0]", "log decay of each channel before each token's write, at most 0; -inf forgets the channel",
    draw=lambda rng, shape, k: -rng.exponential(size=shape),
    whole=lambda t, k: np.repeat(reset_at_middle(t, k)[:, None], k.shape[1], 1), log=True, at_start=-np.inf,
)  # fmt: skip

HEBBIAN, SQUARED = r"-v \cdot S k", r"\tfrac12 |S k - v|^2"
"""The two inner losses, in TeX."""
