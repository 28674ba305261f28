"""Maxima, logarithms, sigmoids and exponentials inside exponentials: what is proved of them, and what must not be."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax
from soundness import not_proved, proved

from dualform.prove import Input, identical


def softmax(x):
    """From the definition."""
    powers = jnp.exp(x)
    return powers / powers.sum(-1, keepdims=True)


def shifted(x, by):
    powers = jnp.exp(x - by)
    return powers / powers.sum(-1, keepdims=True)


def sigmoid(x):
    return 1 / (1 + jnp.exp(-x))


def log_sum(x):
    return jnp.log(jnp.exp(x).sum(-1))


def attention(q, k, v):
    """From the definition, scaled."""
    return softmax(q @ k.T / jnp.sqrt(q.shape[-1])) @ v


def library_attention(q, k, v):
    return jax.nn.dot_product_attention(q[:, None], k[:, None], v[:, None])[:, 0]


def library_softmax_attention(q, k, v):
    return jax.nn.softmax(q @ k.T / jnp.sqrt(q.shape[-1])) @ v


def masked(scores):
    return jnp.where(jnp.tril(jnp.ones(scores.shape, bool)), scores, -jnp.inf)


def causal(q, k, v):
    return jax.nn.softmax(masked(q @ k.T)) @ v


def causal_by_definition(q, k, v):
    powers = jnp.tril(jnp.exp(q @ k.T))
    return powers / powers.sum(-1, keepdims=True) @ v


def log_sum_guarded(x):
    """As libraries write it."""
    top = x.max(-1)
    top = jnp.where(jnp.isfinite(top), top, 0)
    return top + jnp.log(jnp.exp(x - top[..., None]).sum(-1))


def pulled(f):
    return lambda x, cotangent: jax.vjp(f, x)[1](cotangent)[0]


def off_diagonal(x):
    return jnp.where(jnp.eye(len(x), dtype=bool), 0, x)


def zero_powers(x):
    """exp(-inf), whatever x is: quotients of two of them are NaN."""
    return jnp.exp(x + (-jnp.inf))


ATTENTION = ((3, 4), (5, 4), (5, 4))
SQUARE = ((4, 4), (4, 4), (4, 2))
TRUE = {
    "softmax": (jax.nn.softmax, softmax, (5,)),
    "softmax-of-rows": (jax.nn.softmax, softmax, (3, 4)),
    "softmax-shifted-by-a-maximum": (jax.nn.softmax, lambda x: shifted(x, x.max()), (5,)),
    "softmax-shifted-by-a-minimum": (softmax, lambda x: shifted(x, x.min()), (5,)),
    "softmax-shifted-by-a-mean": (jax.nn.softmax, lambda x: shifted(x, x.mean()), (5,)),
    "softmax-of-one": (jax.nn.softmax, jnp.ones_like, (1,)),
    "sigmoid": (jax.nn.sigmoid, sigmoid, (3,)),
    "sigmoid-the-other-way": (jax.nn.sigmoid, lambda x: jnp.exp(x) / (1 + jnp.exp(x)), ()),
    "sigmoid-of-the-opposite": (lambda x: jax.nn.sigmoid(x) + jax.nn.sigmoid(-x), jnp.ones_like, ()),
    "sigmoid-is-softmax": (lambda x: jax.nn.softmax(x)[0], lambda x: jax.nn.sigmoid(x[0] - x[1]), (2,)),
    "silu": (jax.nn.silu, lambda x: x * sigmoid(x), (3,)),
    "tanh": (jnp.tanh, lambda x: 2 * jax.nn.sigmoid(2 * x) - 1, ()),
    "tanh-by-exp": (jnp.tanh, lambda x: (jnp.exp(x) - jnp.exp(-x)) / (jnp.exp(x) + jnp.exp(-x)), (2,)),
    "sinh": (jnp.sinh, lambda x: (jnp.exp(x) - jnp.exp(-x)) / 2, ()),
    "hyperbola": (lambda x: jnp.cosh(x) ** 2 - jnp.sinh(x) ** 2, jnp.ones_like, ()),
    "log-sum-exp": (jax.nn.logsumexp, log_sum, (5,)),
    "log-sum-exp-guarded": (log_sum_guarded, log_sum, (2, 3)),
    "log-softmax": (jax.nn.log_softmax, lambda x: x - log_sum(x), (4,)),
    "log-of-softmax": (jax.nn.log_softmax, lambda x: jnp.log(softmax(x)), (4,)),
    "exp-of-log-softmax": (lambda x: jnp.exp(jax.nn.log_softmax(x)), softmax, (4,)),
    "exp-of-log": (lambda x: jnp.exp(jnp.log(x)), lambda x: x, ()),
    "log-of-exp": (lambda x: jnp.log(jnp.exp(x)), lambda x: x, ()),
    "log-of-a-product": (lambda x, y: jnp.log(x * y), lambda x, y: jnp.log(x) + jnp.log(y), (), ()),
    "log-of-a-quotient": (lambda x, y: jnp.log(x / y), lambda x, y: jnp.log(x) - jnp.log(y), (), ()),
    "log-of-a-square": (lambda x: jnp.log(x * x), lambda x: 2 * jnp.log(x), ()),
    "log1p": (jnp.log1p, lambda x: jnp.log(1 + x), ()),
    "softmax-of-logs": (lambda x: jax.nn.softmax(jnp.log(x)), lambda x: x / x.sum(), (4,)),
    "cross-entropy": (lambda x: -jax.nn.log_softmax(x)[1], lambda x: log_sum(x) - x[1], (4,)),
    "attention": (library_softmax_attention, attention, *ATTENTION),
    "attention-of-the-library": (
        library_attention, lambda q, k, v: softmax(q @ k.T * q.shape[-1] ** -0.5) @ v, *ATTENTION,
    ),
    "attention-scaled-before": (lambda q, k, v: jax.nn.softmax((q / jnp.sqrt(4.0)) @ k.T) @ v, attention, *ATTENTION),
    "causal-attention": (causal, causal_by_definition, *SQUARE),
    "pulled-back-through-softmax": (pulled(jax.nn.softmax), pulled(softmax), (4,), (4,)),
    "pulled-back-through-sigmoid": (jax.grad(jax.nn.sigmoid), lambda x: sigmoid(x) * (1 - sigmoid(x)), ()),
    "gradient-of-log-sum-exp": (jax.grad(jax.nn.logsumexp), softmax, (4,)),
    "softmax-of-a-sigmoid": (lambda x: jax.nn.softmax(jax.nn.sigmoid(x)), lambda x: softmax(jax.nn.sigmoid(x)), (4,)),
    "softmax-of-softmax": (
        lambda x: jax.nn.softmax(jax.nn.softmax(x)), lambda x: shifted(softmax(x), jax.nn.softmax(x).mean()), (3,),
    ),
    "a-logarithm-of-zero-under-a-mask": (
        lambda x: off_diagonal(jnp.exp(-jnp.log((x[:, None] - x[None, :]) ** 2))),
        lambda x: off_diagonal(1 / (x[:, None] - x[None, :]) ** 2), (2,),
    ),
    "softmax-of-a-shift": (jax.nn.softmax, lambda x: jax.nn.softmax(x + 1), (3,)),
    "cancellation-beside-relu": (lambda x: (1e20 * x + x) - 1e20 * x + jax.nn.relu(0 * x), lambda x: x, (3,)),
    "maximum-and-minimum": (lambda x: jnp.maximum(x, 1.0) + jnp.minimum(x, 1.0), lambda x: x + 1, (3,)),
    "relu": (lambda x: jax.nn.relu(x) - jax.nn.relu(-x), lambda x: x, (3,)),
    "relu-by-absolute-value": (jax.nn.relu, lambda x: (x + jnp.abs(x)) / 2, (3,)),
    "absolute-value": (jnp.abs, lambda x: jnp.maximum(x, -x), (3,)),
    "absolute-value-squared": (lambda x: jnp.abs(x) ** 2, lambda x: x * x, (3,)),
    "absolute-value-of-the-opposite": (jnp.abs, lambda x: jnp.abs(-x), (3,)),
    "absolute-value-is-a-root": (jnp.abs, lambda x: jnp.sqrt(x * x), (3,)),
    "maximum-shifted": (lambda x, y: jnp.maximum(x + y, 2 * y), lambda x, y: y + jnp.maximum(x, y), (), ()),
    "clip-either-way": (
        lambda x: jnp.clip(x, -1, 1), lambda x: lax.clamp(x.dtype.type(-1), x, x.dtype.type(1)), (3,),
    ),
    "maximum-either-way": (jnp.maximum, lambda x, y: jnp.maximum(y, x), (3,), (3,)),
    "maximum-of-itself": (lambda x: jnp.maximum(x, x), lambda x: x, (3,)),
    "maximum-of-a-row-reversed": (jnp.max, lambda x: jnp.max(x[::-1]), (4,)),
    "maximum-of-a-row-twice": (jnp.max, lambda x: jnp.max(jnp.concatenate([x, x])), (4,)),
    "minimum-is-minus-a-maximum": (jnp.min, lambda x: -jnp.max(-x), (4,)),
    "maximum-with-nothing": (lambda x: jnp.max(x, initial=-jnp.inf), jnp.max, (4,)),
    "a-floor-under-a-norm": (
        lambda x: x / jnp.maximum(x @ x, 1e-6), lambda x: x * (1 / jnp.maximum((x * x).sum(), 1e-6)), (4,),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TRUE)
def test_proved(name):
    f, g, *shapes = TRUE[name]
    proved(f, g, *shapes)


FALSE = {
    "softmax-of-twice": (jax.nn.softmax, lambda x: softmax(2 * x), (4,)),
    "softmax-shifted-twice": (jax.nn.softmax, lambda x: jnp.exp(x - x.max()) / jnp.exp(x).sum(), (4,)),
    "softmax-shifted-by-its-own": (jax.nn.softmax, lambda x: shifted(x, x[::-1]), (4,)),
    "softmax-without-the-last": (jax.nn.softmax, lambda x: jnp.exp(x) / jnp.exp(x[:-1]).sum(), (4,)),
    "softmax-plus-one": (jax.nn.softmax, lambda x: jnp.exp(x) / (1 + jnp.exp(x).sum()), (4,)),
    "sigmoid-of-the-opposite": (jax.nn.sigmoid, lambda x: sigmoid(-x), ()),
    "sigmoid-of-twice": (jax.nn.sigmoid, lambda x: sigmoid(2 * x), ()),
    "tanh-of-half": (jnp.tanh, lambda x: 2 * jax.nn.sigmoid(x) - 1, ()),
    "hyperbola": (lambda x: jnp.cosh(x) ** 2 + jnp.sinh(x) ** 2, jnp.ones_like, ()),
    "sinh-is-cosh": (jnp.sinh, jnp.cosh, ()),
    "log-mean-exp": (jax.nn.logsumexp, lambda x: jnp.log(jnp.exp(x).mean()), (4,)),
    "log-sum-exp-without-its-shift": (jax.nn.logsumexp, lambda x: jnp.log(jnp.exp(x - x.max()).sum()), (4,)),
    "log-sum-exp-shifted-the-wrong-way": (
        jax.nn.logsumexp, lambda x: jnp.log(jnp.exp(x - x.max()).sum()) - x.max(), (4,),
    ),
    "log-of-a-sum": (lambda x, y: jnp.log(x + y), lambda x, y: jnp.log(x) + jnp.log(y), (), ()),
    "log-of-a-product": (lambda x, y: jnp.log(x * y), lambda x, y: jnp.log(x) - jnp.log(y), (), ()),
    "log-of-a-square": (lambda x: jnp.log(x * x), jnp.log, ()),
    "log-of-a-reciprocal": (lambda x: jnp.log(1 / x), jnp.log, ()),
    "log1p": (jnp.log1p, jnp.log, ()),
    "log-softmax": (jax.nn.log_softmax, lambda x: x - x.max(), (4,)),
    "exp-of-half-a-log": (lambda x: jnp.exp(0.5 * jnp.log(x)), lambda x: x, ()),
    "exp-of-log": (lambda x: jnp.exp(jnp.log(x)), lambda x: x * x, ()),
    "exp-of-log-plus-one": (lambda x: jnp.exp(jnp.log(x) + 1), lambda x: x, ()),
    "absolute-value-is-itself": (jnp.abs, lambda x: x, (2,)),
    "absolute-value-is-the-opposite": (jnp.abs, lambda x: -x, (2,)),
    "absolute-value-of-a-sum": (lambda x, y: jnp.abs(x + y), lambda x, y: jnp.abs(x) + jnp.abs(y), (), ()),
    "absolute-value-of-a-cube": (lambda x: jnp.abs(x) ** 3, lambda x: x**3, ()),
    "relu-is-half-an-absolute-value": (jax.nn.relu, lambda x: jnp.abs(x) / 2, (2,)),
    "clipped": (lambda x: jnp.clip(x, -1, 1), lambda x: x, (2,)),
    "clipped-otherwise": (lambda x: jnp.clip(x, -1, 1), lambda x: jnp.clip(x, -1, 2), (2,)),
    "absolute-value-of-a-difference": (lambda x: jnp.abs(jnp.exp(x) - 1), lambda x: jnp.exp(x) - 1, ()),
    "maximum-of-rows-without-one": (lambda x: jnp.max(x, 1), lambda x: jnp.max(x[:, 1:], 1), (40, 4)),
    "maximum-is-the-first": (jnp.max, lambda x: x[0], (3,)),
    "maximum-is-a-minimum": (jnp.max, jnp.min, (3,)),
    "maximum-is-a-sum": (jnp.maximum, jnp.add, (), ()),
    "maximum-of-two-of-three": (jnp.max, lambda x: jnp.max(x[:2]), (3,)),
    "maximum-of-opposites": (lambda x: jnp.maximum(x, -x), lambda x: x, ()),
    "maximum-with-zero": (lambda x: jnp.maximum(x, 0), lambda x: x, (2,)),
    "maximum-with-one-is-with-two": (lambda x: jnp.maximum(x, 1), lambda x: jnp.maximum(x, 2), ()),
    "maximum-scaled": (lambda x: jnp.max(-2 * x), lambda x: -2 * jnp.max(x), (3,)),
    "minimum-with-a-reset": (
        lambda x: jnp.exp(jnp.min(jnp.concatenate([x, jnp.array([-jnp.inf])]))), lambda x: jnp.exp(jnp.min(x)), (3,),
    ),
    "maximum-along-another-axis": (lambda x: jnp.max(x, 0), lambda x: jnp.max(x, 1), (3, 3)),
    "guarded-by-a-maximum": (lambda x: jnp.where(x >= jnp.max(x), x, 0), jnp.zeros_like, (3,)),
    "attention-unscaled": (library_softmax_attention, lambda q, k, v: softmax(q @ k.T) @ v, *ATTENTION),
    "attention-scaled-twice": (
        library_softmax_attention, lambda q, k, v: attention(q / jnp.sqrt(q.shape[-1]), k, v), *ATTENTION,
    ),
    "attention-over-the-other-axis": (
        library_softmax_attention, lambda q, k, v: jax.nn.softmax(q @ k.T / 2, axis=0) @ v, *ATTENTION,
    ),
    "causal-attention-that-sees-itself-only": (
        causal, lambda q, k, v: jax.nn.softmax(jnp.where(jnp.eye(4, dtype=bool), q @ k.T, -jnp.inf)) @ v, *SQUARE,
    ),
    "causal-attention-with-zeros-for-masks": (causal, lambda q, k, v: softmax(jnp.tril(q @ k.T)) @ v, *SQUARE),
    "softmax-of-another-sigmoid": (
        lambda x: jax.nn.softmax(jax.nn.sigmoid(x)), lambda x: softmax(jax.nn.sigmoid(-x)), (4,),
    ),
    "softmax-of-softmax": (lambda x: jax.nn.softmax(jax.nn.softmax(x)), softmax, (3,)),
    "undefined-is-not-above-zero": (
        lambda x: jnp.where(zero_powers(x) / zero_powers(x) >= 0, x, -x), lambda x: x, (2,),
    ),
    "undefined-or-zero-is-above-zero": (
        lambda x: jnp.where(zero_powers(x) > 0, x, -x), lambda x: x, (2,),
    ),
    "exponentials-inside": (lambda x: jnp.exp(jnp.exp(x) + x), lambda x: jnp.exp(jnp.exp(x)) * (1 + jnp.exp(x)), ()),
    "exponentials-inside-of-twice": (lambda x: jnp.exp(2 * jnp.exp(x)), lambda x: jnp.exp(jnp.exp(2 * x)), ()),
}  # fmt: skip


@pytest.mark.parametrize("name", FALSE)
def test_not_proved(name):
    f, g, *shapes = FALSE[name]
    not_proved(f, g, *shapes)


@pytest.mark.parametrize("name", ["softmax-of-twice", "log-mean-exp", "attention-unscaled", "sigmoid-of-twice"])
def test_what_differs_has_a_counterexample(name):
    f, g, *shapes = FALSE[name]
    assert identical(f, g, *shapes, seed=0).equal is False


def test_a_row_of_resets_has_no_softmax():
    """NaN in floats: a whole row of -inf less its maximum."""
    row = jnp.full((3,), -jnp.inf)
    assert identical(lambda x: jax.nn.softmax(row + 0 * x), lambda x: jnp.zeros(3), (3,)).equal is not True


@pytest.mark.parametrize("f", [jnp.max, lambda g: lax.max(g[0], g[1])])
def test_a_maximum_of_logarithms_has_no_meaning(f):
    gates = Input((2,), domain="log")
    certificate = not_proved(lambda g: jnp.exp(f(g)), lambda g: jnp.exp(g[0]), gates)
    assert certificate.equal is False or "log" in certificate.reason


def test_conditions_of_logarithms_are_told():
    certificate = proved(lambda x, y: jnp.log(x * y), lambda x, y: jnp.log(x) + jnp.log(y), (), ())
    assert any("argument of log is positive" in condition for condition in certificate.conditions)


def test_a_product_of_negatives_has_no_sum_of_logarithms():
    """log(x y) = log x + log y where both are negative is NaN on one side: no point is found, and nothing proved."""
    f = lambda x, y: jnp.log((-1 - x * x) * (-1 - y * y))  # noqa: E731
    g = lambda x, y: jnp.log(-1 - x * x) + jnp.log(-1 - y * y)  # noqa: E731
    not_proved(f, g, (), ())
