"""LoRA: a weight plus a trained product of two thin factors."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from dualform import _check
from dualform.linear import linear_attn
from dualform.peft.bottleneck import Down, Errors, Inputs, Output, Query, Run, Up, bottleneck, bottleneck_dual

Weight = Float[Array, "V K"]


def lora(W: Weight, A: Down, B: Up, x: Query, scale: _check.Scalar = 1.0) -> Output:
    r"""A frozen layer with a trained change of low rank, $W x + s B A x$ (PE1).

    Args:
        W: `[V, K]` frozen weight.
        A, B: `[r, K]`, `[V, r]` trained factors.
        x: `[K]` or `[M, K]` inputs.
        scale: s, often alpha / r.

    Returns:
        `[V]` or `[M, V]` in the dtype of x.

    Raises:
        ValueError: wrong shapes or dtypes, concrete values that are not finite.

    Cost: 2 M V K + 2 M r (V + K) flops; r (V + K) trained numbers.

    >>> print(lora(jnp.eye(2), jnp.array([[1.0, 1.0]]), jnp.array([[1.0], [0.0]]), jnp.array([1.0, 2.0])))
    [4. 2.]

    References: Hu et al. 2021, LoRA (arXiv 2106.09685), eq. 3.
    """
    (W, A, B), x, dtype = _widen(x, W=W, A=A, B=B)
    return (_frozen(W, x) + bottleneck(A, B, x, scale=scale)).astype(dtype)


def lora_dual(
    W: Weight, A: Down, B: Up, E: Errors, X: Inputs, run: Run, x: Query, scale: _check.Scalar = 1.0
) -> Output:
    r"""The trained layer as attention over its training data, in two stages (PE5).

    Args:
        W: `[V, K]` frozen weight.
        A, B, E, X, run, x, scale: those of `bottleneck_dual`.

    Returns, Raises and Cost are those of `bottleneck_dual`, beside W x.

    >>> A, B, E, X = jnp.array([[1.0, 0.0]]), jnp.zeros((1, 1)), jnp.ones((2, 1, 1)), jnp.ones((2, 1, 2))
    >>> from dualform.peft.bottleneck import bottleneck_run
    >>> run = bottleneck_run(A, B, E, X)
    >>> print(lora_dual(jnp.ones((1, 2)), A, B, E, X, run, jnp.array([1.0, 2.0])))
    [11.]
    """
    (W, A, B), x, dtype = _widen(x, W=W, A=A, B=B)
    E, X = (_check.float_array(name, p).astype(x.dtype) for name, p in (("E", E), ("X", X)))
    return (_frozen(W, x) + bottleneck_dual(A, B, E, X, run, x, scale=scale)).astype(dtype)


def lora_frozen_dual(
    W: Weight, A: Down, B: Up, E: Float[Array, "n V"], X: Float[Array, "n K"], x: Query, scale: _check.Scalar = 1.0
) -> Output:
    r"""The layer after training B alone, in one stage: scores $A x_i \cdot A x$ (PE4).

    After a single step from B = 0 this is what training both factors gives, too (PE3).

    Args:
        W: `[V, K]` frozen weight.
        A: `[r, K]` frozen factor.
        B: `[V, r]` the other factor before training.
        E: `[n, V]` error signals of the layer's outputs.
        X: `[n, K]` inputs.
        x: `[K]` or `[M, K]` queries.
        scale: s.

    Returns:
        `[V]` or `[M, V]` in the dtype of x.

    Raises:
        ValueError: wrong shapes or dtypes, concrete values that are not finite.

    Cost: 2 M n (V + r) + 2 (M + n) r K flops: patterns are stored with r features in place of K.

    >>> A, E, X = jnp.array([[1.0, 0.0]]), jnp.array([[1.0]]), jnp.array([[2.0, 5.0]])
    >>> print(lora_frozen_dual(jnp.zeros((1, 2)), A, jnp.zeros((1, 1)), E, X, jnp.array([3.0, 7.0])))
    [6.]

    References: Zhang et al. 2023, LoRA-FA (arXiv 2308.03303).
    """
    (W, A, B), x, dtype = _widen(x, W=W, A=A, B=B)
    sizes: _check.Sizes = {}
    E, X = _check.array("E", E, "n V", sizes).astype(x.dtype), _check.array("X", X, "n K", sizes).astype(x.dtype)
    s = jnp.asarray(_check.scalar("scale", scale), x.dtype)
    keys, query = (jnp.matmul(p, A.T, precision="highest") for p in (X, x))
    change = bottleneck(A, B, x, scale=s) + linear_attn(E, keys, query, scale=s * s)
    return (_frozen(W, x) + change).astype(dtype)


def _frozen(W, x):
    """W x: chapter 1's layer without a pattern."""
    return jnp.matmul(x, W.T, precision="highest")


def _widen(x, **weights):
    """The weights and x in the dtype to compute in, and the dtype of the result."""
    layouts = {"W": "V K", "A": "r K", "B": "V r"}
    sizes: _check.Sizes = {}
    x = _check.array("x", x, "K | M K", sizes)
    checked = {name: _check.array(name, w, layouts[name], sizes) for name, w in weights.items()}
    _check.no_narrower(x.dtype, **checked)
    wide = _check.compute_dtype(x, *checked.values())
    return tuple(w.astype(wide) for w in checked.values()), x.astype(wide), x.dtype
