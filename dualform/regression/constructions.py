r"""Weights with which a layer of linear self-attention is a step of gradient descent, and those that training finds.

The examples $(x_i, y_i)$ of a prompt, $y_i \in R^k$, have a loss, and a step of gradient descent on it can be charged
to the labels in place of the weights, for the new residual is the same:

$$ L(W) = \frac{1}{2N} \sum_{i=1}^N |W x_i - y_i|^2, \qquad
   L(W + \Delta W;\, x, y) = L(W;\, x,\, y - \Delta W x).                                           \tag{LS5} $$

One layer that does not read the query's own token moves all labels so, with $\rho = N$ and

$$ W_{PV} = \begin{pmatrix} 0 & 0 \\ \eta W_0 & -\eta I \end{pmatrix}, \quad
   W_{KQ} = \begin{pmatrix} I & 0 \\ 0 & 0 \end{pmatrix}: \qquad
   y_j \leftarrow y_j - \Delta W x_j, \quad \Delta W = -\eta \nabla L(W_0).                         \tag{LS6} $$

The query enters as $(x_q, -W_0 x_q)$ and leaves as $(x_q, -(W_0 + \Delta W) x_q)$: the prediction is minus its label.
Written as attention without a divisor (von Oswald et al.), $\rho = 1$ and $\eta / N$ stands in $W_{PV}$. That the
labels are residuals makes layers stack: each takes a further step, whatever $W_0$ is, as long as all carry it,

$$ W_{k+1} = W_k - \eta_k \nabla L(W_k), \qquad y_j^{(k)} = y_j - (W_k - W_0)\, x_j.                \tag{LS7} $$

Scores need not be $x_i \cdot x_j$. With a matrix $A_k^\top$ in place of $I$ the step is preconditioned,

$$ W_{k+1} = W_k - \eta_k \nabla L(W_k)\, A_k^\top, \qquad \text{for one label} \quad
   w_{k+1} = w_k - \eta_k A_k \nabla L(w_k).                                                        \tag{LS8} $$

So what stands in $W_{KQ}$ is the transpose of what acts on the gradient (Ahn et al. state it for one and the same
$A_k$: true for symmetric ones). And inputs may move as well as labels. GD++ has $-\gamma I$ in the corner of $W_{PV}$
that is zero in (LS6), and $W_0 = 0$:

$$ x_j \leftarrow (I - \gamma H)\, x_j, \quad H = \frac1N \sum_i x_i x_i^\top, \qquad
   H \leftarrow (I - \gamma H)\, H\, (I - \gamma H),                                                \tag{LS9} $$

which draws the eigenvalues of $H$, the curvature of the loss, together for the steps of later layers. In von Oswald et
al. $\rho = 1$, so that their $\gamma$ is ours over $N$.

A layer that maps the inputs of every token by $m$, as an MLP does, before one of attention makes it a step for

$$ \frac{1}{2N} \sum_i |W m(x_i) - y_i|^2, \qquad
   \hat y = \frac{\eta}{N} \sum_i y_i\; m(x_i) \cdot m(x_q) \quad (W_0 = 0).                         \tag{LS10} $$

Training in Zhang et al.'s setting ends at a layer of this kind, with the sign of its label reversed. For any
$A$ (their $\Gamma^{-1}$)

$$ W_{PV} = |A|_F^{1/2}\, e_{d+1} e_{d+1}^\top, \quad
   W_{KQ} = |A|_F^{-1/2} \begin{pmatrix} A^\top & 0 \\ 0 & 0 \end{pmatrix}: \qquad
   \hat y = x_q^\top A\, \frac1M \sum_i y_i x_i, \quad |W_{PV}|_F = |W_{KQ}|_F;                     \tag{LS11} $$

any other pair $(s W_{PV}, W_{KQ}/s)$ predicts the same.

Two things go wrong easily. A query that is among the keys adds a pattern with a label of its own. In (LS6) that is

$$ \hat y_{\text{reads itself}} = \hat y - \frac{2\eta}{N} |x_q|^2\, W_0 x_q,                         \tag{LS13} $$

nothing for $W_0 = 0$; but after the first layer the query's label is no longer zero, and from the second layer on it
matters. And the divisor belongs to the prompt: for prompts of $M$ examples, and a prediction that starts at zero,

$$ \hat y_{\rho = N} = \frac{M}{N}\, \hat y_{\rho = M}.                                             \tag{LS14} $$

References: von Oswald et al. 2023 (arXiv 2212.07677), propositions 1 and 2, section 4; Ahn et al. 2023 (arXiv
2306.00297), lemma 1; Zhang, Frei, Bartlett 2024 (arXiv 2306.09927), theorem 4.1.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dualform import _check
from dualform.regression.lsa import Tokens, prompt

Steps = float | Float[Array, ""] | Float[Array, " L"]


def gd_construction(
    d: int,
    eta: Steps,
    *,
    labels: int = 1,
    W0: Float[Array, " d"] | Float[Array, "k d"] | None = None,
    gamma: Steps = 0.0,
    A: Float[Array, "d d"] | Float[Array, "L d d"] | None = None,
) -> tuple[Float[Array, "*L D D"], Float[Array, "*L D D"]]:
    r"""The matrices with which layers of `lsa` are steps of gradient descent (LS6 to LS9).

    To be used with `rho` = N and `include_query=False`, on the tokens of `gd_prompt`, read by `gd_prediction`.

    Args:
        d: inputs a token.
        eta: learning rate on the loss (LS5); `[L]` for L layers with a rate each.
        labels: k, labels a token.
        W0: `[k, d]` weight to start from, or `[d]` for one label; zero if None. In every layer.
        gamma: how far inputs move (LS9), a number or `[L]`; needs W0 = None.
        A: `[d, d]` preconditioner, or `[L, d, d]`; the identity if None. Its transpose stands in W_KQ (LS8).

    Returns:
        W_PV and W_KQ, each `[D, D]` with D = d + k for `lsa`; `[L, D, D]` for `lsa_layers` where an argument has L.
        In the dtype of the arrays given, JAX's default float if there is none.

    Raises:
        ValueError: d or labels below one, shapes that do not agree, values that are not finite, gamma beside W0.

    Cost: L D^2 numbers.

    >>> W_PV, W_KQ = gd_construction(2, 0.5)
    >>> print(W_PV[-1], W_KQ.diagonal())
    [ 0.   0.  -0.5] [1. 1. 0.]

    References: von Oswald et al. 2023 (arXiv 2212.07677), proposition 1; Ahn et al. 2023 (arXiv 2306.00297), lemma 1.
    """
    d, k = _check.count("d", d, 1), _check.count("labels", labels, 1)
    _moves(gamma, W0)
    given = [jnp.asarray(a).dtype for a in (eta, gamma, W0, A) if hasattr(a, "dtype")]
    dtype = jnp.result_type(*given) if given else jnp.result_type(float)
    start = _start(W0, d, k)
    A = _preconditioner(A, d)
    eta, gamma = _steps("eta", eta), _steps("gamma", gamma)
    layers = _layers(eta, gamma, A)

    def one(eta, gamma, A):
        inputs = jnp.concatenate([-gamma * jnp.eye(d), jnp.zeros((d, k))], axis=1)
        outputs = eta * jnp.concatenate([start, -jnp.eye(k)], axis=1)
        return jnp.concatenate([inputs, outputs]).astype(dtype), jnp.pad(A.T, (0, k)).astype(dtype)

    if layers is None:
        return one(eta, gamma, A)
    eta, gamma = (jnp.broadcast_to(x, (layers,)) for x in (eta, gamma))
    return jax.vmap(one)(eta, gamma, jnp.broadcast_to(A, (layers, d, d)))


def trained_construction(A: Float[Array, "d d"]) -> tuple[Float[Array, "D D"], Float[Array, "D D"]]:
    r"""The matrices of one trained layer, whose prediction is $x_q^\top A\, \frac1M \sum_i y_i x_i$ (LS11).

    To be used with `rho` = M, the number of examples at hand, on the tokens of `prompt`, read by `prediction`.

    Args:
        A: `[d, d]`, for gradient flow in the setting of Zhang et al. the inverse of their Gamma; not zero.

    Returns:
        W_PV and W_KQ, each `[d+1, d+1]`, of one Frobenius norm.

    Raises:
        ValueError: not a square matrix of floats, or zero.

    Cost: (d+1)^2 numbers.

    >>> W_PV, W_KQ = trained_construction(jnp.array([[0.0, 16.0], [0.0, 0.0]]))
    >>> print(W_PV[2, 2], W_KQ[1, 0], jnp.sum(jnp.abs(W_KQ)))
    4.0 4.0 4.0

    References: Zhang, Frei, Bartlett 2024 (arXiv 2306.09927), theorem 4.1.
    """
    A = _check.array("A", A, "d d")
    if A.shape[0] != A.shape[1]:
        raise ValueError(f"A: got shape {A.shape}, expected a square matrix; reshape A")
    if _check.is_concrete(A) and not A.any():
        raise ValueError("A: got zero, expected a matrix that is not; leave out a layer that predicts nothing")
    wide = A.astype(_check.compute_dtype(A))
    root = jnp.sqrt(jnp.sqrt(jnp.sum(wide**2)))
    W_PV = jnp.pad(root[None, None], (A.shape[0], 0))
    return W_PV.astype(A.dtype), jnp.pad(wide.T / root, (0, 1)).astype(A.dtype)


def gd_prompt(
    x: Float[Array, "N d"],
    y: Float[Array, " N"] | Float[Array, "N k"],
    query: Float[Array, " d"],
    W0: Float[Array, " d"] | Float[Array, "k d"] | None = None,
) -> Tokens:
    r"""The tokens of a prompt for `gd_construction`: rows $(x_i, y_i)$, then $(x_q, -W_0 x_q)$ (LS6).

    Args:
        x, y, query: those of `prompt`.
        W0: `[k, d]` weight to start from, or `[d]` for one label; zero if None.

    Returns:
        `[N+1, d+k]`.

    Raises:
        ValueError: as `prompt`, and W0 of another shape.

    Cost: a copy and 2 k d flops.

    >>> x, y, query = jnp.array([[1.0, 2.0]]), jnp.array([5.0]), jnp.array([3.0, 4.0])
    >>> print(gd_prompt(x, y, query, W0=jnp.array([1.0, 1.0]))[-1])
    [ 3.  4. -7.]
    """
    tokens = prompt(x, y, query)
    if W0 is None:
        return tokens
    d = jnp.shape(query)[0]
    wide = _check.compute_dtype(tokens)
    start = _start(W0, d, tokens.shape[1] - d).astype(wide)
    label = -jnp.matmul(start, tokens[-1, :d].astype(wide), precision=jax.lax.Precision.HIGHEST)
    return tokens.at[-1, d:].set(label.astype(tokens.dtype))


def gd_prediction(tokens: Tokens, labels: int | None = None) -> Float[Array, ""] | Float[Array, " k"]:
    """What layers of gradient descent say of the query: minus the label of its token (LS6).

    Args:
        tokens: `[T, D]` after the last layer.
        labels: k, labels a token; None for one, read as a number.

    Returns:
        A number, or `[k]`.

    >>> print(gd_prediction(jnp.array([[1.0, 2.0], [3.0, -4.0]])))
    4.0
    """
    tokens = _check.array("tokens", tokens, "T D")
    return -tokens[-1, -1] if labels is None else -tokens[-1, tokens.shape[1] - _check.count("labels", labels, 1) :]


def map_inputs(tokens: Tokens, feature_map: Callable[[Array], Array], labels: int = 1) -> Tokens:
    r"""The inputs of every token, the query's too, through a feature map, labels as they are (LS10).

    Args:
        tokens: `[T, d+k]`.
        feature_map: m, from `[d]` to `[m]`, such as an MLP.
        labels: k, labels a token.

    Returns:
        `[T, m+k]`.

    Raises:
        ValueError: no token matrix, fewer columns than labels.

    Cost: T maps.

    >>> print(map_inputs(jnp.array([[2.0, 5.0]]), lambda x: jnp.concatenate([x, x**2])))
    [[2. 4. 5.]]

    References: von Oswald et al. 2023 (arXiv 2212.07677), proposition 2.
    """
    tokens, k = _check.array("tokens", tokens, "T D"), _check.count("labels", labels, 1)
    d = tokens.shape[1] - k
    if d < 1:
        raise ValueError(f"tokens: got {tokens.shape[1]} columns, expected more than the {k} of labels; add inputs")
    return jnp.concatenate([jax.vmap(feature_map)(tokens[:, :d]), tokens[:, d:]], axis=1)


def _start(W0, d: int, k: int) -> Array:
    """W_0 as [k, d]."""
    if W0 is None:
        return jnp.zeros((k, d))
    W0 = _check.array("W0", W0, "d | k d")
    W0 = W0[None] if W0.ndim == 1 else W0
    if W0.shape != (k, d):
        raise ValueError(f"W0: got shape {W0.shape}, expected [{k}, {d}], labels by inputs; reshape W0")
    return W0


def _preconditioner(A, d: int) -> Array:
    if A is None:
        return jnp.eye(d)
    A = _check.array("A", A, "d d | L d d")
    if A.shape[-2:] != (d, d):
        raise ValueError(f"A: got shape {A.shape}, expected [{d}, {d}] for each layer; reshape A")
    return A


def _steps(name: str, value) -> Array:
    """A number or one for each layer."""
    if isinstance(value, int | float):
        return jnp.asarray(_check.scalar(name, value))
    value = _check.float_array(name, value)
    if value.ndim > 1:
        raise ValueError(f"{name}: got shape {value.shape}, expected a number or one for each layer; reshape {name}")
    _check.require_finite(name, value)
    return value


def _layers(eta, gamma, A) -> int | None:
    """How many layers the arguments are for; None where none of them says."""
    named = (("eta", eta, 1), ("gamma", gamma, 1), ("A", A, 3))
    layers = {name: x.shape[0] for name, x, axes in named if x.ndim == axes}
    if len(set(layers.values())) > 1:
        got = ", ".join(f"{name} {count}" for name, count in layers.items())
        raise ValueError(f"{', '.join(layers)}: got layers {got}, expected the same number in each; repeat the others")
    return next(iter(layers.values()), None)


def _moves(gamma, W0) -> bool:
    """Whether inputs move."""
    moves = not (isinstance(gamma, int | float) and gamma == 0)
    if moves and W0 is not None:
        raise ValueError("W0: got one beside gamma, expected None, for moved inputs no longer fit W0 x; leave one out")
    return moves
