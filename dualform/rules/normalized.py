r"""Normalised linear attention: a Hebbian layer on features of the keys, divided by how much it has read.

With a feature map $\phi$ that has positive entries, scores become weights that sum to one, as in softmax attention:

$$ S_t = S_{t-1} + v_t \phi(k_t)^\top, \quad z_t = z_{t-1} + \phi(k_t), \qquad
   o_t = \frac{S_t\, \phi(q_t)}{z_t \cdot \phi(q_t)}.                                                     \tag{N1} $$

The normaliser is the same layer with the value 1, so both are one Hebbian layer (A1) on values with a 1 appended, whose
last output divides the others. Its dual form has the values as error signals and a rescaled query:

$$ o_t = S_0 \hat q_t + \sum_{i \le t} v_i\, (\phi(k_i) \cdot \hat q_t), \qquad
   \hat q_t = \frac{\phi(q_t)}{z_t \cdot \phi(q_t)}.                                                      \tag{N2} $$

The usual feature map is $\mathrm{elu}(x) + 1$, that is $x + 1$ for $x \ge 0$ and $e^x$ below. Written as elu plus one
it is exactly 0 in bfloat16 from $x = -8$ on, and the division blows up; here each branch is written as it is. Since the
output does not change when $\phi(q_t)$ is multiplied by a number, the features of a query that is negative throughout
are divided by the largest one, so that it does not underflow either. (Keys may: below -87 in float32 their features are
0.)

There is no `scale`: it would cancel. Where $z_t \cdot \phi(q_t) = 0$ the output is 0.

References: Katharopoulos et al. 2020, Transformers are RNNs (arXiv 2006.16236), eq. 8 to 12.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dualform._numerics import dot, ratio
from dualform.rules import linear_attn
from dualform.rules.forms import forms
from dualform.rules.record import HEBBIAN, Dual, Option, Rule, StateKind

FeatureMap = str | Callable[[Array], Array]


class State(NamedTuple):
    """The layer and its normaliser, of F features."""

    S: Float[Array, "V F"]
    z: Float[Array, " F"]


def elu_plus_one(x: Array) -> Array:
    r"""$x + 1$ for $x \ge 0$ and $e^x$ below: positive, without cancellation, with finite gradients.

    >>> print(elu_plus_one(jnp.array([-8.0, 0.0, 2.0], jnp.bfloat16)))
    [0.000335693 1 3]
    """
    return jnp.where(x >= 0, x + 1, jnp.exp(jnp.minimum(x, 0)))


def features(q, k, *, feature_map: FeatureMap):
    """Features of queries and keys.

    Raises:
        ValueError: an unknown feature map, or one whose features are not [T, F].
    """
    both = [phi(x) for phi, x in zip(_maps(feature_map), (q, k), strict=True)]
    if any(x.ndim != 2 or len(x) != len(k) or not x.shape[1] for x in both):
        raise ValueError(f"feature_map: got features of shape {both[1].shape}, expected [{len(k)}, F]")
    return [x.astype(k.dtype) for x in both]


def descend(state, k, v):
    """(N1) as it is meant: the Hebbian step of a layer with one more output, whose value is 1."""
    return _apart(linear_attn.descend(_together(state), k, jnp.append(v, 1)))


def write(state, k, v):
    """One token of (N1), of which k are features."""
    return State(state.S + jnp.outer(v, k), state.z + k)


def read(state, q):
    """Numerator and denominator of (N1), [V + 1]."""
    return jnp.append(dot(state.S, q), dot(state.z, q))


def finish(read):
    """The numerator of (N1) over its denominator."""
    return ratio(read[..., :-1], read[..., -1:])


def block(state, q, k, v, resets, real):
    """(N1) for a block of tokens, as one Hebbian layer (A1) with the normaliser for a last output."""
    ones = jnp.ones((len(k), 1), v.dtype)
    y, both = linear_attn.block(_together(state), q, k, jnp.concatenate([v, ones], axis=1), resets)
    return y, _apart(both)


def unroll(state, q, k, v, resets, real) -> Dual:
    """The dual form (N2): values as they are, keys and queries as features, the query divided by its normaliser."""
    total, _ = linear_attn.block(state.z[None], q, k, jnp.ones((len(k), 1), k.dtype), resets)
    query = ratio(q, jnp.where(real[:, None], total, 1))  # padding has read nothing
    return linear_attn.unroll(state.S, query, k, v, resets)


def _together(state):
    """Layer and normaliser as one layer."""
    return jnp.concatenate([state.S, state.z[None]])


def _apart(both):
    return State(both[:-1], both[-1])


def _maps(feature_map):
    """The feature maps of queries and of keys."""
    if feature_map == "elu+1":
        return _elu_plus_one_of_queries, elu_plus_one
    if not callable(feature_map):
        raise ValueError(f"feature_map: got {feature_map!r}, expected 'elu+1' or a function of [T, K]")
    return feature_map, feature_map


def _elu_plus_one_of_queries(x):
    """`elu_plus_one`, each row divided by its largest feature where all are below 1; (N1) does not see that number."""
    largest = jax.lax.stop_gradient(jnp.minimum(jnp.max(x, axis=-1, keepdims=True), 0))
    return jnp.where(x >= 0, x + 1, jnp.exp(jnp.minimum(x, 0) - largest))


def squares_plus_one(x):
    """A feature map that is a polynomial, so that the rule is a rational function."""
    return x * x + 1


FEATURE_MAP = Option(
    "feature_map", '"elu+1", or a function from [T, K] to [T, F] that treats tokens alike', "elu+1",
    tried=squares_plus_one,
)  # fmt: skip

RULE = Rule(
    "normalized", write, descend, block, unroll, read=read, finish=finish, features=features, options=(FEATURE_MAP,),
    state=StateKind(("V K", "K"), State), marks=("resets", "real"), quotient=True, rotates=False,
    loss=HEBBIAN + " on [v, 1] with keys phi(k)", optimiser="SGD, step 1",
    recurrence=r"S_t = S_{t-1} + v \phi(k)^\top,\ z_t = z_{t-1} + \phi(k),\ o = S\phi(q) / (z \cdot \phi(q))",
    update="N1", label="N2", paper="Katharopoulos et al. 2020, Transformers are RNNs (arXiv 2006.16236)",
    aliases=("fla linear_attn(normalize=True)", "fast-transformers CausalLinearAttention"), chunk=64,
    costs={
        "recurrent": "O(T F V) time, O(F V) memory, T sequential steps.",
        "parallel": "O(T^2 (F + V)) time, O(T^2) memory.",
        "chunked": "O(T (F V + chunk (F + V))) time, T / chunk sequential steps; backward keeps one state per chunk.",
        "step": "O(F V) time and memory.",
    },
    example="""
>>> q = k = jnp.zeros((2, 1))
>>> print(recurrent(q, k, jnp.array([[1.0], [2.0]]))[0].ravel())
[1.  1.5]
""",
)  # fmt: skip


descent, recurrent, parallel, chunked, step, errors = forms(RULE)
