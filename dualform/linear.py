r"""Chapter 1. A linear layer changed by outer products is linear attention over its training data.

Each update adds an error signal $e_i \in R^V$ times the input $x_i \in R^K$ that the layer saw. After $n$ updates

$$ F(x) = (W_0 + \Delta W)\, x, \qquad \Delta W = \sum_{i=1}^n e_i x_i^\top.                                \tag{L1} $$

The product $(e_i x_i^\top) x$ is the vector $e_i$ times the number $x_i \cdot x$. Nothing but this bracket is moved to
read the update as attention with keys $x_i$, values $e_i$ and query $x$: no softmax, no division, scores of any sign.

$$ \mathrm{LinearAttn}(E, X, x) = \sum_i e_i\, (x_i \cdot x)                                               \tag{L2} $$
$$ F(x) = W_0 x + \mathrm{LinearAttn}(E, X, x)                                                             \tag{L3} $$

(L1) stores one matrix and forgets the patterns, (L3) stores the patterns and never forms the matrix. Between them:

$$ W_i = W_{i-1} + e_i x_i^\top, \qquad F(x) = W_n x                                                       \tag{L4} $$
$$ F(x) = \Bigl(W_0 + \sum_c E_c^\top X_c\Bigr) x + \mathrm{LinearAttn}(E_{rest}, X_{rest}, x)              \tag{L5} $$

(L5) folds whole chunks $c$ of patterns into the weight, and attends to the rest, of less than a chunk.

Where do outer products come from? For a loss $L$ of the outputs $y_i = W x_i$ the chain rule gives
$\nabla_W L = \sum_i (\partial L / \partial y_i)\, x_i^\top$: one step of gradient descent is (L1) with

$$ e_i = -\eta\, \partial L / \partial y_i,                                                                \tag{L6} $$

and conversely any $E$ is such a step, on the loss $-\sum_i e_i \cdot W x_i$. The learning rate and the minus sign are
part of $e_i$. A bias is the weight of an input that is always 1, so every score gains 1; leaving it out is an error:

$$ \tilde x = [x, 1]: \qquad \tilde x_i \cdot \tilde x = x_i \cdot x + 1.                                    \tag{L7} $$

How much pattern $i$ counts may depend on the query $t$, and on the channel of the input (gates, decays, masks):

$$ \mathrm{LinearAttn}(E, X, x_t; w) = \sum_i e_i\, (x_i \cdot \mathrm{diag}(w_{ti})\, x_t),
   \qquad w_{ti} \in R \text{ or } R^K.                                                                  \tag{L8} $$

Two facts to keep. With more patterns than input features the coefficients are no function of the weight: they tell
what the training run did, not what the matrix is.

$$ Z^\top X = 0 \;\Rightarrow\; \mathrm{LinearAttn}(E + Z, X, x) = \mathrm{LinearAttn}(E, X, x)              \tag{L9} $$

And on integers no form rounds, so all of them return the same number (`==`; only the sign of a zero may differ) as
long as every partial sum fits in the $p$ bits of the float, 24 in float32: for $|W_0| \le A_0$ and all other entries at
most $A$,

$$ K A\, (A_0 + n A^2) \le 2^p \;\Rightarrow\; \text{(L1) = (L3) = (L4) = (L5) = (L6), exactly.}          \tag{L10} $$

Single layer, single head: for batches and heads use `jax.vmap`, e.g. `jax.vmap(dual)(W0, E, X, x)` with a leading axis
on all four. Float dtypes only; bfloat16 and float16 are computed in float32, and the result returns in the dtype of
the patterns. Products of matrices are taken at the highest precision, whatever the default of the device.

References: Aizerman, Braverman, Rozonoer 1964, Theoretical foundations of the potential function method; Irie, Csordas,
Schmidhuber 2022, The dual form of neural networks revisited (arXiv 2202.05798); Dai et al. 2022, Why can GPT learn
in-context? (arXiv 2212.10559), eq. 7 to 9.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dualform import _check

Weight = Float[Array, "V K"]
Errors = Float[Array, "n V"]
Inputs = Float[Array, "n K"]
Query = Float[Array, " K"] | Float[Array, "M K"]
Output = Float[Array, " V"] | Float[Array, "M V"]
Weights = Float[Array, " n"] | Float[Array, "M n"] | Float[Array, "n K"] | Float[Array, "M n K"]


def delta_w(E: Errors, X: Inputs) -> Weight:
    r"""The sum of the outer products, $\Delta W = \sum_i e_i x_i^\top$ (L1).

    Args:
        E: `[n, V]` error signals, what each update added (learning rate and sign included).
        X: `[n, K]` inputs that the layer saw at those updates.

    Returns:
        `[V, K]`, of rank at most n; zeros for n = 0.

    Raises:
        ValueError: wrong shapes, no features, dtypes that are not one float dtype, concrete values that are not finite.

    Cost: 2 n V K flops, V K numbers.

    >>> print(delta_w(jnp.array([[1.0, 2.0]]), jnp.array([[3.0, 4.0, 5.0]])))
    [[ 3.  4.  5.]
     [ 6.  8. 10.]]
    """
    sizes: _check.Sizes = {}
    E, X = _check.array("E", E, "n V", sizes), _check.array("X", X, "n K", sizes)
    dtype = _check.same_dtype(E=E, X=X)
    E, X = _widen(E, X)
    return _dot(E.T, X).astype(dtype)


def linear_attn(E: Errors, X: Inputs, x: Query, weights: Weights | None = None, scale: _check.Scalar = 1.0) -> Output:
    r"""Linear attention: values E, keys X, query x, $\sum_i e_i\,(x_i \cdot x)$ (L2), or weighted (L8).

    Args:
        E: `[n, V]` values, here the error signals.
        X: `[n, K]` keys, here the inputs of the training run.
        x: `[K]` one query, or `[M, K]` many.
        weights: how much pattern i counts: None (1 each), `[n]` for every query, `[M, n]` per query, `[M, n, K]` per
            query and input channel; for a single query `[n]` or `[n, K]`. May be wider than the patterns.
        scale: multiplies every score.

    Returns:
        `[V]` or `[M, V]`; zeros for n = 0.

    Raises:
        ValueError: wrong shapes, no features, E, X, x of different or non-float dtypes, concrete values that are not
            finite.

    Cost: 2 M n (V + K) flops and M n scores, plus n (V + K) for the stored patterns. It beats the materialised layer's
    2 M V K while n < V K / (V + K).

    >>> E, X = jnp.array([[1.0], [10.0]]), jnp.array([[1.0, 0.0], [1.0, 1.0]])
    >>> print(linear_attn(E, X, jnp.array([2.0, 3.0])))
    [52.]
    >>> print(linear_attn(E, X, jnp.array([2.0, 3.0]), weights=jnp.array([1.0, 0.0])))
    [2.]

    References: Katharopoulos et al. 2020 (arXiv 2006.16236); Irie et al. 2022 (arXiv 2202.05798).
    """
    sizes: _check.Sizes = {}
    E, X = _check.array("E", E, "n V", sizes), _check.array("X", X, "n K", sizes)
    x = _check.array("x", x, "K | M K", sizes)
    dtype = _check.same_dtype(E=E, X=X, x=x)
    if weights is not None:
        weights = _check.array("weights", weights, "n | n K" if x.ndim == 1 else "n | M n | M n K", sizes)
        _check.no_narrower(dtype, weights=weights)
    scale = _check.scalar("scale", scale)
    E, X, x, weights = _widen(E, X, x, weights)
    return (_attend(E, X, x, weights) * jnp.asarray(scale, E.dtype)).astype(dtype)


def primal(W0: Weight, E: Errors, X: Inputs, x: Query) -> Output:
    r"""The layer with its update materialised, $(W_0 + \sum_i e_i x_i^\top)\, x$ (L1).

    Args:
        W0: `[V, K]` weight before the updates; may be wider than the patterns.
        E: `[n, V]` error signals.
        X: `[n, K]` inputs of the updates.
        x: `[K]` or `[M, K]` inputs to read the layer at.

    Returns:
        `[V]` or `[M, V]`.

    Raises:
        ValueError: as `linear_attn`; W0 of another shape, or narrower than the patterns.

    Cost: 2 n V K flops once and 2 M V K to read, V K numbers. Every product passes through at most n + K + 1 roundings.

    >>> W0, E, X = jnp.zeros((1, 2)), jnp.array([[1.0], [10.0]]), jnp.array([[1.0, 0.0], [1.0, 1.0]])
    >>> print(primal(W0, E, X, jnp.array([2.0, 3.0])))
    [52.]
    """
    W, E, X, x, dtype = _layer(W0, E, X, x)
    return _read(W + _dot(E.T, X), x).astype(dtype)


def dual(W0: Weight, E: Errors, X: Inputs, x: Query) -> Output:
    r"""The same function with no weight update, $W_0 x + \mathrm{LinearAttn}(E, X, x)$ (L3).

    Args, Returns and Raises are those of `primal`.

    Cost: 2 M V K + 2 M n (V + K) flops, n (V + K) numbers beside W0. At most n + K + 1 roundings, of which only one
    touches
    W0: in low precision this form keeps small updates that `primal` and `recurrent` lose beside a large W0.

    >>> W0, E, X = jnp.array([[1.0, 1.0]]), jnp.array([[1.0], [10.0]]), jnp.array([[1.0, 0.0], [1.0, 1.0]])
    >>> print(dual(W0, E, X, jnp.array([2.0, 3.0])))
    [57.]

    References: Irie et al. 2022 (arXiv 2202.05798); Dai et al. 2022 (arXiv 2212.10559), eq. 9.
    """
    W, E, X, x, dtype = _layer(W0, E, X, x)
    return (_read(W, x) + _attend(E, X, x)).astype(dtype)


def recurrent(W0: Weight, E: Errors, X: Inputs, x: Query) -> Output:
    r"""One rank-1 update at a time, $W_i = W_{i-1} + e_i x_i^\top$, read at the end (L4).

    Args, Returns and Raises are those of `primal`.

    Cost: as `primal`, in n sequential steps.

    >>> W0, E, X = jnp.array([[1.0, 1.0]]), jnp.array([[1.0], [10.0]]), jnp.array([[1.0, 0.0], [1.0, 1.0]])
    >>> print(recurrent(W0, E, X, jnp.array([2.0, 3.0])))
    [57.]
    """
    W, E, X, x, dtype = _layer(W0, E, X, x)

    def update(W, pattern):
        e_i, x_i = pattern
        return W + jnp.outer(e_i, x_i), None

    W, _ = jax.lax.scan(update, W, (E, X))
    return _read(W, x).astype(dtype)


def chunked(W0: Weight, E: Errors, X: Inputs, x: Query, chunk_size: int = 64) -> Output:
    """Whole chunks of patterns folded into the weight, the rest read by attention (L5).

    Args:
        W0, E, X, x: those of `primal`.
        chunk_size: patterns per chunk, at least 1; it need not divide n. Static.

    Returns and Raises are those of `primal`, and `ValueError` for a chunk size below 1.

    Cost: as `primal`, in n // chunk_size sequential steps; the last n % chunk_size patterns cost what `dual` pays.

    >>> W0, E, X = jnp.array([[1.0, 1.0]]), jnp.array([[1.0], [10.0]]), jnp.array([[1.0, 0.0], [1.0, 1.0]])
    >>> print(chunked(W0, E, X, jnp.array([2.0, 3.0]), chunk_size=1))
    [57.]
    """
    chunk_size = _check.count("chunk_size", chunk_size, least=1)
    W, E, X, x, dtype = _layer(W0, E, X, x)
    (V, K), chunks = W.shape, len(E) // chunk_size
    whole = chunks * chunk_size

    def fold(W, chunk):
        E_c, X_c = chunk
        return W + _dot(E_c.T, X_c), None

    W, _ = jax.lax.scan(fold, W, (E[:whole].reshape(chunks, chunk_size, V), X[:whole].reshape(chunks, chunk_size, K)))
    return (_read(W, x) + _attend(E[whole:], X[whole:], x)).astype(dtype)


def descent(W0: Weight, E: Errors, X: Inputs, x: Query) -> Output:
    r"""The updates as one step of gradient descent on $-\sum_i e_i \cdot W x_i$, taken by `jax.grad` (L6).

    Args, Returns and Raises are those of `primal`.

    Cost: as `primal`.

    >>> W0, E, X = jnp.array([[1.0, 1.0]]), jnp.array([[1.0], [10.0]]), jnp.array([[1.0, 0.0], [1.0, 1.0]])
    >>> print(descent(W0, E, X, jnp.array([2.0, 3.0])))
    [57.]
    """
    W, E, X, x, dtype = _layer(W0, E, X, x)

    def loss(W):
        return -jnp.sum(E * _read(W, X))

    return _read(W - jax.grad(loss)(W), x).astype(dtype)


def error_signals(loss: Callable[[Array], Array], Y: Float[Array, "n V"], eta: _check.Scalar = 1.0) -> Errors:
    r"""What a step of gradient descent adds for each pattern, $e_i = -\eta\, \partial L / \partial y_i$ (L6).

    Args:
        loss: function of all the layer's outputs `[n, V]`, e.g. everything that follows the layer; returns one number.
        Y: `[n, V]` outputs of the layer, $y_i = W x_i$.
        eta: learning rate.

    Returns:
        `[n, V]` error signals, in the dtype of Y.

    Raises:
        ValueError: wrong shapes or dtypes, concrete values that are not finite, a loss that is not a single number.

    Cost: one forward and one backward pass of the loss, by `jax.grad`.

    >>> target = jnp.array([[1.0, 1.0]])
    >>> print(error_signals(lambda Y: 0.5 * jnp.sum((Y - target) ** 2), jnp.array([[3.0, 1.0]]), eta=0.5))
    [[-1. -0.]]
    """
    Y = _check.array("Y", Y, "n V")
    eta = _check.scalar("eta", eta)
    (wide,) = _widen(Y)
    if (shape := jnp.shape(jax.eval_shape(loss, wide))) != ():
        raise ValueError(
            f"loss: got a function that returns shape {shape}, expected a single number; sum or average it"
        )
    return (-jnp.asarray(eta, wide.dtype) * jax.grad(loss)(wide)).astype(Y.dtype)


def sgd_step(W0: Weight, X: Inputs, loss: Callable[[Array], Array], eta: _check.Scalar = 1.0) -> tuple[Weight, Errors]:
    r"""One step of SGD on any loss of the layer's outputs, and the error signals that it is made of (L6).

    The weight comes from `jax.grad` with respect to W, the error signals from `jax.grad` with respect to the outputs;
    that `W1 @ x` equals `dual(W0, E, X, x)` is the identity (L3), not its definition.

    Args:
        W0: `[V, K]` weight before the step.
        X: `[n, K]` inputs.
        loss: function of the outputs `X @ W0.T` `[n, V]`, returns one number.
        eta: learning rate.

    Returns:
        W1 `[V, K]` in the dtype of W0, and E `[n, V]` in the dtype of X.

    Raises:
        ValueError: as `error_signals`; W0 narrower than X.

    Cost: two forward and backward passes of the loss, 6 n V K flops for the layer.

    >>> W0, X = jnp.array([[1.0, 2.0]]), jnp.array([[1.0, 1.0]])
    >>> W1, E = sgd_step(W0, X, lambda Y: 0.5 * jnp.sum(Y**2), eta=0.5)
    >>> print(W1, E)
    [[-0.5  0.5]] [[-1.5]]
    """
    sizes: _check.Sizes = {}
    X, W0 = _check.array("X", X, "n K", sizes), _check.array("W0", W0, "V K", sizes)
    _check.no_narrower(X.dtype, W0=W0)
    eta = _check.scalar("eta", eta)
    W, wide = _widen(W0, X)
    E = error_signals(loss, _read(W, wide), eta)
    W1 = W - jnp.asarray(eta, W.dtype) * jax.grad(lambda W: loss(_read(W, wide)))(W)
    return W1.astype(W0.dtype), E.astype(X.dtype)


def with_bias(x: Float[Array, "*batch K"]) -> Float[Array, "*batch K+1"]:
    r"""The input with a 1 appended, so that scores become $x_i \cdot x + 1$ and the layer has a bias (L7).

    Append it to inputs and queries alike; the bias is then the last column of the weight, `jnp.c_[W, b]`.

    Args:
        x: `[..., K]` inputs or queries.

    Returns:
        `[..., K + 1]`.

    Raises:
        ValueError: no axis, no features, not a float dtype.

    >>> print(with_bias(jnp.array([[2.0, 3.0], [4.0, 5.0]])))
    [[2. 3. 1.]
     [4. 5. 1.]]
    """
    x = _check.float_array("x", x)
    if x.ndim == 0 or x.shape[-1] == 0:
        raise ValueError(f"x: got shape {x.shape}, expected [..., K] with at least one input feature; reshape x")
    return jnp.concatenate([x, jnp.ones((*x.shape[:-1], 1), x.dtype)], axis=-1)


def _attend(E, X, x, weights=None):
    """(L2) and (L8) for one query or many."""
    if weights is not None and weights.ndim == x.ndim + 1:  # one weight per input channel
        keys = weights * jnp.broadcast_to(X, weights.shape)
        return _dot(jnp.einsum("...nk,...k->...n", keys, x, precision=jax.lax.Precision.HIGHEST), E)
    scores = _dot(x, X.T)
    return _dot(scores if weights is None else jnp.broadcast_to(weights, scores.shape) * scores, E)


def _read(W, x):
    return _dot(x, W.T)


def _dot(a, b):
    return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)


def _layer(W0, E, X, x):
    """The arguments that all forms share, checked and widened, and the dtype of the result."""
    sizes: _check.Sizes = {}
    E, X = _check.array("E", E, "n V", sizes), _check.array("X", X, "n K", sizes)
    x, W0 = _check.array("x", x, "K | M K", sizes), _check.array("W0", W0, "V K", sizes)
    dtype = _check.same_dtype(E=E, X=X, x=x)
    _check.no_narrower(dtype, W0=W0)
    return *_widen(W0, E, X, x), dtype


def _widen(*arrays):
    dtype = _check.compute_dtype(*arrays)
    return tuple(None if x is None else x.astype(dtype) for x in arrays)
