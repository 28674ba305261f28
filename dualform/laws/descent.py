"""The laws of chapter 2: what optimisers make of outer products."""

from itertools import product

import jax.numpy as jnp

from dualform import descent
from dualform.descent import Optimizer
from dualform.laws.law import BOUNDED, PROVED, REFUTED, Case, Law

T, V, K, B = 6, 2, 3, 3
RUN = ((V, K), (T, V, K), (T,), (), (), (), (T,), ())  # W0, gradients, eta, momentum, dampening, decay, scale, ema


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


def every_option():
    """All combinations of Nesterov, decoupled decay and averaging; momentum, dampening, decay, clipping stay variables."""
    cases = []
    for nesterov, decoupled, averaged in product((False, True), repeat=3):
        flags = dict(nesterov=nesterov, decoupled=decoupled, averaged=averaged)
        name = ", ".join(k for k, v in flags.items() if v) or "heavy ball, coupled decay"
        forms = {"literal loop": literal_run(**flags), "run": scanned_run(**flags), "coefficients": by_coefficients(**flags)}
        cases.append(Case(name, forms, RUN, sample=settings))
    return tuple(cases)


def forward_products(eta, momentum, dampening, weight_decay, scale):
    """(O2) from the first step to the last: the state's matrices multiplied out, heavy ball with coupled decay."""
    steps = eta.shape[0]
    kept = [1.0] + [1 - dampening] * (steps - 1)
    zero = jnp.zeros(())
    matrices = [
        jnp.array([[1 - eta[t] * kept[t] * weight_decay, -eta[t] * momentum], [kept[t] * weight_decay, momentum + zero]])
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


def backward_rows(eta, momentum, dampening, weight_decay, scale):
    return descent.coefficients(optimizer(eta, momentum, dampening, weight_decay, 0.0), eta.shape[0], scale=scale)


def closed(formula, **fields):
    """A textbook sum beside `coefficients`: of eta [T] and the feature's own number."""

    def by_coefficients(eta, number):
        o = Optimizer(eta=eta, **{k: number if v is Ellipsis else v for k, v in fields.items()})
        return descent.coefficients(o, eta.shape[0])

    return {"sum": formula, "coefficients": by_coefficients}


def one_and(formula):
    return lambda eta, number: (jnp.ones(()), formula(eta, number))


def feature(name, formula, **fields):
    return Case(name, closed(formula, **fields), ((T,), ()), sample=lambda r: (r.uniform(0.01, 0.2, T), r.uniform(0.5, 0.99)))


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


def trained_layer(W0, G, X, q, eta, momentum, weight_decay):
    """The optimiser run on minibatch means, read at q."""
    o = Optimizer(eta=eta, momentum=momentum, weight_decay=weight_decay)
    return jnp.sum(descent.run(o, W0, descent.mean_gradients(G, X)) * q, axis=-1)


def pattern_loop(W0, G, X, q, eta, momentum, weight_decay):
    """(O9) written out: every pattern of every minibatch."""
    o = Optimizer(eta=eta, momentum=momentum, weight_decay=weight_decay)
    a, c = descent.coefficients(o, G.shape[0])
    out = a * jnp.sum(W0 * q, axis=-1)
    for t in range(G.shape[0]):
        for i in range(G.shape[1]):
            out = out + c[t] / G.shape[1] * G[t, i] * jnp.sum(X[t, i] * q)
    return out


def read_patterns(W0, G, X, q, eta, momentum, weight_decay):
    o = Optimizer(eta=eta, momentum=momentum, weight_decay=weight_decay)
    return descent.read(*descent.coefficients(o, G.shape[0]), W0, G, X, q)


def minibatches(rng):
    shapes = ((V, K), (T, B, V), (T, B, K), (K,))
    return (*(rng.standard_normal(s) for s in shapes), rng.uniform(0.01, 0.2, T), rng.uniform(0.5, 0.95), rng.uniform(0, 0.02))


def adam_loop(W0, gradients, eta, b1, b2, eps):
    """Kingma and Ba's algorithm 1."""
    W, m, v = W0, jnp.zeros_like(W0), jnp.zeros_like(W0)
    p1, p2 = 1.0, 1.0
    for t in range(gradients.shape[0]):
        m, v = b1 * m + (1 - b1) * gradients[t], b2 * v + (1 - b2) * gradients[t] ** 2
        p1, p2 = p1 * b1, p2 * b2
        W = W - eta * (m / (1 - p1)) / (jnp.sqrt(v / (1 - p2)) + eps)
    return W


def adam_dual(W0, gradients, eta, b1, b2, eps):
    _, C = descent.hadamard(gradients, eta, b1=b1, b2=b2, eps=eps)
    return W0 - jnp.sum(C * gradients, axis=0)


def adam_settings(rng):
    return rng.standard_normal((V, K)), rng.standard_normal((3, V, K)), 0.1, 0.9, 0.999, 1e-3


def elementwise_loop(W0, gradients, rates, b1):
    return descent.run_from_rates(W0, gradients, rates, b1=b1)


def elementwise_dual(W0, gradients, rates, b1):
    a, C = descent.hadamard_from_rates(rates, b1=b1)
    return a * W0 - jnp.sum(C * gradients, axis=0)


def rates(rng):
    return (
        rng.standard_normal((V, K)), rng.standard_normal((T, V, K)), rng.uniform(0.01, 1, (T, V, K)), rng.uniform(0.5, 0.99),
    )  # fmt: skip


def determinant(M):
    """Of a 3 x 3 matrix: zero if and only if its rank is below 3."""
    a, b, c = M
    return jnp.dot(a, jnp.cross(b, c))


def change(keep_decay: bool):
    """The determinant of W_T - a_T W_0 (or of W_T - W_0) after two patterns."""

    def f(W0, E, X, eta, momentum, weight_decay):
        o = Optimizer(eta=eta, momentum=momentum, weight_decay=weight_decay)
        gradients = E[:, :, None] * X[:, None, :]
        a, _ = descent.coefficients(o, 2)
        return determinant(descent.run(o, W0, gradients) - (a * W0 if keep_decay else W0))

    return f


def adam_minor(e, x):
    """A 2 x 2 minor of the change that one step of Adam on one pattern makes."""
    D = adam_loop(jnp.zeros((2, 2)), (e[:, None] * x[None, :])[None], 0.1, 0.9, 0.999, 1e-3)
    return D[0, 0] * D[1, 1] - D[0, 1] * D[1, 0]


def zero(*arguments):
    return jnp.zeros(())


RANK = ((3, 3), (2, 3), (2, 3), (2,), (), ())

LAWS = (
    Law(
        "O1", "a run of SGD is a sum of its gradients, each times a scalar", r"W_T = a_T W_0 + \sum_t c_t \bar g_t",
        every_option(), domain="schedules, momentum, Nesterov, dampening, decay, given clip factors, averaging, together",
    ),
    Law(
        "O2", "the scalars are a row of products of small matrices", r"c_t = r_t u_t,\ r_{t-1} = r_t M_t",
        (Case("heavy ball with coupled decay", {"forward": forward_products, "coefficients": backward_rows},
              ((T,), (), (), (), (T,)),
              sample=lambda r: (r.uniform(0.01, 0.2, T), r.uniform(0.8, 0.95), r.uniform(0, 0.2), r.uniform(0, 0.02), r.uniform(0.5, 1, T))),),
    ),
    Law("O3", "SGD with any schedule", r"c_i = -\eta_i",
        (Case("schedule", {"sum": lambda eta: (jnp.ones(()), -eta),
                           "coefficients": lambda eta: descent.coefficients(Optimizer(eta=eta), T)}, ((T,),)),)),
    Law("O4", "heavy ball: old gradients count more", r"c_i = -\sum_{t \ge i} \eta_t \mu^{t-i}",
        (feature("momentum", one_and(descent.heavy_ball), momentum=...),)),
    Law("O5", "Nesterov", r"c_i = -\eta_i - \mu \sum_{t \ge i} \eta_t \mu^{t-i}",
        (feature("Nesterov", one_and(descent.nesterov), momentum=..., nesterov=True),)),
    Law("O6", "weight decay without momentum, coupled or decoupled, forgets old gradients",
        r"c_i = -\eta_i \prod_{t>i} (1 - \eta_t \lambda)",
        (feature("coupled", descent.decay, weight_decay=...),
         feature("decoupled", descent.decay, weight_decay=..., decoupled=True))),
    Law("O7", "an average of the weights", r"c_i = -\eta_i \sum_{t \ge i} (1 - \rho) \rho^{T-t}",
        (feature("average", one_and(descent.averaged), ema=...),)),
    Law(
        "O8", "clipping is linear once its factors are recorded", r"\bar g_t \to s_t \bar g_t",
        (Case("clip at norm 1", {"clipping loop": clipped_loop, "recorded factors": clipped_dual}, ((V, K), (T, V, K), ()),
              sample=lambda r: (r.standard_normal((V, K)), r.standard_normal((T, V, K)) * r.choice([0.1, 1.0], (T, 1, 1)), r.uniform(0.01, 0.2))),),
        (BOUNDED,), domain="norms away from zero",
    ),
    Law(
        "O9", "a trained layer is attention over every pattern of every minibatch",
        r"W_T q = a_T W_0 q + \sum_{t,i} \frac{c_t}{B_t} g_{ti} (x_{ti} \cdot q)",
        (Case("minibatches", {"trained layer": trained_layer, "pattern by pattern": pattern_loop, "read": read_patterns},
              ((V, K), (T, B, V), (T, B, K), (K,), (T,), (), ()), sample=minibatches),),
        source="Irie et al. 2022; claim C39",
    ),
    Law(
        "O9", "\"the values are minus the learning rate times the gradients\" for a run with momentum", r"c_i = -\eta",
        (Case("heavy ball", {
            "as claimed": lambda W0, g, eta: W0 - eta * jnp.sum(g, axis=0),
            "momentum 0.9": lambda W0, g, eta: descent.run(Optimizer(eta=eta, momentum=0.9), W0, g),
        }, ((1, 1), (3, 1, 1), ())),),
        (REFUTED,), source="reading Irie et al.'s runs, which use momentum 0.9, without it",
    ),
    Law(
        "O10", "Adam is exact elementwise: a matrix in place of the scalar",
        r"y_j = a_T (W_0 q)_j - \sum_i g_{ij} x_i^\top \mathrm{diag}(C_i[j,:]) q",
        (Case("given rates", {"step by step": elementwise_loop, "Hadamard": elementwise_dual},
              ((V, K), (T, V, K), (T, V, K), ()), sample=rates),
         Case("Adam itself", {"Adam": adam_loop, "Hadamard": adam_dual},
              ((V, K), (3, V, K), (), (), (), ()), sample=adam_settings, gradient=False)),
        source="square roots enter the proof as an unknown function",
    ),
    Law(
        "O11", "n patterns change the weight in at most n dimensions, decay of W_0 apart", r"\mathrm{rank}(W_T - a_T W_0) \le n",
        (Case("two patterns, 3 x 3", {"determinant": change(True), "zero": zero}, RANK, gradient=False),),
        (PROVED,), source="claim C45",
    ),
    Law(
        "O11", "\"n steps change the weight in at most n dimensions\" under weight decay", r"\mathrm{rank}(W_T - W_0) \le n",
        (Case("two patterns, 3 x 3", {"determinant": change(False), "zero": zero}, RANK),),
        (REFUTED,), source="claim C45",
    ),
    Law(
        "O11", "\"n steps change the weight in at most n dimensions\" under Adam", r"\mathrm{rank}(W_T - W_0) \le n",
        (Case("one pattern, 2 x 2", {"minor": adam_minor, "zero": zero}, ((2,), (2,))),),
        (REFUTED,), source="claim C45",
    ),
)  # fmt: skip
