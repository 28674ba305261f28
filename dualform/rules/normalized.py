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
from dualform.rules import base, linear_attn
from dualform.rules.base import Dual, Tokens, Values

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


def descent(
    q: Tokens, k: Tokens, v: Values, *, feature_map: FeatureMap = "elu+1", initial_state=None, segment_ids=None
) -> tuple[Values, State]:
    """(N1) as it is meant: `jax.grad` of the Hebbian loss of a layer with one more output, whose value is 1."""
    return _through(linear_attn.descent, q, k, v, feature_map, initial_state, segment_ids)


def recurrent(
    q: Tokens, k: Tokens, v: Values, *, feature_map: FeatureMap = "elu+1", initial_state=None, segment_ids=None
) -> tuple[Values, State]:
    """(N1) written out.

    Args:
        q, k: [T, K] queries and keys.
        v: [T, V] values.
        feature_map: "elu+1", or a function from [T, K] to [T, F] that treats tokens alike.
        initial_state: `State` (S [V, F], z [F]), zero if None.
        segment_ids: int [T] of packed sequences, -1 for padding.

    Returns:
        o [T, V] in the dtype of q, and the final `State`, in float32 or wider.

    Raises:
        ValueError: shapes, dtypes, concrete values that are not finite, an unknown feature map.

    Cost: O(T F V) time, O(F V) memory, T sequential steps.

    >>> q = k = jnp.zeros((2, 1))
    >>> print(recurrent(q, k, jnp.array([[1.0], [2.0]]))[0].ravel())
    [1.  1.5]
    """
    call = base.arguments(q, k, v, {}, segment_ids)
    phi_q, phi_k = _features(call, feature_map)
    state = _initial(initial_state, call, phi_k)

    def update(state, phi_k, v_t):
        return State(state.S + jnp.outer(v_t, phi_k), state.z + phi_k)

    unrounded = call._replace(q=phi_q, dtype=call.v.dtype)
    y, state = base.over_tokens(update, _read, state, unrounded, (phi_k, call.v))
    return call.finish(_divided(call, y[:, :-1], y[:, -1:])), state


def step(state: State, q_t, k_t, v_t, *, feature_map: FeatureMap = "elu+1") -> tuple[Array, State]:
    """(N1) for one token from a state: the form that serves. Returns (o_t [V], state)."""
    state = base.wide(state)
    of_queries, of_keys = _maps(feature_map)
    S, z = state
    phi_q, phi_k = of_queries(q_t[None].astype(S.dtype))[0], of_keys(k_t[None].astype(S.dtype))[0]
    state = State(S + jnp.outer(v_t.astype(S.dtype), phi_k), z + phi_k)
    y = _read(state, phi_q)
    return ratio(y[:-1], y[-1:]).astype(v_t.dtype), state


def errors(
    q: Tokens, k: Tokens, v: Values, *, feature_map: FeatureMap = "elu+1", initial_state=None, segment_ids=None
) -> Dual:
    """The dual form (N2): values as they are, keys and queries as features, the query divided by its normaliser."""
    call = base.arguments(q, k, v, {}, segment_ids)
    phi_q, phi_k = _features(call, feature_map)
    _, z = _initial(initial_state, call, phi_k)
    ones = jnp.ones((len(k), 1), phi_k.dtype)
    read, _ = linear_attn.parallel(phi_q, phi_k, ones, initial_state=z[None], segment_ids=segment_ids)
    return linear_attn.errors(_divided(call, phi_q, read), phi_k, call.v, segment_ids=segment_ids)


def parallel(
    q: Tokens, k: Tokens, v: Values, *, feature_map: FeatureMap = "elu+1", initial_state=None, segment_ids=None
) -> tuple[Values, State]:
    """(N1) over the whole sequence at once. Cost: O(T^2 (F + V)) time, O(T^2) memory."""
    return _through(linear_attn.parallel, q, k, v, feature_map, initial_state, segment_ids)


def chunked(
    q: Tokens, k: Tokens, v: Values, *, feature_map: FeatureMap = "elu+1", initial_state=None, segment_ids=None,
    chunk_size: int = 64,
) -> tuple[Values, State]:  # fmt: skip
    """`parallel` inside chunks, the state carried between them.

    Cost: O(T (F V + chunk (F + V))) time, T / chunk sequential steps; backward keeps one state per chunk.
    """
    return _through(linear_attn.chunked, q, k, v, feature_map, initial_state, segment_ids, chunk_size=chunk_size)


def _through(form, q, k, v, feature_map, initial_state, segment_ids, **more):
    """(N1) as one Hebbian layer (A1) with the normaliser for a last output."""
    call = base.arguments(q, k, v, {}, segment_ids)
    phi_q, phi_k = _features(call, feature_map)
    S, z = _initial(initial_state, call, phi_k)
    with_one = jnp.concatenate([call.v, jnp.ones((len(k), 1), call.v.dtype)], axis=1)
    both = jnp.concatenate([S, z[None]])
    y, both = form(phi_q, phi_k, with_one, initial_state=both, segment_ids=segment_ids, **more)
    return call.finish(_divided(call, y[:, :-1], y[:, -1:])), State(both[:-1], both[-1])


def _read(state, phi_q):
    """Numerator and denominator of (N1), [V + 1]."""
    return jnp.append(dot(state.S, phi_q), dot(state.z, phi_q))


def _divided(call, x, read):
    """x / (z . phi(q)), row by row; at padding, where there is nothing to read, x."""
    return ratio(x, read if call.padding is None else jnp.where(call.padding[:, None], 1, read))


def _features(call, feature_map):
    """Features of queries and keys. Padding has some too; the forms of (A1) pass over it."""
    features = [phi(x) for phi, x in zip(_maps(feature_map), (call.q, call.k), strict=True)]
    if any(x.ndim != 2 or len(x) != len(call.k) or not x.shape[1] for x in features):
        raise ValueError(f"feature_map: got features of shape {features[1].shape}, expected [{len(call.k)}, F]")
    return [x.astype(call.v.dtype) for x in features]


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


def _initial(initial_state, call, phi_k):
    shapes = (call.v.shape[1], phi_k.shape[1]), phi_k.shape[1:]
    return base.initial_pair(initial_state, State, shapes, call.v.dtype)
