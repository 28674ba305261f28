r"""A batch of prompts through layers of linear self-attention, laid out for training.

`lsa_layers` takes one prompt and returns all its tokens; a training wants the query's label entry alone, for thousands
of prompts, again and again. The arithmetic is that of (LS2), with two savings. Tokens are kept as `[D, tokens, B]`, the
prompts along the last axis, so that the small products of a prompt become products of long rows. And in the last layer
only the query moves, of which only the last entry is read: with $p^\top$ the last row of $W_{PV}$ and $u = W_{KQ} e_q$,

$$ \hat y = \pm\Bigl( [e_q]_{\text{label}} + \frac1\rho \sum_{h,i} (p_h \cdot e_i)\,(e_i \cdot u_h) \Bigr). \tag{TR1} $$

The sign is $+$ with Zhang et al. and $-$ with von Oswald et al. and Ahn et al., whose layers subtract, so that the
labels of the examples become residuals while the query's entry becomes minus the prediction.

The matrices may be parametrised. With keys, queries, values and a projection of their own (von Oswald et al.),

$$ W_{PV} = P\, W_V, \qquad W_{KQ} = W_K^\top W_Q,                                                  \tag{TR2} $$

and the prediction does not change when one factor is divided by a number that the other is multiplied with:

$$ (W_{PV},\, W_{KQ}) \;\to\; (\beta\, W_{PV},\; W_{KQ} / \beta).                                  \tag{TR3} $$

References: von Oswald et al. 2023 (arXiv 2212.07677), eq. 1 and appendix A; Zhang et al. 2024 (arXiv 2306.09927), eq.
3.3; Ahn et al. 2023 (arXiv 2306.00297), section 2.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dualform import _check
from dualform._numerics import dot
from dualform.regression.lsa import lsa_layers, prediction, prompt

Stack = Float[Array, "L H D D"]
Weights = dict[str, Float[Array, "..."]]

MATRICES = ("merged", "four", "steps", "scalars")
"""What is trained: W_PV and W_KQ; K, Q, V, P (TR2); one matrix A a layer; two numbers a layer."""


def layers(weights: Weights) -> tuple[Stack, Stack]:
    r"""The matrices of every layer and head, from weights of any of the parametrisations.

    | weights | $W_{PV}$ | $W_{KQ}$ |
    |---|---|---|
    | `W_PV`, `W_KQ` [L, H, D, D] | as given | as given |
    | `K`, `Q`, `V`, `P` [L, H, D, D] | $P\, V$ | $K^\top Q$ (TR2) |
    | `A` [L, d, d] | $-1$ at the label, else 0 | $A$ on the inputs, else 0: preconditioned gradient descent |
    | `eta`, `gamma` [L] | $\mathrm{diag}(-\gamma, \dots, -\gamma, -\eta)$ | the identity on the inputs: GD++ |

    Args:
        weights: name -> array. `scalars` need `d`, the number of inputs, which follows from nothing else: it is the
            length of the array `inputs`, a vector of ones.

    Returns:
        W_PV and W_KQ, `[L, H, D, D]` each.

    Raises:
        ValueError: other names.

    >>> W_PV, W_KQ = layers({"A": jnp.eye(2)[None] / 4})
    >>> print(W_PV[0, 0, -1], W_KQ[0, 0, 0])
    [ 0.  0. -1.] [0.25 0.   0.  ]
    """
    names = set(weights)
    if names == {"W_PV", "W_KQ"}:
        return weights["W_PV"], weights["W_KQ"]
    if names == {"K", "Q", "V", "P"}:
        return dot(weights["P"], weights["V"]), dot(jnp.swapaxes(weights["K"], -1, -2), weights["Q"])
    if names == {"A"}:
        W_KQ = jnp.pad(weights["A"], ((0, 0), (0, 1), (0, 1)))[:, None]
        return jnp.zeros_like(W_KQ).at[..., -1, -1].set(-1.0), W_KQ
    if names == {"eta", "gamma", "inputs"}:
        inputs = jnp.pad(jax.lax.stop_gradient(weights["inputs"]), (0, 1))
        W_PV = jnp.diag(-inputs)[None, None] * weights["gamma"][:, None, None, None]
        W_KQ = jnp.broadcast_to(jnp.diag(inputs)[None, None], W_PV.shape)
        return W_PV.at[..., -1, -1].add(-weights["eta"][:, None]), W_KQ
    raise ValueError(f"weights: got {', '.join(sorted(names))}, expected W_PV and W_KQ; K, Q, V and P; A; or scalars")


@dataclass(frozen=True, eq=False)
class Network:
    """Layers of linear self-attention as a predictor: called with a prompt, it returns a number.

    Args:
        W_PV, W_KQ: `[L, H, D, D]`, all layers and heads.
        average: divide the sum over tokens by the number of examples of the prompt at hand; if not, by one.
        include_query: whether a layer reads the query's own token.
        repeat: how often the stack is applied.
        sign: of the read-out (TR1).
    """

    W_PV: Stack
    W_KQ: Stack
    average: bool = True
    include_query: bool = False
    repeat: int = 1
    sign: float = -1.0

    def rho(self, examples: int) -> float:
        """The divisor for a prompt of so many examples."""
        return float(examples) if self.average else 1.0

    def __call__(self, x: Float[Array, "N d"], y: Float[Array, " N"], query: Float[Array, " d"]) -> Float[Array, ""]:
        """The prediction for one prompt, by `lsa_layers`."""
        tokens = lsa_layers(
            prompt(x, y, query), self.W_PV, self.W_KQ, self.rho(len(x)), include_query=self.include_query,
            repeat=self.repeat,
        )  # fmt: skip
        return self.sign * prediction(tokens)

    def batch(self, tokens: Float[Array, "D N B"], queries: Float[Array, "d Q B"]) -> Float[Array, "Q B"]:
        """The predictions for a batch of prompts, by `predictions`."""
        return predictions(
            self.W_PV, self.W_KQ, tokens, queries, self.rho(tokens.shape[1]), include_query=self.include_query,
            repeat=self.repeat, sign=self.sign,
        )  # fmt: skip

    def weights_of(self, tokens: Float[Array, "D N B"]) -> Float[Array, "d B"]:
        """The vector v with which a network that does not read its query's token predicts v.x_q.

        Raises:
            ValueError: for a network that reads it, the prediction is no linear function of the query.
        """
        if self.include_query:
            raise ValueError("include_query: got True, expected a network that does not read the query; sample queries")
        d, batch = tokens.shape[0] - 1, tokens.shape[2]
        return self.batch(tokens, jnp.broadcast_to(jnp.eye(d, dtype=tokens.dtype)[:, :, None], (d, d, batch)))


def regauge(W_PV: Stack, W_KQ: Stack) -> tuple[Stack, Stack]:
    """The same layers with the mean of the first d diagonal entries of every W_KQ equal to one (TR3).

    Args:
        W_PV, W_KQ: `[..., D, D]`; the mean must not be zero.

    Returns:
        Both, rescaled.

    >>> W_PV, W_KQ = regauge(jnp.eye(3), 4 * jnp.eye(3))
    >>> print(W_PV[0, 0], W_KQ[0, 0])
    4.0 1.0
    """
    beta = jnp.mean(jnp.diagonal(W_KQ, axis1=-2, axis2=-1)[..., :-1], axis=-1)[..., None, None]
    return W_PV * beta, W_KQ / beta


def predictions(
    W_PV: Stack,
    W_KQ: Stack,
    tokens: Float[Array, "D N B"],
    queries: Float[Array, "d Q B"],
    rho: _check.Scalar,
    *,
    include_query: bool = False,
    repeat: int = 1,
    sign: float = -1.0,
) -> Float[Array, "Q B"]:
    r"""What layers of linear self-attention say of queries, for a batch of prompts (TR1).

    Args:
        W_PV, W_KQ: `[L, H, D, D]`, D = d + 1.
        tokens: `[D, N, B]` the examples (x, y), prompts along the last axis.
        queries: `[d, Q, B]` inputs to predict for. Each is asked by itself: queries do not see each other.
        rho: divisor of every layer.
        include_query: whether the query's own token is among the keys and values; then Q must be 1.
        repeat: how often the whole stack is applied.
        sign: of the read-out.

    Returns:
        `[Q, B]`.

    Raises:
        ValueError: `include_query` with several queries.

    Cost: for each prompt and head, the last layer 4 D (N + D Q) flops, any other 2 D^2 (N + 2 D + N + Q).

    >>> tokens, queries = jnp.array([[[1.0], [2.0]], [[3.0], [6.0]]]), jnp.array([[[1.0]]])  # y = 3 x, x_q = 1
    >>> print(predictions(*layers({"A": jnp.array([[[0.4]]])}), tokens, queries, rho=2))
    [[3.]]
    """
    if include_query and queries.shape[1] != 1:
        raise ValueError(f"queries: got {queries.shape[1]}, expected one, for the prompt sees its query; ask in turn")
    asked = unlabelled(queries)
    steps = [(W_PV[i], W_KQ[i]) for i in range(len(W_PV))] * repeat
    for P, Q in steps[:-1]:
        tokens, asked = layer(P, Q, tokens, asked, rho, include_query=include_query)
    P, Q = steps[-1]
    read = _seen(tokens, asked, include_query)
    out = asked[-1]
    for h in range(len(P)):
        label = _share(P[h, -1:], read)  # [1, N, B]
        scores = products(jnp.swapaxes(_share(Q[h], asked), 0, 1), read)  # [Q, N, B]
        out = out + products(scores, jnp.swapaxes(label, 0, 1))[:, 0] / rho
    return sign * out


def unlabelled(queries: Float[Array, "d Q B"]) -> Float[Array, "D Q B"]:
    """The tokens (x_q, 0) of queries."""
    return jnp.concatenate([queries, jnp.zeros((1, *queries.shape[1:]), queries.dtype)])


def layer(
    P: Float[Array, "H D D"],
    Q: Float[Array, "H D D"],
    tokens: Float[Array, "D N B"],
    asked: Float[Array, "D Q B"],
    rho: _check.Scalar,
    *,
    include_query: bool = False,
) -> tuple[Float[Array, "D N B"], Float[Array, "D Q B"]]:
    """All tokens after one layer (LS2): those of the examples, and those of the queries."""
    change = _change(P, Q, _seen(tokens, asked, include_query)) / rho
    return tokens + products(change, tokens), asked + products(change, asked)


def _seen(tokens, asked, include_query: bool):
    return jnp.concatenate([tokens, asked], axis=1) if include_query else tokens


def _change(P, Q, read):
    """The sum over heads of P_h G Q_h, [D, D, B]."""
    G = products(read, jnp.swapaxes(read, 0, 1))  # symmetric, so that Q' G is the transpose of G Q
    return sum(_share(P[h], jnp.swapaxes(_share(Q[h].T, G), 0, 1)) for h in range(len(P)))


@jax.custom_vjp
def products(a: Float[Array, "I K B"], b: Float[Array, "K J B"]) -> Float[Array, "I J B"]:
    """A matrix product for each entry of the last axis, row by row as K products of long rows.

    The compiler's own batched product transposes to the usual layout and back, and its sums over a leading axis are not
    vectorised, so the sum is written out. The loop over rows keeps it from being merged into its consumers, which would
    compute it once for each of their elements. The derivative is given, for it consists of such products again.

    >>> print(products(jnp.ones((2, 3, 1)), jnp.ones((3, 1, 1)))[:, 0, 0])
    [3. 3.]
    """
    if a.shape[0] == 1:  # a loop of one turn is no loop: take the rows of the transpose
        return jnp.swapaxes(_rows(jnp.swapaxes(b, 0, 1), jnp.swapaxes(a, 0, 1)), 0, 1)
    return _rows(a, b)


def _rows(a, b):
    def row(r):
        total = r[0][None] * b[0]
        for k in range(1, len(b)):
            total = total + r[k][None] * b[k]
        return total

    return jax.lax.map(row, a)


def _forward(a, b):
    return products(a, b), (a, b)


def _backward(saved, out):
    a, b = saved
    return products(out, jnp.swapaxes(b, 0, 1)), products(jnp.swapaxes(a, 0, 1), out)


products.defvjp(_forward, _backward)


def _share(W, x):
    """One matrix for all prompts: [I, K] times [K, J, B]."""
    return dot(W, x.reshape(x.shape[0], -1)).reshape(W.shape[0], *x.shape[1:])
