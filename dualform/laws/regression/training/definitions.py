"""Both sides of the laws on training and comparing layers, (TR1) to (TR10): prompt by prompt, and the library."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from dualform import regression
from dualform.laws.law import Measurement
from dualform.regression import batches, comparison, evaluation, model, optimum, published, training
from dualform.regression.model import Network
from dualform.regression.risks import of_coordinates
from dualform.regression.tasks import Gaussian, RandomDiagonal, Task, Uniform

# (TR1): one prompt after the other


def one_by_one(W_PV, W_KQ, x, y, queries, rho, *, include_query=False, repeat=1, sign=-1.0):
    """Each query of each prompt in a prompt of its own. Batches along the last axis."""
    rows = []
    for j in range(queries.shape[1]):
        row = []
        for b in range(x.shape[2]):
            tokens = regression.prompt(x[:, :, b].T, y[:, b], queries[:, j, b])
            after = regression.lsa_layers(tokens, W_PV, W_KQ, rho, include_query=include_query, repeat=repeat)
            row.append(sign * regression.prediction(after))
        rows.append(jnp.stack(row))
    return jnp.stack(rows)


def in_batches(predictions=model.predictions, **options):
    return lambda W_PV, W_KQ, x, y, queries, rho: predictions(
        W_PV, W_KQ, jnp.concatenate([x, y[None]]), queries, rho, **options
    )


def prompt_by_prompt(**options):
    return lambda *arguments: one_by_one(*arguments, **options)


def shapes(L, H, d, N, Q, B):
    D = d + 1
    return ((L, H, D, D), (L, H, D, D), (d, N, B), (N, B), (d, Q, B), ())


def settings(L, H, d, N, Q, B):
    """Weights of the size that training finds, whatever the depth."""
    W_PV, W_KQ, *prompts, _ = shapes(L, H, d, N, Q, B)

    def draw(rng):
        return (*(0.3 * rng.standard_normal(s) for s in (W_PV, W_KQ)), *map(rng.standard_normal, prompts), float(N))

    return draw


# (TR2): parametrisations


def four_by_hand(K, Q, V, P, tokens):
    """A layer with keys, queries, values and a projection, score by score, without a divisor."""
    rows = []
    for e in tokens:
        row = e
        for other in tokens[:-1]:
            row = row + (P @ (V @ other)) * jnp.sum((K @ other) * (Q @ e))
        rows.append(row)
    return jnp.stack(rows)


def four_merged(layers=model.layers):
    def form(K, Q, V, P, tokens):
        W_PV, W_KQ = layers({name: x[None, None] for name, x in dict(K=K, Q=Q, V=V, P=P).items()})
        return regression.lsa(tokens, W_PV[0, 0], W_KQ[0, 0], 1.0, include_query=False)

    return form


def descent_layers(A):
    return regression.gd_construction(A.shape[1], jnp.ones(len(A)), A=jnp.swapaxes(A, 1, 2))


def step_layers(A):
    return tuple(W[:, 0] for W in model.layers({"A": A}))


def curved_layers(eta, gamma):
    return regression.gd_construction(2, eta, gamma=gamma)


def scalar_layers(eta, gamma):
    return tuple(W[:, 0] for W in model.layers({"eta": eta, "gamma": gamma, "inputs": jnp.ones(2)}))


# (TR3): what does not matter


def one_layer(W_PV, W_KQ, x, y, query):
    return Network(W_PV[None, None], W_KQ[None, None])(x, y, query)


def rescaled(W_PV, W_KQ, x, y, query, beta):
    return one_layer(beta * W_PV, W_KQ / beta, x, y, query)


def regauged(regauge):
    def form(W_PV, W_KQ, x, y, query, beta):
        P, Q = regauge(W_PV, W_KQ)
        return one_layer(P, Q, x, y, query)

    return form


def mean_diagonal(regauge):
    return lambda W_PV, W_KQ: jnp.sum(jnp.diagonal(regauge(W_PV, W_KQ)[1])[:-1])


# (TR4): what is drawn

SEVEN = 7.0
"""Standard errors; of some three hundred statistics one is that far off once in 10^9 draws."""


def of_sampler(rng, draw) -> Measurement:
    """Moments and independence of what a step of a training draws, in standard errors; the control is dependent."""
    seed, N, B = int(rng.integers(2**31)), 3, 20_000
    worst, where = 0.0, ""
    for name, task in SAMPLED.items():
        run = jax.jit(partial(draw, task, seed, batch=B, examples=N))
        drawn, other = (jax.tree.map(lambda x: np.asarray(x, np.float64), run(step)) for step in (3, 4))
        for what, values, mean in (*moments(name, task, drawn), ("next step", drawn.x * other.x, 0.0)):
            z = standard_errors(values, mean)
            if z > worst:
                worst, where = z, f"{what}, {name}"
    control = standard_errors(drawn.x[0, 0] * drawn.x[0, 0], 0.0)
    meaning = f"largest deviation of a moment in standard errors ({where}); control: if all examples were one"
    return Measurement(worst, 0.0, SEVEN, control, meaning, bool(worst < SEVEN < control))


SAMPLED = {
    "uniform": Task(3, Uniform(0.5)),
    "normal": Task(2, Gaussian(jnp.array([[2.0, 0.5], [0.5, 1.0]])), prior=jnp.array([[1.0, -0.3], [-0.3, 0.5]]),
                   noise=0.5),
    "random": Task(3, RandomDiagonal(2.0)),
}  # fmt: skip


def moments(name, task, drawn):
    """(what, one value a prompt, its mean by the law), for all statistics that the law fixes."""
    x, y, query, target, w, covariance = drawn
    d = task.d
    known = np.eye(d) if task.prior is None else np.asarray(task.prior)
    of_x = {"uniform": np.eye(3) / 12, "random": 2 * np.eye(3)}.get(name)
    of_x = np.asarray(task.inputs.covariance) if of_x is None else of_x
    clean = np.einsum("dnb,db->nb", x, w)
    noise = y - clean  # and rounding
    for i in range(d):
        yield f"x_{i}", x[i, 0], 0.0
        yield f"x_{i}^4", x[i, -1] ** 4, {"uniform": 0.5**4 / 5, "random": 3 * 8.0}.get(name, 3 * of_x[i, i] ** 2)
        yield f"w_{i}^4", w[i] ** 4, 3 * known[i, i] ** 2
        yield f"x_{i} query_{i}", x[i, 0] * query[i], 0.0
        yield f"two examples, {i}", x[i, 0] * x[i, 1], 0.0
        for n in range(x.shape[1]):
            yield from ((f"x_{i} of example {n} with w_{j}", x[i, n] * w[j], 0.0) for j in range(d))
            yield from ((f"x_{i} of example {n} with noise {m}", x[i, n] * noise[m], 0.0) for m in range(len(noise)))
        for j in range(i, d):
            yield f"x_{i} x_{j}", x[i, 0] * x[j, 0], of_x[i, j]
            yield f"query_{i} query_{j}", query[i] * query[j], of_x[i, j]
            yield f"w_{i} w_{j}", w[i] * w[j], known[i, j]
            held = covariance[i, j] * np.ones(x.shape[2])
            yield f"covariance {i}{j}", held - query[i] * query[j], 0.0
    yield "noise", noise[0] ** 2, float(task.noise) ** 2
    yield "noise of two", noise[0] * noise[1], 0.0
    yield "noise and label", noise[0] * clean[0], 0.0
    yield "target", (target - np.sum(query * w, axis=0)) ** 2, 0.0


def standard_errors(values, mean) -> float:
    """How far the mean of values is from what it should be, beyond what float32 may round numbers of size one by."""
    off = max(0.0, abs(float(np.mean(values)) - mean) - 2.0**-20)
    return off / float(np.std(values)) * np.size(values) ** 0.5 if off else 0.0


# (TR5): the loss


def loss_by_hand(said, target):
    total = jnp.zeros(())
    for a, b in zip(said, target, strict=True):
        total = total + (a - b) * (a - b)
    return total / (2 * len(said))


def matrix_gradient(A, x, y, query, target):
    """Gradient of (TR5) with respect to the matrix of one step, written out: the mean of -(v.x_q - y_q) g x_q'."""
    total = jnp.zeros_like(A)
    for b in range(x.shape[2]):
        g = x[:, :, b] @ y[:, b] / x.shape[1]
        said = jnp.sum((A @ query[:, b]) * g)
        total = total + (said - target[b]) * g[:, None] * query[None, :, b]
    return total / x.shape[2]


def trained_gradient(loss=training.half_square):
    def form(A, x, y, query, target):
        def of_matrix(A):
            network = comparison.one_step(A)
            return loss(network.batch(jnp.concatenate([x, y[None]]), query[:, None])[0], target)

        return jax.grad(of_matrix)(A)

    return form


# (TR6): where a training starts


def balance(rng, initial_weights) -> Measurement:
    """Norms of balanced initial weights over sigma; that of small ones over the root of their variance."""
    worst = 0.0
    for seed in rng.integers(2**31, size=2):
        config = training.Training(Task(4), 10, depth=2, balanced=True, initial=0.3, seed=int(seed))
        weights = initial_weights(config)
        exact = {name: np.asarray(W, np.float64) for name, W in weights.items()}
        norms = np.concatenate([np.ravel(np.linalg.norm(W, axis=(2, 3))) for W in exact.values()])
        inner = exact["W_KQ"][..., :-1, :-1]
        semidefinite = max(0.0, -float(np.linalg.eigvalsh(inner).min()))
        worst = max(worst, float(np.abs(norms / 0.3 - 1).max()), semidefinite)
    config = training.Training(Task(31), 10, matrices="four", initial=0.002)
    small = np.concatenate([np.ravel(W) for W in initial_weights(config).values()])
    variance = float(np.mean(small**2)) * 32 / 0.002  # 4,096 entries: standard error 0.022
    control = float(np.linalg.norm(small))
    return Measurement(
        worst, 0.0, 2.0**-20, control,
        f"largest |norm / sigma - 1| of balanced weights, or negative eigenvalue; entries of the small ones have "
        f"{variance:.3f} of their variance; control: the norm of the small ones",
        bool(worst < 2.0**-20 < control and abs(variance - 1) < 0.15),
    )  # fmt: skip


# (TR7): the query integrated out


def over_queries(W_PV, W_KQ, x, y, w, R):
    """The mean over queries that are the rows of R, each asked by itself."""
    k = len(R)
    queries = jnp.broadcast_to(R.T[:, :, None], (R.shape[1], k, x.shape[2]))
    said = one_by_one(W_PV, W_KQ, x, y, queries, float(x.shape[1]))
    return jnp.mean((said - jnp.einsum("kd,db->kb", R, w)) ** 2, axis=0)


def integrated(squared_error=evaluation.squared_error):
    def form(W_PV, W_KQ, x, y, w, R):
        nothing = jnp.zeros(())
        batch = batches.Batch(x, y, nothing, nothing, w, R.T @ R / len(R))
        return squared_error(Network(W_PV, W_KQ).weights_of(batch.tokens), batch)

    return form


# (TR8) and (TR9): comparing


def by_gradient(W_PV, W_KQ, x, y, query):
    """The prediction and its derivative, of the layers as they are written."""

    def predict(query):
        return one_by_one(W_PV, W_KQ, x[:, :, None], y[:, None], query[:, None, None], float(x.shape[1]))[0, 0]

    return predict(query), jax.grad(predict)(query)


def by_weights(W_PV, W_KQ, x, y, query):
    tokens = jnp.concatenate([x, y[None]])[:, :, None]
    v = Network(W_PV, W_KQ).weights_of(tokens)[:, 0]
    return jnp.sum(v * query), v


def by_comparison(W_PV, W_KQ, x, y, query):
    return comparison.sensitivity(Network(W_PV, W_KQ))(x.T, y, query)


def cosine_by_hand(a, b):
    dot, one, two = (jnp.zeros(()) for _ in range(3))
    for x, y in zip(a, b, strict=True):
        dot, one, two = dot + x * y, one + x * x, two + y * y
    return dot / (jnp.sqrt(one) * jnp.sqrt(two))


def itself(W_PV, W_KQ, beta, x, y, query):
    return Network(W_PV, W_KQ)(x, y, query)


def half_way(interpolated=comparison.interpolated):
    def form(W_PV, W_KQ, beta, x, y, query):
        other = Network(beta * W_PV, W_KQ / beta)
        return interpolated(Network(W_PV, W_KQ), other)(x, y, query)

    return form


# (TR10): the published interval


def rate_of(a):
    """p*(a), for a symbolic a."""
    s, m4, d = a**2 / 3, a**4 / 5, published.INPUTS
    return optimum.step(s, d * s**2, d * (m4 + (d - 1) * s**2), 1 / published.EXAMPLES)


def loss_of(a):
    s, m4 = a**2 / 3, a**4 / 5
    return 0.5 * of_coordinates(rate_of(a), published.INPUTS, s, m4, 0.0, 1 / published.EXAMPLES)


def half_width(rng, best_loss) -> Measurement:
    """What the published loss says of the inputs, beside the spread of a mean over as many tasks as they had."""
    d, N, tasks = published.INPUTS, published.EXAMPLES, 50_000
    x, w = rng.uniform(-0.5, 0.5, (tasks, N + 1, d)), rng.standard_normal((tasks, d))
    y = np.einsum("bnd,bd->bn", x, w)
    said = published.best_rate(0.5) * np.einsum("bn,bnd,bd->b", y[:, :-1], x[:, :-1], x[:, -1], optimize=True)
    losses = 0.5 * (said - y[:, -1]) ** 2
    spread = float(np.std(losses)) / published.TASKS**0.5
    low, high = (float((max(published.LOSS + z * spread, 0.0) / best_loss(1.0)) ** 0.5) for z in (-5, 5))
    value = float((published.LOSS / best_loss(1.0)) ** 0.5)
    rates = [abs(published.best_rate(a) - published.RATE) for a in (0.5, 1.0)]
    meaning = (
        f"half-width of the inputs that the published loss {published.LOSS:.4f} implies, five standard errors of a "
        f"mean of {published.TASKS:,} tasks to either side; drawn here {np.mean(losses):.4f} at 1/2; the published "
        f"rate {published.RATE} is off by {rates[0]:.3f} at 1/2, by {rates[1]:.3f} at 1; control: the paper's interval"
    )
    drawn_well = abs(np.mean(losses) - best_loss(0.5)) < 5 * float(np.std(losses)) / len(losses) ** 0.5
    fits = low <= 0.5 <= high < 1.0 and rates[0] < published.GRID / 2 < rates[1]
    return Measurement(value, low, high, 1.0, meaning, bool(fits and drawn_well))
