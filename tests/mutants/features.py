"""Wrong programs for (FE1) to (FE13), softmax attention in feature space. Each is a mistake that someone makes."""

import jax
import jax.numpy as jnp

from dualform import features, linear
from dualform.laws.features import definitions as forms
from dualform.laws.features import laws
from dualform.laws.features import measured as sampling
from dualform.testing.mutant import Mutant

# (FE1): attention over features


def unnormalised(values, phi_k, phi_q):
    return linear.linear_attn(values, phi_k, phi_q)


def by_own_features(values, phi_k, phi_q):
    """Divided by the sum of the query's features, as if keys were one-hot."""
    return linear.linear_attn(values, phi_k, phi_q / jnp.sum(phi_q, axis=1, keepdims=True))


def strictly_earlier(values, phi_k, phi_q):
    """Token t does not read itself (the first token, which has nothing to read, is right)."""
    later = features.feature_attn(values, phi_k, jnp.roll(phi_q, -1, axis=0), causal=True)
    return jnp.concatenate([values[:1], later[:-1]])


def masked(values, phi_k, phi_q):
    """The right attention, by a masked table of weights."""
    weights = jnp.tril(jnp.matmul(phi_q, phi_k.T, precision="highest"))
    return jnp.matmul(weights / jnp.sum(weights, axis=1, keepdims=True), values, precision="highest")


# (FE2) to (FE4): Taylor features


def monomials_by(weights):
    """Degree 2 in three features: `weights` of 1, x_i, and x_i x_j with i <= j."""

    def form(q, k):
        return jnp.sum(features.monomials(q, 2) * jnp.asarray(weights, q.dtype) * features.monomials(k, 2))

    return form


MULTINOMIAL_FORGOTTEN = [1.0] * 4 + [0.5] * 6
FACTORIALS_FORGOTTEN = [1.0] * 10


def geometric(q, k):
    s = jnp.sum(q * k)
    return 1 + s + s**2


def factorials_for_roots(q, k):
    weights = features.taylor_weights(3, 2).astype(q.dtype)
    return jnp.sum(weights * features.monomials(q, 2) * weights * features.monomials(k, 2))


def a_term_short(s):
    return features.taylor_exp(s, 7)


def first_term_forgotten(values, keys, q):
    """Features without the constant: weights e^s - 1."""
    phi = lambda x: features.taylor_features(x, 2)[:, 1:]  # noqa: E731
    return features.feature_attn(values, phi(keys), phi(q))


def scale_by_default(values, keys, q):
    return features.taylor_attn(values, keys, q, 2)


def small_errors(p, delta, values):
    """(FE4) without its denominator's correction."""
    total = jnp.sum(p)
    return ((p * delta / total) @ (values - (p @ values / total)[None]))[None]


# (FE5) to (FE7): random features


def positive(exponent, root=0.5):
    """`exponent(w.x, |x|^2)`, divided by m to the power `root`."""
    return lambda x, W: _exp_features(x, W, exponent) / len(W) ** root


def _exp_features(x, W, exponent):
    return jnp.exp(exponent(jnp.matmul(x, W.T, precision="highest"), jnp.sum(x * x, axis=-1, keepdims=True)))


def hyperbolic(signs=(1, -1), factor=2.0):
    """Features e^{+-w.x - |x|^2/2}, divided by the root of `factor` m."""

    def form(x, W):
        parts = [_exp_features(x, W, lambda wx, xx, sign=sign: sign * wx - xx / 2) for sign in signs]
        return jnp.concatenate(parts, axis=-1) / jnp.sqrt(jnp.asarray(factor * len(W), x.dtype))

    return form


def waves(functions, sign=0.5, frequency=1.0):
    """e^{sign |x|^2} times functions of w.x."""

    def form(x, W):
        projected = frequency * jnp.matmul(x, W.T, precision="highest")
        size = jnp.exp(sign * jnp.sum(x * x, axis=-1, keepdims=True)) / jnp.sqrt(jnp.asarray(len(W), x.dtype))
        return size * jnp.concatenate([f(projected) for f in functions], axis=-1)

    return form


def own_shift(values, keys, q, W):
    """Every key shifted by its own largest exponent, which does not cancel."""
    shifts = [features.stable_shift(x, W) for x in (keys, q)]
    return features.feature_attn(
        values, *(features.positive_features(x, W, shift) for x, shift in zip((keys, q), shifts, strict=True))
    )


def shift_of_keys_alone(values, keys, q, W, of_keys, of_queries):
    """The keys' shift, different for each key."""
    shift = of_keys * jnp.arange(len(keys), dtype=keys.dtype)[:, None]
    return features.feature_attn(
        values, features.positive_features(keys, W, shift), features.positive_features(q, W, of_queries)
    )


def scaled_unasked(values, keys, q, W):
    """The scale of softmax attention applied where none was asked for."""
    return features.random_attn(values, keys, q, W)


def swapped(mse):
    """|q - k| for |q + k|, the score's sign with it."""
    return lambda q, k, m: mse(q, -k, m)


def not_averaged(mse):
    return lambda q, k, m: mse(q, k, 1)


def spread(scale):
    """Directions of another length."""
    return lambda key, draws, K: scale * features.gaussian(key, draws, K)


# (FE8) to (FE10): orthogonal directions


def all_pairs(q, k, m):
    """The gain of one block where there are several, and a pair of a direction with itself."""
    independent = features.positive_mse(q, k, m)
    gained = (features.positive_mse(q, k, 2) - features.orthogonal_mse(q, k, 2)) * 2  # f = 1/2 for two in a block
    return independent - gained


def equal_lengths(key, draws, K):
    """Lengths fixed at sqrt(K), as is common; not Gaussian one by one."""
    W = features.orthogonal(key, draws, K)
    return W / jnp.linalg.norm(W, axis=1, keepdims=True) * K**0.5


def signs_of_q(key, draws, K):
    """The signs of Q's diagonal for those of R's."""
    of_directions, of_lengths = jax.random.split(key)
    Q, _ = jnp.linalg.qr(jax.random.normal(of_directions, (-(-draws // K), K, K)))
    Q = Q * jnp.sign(jnp.diagonal(Q, axis1=-2, axis2=-1))[:, None, :]
    lengths = jnp.linalg.norm(features.gaussian(of_lengths, draws, K), axis=1, keepdims=True)
    return lengths * Q.reshape(-1, K)[:draws]


def gain(factor):
    """Another gain in the upper bound."""

    def bound(q, k, m):
        independent = features.positive_mse(q, k, m)
        return independent - factor(q.shape[-1]) * (independent - features.orthogonal_bound(q, k, m))

    return bound


# (FE11) to (FE13): the first order


def first_order(W0=lambda W0: W0, E=lambda E, n: E, X=lambda X: X, changed=lambda values, keys, scale: scale):
    """The surrogate with parts replaced."""

    def form(values, keys, q, scale):
        layer = features.surrogate(values, keys, scale=changed(values, keys, scale))
        return linear.dual(W0(layer.W0), E(layer.E, len(values)), X(layer.X), linear.with_bias(q))

    return form


def values_uncentred(values, keys, q, scale):
    before, _, inputs = features.surrogate(values, keys, scale=scale)
    return linear.dual(before, scale / len(values) * values, inputs, linear.with_bias(q))


def centred_keys(layer_inputs):
    return layer_inputs - jnp.mean(layer_inputs, axis=0, keepdims=True)


def step_on(loss):
    """One step of descent on another loss of outputs and values."""

    def form(values, keys, q, scale):
        before, _, inputs = features.surrogate(values, keys, scale=scale)
        after, _ = linear.sgd_step(before, inputs, lambda Y: loss(Y, values), scale)
        return linear.with_bias(q) @ after.T

    return form


def gaps(change):
    """The five terms, changed."""
    return lambda values, *others: change(forms.gaps_of_exponentials(values, *others), len(values))


def no_centring(g, n):
    return g.linear + g.factor + g.mean + g.remainder


def softmax_of_uncentred(values, keys, q, scale):
    """The remainder taken at s in place of s minus its mean."""
    s = forms.scores(keys, q, scale)
    return sum(features.gaps_from_weights(values, s, jnp.exp(s), jnp.exp(s) - 1 - s))


def popoviciu(values, keys, q, scale=None):
    """A constant of 1/8, which is true and not sharp."""
    return features.remainder_bound(values, keys, q, scale=scale) * (36 / 8 / 3**0.5)


COUNTED = {kind: f"{label}.unbiased" for kind, label in laws.LABELS.items()}

OVER_FEATURES = (
    ("FE1", "feature_attn", "no normaliser", "weights that do not sum to one", unnormalised, "any features"),
    ("FE1", "feature_attn", "own features", "normalised by the query alone", by_own_features, "any features"),
    ("FE1", "feature_attn", "future", "no causal mask", features.feature_attn, "causal"),
    ("FE1", "feature_attn", "strictly earlier", "the mask one token off", strictly_earlier, "causal"),
)

SERIES = (
    ("FE2", "monomials", "no multinomial", "1/j! for 1/alpha!", monomials_by(MULTINOMIAL_FORGOTTEN),
     "degree 2, 3 features"),
    ("FE2", "monomials", "no factorials", "unweighted monomials", monomials_by(FACTORIALS_FORGOTTEN),
     "degree 2, 3 features"),
    ("FE2", "Horner", "geometric", "1/j! forgotten", geometric, "degree 2, 3 features"),
    ("FE2", "taylor_features", "no root", "1/alpha! in both maps, not its root", factorials_for_roots,
     "degree 2, 3 features"),
    ("FE3", "series", "a term short", "degree 7 for 8", a_term_short, "degree 8, scores up to 3.0"),
    ("FE4", "by deviations", "no denominator", "first order in the errors of the weights", small_errors,
     "any weights"),
    ("FE4", "taylor_attn", "no constant", "the feature 1 left out", first_term_forgotten, "degree 2, scores up to 0.4"),
    ("FE4", "taylor_attn", "scale", "scores divided by sqrt(K) once more", scale_by_default,
     "degree 2, scores up to 0.4"),
)  # fmt: skip

MAPS = (
    ("FE5", "no 1/sqrt(m)", "features not divided", positive(lambda wx, xx: wx - xx / 2, 0)),
    ("FE5", "1/m", "divided by m, not by its root", positive(lambda wx, xx: wx - xx / 2, 1)),
    ("FE5", "wrong sign", "e^{+|x|^2/2}", positive(lambda wx, xx: wx + xx / 2)),
    ("FE5", "no half", "e^{-|x|^2}", positive(lambda wx, xx: wx - xx)),
    ("FE5", "no square", "e^{-|x|/2}", positive(lambda wx, xx: wx - jnp.sqrt(xx) / 2)),
    ("FE6", "one side", "e^{w.x} twice", hyperbolic((1, 1))),
    ("FE6", "sqrt(m)", "the pairs not counted", hyperbolic(factor=1.0)),
    ("FE7", "cosines alone", "sines left out", waves((jnp.cos,))),
    ("FE7", "cosine twice", "cos for sin", waves((jnp.cos, jnp.cos))),
    ("FE7", "wrong sign", "e^{-|x|^2/2}, that of positive features", waves((jnp.cos, jnp.sin), -0.5)),
)

RANDOM = (
    ("FE5", "random_attn", "own shift", "keys shifted one by one", own_shift, None),
    ("FE5", "random_attn", "scale", "scores divided by sqrt(K) unasked", scaled_unasked, None),
    ("FE5", "shifted", "keys apart", "a shift for each key", shift_of_keys_alone, None),
    *((laws.LABELS[kind], "mse", "opposite key", "|q - k| for |q + k|", swapped(laws.ERRORS[kind]), COUNTED[kind])
      for kind in laws.LABELS),
    *((laws.LABELS[kind], "mse", "not averaged", "1/m forgotten", not_averaged(laws.ERRORS[kind]), COUNTED[kind])
      for kind in laws.LABELS),
    ("FE5", "directions", "short", "directions of variance 1/K", spread(3**-0.5), COUNTED["positive"]),
    ("FE7", "directions", "long", "directions of variance 2, as for another kernel", spread(2**0.5),
     COUNTED["trigonometric"]),
    ("FE6", "mse", "positive", "no gain from pairs", features.positive_mse, COUNTED["hyperbolic"]),
    ("FE8", "mse", "independent", "no gain from orthogonality", features.positive_mse, None),
    ("FE8", "mse", "all pairs", "all m^2 pairs taken for orthogonal", all_pairs, None),
    ("FE8", "directions", "equal lengths", "lengths sqrt(K), not random", equal_lengths, None),
    ("FE8", "directions", "independent", "directions not orthogonal", sampling.independent, None),
    ("FE9", "bound", "twice", "twice the gain", gain(lambda K: 2.0), None),
    ("FE9", "bound", "K", "2/K for 2/(K + 2)", gain(lambda K: (K + 2) / K), None),
    ("FE10", "directions", "no sign fix", "Q as the factorisation returns it", sampling.raw_orthogonal, None),
    ("FE10", "directions", "signs of Q", "the wrong factor's diagonal made positive", signs_of_q, None),
    ("FE10", "directions", "equal lengths", "lengths sqrt(K), not random", equal_lengths, None),
)  # fmt: skip

FIRST_ORDER = (
    ("FE11", "surrogate_attn", "no 1/n", "error signals n times too large",
     first_order(E=lambda E, n: n * E), "scores up to 0.7"),
    ("FE11", "surrogate_attn", "no scale", "the scale forgotten",
     first_order(changed=lambda values, keys, scale: 1.0), "scores up to 0.01"),
    ("FE11", "bound", "1/8", "a constant that is not the sharpest", popoviciu, None),
    ("FE11", "bound", "too small", "half of it", lambda *a, **o: features.remainder_bound(*a, **o) / 2, None),
    ("FE12", "from weights", "uncentred remainder", "excess at s, not at t", softmax_of_uncentred, "sum"),
    ("FE12", "from weights", "no centring", "the uncentred scores not counted", gaps(no_centring), "sum"),
    ("FE12", "from weights", "no mean", "the missing mean not counted",
     gaps(lambda g, n: g.linear + g.factor + g.centring + g.remainder), "sum"),
    ("FE12", "from weights", "no 1/n", "the factor 1/n not counted", gaps(lambda g, n: sum(g) - g.factor), "sum"),
    ("FE12", "from weights", "sign of the centring", "added, not taken away",
     gaps(lambda g, n: (g.linear, g.factor, -g.centring, g.mean)), "one by one"),
    ("FE12", "from weights", "1/n for 1 - 1/n", "what stays for what goes",
     gaps(lambda g, n: (g.linear, -g.linear / n, g.centring, g.mean)), "one by one"),
    ("FE13", "dual", "no mean", "W0 zero", first_order(W0=jnp.zeros_like), None),
    ("FE13", "dual", "no 1/n", "error signals n times too large", first_order(E=lambda E, n: n * E), None),
    ("FE13", "dual", "sign", "ascent", first_order(E=lambda E, n: -E), None),
    ("FE13", "dual", "n - 1", "the unbiased covariance", first_order(E=lambda E, n: E * n / (n - 1)), None),
    ("FE13", "dual", "uncentred values", "error signals v_i / n", values_uncentred, None),
    ("FE13", "dual", "unit keys", "keys divided by their length",
     first_order(X=lambda X: X / jnp.sqrt(jnp.sum(X * X, axis=1, keepdims=True))), None),
    ("FE13", "step of descent", "no half", "|.|^2 without its half",
     step_on(lambda Y, values: jnp.sum((Y - values) ** 2) / len(values)), None),
    ("FE13", "step of descent", "sum", "the sum of squares for their mean",
     step_on(lambda Y, values: jnp.sum((Y - values) ** 2) / 2), None),
)  # fmt: skip

MUTANTS = (
    *(Mutant(f"softmax features: {label} {form}: {name}", label, form, wrong, why, case)
      for label, form, name, why, wrong, case in (*OVER_FEATURES, *SERIES, *RANDOM, *FIRST_ORDER)),
    *(Mutant(f"softmax features: {label} map: {name}", label, "features", forms.kernel_of(wrong), why, "all pairs")
      for label, name, why, wrong in MAPS),
    Mutant("softmax features: FE5 measured: no half", "FE5", "features", positive(lambda wx, xx: wx - xx),
           "e^{-|x|^2}, found by its bias", COUNTED["positive"]),
)  # fmt: skip

HARMLESS = (
    Mutant("softmax features: centred keys", "FE13", "dual", first_order(X=centred_keys),
           "keys centred as well as values, which changes nothing", None),
    Mutant("softmax features: mask", "FE1", "feature_attn", masked, "a masked table of weights", "causal"),
    Mutant("softmax features: feature by feature", "FE2", "Horner",
           lambda q, k: 1 + jnp.sum(q * k) + jnp.sum(q * k) ** 2 / 2, "a sum of powers",
           "degree 2, 3 features"),
    Mutant("softmax features: other directions", "FE8", "directions",
           lambda key, draws, K: -features.orthogonal(key, draws, K), "all directions reversed"),
)  # fmt: skip
