"""Constructions at the sizes of the papers, with the tolerance that is asked of them, beside a wrong one as control."""

import jax
import jax.numpy as jnp
import numpy as np

from dualform import regression as r
from dualform.laws.law import Measurement
from dualform.laws.regression.layers import constructions as f
from dualform.laws.regression.layers import definitions as layer

DRAWS = 5


def agreement(definition, sample, wrong, tolerance, single=None):
    """An experiment on a form: its largest distance from the definition in float64, and if asked in float32.

    Args:
        definition: what it should equal, computed in float64.
        sample: draws arguments.
        wrong: a form with a mistake, for the control.
        tolerance: in float64.
        single: in float32.
    """

    def run(rng, construction) -> Measurement:
        draws = [sample(rng) for _ in range(DRAWS)]
        exact = [_run(definition, arguments, "float64") for arguments in draws]

        def off(form, dtype):
            pairs = zip(draws, exact, strict=True)
            return max(float(np.max(np.abs(_run(form, a, dtype) - true))) for a, true in pairs)

        double, control = off(construction, "float64"), off(wrong, "float64")
        rounded = off(construction, "float32") if single else 0.0
        also = f"; in float32 {rounded:.1e}, at most {single:.0e}" if single else ""
        return Measurement(
            double, 0.0, tolerance, control,
            f"largest difference in {DRAWS} draws, float64{also}; control: a wrong form",
            bool(double <= tolerance and rounded <= (single or 0.0) and control > 1e-3),
        )  # fmt: skip

    return run


def _run(form, arguments, dtype):
    with jax.enable_x64(dtype == "float64"):
        out = jax.jit(form)(*(jnp.asarray(a, dtype) for a in arguments))
        return np.asarray(out, np.float64)


def regressions(N, d, k):
    """Prompts of normal inputs, any labels, a weight to start from and a rate."""
    return lambda rng: (
        rng.standard_normal((N, d)), rng.standard_normal((N, k)), rng.standard_normal(d), rng.standard_normal((k, d)),
        rng.uniform(0.1, 0.5),
    )  # fmt: skip


def symmetric_layers(N, d, L):
    """Prompts, and symmetric matrices."""

    def sample(rng):
        A = 0.3 * rng.standard_normal((L, d, d))
        return rng.standard_normal((N, d)), rng.standard_normal(N), rng.standard_normal(d), A + np.swapaxes(A, 1, 2)

    return sample


def own_scale(x, y, q, W0, eta):
    """The attention's mean where the loss has one half of the mean: twice the step."""
    return f.constructed(x, y, q, W0, 2 * eta)


def preconditioned(x, y, q, A):
    """(LS8) with the loss in one expression, for many examples."""
    w = jnp.zeros(x.shape[1])
    for matrix in A:
        w = w - matrix @ jax.grad(lambda w: jnp.mean((x @ w - y) ** 2) / 2)(w)
    return w @ q


def ascending(x, y, q, A):
    return f.by_construction(x, y, q, -A)


def trained(x, y, q, C):
    """Prediction, and the difference of the two norms, which is to be zero."""
    A = jnp.linalg.inv(f.gamma_of(C, 7))
    P, Q = r.trained_construction(A)
    return jnp.stack([f.trained_layer(7)(x, y, q, C), jnp.linalg.norm(P) - jnp.linalg.norm(Q)])


def trained_definition(x, y, q, C):
    return jnp.stack([f.inverse_step(7)(x, y, q, C), jnp.zeros_like(y[0])])


def divisor_of_training(x, y, q, C):
    """The layer at its optimum with the divisor of its training."""
    P, Q = r.trained_construction(jnp.linalg.inv(f.gamma_of(C, 7)))
    return jnp.stack([r.prediction(r.lsa(r.prompt(x, y, q), P, Q, 7.0)), jnp.linalg.norm(P) - jnp.linalg.norm(Q)])


def same_for_all_tokens(rng, layers) -> Measurement:
    """Theorem 4.1 of Vladymyrov et al. by regression: outputs on inputs and labels, 30 examples, then the query."""
    worst, control = [], []
    for _ in range(DRAWS):
        tokens, P, Q, rho = layer.network(30, 4, 4, 2)(rng)
        worst.append(_regression(tokens, _run(layers, (tokens, P, Q, rho), "float64")))
        control.append(_regression(tokens, _run(rectified, (tokens, P, Q, rho), "float64")))
    return Measurement(
        max(worst), 0.0, 1e-10, min(control),
        f"what a regression of the outputs on the tokens that entered leaves, of examples and query, over the largest "
        f"output, in {DRAWS} draws of 4 layers of 2 heads, float64; control: the same with rectified scores",
        bool(max(worst) <= 1e-10 < 1e-3 < min(control)),
    )  # fmt: skip


def _regression(tokens, outputs) -> float:
    coefficients = np.linalg.lstsq(tokens[:-1], outputs[:-1], rcond=None)[0]
    return float(np.max(np.abs(tokens @ coefficients - outputs)) / np.max(np.abs(outputs)))


def rectified(tokens, P, Q, rho):
    """Layers of attention with scores max(0, .)."""
    for p, q in zip(P, Q, strict=True):
        heads = [jnp.maximum(tokens @ q[h].T @ tokens[:-1].T, 0.0) @ tokens[:-1] @ p[h].T for h in range(len(p))]
        tokens = tokens + sum(heads) / rho
    return tokens
