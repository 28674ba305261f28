r"""Momentum attention as published, and the momentum that it is named after.

If attention is gradient descent, momentum should help it as it helps gradient descent. Dai et al. therefore add an
exponential average of the past values to causal softmax attention, with one number $0 < \eta < 1$:

$$ \mathrm{MoAttn}_t = \mathrm{Attn}_t + m_t, \qquad m_t = \sum_{i<t} \eta^{t-i} v_i,                     \tag{MA1} $$
$$ m_1 = 0, \qquad m_t = \eta\, (m_{t-1} + v_{t-1}).                                                       \tag{MA2} $$

The implementation that the authors posted is another one. Every channel $c$ has a kernel of its own, a sum of $N = 8$
exponentials with learned amplitudes $\gamma_{cn}$ and rates $\sigma(\delta_{cn})$; it *includes the current position*,
and is divided by the root of the layer's width $D$:

$$ m_{tc} = \sum_{i \le t} \kappa_c(t - i)\, v_{ic}, \qquad
   \kappa_c(\tau) = D^{-1/2} \sum_{n=1}^N \gamma_{cn}\, \sigma(\delta_{cn})^\tau,                          \tag{MA3} $$
$$ z_{tcn} = \sigma(\delta_{cn}) z_{t-1,cn} + v_{tc}, \quad m_{tc} = D^{-1/2} \sum_n \gamma_{cn}\, z_{tcn}. \tag{MA4} $$

Both are causal convolutions. Padded to twice their length they become products of Fourier transforms, in
$O(T \log T)$; without the padding the future wraps around into the past:

$$ m = F^{-1}\bigl(F[\kappa, 0]\; F[v, 0]\bigr)_{1..T}.                                                   \tag{MA5} $$

What is momentum? A linear layer that reads tokens by Hebbian steps $v_t k_t^\top$ has, with heavy ball,

$$ Z_t = \mu Z_{t-1} + v_t k_t^\top, \quad S_t = S_{t-1} + Z_t, \qquad
   S_t q_t = \sum_{i \le t} c_{ti}\, v_i\, (k_i \cdot q_t), \qquad c_{ti} = \sum_{s=i}^{t} \mu^{s-i},     \tag{MA6} $$

where $-c_{Ti}$ are the coefficients (O4) of the optimiser. The three differ in what they are:

$$ m_t = \mu Z_{t-1} \text{ for keys that are all } 1,\ \mu = \eta:                                       \tag{MA7} $$

MoAttn's extra term is the velocity of a *bias*. It does not depend on the query, so

$$ \text{at } q_t = 0: \quad \mathrm{LinearAttn}_t + m_t - S_t q_t = m_t,                                 \tag{MA8} $$

which is not zero for any $\eta$ but 0 and values that are not: no $\eta$ and no $\mu$ make the two equal. Their time
profiles are opposite as well. MoAttn favours the recent, $\eta^{t-i}$; heavy ball favours the old, whose velocity has
moved the layer more often:

$$ c_{t,i} - c_{t,i+1} = \mu^{t-i} > 0, \quad \eta^{t-i} - \eta^{t-(i+1)} = -(1 - \eta)\, \eta^{t-i-1} < 0. \tag{MA9} $$

A recency profile *with* keys is the velocity itself, and that is RetNet (E1): $Z_t q_t = \sum_i \mu^{t-i} v_i\,
(k_i \cdot q_t)$, so that heavy ball is the running sum of RetNet's states. Momentum on the values before they are
written, $\bar v_t = \mu \bar v_{t-1} + v_t$, is a fourth thing, scores filtered over time:

$$ \sum_t \bar v_t\, (k_t \cdot q) = \sum_i v_i \sum_{t \ge i} \mu^{t-i}\, (k_t \cdot q).                  \tag{MA10} $$

The faithful version for softmax weights each exponential by heavy ball's coefficient, which adds $\log c_{ti}$ to the
scores:

$$ o_t = \frac{\sum_{i \le t} c_{ti}\, e^{s_{ti}}\, v_i}{\sum_{i \le t} c_{ti}\, e^{s_{ti}}}.            \tag{MA11} $$

(The gradient descent that the paper writes beside (MA1), $\Theta_t = \Theta_{t-1} - \gamma \sum_{i<t} \eta^{t-i} g_i$,
is heavy ball with momentum $\eta$ and learning rate $\gamma \eta$.)

References: Dai et al. 2022 (arXiv 2212.10559), eq. 14, and the model file that the authors posted with the code; Ma et
al. 2022, Mega (arXiv 2209.10655), for averages of several exponentials; Polyak 1964, for heavy ball.
"""

from jaxtyping import Array, Float

from dualform import _check
from dualform.attention.averages import Components, Values, learned_average, past_average
from dualform.attention.softmax import causal_softmax_attn

Tokens = Float[Array, "T K"]


def moattn(
    V: Values, K: Tokens, Q: Tokens, eta: _check.Scalar, scale: _check.Scalar | None = None, form: str = "recurrent"
) -> Values:
    r"""Momentum attention as printed: causal softmax attention plus $\sum_{i<t} \eta^{t-i} v_i$ (MA1).

    Args:
        V: `[T, V]` values, one row a position.
        K, Q: `[T, K]` keys and queries.
        eta: how much of the average is kept per position.
        scale: multiplies the scores; None for K**-0.5.
        form: of the average, see `past_average`.

    Returns:
        `[T, V]`.

    Raises:
        ValueError: wrong shapes, no features, different or non-float dtypes, concrete values that are not finite, an
            unknown form.

    Cost: that of softmax attention, 2 T^2 (V + K) flops, and that of the form.

    >>> import jax.numpy as jnp
    >>> V = jnp.array([[1.0], [3.0], [5.0]])
    >>> print(moattn(V, 0 * V, 0 * V, 0.5).ravel())
    [1.   2.5  4.75]

    References: Dai et al. 2022 (arXiv 2212.10559), eq. 14.
    """
    return _beside_attention(V, K, Q, scale, lambda V: past_average(V, eta, form))


def moattn_learned(
    V: Values, K: Tokens, Q: Tokens, gamma: Components, delta: Components, scale: _check.Scalar | None = None,
    kernel_scale: _check.Scalar | None = None, form: str = "fft",
) -> Values:  # fmt: skip
    r"""Momentum attention as posted: causal softmax attention plus a learned average of each channel (MA3).

    Args:
        V: `[T, V]` values, one row a position.
        K, Q: `[T, K]` keys and queries.
        gamma: `[V, N]` amplitudes, drawn from N(0, 1) by the authors, with N = 8.
        delta: `[V, N]` rates before the sigmoid, drawn from N(0, 0.04).
        scale: multiplies the scores; None for K**-0.5.
        kernel_scale: multiplies the kernel; None for V**-0.5. The authors' is D**-0.5 with D the width of the layer,
            that is all heads together.
        form: of the average, see `learned_average`.

    Returns:
        `[T, V]`.

    Raises:
        ValueError: as `moattn`.

    Cost: that of softmax attention, 2 T^2 (V + K) flops, and that of the form.

    >>> import jax.numpy as jnp
    >>> V, zero = jnp.array([[1.0], [2.0]]), jnp.zeros((1, 1))
    >>> print(moattn_learned(V, 0 * V, 0 * V, zero + 1, zero, form="recurrent").ravel())
    [2. 4.]
    """
    return _beside_attention(V, K, Q, scale, lambda V: learned_average(V, gamma, delta, kernel_scale, form))


def _beside_attention(V, K, Q, scale, average):
    """Attention plus an average of its values, rounded to the dtype of the values once."""
    V, K, Q = (_check.float_array(name, x) for name, x in (("V", V), ("K", K), ("Q", Q)))
    dtype = _check.same_dtype(V=V, K=K, Q=Q)
    V, K, Q = (x.astype(_check.compute_dtype(V)) for x in (V, K, Q))
    return (causal_softmax_attn(V, K, Q, scale) + average(V)).astype(dtype)
