"""Wrong programs for training layers of linear self-attention, (TR1) to (TR10). Each is a mistake that is made."""

from dataclasses import replace

import jax.numpy as jnp

from dualform.laws.regression.training import definitions as t
from dualform.regression import batches, comparison, model, published, training
from dualform.regression.model import Network, predictions
from dualform.testing.mutant import Mutant

# (TR1): the program


def scaled_twice(W_PV, W_KQ, tokens, queries, rho, **options):
    """The divisor is the number of examples and is divided by once more, as if the weights had it too."""
    return predictions(W_PV, W_KQ, tokens, queries, rho * tokens.shape[1], **options)


def reads_itself(W_PV, W_KQ, tokens, queries, rho, **options):
    """The query is among its own keys and values."""
    return predictions(W_PV, W_KQ, tokens, queries, rho, **{**options, "include_query": True})


def mean_of_heads(W_PV, W_KQ, tokens, queries, rho, **options):
    """Heads are averaged."""
    return predictions(W_PV / W_PV.shape[1], W_KQ, tokens, queries, rho, **options)


def still_examples(W_PV, W_KQ, tokens, queries, rho, *, repeat=1, sign=-1.0, include_query=False):
    """The query moves from layer to layer, the examples stay."""
    asked = model.unlabelled(queries)
    for _ in range(repeat):
        for P, Q in zip(W_PV, W_KQ, strict=True):
            asked = model.layer(P, Q, tokens, asked, rho)[1]
    return sign * asked[-1]


def one_turn(W_PV, W_KQ, tokens, queries, rho, *, repeat=1, **options):
    """A recurrent network is applied once."""
    return predictions(W_PV, W_KQ, tokens, queries, rho, **options)


def inputs_read(W_PV, W_KQ, tokens, queries, rho, *, sign=-1.0, **options):
    """The last input of the query's token in place of its label."""
    asked = model.unlabelled(queries)
    return sign * model.layer(W_PV[0], W_KQ[0], tokens, asked, rho)[1][-2]


def plus(W_PV, W_KQ, tokens, queries, rho, *, sign=-1.0, **options):
    """The other convention of the read-out."""
    return predictions(W_PV, W_KQ, tokens, queries, rho, **options, sign=-sign)


ONE, TWO, AGAIN = "one layer", "two layers, two heads", "a layer twice, two queries"
PROGRAMS: tuple[tuple, ...] = (
    ("divided twice", scaled_twice, ONE, {}),
    ("query leaks", reads_itself, ONE, {}),
    ("last input", inputs_read, ONE, {}),
    ("sign", plus, ONE, {}),
    ("mean of heads", mean_of_heads, TWO, {}),
    ("examples stay", still_examples, TWO, {}),
    ("one turn", one_turn, AGAIN, {"repeat": 2}),
)

# (TR2), (TR3): parametrisations


def changed_four(change):
    def layers(weights):
        return model.layers(change(weights))

    return t.four_merged(layers)


def swapped_values(w):
    return {**w, "P": w["V"], "V": w["P"]}


def swapped_keys(w):
    return {**w, "K": w["Q"], "Q": w["K"]}


def upright_keys(weights):
    """K Q without the transpose."""
    W_PV, _ = model.layers(weights)
    return W_PV, weights["K"] @ weights["Q"]


def both_divided(W_PV, W_KQ):
    beta = jnp.trace(W_KQ[:-1, :-1]) / (len(W_KQ) - 1)
    return W_PV / beta, W_KQ / beta


def whole_trace(W_PV, W_KQ):
    """The mean over all entries of the diagonal, that of the label among them."""
    beta = jnp.trace(W_KQ) / len(W_KQ)
    return W_PV * beta, W_KQ / beta


# (TR4): the sampler


def shared_stream(stream):
    """Tasks, or noise, from the numbers of the inputs."""

    def draw(task, seed, step, batch, examples):
        kept = getattr(batches, stream)
        setattr(batches, stream, batches.INPUTS)
        try:
            return batches.draw(task, seed, step, batch, examples)
        finally:
            setattr(batches, stream, kept)

    return draw


def same_step(task, seed, step, batch, examples):
    """Every step has the prompts of the first."""
    return batches.draw(task, seed, 0 * step, batch, examples)


def query_shown(task, seed, step, batch, examples):
    """The query is the first example."""
    drawn = batches.draw(task, seed, step, batch, examples)
    return drawn._replace(query=drawn.x[:, 0], target=jnp.sum(drawn.x[:, 0] * drawn.w, axis=0))


def noisy_target(task, seed, step, batch, examples):
    """The query's label has noise, too."""
    drawn = batches.draw(task, seed, step, batch, examples)
    return drawn._replace(target=drawn.target + task.noise * batches.normal(seed, step, 9, drawn.target.shape))


def variance_for_deviation(task, seed, step, batch, examples):
    return batches.draw(replace(task, noise=task.noise**2), seed, step, batch, examples)


def whole_width(task, seed, step, batch, examples):
    """Uniform on (-2a, 2a): the range taken for half of it, as between paper and code of von Oswald et al."""
    inputs = task.inputs
    if hasattr(inputs, "half_width"):
        task = replace(task, inputs=replace(inputs, half_width=2 * inputs.half_width))
    return batches.draw(task, seed, step, batch, examples)


def covariance_unscaled(task, seed, step, batch, examples):
    """The covariance that integrates the query out is the identity."""
    drawn = batches.draw(task, seed, step, batch, examples)
    eye = jnp.eye(task.d)
    return drawn._replace(covariance=eye if drawn.covariance.ndim == 2 else eye[:, :, None] + 0 * drawn.covariance)


SAMPLERS = (
    ("shared keys: tasks", "tasks from the random numbers of the inputs", shared_stream("TASKS")),
    ("shared keys: noise", "noise from the random numbers of the inputs", shared_stream("NOISE")),
    ("shared keys: variances", "the covariance from the random numbers of the inputs", shared_stream("SCALES")),
    ("the same step", "every step sees the same prompts", same_step),
    ("query shown", "the query is an example", query_shown),
    ("noisy target", "the target has label noise", noisy_target),
    ("variance", "the variance of the noise as its deviation", variance_for_deviation),
    ("twice the interval", "uniform inputs on twice the interval", whole_width),
    ("covariance", "the identity as covariance of the query", covariance_unscaled),
)


# (TR5), (TR6): loss and start


def whole_square(said, target):
    return jnp.mean((said - target) ** 2)


def summed(said, target):
    return 0.5 * jnp.sum((said - target) ** 2)


def unbalanced(config):
    """Theta Theta' as it is drawn, not of norm one."""
    weights = training.initial_weights(config)
    return {**weights, "W_KQ": 2.0 * weights["W_KQ"]} if config.balanced else weights


def deviation_for_variance(config):
    """Small weights of deviation 0.002 in place of variance."""
    weights = training.initial_weights(config)
    factor = (config.initial / (config.task.d + 1)) ** 0.5
    return weights if config.balanced else {name: W * factor for name, W in weights.items()}


def indefinite(config):
    """Theta in place of Theta Theta'."""
    weights = training.initial_weights(config)
    if not config.balanced:
        return weights
    flipped = weights["W_KQ"][..., ::-1, :].at[...].get()
    return {**weights, "W_KQ": jnp.roll(flipped, -1, axis=-2)}


# (TR7) to (TR10): evaluation and comparison


def without_covariance(v, batch):
    return jnp.sum((v - batch.w) ** 2, axis=0)


def only_diagonal(v, batch):
    return jnp.sum((v - batch.w) ** 2 * jnp.diagonal(batch.covariance)[:, None], axis=0)


def bias_left_out(v, batch):
    """The variance of the prediction, not its error."""
    return jnp.einsum("ib,ij,jb->b", v, batch.covariance, v - batch.w)


def dot_product(a, b):
    return jnp.sum(a * b, axis=-1)


def one_norm(a, b):
    return jnp.sum(a * b, axis=-1) / jnp.linalg.norm(a, axis=-1) ** 2


def no_gauge(first: Network, second: Network):
    return replace(first, W_PV=0.5 * (first.W_PV + second.W_PV), W_KQ=0.5 * (first.W_KQ + second.W_KQ))


def sum_of_both(first: Network, second: Network):
    half = comparison.interpolated(first, second)
    return replace(half, W_PV=2 * half.W_PV, W_KQ=2 * half.W_KQ)


def wrong_interval(half_width):
    """The width of the interval taken for half of it."""
    return published.best_loss(half_width / 2)


def lost_half(half_width):
    return 2 * published.best_loss(half_width)


def step_untransposed(A):
    return tuple(W[:, 0] for W in model.layers({"A": jnp.swapaxes(A, 1, 2)}))


def correction_up(eta, gamma):
    return t.scalar_layers(eta, -gamma)


REST = (
    ("values after projection", "V P in place of P V", "TR2", "layers", changed_four(swapped_values), "one layer"),
    ("queries for keys", "the roles of keys and queries exchanged", "TR2", "layers", changed_four(swapped_keys),
     "one layer"),
    ("keys upright", "K Q in place of K' Q", "TR2", "layers", t.four_merged(upright_keys), "one layer"),
    ("preconditioner transposed", "A' where A belongs", "TR2", "layers", step_untransposed, "one matrix"),
    ("curvature added", "the inputs move away", "TR2", "layers", correction_up, "two scalars"),
    ("both divided", "both matrices divided by the scale", "TR3", "regauge", t.regauged(both_divided), "one layer"),
    ("label in the trace", "the diagonal of the whole matrix", "TR3", "regauge", t.mean_diagonal(whole_trace),
     "mean of the diagonal"),
    ("missing half", "the mean square without 1/2", "TR5", "half_square", whole_square, "three prompts"),
    ("missing half, in the gradient", "the gradient of the mean square without 1/2", "TR5", "autodiff",
     t.trained_gradient(whole_square), "gradient in the matrix of a step"),
    ("sum", "the sum over the batch", "TR5", "half_square", summed, "three prompts"),
    ("not normalised", "a Theta that was not divided by its norm", "TR6", "initial_weights", unbalanced, None),
    ("deviation", "the variance taken for the deviation", "TR6", "initial_weights", deviation_for_variance, None),
    ("indefinite", "not a square", "TR6", "initial_weights", indefinite, None),
    ("no covariance", "queries of covariance I", "TR7", "squared_error", t.integrated(without_covariance),
     "one layer, three queries"),
    ("diagonal", "queries with independent coordinates", "TR7", "squared_error", t.integrated(only_diagonal),
     "one layer, three queries"),
    ("no bias", "one factor is the prediction, not its error", "TR7", "squared_error", t.integrated(bias_left_out),
     "one layer, three queries"),
    ("not normalised", "the product for the cosine", "TR8", "cosine", dot_product, "random vectors"),
    ("one norm", "divided by one of the norms twice", "TR8", "cosine", one_norm, "random vectors"),
    ("no gauge", "the scale is not fixed first", "TR9", "interpolated", t.half_way(no_gauge), "one layer"),
    ("sum", "the sum of the weights, not their mean", "TR9", "interpolated", t.half_way(sum_of_both), "one layer"),
    ("half the interval", "width for half-width", "TR10", "best_loss", wrong_interval, None),
    ("missing half", "the mean square without 1/2", "TR10", "best_loss", lost_half, None),
)  # fmt: skip

MUTANTS = (
    *(Mutant(f"training: TR1: {what}", "TR1", "predictions", t.in_batches(program, **options), program.__doc__ or what,
             case) for what, program, case, options in PROGRAMS),
    *(Mutant(f"training: TR4: {what}", "TR4", "draw", draw, description) for what, description, draw in SAMPLERS),
    *(Mutant(f"training: {label}: {what}", label, form, replacement, description, case)
      for what, description, label, form, replacement, case in REST),
)  # fmt: skip


def by_einsum(W_PV, W_KQ, tokens, queries, rho, **options):
    """(TR1) for one layer, in the compiler's own products."""
    u = jnp.einsum("ij,jqb->iqb", W_KQ[0, 0][:, :-1], queries)
    return -jnp.einsum("i,inb,jnb,jqb->qb", W_PV[0, 0, -1], tokens, tokens, u, optimize=True) / rho


def squared(v, batch):
    return jnp.einsum("ib,ij,jb->b", v - batch.w, batch.covariance, v - batch.w)


HARMLESS = (
    Mutant("training: by einsum", "TR1", "predictions", t.in_batches(by_einsum), "another order of the sums", ONE),
    Mutant("training: quadratic form", "TR7", "squared_error", t.integrated(squared), "as a form",
           "one layer, three queries"),
)  # fmt: skip
