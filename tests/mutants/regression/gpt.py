"""Wrong programs for the small GPT and for the baselines: masks, positions, losses, parameters, measures."""

import jax
import jax.numpy as jnp
import numpy as np

from dualform._numerics import dot
from dualform.laws.attention.softmax.definitions import averaged, exponentials
from dualform.laws.regression.gpt import definitions as forms
from dualform.laws.regression.gpt import measured
from dualform.regression import baselines, similarity
from dualform.regression.gpt import gpt_predictions, prefix_loss
from dualform.testing.mutant import Mutant

# (GP1) to (GP4): the network


def labels_first(x, y):
    """Every label before its input."""
    labels = jnp.concatenate([y[:, None], jnp.zeros((len(y), x.shape[1] - 1))], axis=1)
    return jnp.stack([labels, x], axis=1).reshape(-1, x.shape[1])[:-1]


def label_last(x, y):
    """The label at the last coordinate."""
    labels = jnp.concatenate([jnp.zeros((len(y), x.shape[1] - 1)), y[:, None]], axis=1)
    return jnp.stack([x, labels], axis=1).reshape(-1, x.shape[1])[:-1]


def seeing(ahead):
    """Attention that sees `ahead` tokens after its own; without a shift, as the law's program."""

    def attention(V, K, Q):
        rows = [min(t + 1 + ahead, len(V)) for t in range(len(V))]
        scale = K.shape[1] ** -0.5
        return jnp.stack([averaged(exponentials(K[:n], Q[t], scale), V[:n]) for t, n in enumerate(rows)])

    return attention


def unscaled(V, K, Q):
    return forms.unshifted(V, K, Q * K.shape[1] ** 0.5)


def network(attention=forms.unshifted, change=lambda weights: weights, labels=lambda y: y):
    """The network with other attention, weights changed first, or other labels."""
    return lambda weights, x, y: gpt_predictions(change(weights), x, labels(y), attention)


def shifted_positions(weights):
    return weights._replace(positions=jnp.roll(weights.positions, 1, axis=0))


def no_positions(weights):
    return weights._replace(positions=0 * weights.positions)


def swapped_heads(weights):
    """The output matrix reads the heads in the other order."""
    blocks = tuple(b._replace(values=tuple(v[::-1] for v in b.values)) for b in weights.blocks)
    return weights._replace(blocks=blocks)


def one_norm(weights):
    """The second norm of each layer with the first one's weights."""
    return weights._replace(blocks=tuple(b._replace(norm2=b.norm1) for b in weights.blocks))


def no_skip(weights):
    """Nothing added by the second half of a layer."""
    blocks = tuple(b._replace(down=tuple(0 * w for w in b.down)) for b in weights.blocks)
    return weights._replace(blocks=blocks)


def losses(reduce):
    """The loss from predictions and labels in another way."""
    return lambda weights, x, y: reduce(jax.vmap(lambda x, y: forms.library(weights, x, y))(x, y), y)


NETWORK = (
    ("labels first", "each label before its input", "GP1", "alternating", labels_first, None),
    ("label last", "the label at another coordinate", "GP1", "alternating", label_last, "three points"),
    ("leak", "the mask lets an input see its own label", "GP2", "gpt_predictions", network(seeing(1)), "two heads"),
    ("positions off by one", "each token has the position before", "GP2", "gpt_predictions",
     network(change=shifted_positions), "two heads"),
    ("no positions", "a bag of tokens", "GP2", "gpt_predictions", network(change=no_positions), "two heads"),
    ("scale", "scores not divided by sqrt(K)", "GP2", "gpt_predictions", network(unscaled), "two heads"),
    ("heads swapped", "values of one head, scores of the other", "GP2", "gpt_predictions",
     network(change=swapped_heads), "two heads"),
    ("one norm", "the first norm's weights used twice", "GP2", "gpt_predictions", network(change=one_norm),
     "two heads"),
    ("no second half", "layers of attention only", "GP2", "gpt_predictions", network(change=no_skip), "two heads"),
    ("leak", "the mask lets an input see its own label", "GP3", "what the future changes",
     forms.future(network(seeing(1))), None),
    ("no mask", "every token sees all", "GP3", "what the future changes", forms.future(network(seeing(9))), None),
    ("labels early", "labels shifted by one, so that a token holds the next one", "GP3", "what the future changes",
     forms.future(network(labels=lambda y: jnp.roll(y, -1))), None),
    ("over labels", "predictions of inputs against the labels before them", "GP4", "one pass",
     losses(lambda p, y: prefix_loss(p[:, 1:], y[:, :-1])), None),
    ("last only", "the loss on the query alone", "GP4", "one pass",
     losses(lambda p, y: prefix_loss(p[:, 1:], y[:, 1:])), None),
    ("half", "half the squared error", "GP4", "one pass", losses(lambda p, y: 0.5 * prefix_loss(p, y)), None),
    ("sum", "summed over positions", "GP4", "one pass", losses(lambda p, y: y.shape[1] * prefix_loss(p, y)), None),
)  # fmt: skip

# (GP5) to (GP9): the baselines


def mean_penalty(x, y, lam):
    """The penalty of a mean over examples."""
    return baselines.ridge(x, y, lam * len(x))


def centred(x, y, lam):
    """With an intercept."""
    return baselines.ridge(x - jnp.mean(x, axis=0, keepdims=True), y - jnp.mean(y), lam)


def wrong_gram(x, y, lam):
    """Cross products of the whole Gram matrix forgotten."""
    S = jnp.sum(x * x, axis=0) + lam
    return dot(y, x) / S


def best(numerator, divisor):
    """(GP8)'s least risk with another numerator or divisor."""
    return lambda k, d, sigma: (numerator(k, d, sigma) / divisor(k, d, sigma), jnp.zeros(()))


def risk(bias=lambda lam: lam**2, variance=lambda A, S: dot(A, S)):
    """(GP9)'s first form with another bias or another variance."""

    def f(x, lam, sigma, tau):
        S, eye = dot(x.T, x), jnp.eye(x.shape[1])
        A = jnp.linalg.solve(S + lam * eye, eye)
        return bias(lam) * tau**2 * jnp.sum(A * A) + sigma**2 * jnp.sum(variance(A, S) * A)

    return f


BASELINES = (
    ("mean penalty", "the parameter times the number of examples", "GP5", "ridge", mean_penalty, None),
    ("squared", "the parameter squared", "GP5", "ridge", lambda x, y, lam: baselines.ridge(x, y, lam**2), None),
    ("intercept", "inputs and labels centred", "GP5", "ridge", centred, "more examples"),
    ("coordinate by coordinate", "the Gram matrix's diagonal", "GP5", "ridge", wrong_gram, "more examples"),
    ("ridge", "least squares with a little ridge", "GP5", "what ols leaves",
     forms.left_over(lambda x, y: baselines.ridge(x, y, 2.0**-10)), None),
    ("not the least norm", "some solution, with a part that no input sees", "GP5", "what ols leaves",
     forms.left_over(lambda x, y: jnp.append(jnp.linalg.solve(x[:, :2], y), 0.0)), "fewer examples"),
    ("no prior", "the noise's variance, whatever the prior's", "GP6", "bayes",
     lambda x, y, sigma, tau: baselines.ridge(x, y, sigma**2), None),
    ("deviations", "sigma / tau", "GP6", "bayes", lambda x, y, sigma, tau: baselines.ridge(x, y, sigma / tau), None),
    ("inverted", "tau^2 / sigma^2", "GP6", "bayes",
     lambda x, y, sigma, tau: baselines.ridge(x, y, (tau / sigma) ** 2), None),
    ("no 1/k", "a sum for an average", "GP8", "averaging", lambda x, y, divisor: dot(y, x), None),
    ("signs", "absolute labels", "GP8", "averaging",
     lambda x, y, divisor: dot(jnp.sqrt(y * y), x) / divisor, None),
    ("d for d + 1", "the query's own direction forgotten", "GP8", "best_averaging_risk",
     best(lambda k, d, s: d + s**2, lambda k, d, s: k + d + s**2), None),
    ("no noise", "the noise in the divisor alone", "GP8", "best_averaging_risk",
     best(lambda k, d, s: d + 1, lambda k, d, s: k + d + 1 + s**2), None),
    ("unsquared bias", "lambda for its square", "GP9", "ridge_risk", risk(bias=lambda lam: lam), None),
    ("flat variance", "tr A for tr A S A", "GP9", "ridge_risk", risk(variance=lambda A, S: jnp.eye(len(A))), None),
    ("averaging without 1/k", "a sum in the curve", "GP7", "averaging", lambda x, y: dot(y, x), None),
    ("ridge in the curve", "ridge 1 for least squares", "GP7", "least squares",
     lambda x, y: baselines.ridge(x, y, 1.0), None),
    ("step of another length", "k + d for k + d + 1, twice over", "GP7", "one step",
     lambda x, y: 2 * dot(y, x) / (len(x) + x.shape[1]), None),
    ("sigma for its square", "the parameter of Bayes is 0.5, not 0.25", "GP9", "bayes",
     lambda x, y, sigma: baselines.ridge(x, y, sigma), None),
)  # fmt: skip

# (GP10) to (GP12): similarity


def found(change):
    """The implied parameter with something done to it."""

    def implied(x, y, queries, outputs):
        right = similarity.implied_ridge(x, y, queries, outputs)
        return right._replace(lam=change(right.lam, np.shape(x)[1]))

    return implied


SIMILARITY = (
    ("no square", "the mean difference", "GP10", "spd", lambda a, b: jnp.mean(a - b), None),
    ("sum", "summed over queries", "GP10", "spd", lambda a, b: jnp.sum((a - b) ** 2) / len(a), None),
    ("moments", "difference of mean squares", "GP10", "spd", lambda a, b: jnp.mean(a**2) - jnp.mean(b**2), None),
    ("no inverse", "queries taken for white", "GP11", "implied_weights",
     lambda queries, w: dot(dot(queries, w), queries) / len(queries), None),
    ("ridge in the fit", "a little ridge", "GP11", "implied_weights",
     lambda queries, w: baselines.ridge(queries, dot(queries, w), 2.0**-10), None),
    ("mean over coordinates", "divided by d", "GP11", "ilwd", lambda v, w: jnp.mean((v - w) ** 2), None),
    ("distance of means", "prompts averaged first", "GP11", "ilwd",
     lambda v, w: jnp.sum(jnp.mean(v - w, axis=0) ** 2), None),
    ("per example", "the parameter over k", "GP12", "implied_ridge", found(lambda lam, k: lam / k), None),
    ("root", "sigma / tau for its square", "GP12", "implied_ridge", found(lambda lam, k: lam**0.5), None),
    ("labels of other prompts", "examples and labels shuffled apart", "GP13", "answer",
     lambda x, y, queries: measured.of_network(x, jnp.roll(y, 1, axis=0), queries), None),
    ("labels halved", "a scale that only one of two programs knows", "GP13", "answer",
     lambda x, y, queries: measured.of_network(x, y, queries) / 2, None),
)  # fmt: skip

MUTANTS = tuple(
    Mutant(f"{label}, {form}: {name}", label, form, program, why, case)
    for name, why, label, form, program, case in (*NETWORK, *BASELINES, *SIMILARITY)
)

HARMLESS = (
    Mutant("attention: rows of its own", "GP2", "gpt_predictions", network(seeing(0)), "prefix by prefix", "two heads"),
    Mutant("loss: prompts first", "GP4", "one pass", losses(lambda p, y: jnp.mean(jnp.mean((p - y) ** 2, axis=1))),
           "mean of means", None),
    Mutant("ridge: in the inputs' space", "GP5", "ridge", forms.normal_equations, "the other Gram matrix", None),
    Mutant("bayes: by the labels' covariance", "GP6", "bayes", forms.posterior, "conditional mean", None),
    Mutant("ridge risk: by tasks and noises", "GP9", "ridge_risk", forms.trace_form, "one by one", None),
    Mutant("ilwd: rows summed", "GP11", "ilwd", forms.distances, "entry by entry", None),
)  # fmt: skip
