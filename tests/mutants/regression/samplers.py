"""Wrong samplers of prompts (LS15): keys that are used twice, wrong laws, parts that are shared or not."""

import jax
import jax.numpy as jnp

from dualform import regression as r
from dualform.testing.mutant import Mutant

PARTS = ("inputs", "query", "w", "kept", "noise", "level")


def drawn(share=(), **changes):
    """The sampler written again, with keys that are shared, pairs of `PARTS`, and steps that are changed."""

    def sampler(task, key, batch, examples):
        keys = dict(zip(PARTS, jax.random.split(key, len(PARTS)), strict=True))
        for one, other in share:
            keys[one] = keys[other]
        changed = {**STEPS, **changes}
        x, covariance = changed["inputs"](task.inputs, keys["inputs"], batch, examples + 1, task.d)
        x, query = x[:, :-1], x[:, -1]
        if task.query is not None:
            query, covariance = changed["inputs"](task.query, keys["query"], batch, 1, task.d)
            query = query[:, 0]
        w = changed["w"](task, keys["w"], keys["kept"], batch)
        level, noise = changed["noise"](task, keys["level"], keys["noise"], (batch, examples))
        y = jnp.sum(x * w[:, None], axis=-1) + noise
        return r.Prompts(x, y, query, changed["target"](query, w, noise), w, covariance, level)

    return sampler


def weights(task, of_w, of_kept, batch):
    """N(0, prior), by Cholesky's factor; all but `sparse` entries zero."""
    w = jax.random.normal(of_w, (batch, task.d))
    w = w if task.prior is None else w @ jnp.linalg.cholesky(task.prior).T
    return w if task.sparse is None else w * mask(of_kept, batch, task.d, task.sparse)


def mask(key, batch, d, count):
    """Ones at `count` random places of each row, by the rank of a random number."""
    u = jax.random.uniform(key, (batch, d))
    return (jnp.sum(u[:, :, None] > u[:, None, :], axis=2) < count).astype(float)


def noisy(task, of_level, of_noise, shape):
    """Levels of noise, and the noise."""
    level = jax.random.choice(of_level, jnp.atleast_1d(jnp.asarray(task.noise, float)), (shape[0],))
    return level, level[:, None] * jax.random.normal(of_noise, shape)


STEPS = {
    "inputs": lambda inputs, key, batch, n, d: inputs.draw(key, batch, n, d),
    "w": weights,
    "noise": noisy,
    "target": lambda query, w, noise: jnp.sum(query * w, axis=1),
}


def whitened_by(power):
    """Normal inputs whose covariance is another power of the one that is asked for."""

    def inputs(law, key, batch, n, d):
        values, vectors = jnp.linalg.eigh(law.covariance)
        z = jax.random.normal(key, (batch, n, d))
        return z @ (vectors * (values**power)[None]) @ vectors.T, law.covariance

    return inputs


def scaled(factor):
    """Uniform inputs of another half width, and the covariance that was asked for."""

    def inputs(law, key, batch, n, d):
        x, covariance = law.draw(key, batch, n, d)
        return factor * x, covariance

    return inputs


def variances(shape=lambda batch, n, d: (batch, 1, d), change=lambda v: v, of_inputs=None):
    """Random diagonal covariances of another shape or law; the variances of the first token are returned."""

    def inputs(law, key, batch, n, d):
        one, other = jax.random.split(key)
        v = change(law.scale * jax.random.exponential(one, shape(batch, n, d)))
        x = jax.random.normal(one if of_inputs else other, (batch, n, d)) * jnp.sqrt(v)
        return x, jnp.broadcast_to(v, (batch, n, d))[:, 0, :, None] * jnp.eye(d)[None]

    return inputs


def weights_by(mask):
    """Task vectors with another choice of the entries that stay."""
    return lambda task, of_w, of_kept, batch: (
        jax.random.normal(of_w, (batch, task.d)) * mask(of_kept, batch, task.d, task.sparse)
    )


def one_task(task, of_w, of_kept, batch):
    """The same task in every prompt."""
    return jnp.broadcast_to(weights(task, of_w, of_kept, batch)[:1], (batch, task.d))


def noise_of(level, spread=lambda s: s):
    """Noise of another shape of levels, or another function of them."""

    def noise(task, of_level, of_noise, shape):
        s = level(task, of_level, shape)
        return jnp.broadcast_to(s, shape)[:, 0], spread(s) * jax.random.normal(of_noise, shape)

    return noise


def by_prompt(task, key, shape):
    return jax.random.choice(key, jnp.atleast_1d(jnp.asarray(task.noise, float)), (shape[0], 1))


def by_example(task, key, shape):
    return jax.random.choice(key, jnp.atleast_1d(jnp.asarray(task.noise, float)), shape)


NORMAL, UNIFORM, RANDOM, SPARSE = "LS15", "LS15.uniform", "LS15.covariances", "LS15.sparse"

SAMPLERS = (
    ("one key for inputs and tasks", "shared key", drawn([("w", "inputs")]), NORMAL),
    ("one key for query and tasks", "shared key", drawn([("w", "query")]), NORMAL),
    ("one key for inputs and query", "shared key", drawn([("query", "inputs")]), NORMAL),
    ("one key for inputs and noise", "shared key", drawn([("noise", "inputs")]), NORMAL),
    ("one key for tasks and noise", "shared key", drawn([("noise", "w")]), NORMAL),
    ("variance for deviation", "colours by the covariance", drawn(inputs=whitened_by(1.0)), NORMAL),
    ("prior forgotten", "tasks of unit covariance",
     drawn(w=lambda task, of_w, of_kept, batch: jax.random.normal(of_w, (batch, task.d))), NORMAL),
    ("noise as variance", "its root taken", drawn(noise=noise_of(by_prompt, jnp.sqrt)), NORMAL),
    ("noisy target", "label noise on the query", drawn(target=lambda q, w, e: jnp.sum(q * w, axis=1) + e[:, 0]),
     NORMAL),
    ("one task", "the same in every prompt", drawn(w=one_task), NORMAL),
    ("published interval", "U(-1, 1) for U(-1/2, 1/2)", drawn(inputs=scaled(2.0)), UNIFORM),
    ("normal for uniform", "of the same variance",
     drawn(inputs=lambda law, key, batch, n, d: (jax.random.normal(key, (batch, n, d)) / 12**0.5, jnp.eye(d) / 12)),
     UNIFORM),
    ("one key for uniform inputs and tasks", "shared key", drawn([("w", "inputs")]), UNIFORM),
    ("variances by token", "drawn for each token", drawn(inputs=variances(lambda batch, n, d: (batch, n, d))), RANDOM),
    ("one key for variances and inputs", "shared key", drawn(inputs=variances(of_inputs=True)), RANDOM),
    ("always the first", "the first entries stay",
     drawn(w=weights_by(lambda key, batch, d, s: (jnp.arange(d) < s).astype(float)[None])), SPARSE),
    ("by coin", "each entry by itself",
     drawn(w=weights_by(lambda key, batch, d, s: jax.random.bernoulli(key, s / d, (batch, d)).astype(float))), SPARSE),
    ("one key for entries and tasks", "shared key", drawn([("kept", "w")]), SPARSE),
    ("one key for entries and inputs", "shared key", drawn([("kept", "inputs")]), SPARSE),
    ("level by example", "a level for each label", drawn(noise=noise_of(by_example)), SPARSE),
)  # fmt: skip

MUTANTS = tuple(
    Mutant(f"prompts: {name}", "LS15", "prompts", program, why, law) for name, why, program, law in SAMPLERS
)

HARMLESS = tuple(
    Mutant(f"prompts: drawn anew, {kind}", "LS15", "prompts", drawn(), "written again", law)
    for kind, law in (("normal", NORMAL), ("sparse", SPARSE))
)
