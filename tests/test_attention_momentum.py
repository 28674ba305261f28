"""Momentum in attention: averages of values, Fourier transforms, heavy ball, against loops in float64."""

import jax.numpy as jnp
import numpy as np
import pytest
from attention_loops import K, V, heavy_loop, integers, kernel_loop, normal, past_loop, softmax_loop, within

from dualform import attention, descent
from dualform.laws.attention.momentum.definitions import fourier_bound


@pytest.mark.parametrize("T", [1, 2, 7])
@pytest.mark.parametrize("form", ["recurrent", "sum"])
def test_past_averages(form, T):
    (values,) = normal(13, (T, V))
    within(lambda v: attention.past_average(v, 0.75, form), (values,), past_loop(values, 0.75))


@pytest.mark.parametrize("T", [1, 2, 7])
@pytest.mark.parametrize("form", ["recurrent", "sum"])
def test_learned_averages(form, T):
    values, gamma, delta = normal(14, (T, V), (V, 8), (V, 8))
    delta = (0.2 * delta).astype(np.float32)
    exact = kernel_loop(values, gamma, delta, V**-0.5)
    within(lambda v, g, d: attention.learned_average(v, g, d, form=form), (values, gamma, delta), exact)


@pytest.mark.parametrize("T", [1, 2, 3, 64])
def test_fourier_transforms_stay_within_their_bound(T):
    values, gamma, delta = normal(15, (T, V), (V, 8), (V, 8))
    kernel = np.asarray(attention.learned_kernel(gamma, delta, T, 1.0))
    wide = kernel.astype(float), values.astype(float)
    exact = np.stack([np.convolve(wide[0][:, c], wide[1][:, c])[:T] for c in range(V)], axis=1)
    got = np.asarray(attention.fft_convolve(values, kernel), np.float64)
    bound = fourier_bound(values.astype(float), kernel.astype(float), 2.0**-24)
    assert (np.linalg.norm(got - exact, axis=0) <= bound).all()
    printed = np.asarray(attention.past_average(values, 0.5, "fft"), np.float64)
    powers = np.where(np.arange(T) == 0, 0, 0.5 ** np.arange(T))[:, None] * np.ones(V)
    size = fourier_bound(values.astype(float), powers, 2.0**-24)
    assert (np.linalg.norm(printed - past_loop(values, 0.5), axis=0) <= size).all()


def test_momentum_attention_is_softmax_attention_and_an_average():
    values, keys, queries, gamma, delta = normal(16, (5, V), (5, K), (5, K), (V, 8), (V, 8))
    attn = np.stack([softmax_loop(values[: t + 1], keys[: t + 1], queries[t], K**-0.5) for t in range(5)])
    within(lambda *a: attention.moattn(*a, 0.5), (values, keys, queries), attn + past_loop(values, 0.5))
    exact = attn + kernel_loop(values, gamma, delta, 0.25)
    within(
        lambda *a: attention.moattn_learned(*a, kernel_scale=0.25, form="recurrent"),
        (values, keys, queries, gamma, delta), exact,
    )  # fmt: skip
    plain = attention.causal_softmax_attn(values, keys, queries)
    by_fft = attention.learned_average(values, gamma, delta, 0.25, "fft")
    assert (attention.moattn_learned(values, keys, queries, gamma, delta, None, 0.25) == plain + by_fft).all()


@pytest.mark.parametrize("mu", [0.0, 0.5, 1.0])
def test_heavy_ball(mu):
    values, keys, queries = integers(17, (5, V), (5, K), (5, K))
    expected = heavy_loop(values, keys, queries, mu)
    assert (np.asarray(attention.heavy_ball_attn(values, keys, queries, mu)) == expected).all()
    weights = np.asarray(attention.heavy_ball_weights(5, mu))
    assert (weights[-1] == -np.asarray(descent.heavy_ball(jnp.ones(5), mu))).all()
    coefficients = descent.coefficients(descent.Optimizer(eta=1.0, momentum=mu), 5)[1]
    assert (weights[-1] == -np.asarray(coefficients)).all()


@pytest.mark.parametrize("mu", [0.0, 0.5, 1.0])
def test_heavy_ball_with_softmax(mu):
    values, keys, queries = normal(18, (5, V), (5, K), (5, K))
    rows = []
    for t in range(5):
        c = [sum(mu**s for s in range(t - i + 1)) for i in range(t + 1)]
        rows.append(softmax_loop(values[: t + 1], keys[: t + 1], queries[t], K**-0.5, c))
    within(lambda *a: attention.heavy_ball_softmax(*a, mu), (values, keys, queries), np.stack(rows))


def test_time_profiles_are_opposite():
    heavy = np.asarray(attention.heavy_ball_weights(6, 0.7))[-1]
    one_hot = np.eye(6, dtype=np.float32)
    recent = np.asarray(attention.past_average(one_hot, 0.7))[-1][:5]  # the weight of each value at the last position
    assert (np.diff(heavy) < 0).all() and (np.diff(recent) > 0).all()


@pytest.mark.parametrize("eta", [0.125, 0.5, 0.875])
@pytest.mark.parametrize("mu", [0.125, 0.5, 0.875])
def test_momentum_attention_is_no_momentum_for_any_pair_of_numbers(eta, mu):
    values, keys, queries = integers(19, (4, V), (4, K), (4, K))  # with eighths nothing rounds
    causal = np.tril(np.ones((4, 4), np.float32))

    def linear(queries):
        return (causal * (queries @ keys.T)) @ values

    def gap(queries):
        moattn = linear(queries) + attention.past_average(values, eta)
        return np.asarray(moattn - attention.heavy_ball_attn(values, keys, queries, mu))

    assert (gap(queries)[1:] != 0).any()
    assert (gap(0 * queries) == past_loop(values, eta)).all() and (gap(0 * queries)[1:] != 0).any()
