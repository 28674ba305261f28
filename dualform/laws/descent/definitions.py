"""Both sides of the laws on SGD, (O1), (O2), (O8), (O9): the literal loop, the library, and settings as in practice."""

import jax.numpy as jnp
import numpy as np

from dualform import descent
from dualform.descent import Optimizer
from dualform.laws.law import widened
from dualform.laws.linear.definitions import read

T, V, K, B = 6, 2, 3, 3


def optimizer(eta, momentum, dampening, weight_decay, ema, nesterov=False, decoupled=False, averaged=False):
    return Optimizer(
        eta=eta, momentum=momentum, dampening=dampening, weight_decay=weight_decay, nesterov=nesterov,
        decoupled=decoupled, ema=ema if averaged else None,
    )  # fmt: skip


def literal_run(nesterov, decoupled, averaged):
    """torch.optim.SGD's loop, line by line, with clip factors and an average of the weights."""

    def run(W0, gradients, eta, momentum, dampening, weight_decay, scale, ema):
        W, mean, buffer = W0, W0, None
        for t in range(gradients.shape[0]):
            g = scale[t] * gradients[t]
            if not decoupled:
                g = g + weight_decay * W
            buffer = g if buffer is None else momentum * buffer + (1 - dampening) * g
            step = g + momentum * buffer if nesterov else buffer
            W = (W * (1 - eta[t] * weight_decay) if decoupled else W) - eta[t] * step
            mean = ema * mean + (1 - ema) * W
        return mean if averaged else W

    return run


def scanned_run(**flags):
    def run(W0, gradients, eta, momentum, dampening, weight_decay, scale, ema):
        o = optimizer(eta, momentum, dampening, weight_decay, ema, **flags)
        return descent.run(o, W0, gradients, scale=scale)

    return run


def by_coefficients(**flags):
    """(O1): the initial weight and the gradients, each times its scalar."""

    def run(W0, gradients, eta, momentum, dampening, weight_decay, scale, ema):
        o = optimizer(eta, momentum, dampening, weight_decay, ema, **flags)
        a, c = descent.coefficients(o, gradients.shape[0], scale=scale)
        return a * W0 + jnp.tensordot(c, gradients, 1, precision="highest")

    return run


def settings(rng):
    """Inputs of (O1) as in practice: small steps, momentum 0.9, decay 1e-2."""
    return (
        rng.standard_normal((V, K)), rng.standard_normal((T, V, K)), rng.uniform(0.01, 0.2, T), rng.uniform(0.8, 0.95),
        rng.uniform(0, 0.2), rng.uniform(0, 0.02), rng.uniform(0.5, 1, T), rng.uniform(0.8, 0.99),
    )  # fmt: skip


def integers(rng):
    """Inputs of (O1) on which nothing rounds in float32: steps, momentum and factors whole, no decay and no average.

    Then |c_t| <= 2 T, so that sums of T gradients of size at most A and W_0 stay below A (1 + 2 T^2) <= 2^24.
    """
    A = 2**24 // (1 + 2 * T**2)
    W0, gradients = (rng.integers(-A, A + 1, shape).astype(float) for shape in ((V, K), (T, V, K)))
    eta, scale = rng.integers(0, 3, T).astype(float), rng.integers(0, 2, T).astype(float)
    return W0, gradients, eta, float(rng.choice([-1, 1])), float(rng.integers(0, 2)), 0.0, scale, 0.0


def forward_products(eta, momentum, dampening, weight_decay, scale):
    """(O2) from the first step to the last: the state's matrices multiplied out, heavy ball with coupled decay."""
    steps = eta.shape[0]
    kept = [1.0] + [1 - dampening] * (steps - 1)
    matrices = [
        jnp.array([[1 - eta[t] * kept[t] * weight_decay, -eta[t] * momentum], [kept[t] * weight_decay, momentum]])
        for t in range(steps)
    ]
    enters = [jnp.array([-eta[t] * kept[t] * scale[t], kept[t] * scale[t]]) for t in range(steps)]
    c = []
    for i in range(steps):
        state = enters[i]
        for t in range(i + 1, steps):
            state = matrices[t] @ state
        c.append(state[0])
    state = jnp.array([1.0, 0.0])
    for matrix in matrices:
        state = matrix @ state
    return state[0], jnp.stack(c)


def state_settings(rng):
    return (
        rng.uniform(0.01, 0.2, T), rng.uniform(0.8, 0.95), rng.uniform(0, 0.2), rng.uniform(0, 0.02),
        rng.uniform(0.5, 1, T),
    )  # fmt: skip


def backward_rows(eta, momentum, dampening, weight_decay, scale):
    return descent.coefficients(optimizer(eta, momentum, dampening, weight_decay, 0.0), eta.shape[0], scale=scale)


def clipped_loop(W0, gradients, eta):
    """SGD that clips by the norm of each gradient as it goes, at norm 1."""
    W = W0
    for t in range(gradients.shape[0]):
        norm = jnp.sqrt(jnp.sum(gradients[t] ** 2))
        W = W - eta * jnp.minimum(1.0, 1.0 / norm) * gradients[t]
    return W


def clipped_dual(W0, gradients, eta):
    norms = jnp.sqrt(jnp.sum(gradients**2, axis=(1, 2)))
    o = Optimizer(eta=eta, clip=1.0)
    a, c = descent.coefficients(o, gradients.shape[0], scale=descent.clip_factors(norms, 1.0))
    return a * W0 + jnp.tensordot(c, gradients, 1, precision="highest")


def clip_settings(rng):
    """Gradients of norms below and above 1."""
    size = np.resize([0.1, 1.0, 3.0], (T, 1, 1))
    return rng.standard_normal((V, K)), size * rng.standard_normal((T, V, K)), rng.uniform(0.01, 0.2)


def trained_loop(W0, G, X, q, eta, momentum, weight_decay):
    """Heavy ball with coupled decay on the mean over each minibatch, pattern by pattern, read at q."""
    W, buffer = W0, jnp.zeros_like(W0)
    for t in range(len(G)):
        gradient = sum((G[t][i][:, None] * X[t][i][None, :] for i in range(len(G[t]))), jnp.zeros_like(W0)) / len(G[t])
        buffer = momentum * buffer + gradient + weight_decay * W
        W = W - eta[t] * buffer
    return read(W, q)


def trained_layer(W0, G, X, q, eta, momentum, weight_decay):
    """The optimiser run on minibatch means, read at q."""
    o = Optimizer(eta=eta, momentum=momentum, weight_decay=weight_decay)
    return read(descent.run(o, W0, descent.mean_gradients(G, X)), q)


@widened
def pattern_loop(W0, G, X, q, eta, momentum, weight_decay):
    """(O9) written out: every pattern of every minibatch."""
    o = Optimizer(eta=eta, momentum=momentum, weight_decay=weight_decay)
    a, c = descent.coefficients(o, len(G))
    out = a * read(W0, q)
    for t in range(len(G)):
        for i in range(len(G[t])):
            out = out + c[t] / len(G[t]) * G[t][i] * jnp.sum(X[t][i] * q)
    return out


def read_patterns(W0, G, X, q, eta, momentum, weight_decay):
    o = Optimizer(eta=eta, momentum=momentum, weight_decay=weight_decay)
    return descent.read(*descent.coefficients(o, len(G)), W0, G, X, q)
