r"""Depth: K layers of gradient descent, with and without correction of the curvature, and their exact risk.

In GD++ (von Oswald et al.) a layer changes the inputs as well as the labels. Both read the tokens before the layer,

$$ x_j \leftarrow x_j - \frac{\gamma}{N} \sum_i x_i\,(x_i \cdot x_j), \qquad
   y_j \leftarrow y_j - \frac{\eta}{N} \sum_i y_i\,(x_i \cdot x_j),                                    \tag{DE1} $$

with sums over the $N$ examples; $\gamma = 0$ is gradient descent. The prediction is minus the label of the query, which
starts at 0. On labels $y_i = w \cdot x_i$ the layers are matrices: with $S_0 = \frac1N \sum_i x_i x_i^\top$, $R_0 = I$,

$$ S_{l+1} = (I - \gamma_l S_l)\, S_l\, (I - \gamma_l S_l), \qquad R_{l+1} = R_l\,(I - \eta_l S_l), \qquad
   \hat y = w^\top (I - R_L)\, x_q.                                                                    \tag{DE2} $$

All of them are functions of $S_0$, so each eigenvalue $\lambda$ of it goes its own way,

$$ \lambda_{l+1} = \lambda_l\,(1 - \gamma_l \lambda_l)^2, \qquad r(\lambda_0) = \prod_l (1 - \eta_l \lambda_l),
                                                                                                        \tag{DE3} $$

and the task and the query can be averaged exactly. For $E\, w w^\top = I$ and $E\, x_q x_q^\top = s I$

$$ E\,\bigl((w^\top R_L x_q)^2 \mid \text{context}\bigr) = s \sum_i r(\lambda_i)^2.                       \tag{DE4} $$

What is left to draw is the spectrum of the context: `spectra`. `best_scalars` chooses the numbers $\eta_l, \gamma_l$ by
its mean. Here $\eta$ and $\gamma$ multiply means over examples. Von Oswald et al. let $\gamma$ multiply the sum, so
their $\gamma$ is ours divided by $N$; their loss is half of (DE4).

References: von Oswald et al. 2023, Transformers learn in-context by gradient descent (arXiv 2212.07677), appendix
A.10; Ahn et al. 2023, Transformers learn to implement preconditioned gradient descent (arXiv 2306.00297), theorem 4.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dualform import _check
from dualform.regression.curvature import spectrum_map
from dualform.regression.tasks import Inputs

Values = Float[Array, "B d"] | Float[Array, " d"]
Scalars = _check.Scalar | Float[Array, " L"]


class DepthScalars(NamedTuple):
    """Scalars of a network and what they were chosen by."""

    eta: Float[np.ndarray, " L"]  # of each layer
    gamma: Float[np.ndarray, " L-1"]  # of each layer but the last, whose inputs nobody reads
    risk: float  # on the sample they were chosen on: too low, for they were chosen on it


class DepthRisk(NamedTuple):
    """A mean over contexts and its standard error."""

    mean: float
    error: float


def spectra(inputs: Inputs, key: Array, batch: int, examples: int, d: int) -> Float[Array, "B d"]:
    r"""Eigenvalues of $S_0$, the second moment of the examples' inputs, for many contexts (DE2).

    Args:
        inputs: the law of the inputs, `Gaussian()`, `Uniform(a)`, ...
        key: a JAX random key.
        batch: how many contexts.
        examples: N, inputs in each.
        d: entries of an input.

    Returns:
        `[batch, d]`, ascending in each row.

    Raises:
        ValueError: sizes below one.

    Cost: batch (2 N d^2 + about 10 d^3) flops.

    >>> from dualform.regression import Gaussian
    >>> values = spectra(Gaussian(), jax.random.key(0), 1000, 50, 2)
    >>> print(values.shape, jnp.round(jnp.mean(values), 1))
    (1000, 2) 1.0
    """
    batch, examples = _check.count("batch", batch, 1), _check.count("examples", examples, 1)
    x, _ = inputs.draw(key, batch, examples, _check.count("d", d, 1))
    S = jnp.einsum("bni,bnj->bij", x, x, precision=jax.lax.Precision.HIGHEST) / examples
    return jnp.maximum(jnp.linalg.eigvalsh(S), 0.0)


def residuals(values: Values, eta: Scalars, gamma: Scalars = 0.0, layers: int | None = None) -> Values:
    r"""The factor that each direction of the error keeps after all layers, $r(\lambda)$ (DE3).

    Args:
        values: `[..., d]` eigenvalues of $S_0$.
        eta: step of each layer `[L]`, or one for all.
        gamma: curvature correction of each layer, `[L]` or `[L-1]` (the last has no effect), or one for all.
        layers: L, where neither says it.

    Returns:
        as `values`.

    Raises:
        ValueError: numbers of layers that do not agree, or none given.

    Cost: 5 L flops a value.

    >>> print(residuals(jnp.array([0.5, 1.0]), jnp.array([0.5, 1.0])))  # (1 - l / 2)(1 - l)
    [0.375 0.   ]
    """
    values = _check.float_array("values", values)
    steps, corrections = _of_layers(eta, gamma, layers)
    r = jnp.ones_like(values)
    for e, g in zip(steps, corrections, strict=True):
        r = r * (1 - e * values)
        values = spectrum_map(values, g)
    return r


def context_risk(
    values: Values, eta: Scalars, gamma: Scalars = 0.0, layers: int | None = None, variance: _check.Scalar = 1.0
) -> Float[Array, "*any"]:
    r"""The risk of K layers of GD or GD++ in a context of given spectrum, task and query averaged exactly (DE4).

    Args:
        values: `[..., d]` spectra of the contexts, from `spectra`.
        eta, gamma, layers: as `residuals`.
        variance: s, of each entry of the query.

    Returns:
        `[...]`, without a factor 1/2.

    Raises:
        ValueError: as `residuals`.

    Cost: 5 L flops a value.

    >>> print(context_risk(jnp.array([1.0, 2.0]), 0.5, layers=1))  # (1/2)^2 + 0
    0.25
    """
    return variance * jnp.sum(residuals(values, eta, gamma, layers) ** 2, axis=-1)


def depth_risk(
    values: Float[Array, "B d"], eta: Scalars, gamma: Scalars = 0.0, layers: int | None = None, variance: float = 1.0
) -> DepthRisk:
    r"""The mean of (DE4) over contexts: the risk of K layers of GD or GD++, task and query averaged exactly.

    Args:
        values: `[B, d]` spectra of the contexts, from `spectra`.
        eta, gamma, layers: as `residuals`.
        variance: s, of each entry of the query.

    Returns:
        `DepthRisk(mean, error)`: no factor 1/2; the error is one standard error over contexts.

    Raises:
        ValueError: as `residuals`.

    Cost: 5 L B d flops.

    >>> print(depth_risk(jnp.array([[1.0, 2.0], [1.0, 2.0]]), 0.5, layers=1))  # (1/2)^2 + 0
    DepthRisk(mean=0.25, error=0.0)
    """
    values = _check.array("values", values, "B d")
    risks = np.asarray(context_risk(values, eta, gamma, layers, variance), np.float64)
    return DepthRisk(float(np.mean(risks)), float(np.std(risks) / np.sqrt(len(risks))))


def best_scalars(
    values: Float[Array, "B d"],
    layers: int,
    *,
    curvature: bool = True,
    shared: bool = False,
    variance: float = 1.0,
    starts: int = 8,
) -> DepthScalars:
    r"""The scalars of least mean risk (DE4) over a sample of contexts.

    With curvature the objective has several local minima: for two layers and Gaussian contexts (d = 5, N = 20) three,
    at 0.057, 0.087 and 0.102. So BFGS starts from scalars that grow from layer to layer and from random places, always
    the same, on part of the sample; the best of what it finds is refined on all of it. What to report is `depth_risk`
    on another sample.

    With curvature the risk has heavy tails: it is a polynomial of degree 8 in the eigenvalues for two layers, 26 for
    three, and contexts that the sample did not contain may be off by orders of magnitude.

    Args:
        values: `[B, d]` spectra to choose on, in any order that does not depend on them: the first 4,000 are the part.
        layers: L.
        curvature: whether inputs are corrected (GD++) or not (GD).
        shared: one eta and one gamma for all layers, a recurrent network.
        variance: s, of each entry of the query.
        starts: places to start from.

    Returns:
        `DepthScalars(eta, gamma, risk)`; without curvature the steps ascend, for their order is of no account.

    Raises:
        ValueError: no layers, no starts, spectra that are all zero.

    Cost: starts times some 50 evaluations of (DE4) and its gradient at 4,000 contexts, and as many at all of them.

    >>> best = best_scalars(jnp.array([[1.0, 2.0]]), 2, curvature=False)  # a step for each eigenvalue
    >>> print(np.round(best.eta, 3), best.risk < 1e-6)
    [0.5 1. ] True
    """
    L, starts = _check.count("layers", layers, 1), _check.count("starts", starts, 1)
    spectra = np.asarray(_check.array("values", values, "B d"), np.float64)
    if not np.any(spectra > 0):
        raise ValueError("values: got spectra that are all zero, expected eigenvalues above zero; draw more examples")
    unit = float(np.mean(spectra) / np.mean(spectra**2))  # the best single step
    width = 1 if shared else L  # numbers of each kind
    corrected = curvature and L > 1

    def unpack(z):
        eta, gamma = z[:width], z[width:] if corrected else jnp.zeros(L - 1)
        return jnp.broadcast_to(eta, (L,)), jnp.broadcast_to(gamma, (L - 1,))

    def objective(z, values):
        eta, gamma = unpack(z)
        return jnp.mean(context_risk(values, eta, gamma, variance=variance))

    with jax.enable_x64(True):
        both = jax.jit(jax.value_and_grad(objective))
        rng = np.random.default_rng(0)
        eta = unit * rng.uniform(0.4, 4.0, (starts, width))
        gamma = unit * rng.uniform(0.0, 0.6, (starts, (width if shared else L - 1) * corrected))
        l = np.arange(L)
        eta[0], gamma[0] = 0.6 * unit * 5.0 ** l[:width], 0.5 * unit * 4.0 ** l[: gamma.shape[1]]
        found = [_minimise(both, z, spectra[:4000]) for z in np.concatenate([eta, gamma], axis=1)]
        best = _minimise(both, min(found, key=lambda result: result.fun).x, spectra)
        steps, corrections = (np.array(x) for x in unpack(jnp.asarray(best.x)))
    return DepthScalars(steps if corrected else np.sort(steps), corrections, float(best.fun))


def _minimise(both, start, values):
    """BFGS from one place."""
    from scipy.optimize import minimize

    values = jnp.asarray(values)

    def evaluate(z):
        value, gradient = both(jnp.asarray(z), values)
        return float(value), np.asarray(gradient)

    return minimize(evaluate, start, jac=True, method="BFGS", options={"gtol": 1e-9})


def _of_layers(eta, gamma, layers):
    """A step and a correction for each layer."""
    eta, gamma = (x if isinstance(x, float | int) else jnp.asarray(x) for x in (eta, gamma))
    counts = {"eta": len(eta)} if jnp.ndim(eta) else {}
    if jnp.ndim(gamma):
        counts["gamma"] = len(gamma)
    L = layers if layers is not None else counts.get("eta", counts.get("gamma"))
    if L is None:
        raise ValueError("layers: got None, expected a number of layers, for eta and gamma are single numbers; pass it")
    if counts.get("eta", L) != L or counts.get("gamma", L) not in (L, L - 1):
        raise ValueError(f"eta, gamma: got {counts} entries for {L} layers, expected {L} (or {L - 1} of gamma)")
    steps = list(eta) if jnp.ndim(eta) else [eta] * L
    corrections = list(gamma) if jnp.ndim(gamma) else [gamma] * L
    return steps, [*corrections, 0.0][:L]
