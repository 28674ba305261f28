"""Wrong programs for linear self-attention and its constructions: mistakes that are made."""

import jax
import jax.numpy as jnp

from dualform import regression as r
from dualform.laws.regression.layers import constructions as f
from dualform.laws.regression.layers import definitions as tokenwise
from dualform.laws.regression.layers import measured as rows
from dualform.testing.mutant import Mutant

# (LS1) to (LS4): the layer


def layer(keys=lambda e: e, scores=lambda s: s, transposed=False, divided=lambda change, rho: change / rho):
    """One layer with something done to its keys or scores."""

    def form(tokens, P, Q, rho):
        asked = tokens @ (Q if transposed else Q.T)
        return tokens + divided(scores(asked @ keys(tokens).T) @ tokens @ P.T, rho)

    return form


def heads_merged(tokens, P, Q, rho):
    """The heads' matrices added before they meet the tokens."""
    return r.lsa(tokens, jnp.sum(P, axis=0), jnp.sum(Q, axis=0), rho)


def parallel(tokens, P, Q, rho):
    """All layers read the tokens that came in."""
    return tokens + sum(r.lsa(tokens, p, q, rho) - tokens for p, q in zip(P, Q, strict=True))


def repeat_less(tokens, P, Q, rho):
    return r.lsa_layers(tokens, P[None], Q[None], rho, repeat=2)


def column_for_row(x, y, q, P, Q, rho):
    """The last column of W_PV in place of its last row."""
    return tokenwise.reduced(x, y, q, jnp.swapaxes(P, -1, -2), Q, rho)


def without_corner(x, y, q, P, Q, rho):
    """w_21 left out, as it is zero at the optimum."""
    d = x.shape[1]
    return tokenwise.reduced(x, y, q, P * (jnp.arange(d + 1) == d), Q, rho)


LAYER = (
    ("no divisor", "rho forgotten", "LS1", "lsa", layer(divided=lambda c, rho: c), "query read"),
    ("keys and queries exchanged", "W_KQ transposed", "LS1", "lsa", layer(transposed=True), "query read"),
    ("query left out", "the last token is no key", "LS1", "lsa",
     lambda e, P, Q, rho: r.lsa(e, P, Q, rho, include_query=False), "query read"),
    ("query leaks", "the last token is a key", "LS1", "lsa", r.lsa, "query not read"),
    ("first token left out", "the query taken to be first", "LS1", "lsa",
     lambda e, P, Q, rho: e + e @ (P @ e[1:].T @ e[1:] @ Q).T / rho, "query not read"),
    ("softmax", "scores through a softmax", "LS1", "lsa_attention", layer(scores=jax.nn.softmax), "query read"),
    ("heads merged", "matrices added before the product", "LS2", "lsa", heads_merged, "two heads"),
    ("layers in parallel", "all read the first tokens", "LS3", "lsa_layers", parallel, "two layers of two heads"),
    ("layers reversed", "the last first", "LS3", "lsa_layers",
     lambda e, P, Q, rho: r.lsa_layers(e, P[::-1], Q[::-1], rho), "two layers of two heads"),
    ("one time less", "off by one", "LS3", "repeat", repeat_less, "one layer three times"),
    ("column for row", "W_PV transposed", "LS4", "reduced", column_for_row, "one head"),
)  # fmt: skip

# (LS5) to (LS10): constructions


def built(query=lambda q, W0: -W0 @ q, eta=lambda eta, x: eta, start=lambda W0: W0, read=False, rho=lambda N: N,
          sign=-1.0):  # fmt: skip
    """Layers of gradient descent, put together with something changed; eta a number, or one for each layer."""

    def form(x, y, q, W0, rate):
        d, k = x.shape[1], y.shape[1]
        P, Q = r.gd_construction(d, jnp.atleast_1d(eta(rate, x)), labels=k, W0=start(W0))
        tokens = r.gd_prompt(x, y, q).at[-1, d:].set(query(q, W0))
        done = r.lsa_layers(tokens, P, Q, rho(len(x)), include_query=read)
        return sign * done[-1, d:]

    return form


def mean_of_squares(W, x, y):
    """The loss without its half."""
    return jnp.mean(jnp.sum((x @ W.T - y) ** 2, axis=1))


def sum_of_squares(W, x, y):
    """The loss without its mean."""
    return jnp.sum((x @ W.T - y) ** 2) / 2


def sum_over_twice(W, x, y):
    """The loss, right."""
    return sum_of_squares(W, x, y) / len(x)


def by_loss(loss):
    """Steps on another loss."""

    def form(x, y, q, W0, eta):
        for rate in jnp.atleast_1d(eta):
            W0 = W0 - rate * jax.grad(loss)(W0, x, y)
        return W0 @ q

    return form


def stale(x, y, q, W0, eta):
    """All gradients at the initial weight."""
    return (W0 - jnp.sum(eta) * jax.grad(r.squared_loss)(W0, x, y)) @ q


def matrices(A):
    """Preconditioned layers of other matrices."""
    return lambda x, y, q, given: f.by_construction(x, y, q, A(given))


def inputs_moved(gamma=lambda g, N: g, eta=lambda e: e, query=True):
    """GD++ with other rates, or a query that stays where it is."""

    def form(x, y, q, rates, g):
        if query:
            return f.moving_layers(x, y, q, eta(rates), gamma(g, len(x)))
        total = jnp.zeros(y.shape[1])
        for l in range(len(rates)):
            dW = r.descend(x, y, rates[l])
            total, y, x = total + dW @ q, y - x @ dW.T, x - g[l] * x @ (x.T @ x) / len(x)
        return total

    return form


def labels_after_inputs(x, y, q, eta, gamma):
    """Inputs move first, and the step is taken on those that have moved."""
    total = jnp.zeros(y.shape[1])
    for l in range(len(eta)):
        H = x.T @ x / len(x)
        x, q = x - gamma[l] * x @ H, q - gamma[l] * H @ q
        dW = r.descend(x, y, eta[l])
        total, y = total + dW @ q, y - x @ dW.T
    return total


def one_factor(x, gamma):
    """Shrunk on one side."""
    H = f.curvature(x)
    return (jnp.eye(len(H)) - gamma * H) @ H


def query_unmapped(x, y, q, U, V, eta):
    """The MLP sees the examples only."""
    m = f.tanh_map(U, V)
    return r.descend(jax.vmap(m)(x), y, eta) @ q


def labels_mapped(x, y, q, U, V, eta):
    """Labels through the map of inputs; there are as many."""
    m = f.tanh_map(U, V)
    return r.descend(jax.vmap(m)(x), jax.vmap(m)(y), eta) @ m(q)


CONSTRUCTIONS = (
    ("missing half", "the mean of squares", "LS5", "moved labels",
     lambda x, y, W0, dW: mean_of_squares(W0, x, y - x @ dW.T), "two labels"),
    ("labels moved up", "the sign of the move", "LS5", "moved labels",
     lambda x, y, W0, dW: f.loss_of_moved(x, y, W0, -dW), "two labels"),
    ("missing half", "steps on the mean of squares", "LS6", "descend", by_loss(mean_of_squares), "two labels"),
    ("sum for mean", "the loss without 1 / N", "LS6", "descend", by_loss(sum_of_squares), "two labels"),
    ("query leaks", "the query's own token among the keys", "LS6", "one layer", built(read=True), "two labels"),
    ("query at zero", "its label not W_0 x", "LS6", "one layer", built(query=lambda q, W0: 0 * W0 @ q), "two labels"),
    ("read as it is", "the sign of the prediction", "LS6", "one layer", built(sign=1.0), "two labels"),
    ("divided twice", "1 / N in the weights and in the layer", "LS6", "one layer",
     built(eta=lambda eta, x: eta / len(x)), "two labels"),
    ("start forgotten", "W_0 not in the layer", "LS6", "one layer", built(start=lambda W0: None), "two labels"),
    ("values only", "W_0 x for the error signal", "LS6", "attention over the examples",
     lambda x, y, q, W0, eta: W0 @ q + eta / len(x) * y.T @ (x @ q), "two labels"),
    ("double step", "at the papers' size", "LS6", "construction", rows.own_scale, None),
    ("stale", "all gradients at the start", "LS7", "descend", stale, "two steps"),
    ("query leaks", "the query's own token among the keys", "LS7", "layers", built(read=True), "two steps"),
    ("one rate", "the first rate in all layers", "LS7", "layers",
     built(eta=lambda eta, x: jnp.broadcast_to(eta[:1], eta.shape)), "two steps"),
    ("missing half", "steps on the mean of squares", "LS7", "descend", by_loss(mean_of_squares), "two steps"),
    ("transposed", "A for A'", "LS8", "construction", matrices(lambda A: jnp.swapaxes(A, 1, 2)), "one layer"),
    ("first matrix", "one matrix for all layers", "LS8", "construction",
     matrices(lambda A: jnp.broadcast_to(A[:1], A.shape)), "three layers"),
    ("ascent", "the published sign lost", "LS8", "construction", rows.ascending,
     "LS8.published"),
    ("inputs move up", "the sign of gamma", "LS9", "layers", inputs_moved(gamma=lambda g, N: -g), "two layers"),
    ("gamma without mean", "x' X'X in place of its mean", "LS9", "layers", inputs_moved(gamma=lambda g, N: g * N),
     "two layers"),
    ("query stays", "examples move, the query does not", "LS9", "descend", inputs_moved(query=False), "two layers"),
    ("inputs first", "the step on moved inputs", "LS9", "descend", labels_after_inputs, "two layers"),
    ("one factor", "shrunk on one side", "LS9", "mapped", one_factor, "inputs of a layer"),
    ("query unmapped", "the query skips the MLP", "LS10", "MLP, then attention", query_unmapped, "from zero"),
    ("no mean", "the kernel's sum", "LS10", "kernel",
     lambda x, *rest: len(x) * f.kernel(x, *rest), "from zero"),
)  # fmt: skip

# (LS11) to (LS14): the trained layer, what layers do to a token, query and divisor


def optimum(gamma=f.gamma_of, A=jnp.linalg.inv, rho=len, sign=1.0):
    """A trained layer with another Gamma, another matrix of it or another divisor."""

    def form(x, y, q, C):
        P, Q = r.trained_construction(A(gamma(C, 7)))
        return sign * r.prediction(r.lsa(r.prompt(x, y, q), P, Q, rho(x)))

    return form


def trained(form):
    """The same as the measured law reads it."""
    return lambda x, y, q, C: jnp.stack([form(x, y, q, C), jnp.zeros_like(y[0])])


def unequal(x, y, q, C):
    """All of A in W_KQ, W_PV one."""
    A = jnp.linalg.inv(f.gamma_of(C, 7))
    return jnp.stack([f.inverse_step(7)(x, y, q, C), 1.0 - jnp.linalg.norm(A)])


def of_prompt(tokens, P, Q, rho):
    """The matrix of all tokens, query included."""
    return tokens @ r.token_map(tokens.T @ tokens, P, Q, rho).T


def not_moved(tokens, P, Q, rho):
    """Every layer with the tokens as they came."""
    G, T = tokens[:-1].T @ tokens[:-1], jnp.eye(tokens.shape[1])
    for p, q in zip(P, Q, strict=True):
        T = T + sum(p[h] @ G @ q[h] for h in range(len(p))) / rho @ T
    return tokens @ T.T


def normalised(tokens, P, Q, rho):
    """Scores through a softmax: no matrix does that to all tokens."""
    for p, q in zip(P, Q, strict=True):
        heads = [jax.nn.softmax(tokens @ q[h].T @ tokens[:-1].T) @ tokens[:-1] @ p[h].T for h in range(len(p))]
        tokens = tokens + sum(heads)
    return tokens


def with_squares(tokens, P, Q, rho):
    """A token-wise nonlinearity after the layers."""
    return jnp.maximum(r.lsa_layers(tokens, P, Q, rho, include_query=False), 0.0)


LIMITS = (
    ("transposed", "Gamma^-1 transposed", "LS11", "trained layer", optimum(A=lambda G: jnp.linalg.inv(G).T),
     "trained with seven examples"),
    ("trace without mean", "tr(Lambda) for tr(Lambda) / N", "LS11", "trained layer",
     optimum(gamma=lambda C, N: (1 + 1 / N) * C + jnp.trace(C) * jnp.eye(len(C))), "trained with seven examples"),
    ("M / N", "the divisor of training", "LS11", "trained layer", optimum(rho=lambda x: 7.0),
     "trained with seven examples"),
    ("M / N, measured", "the divisor of training", "LS11", "construction", rows.divisor_of_training,
     "LS11"),
    ("norms", "all of A in one matrix", "LS11", "construction", unequal, "LS11"),
    ("query in the sum", "G of all tokens", "LS12", "token_map", of_prompt, "two layers, two heads"),
    ("tokens not moved", "every layer's G that of the prompt", "LS12", "token_map", not_moved,
     "two layers, two heads"),
    ("softmax", "scores through a softmax", "LS12", "layers", normalised,
     "LS12.sizes"),
    ("a nonlinearity", "ReLU after the layers", "LS12", "layers", with_squares,
     "LS12.squares"),
    ("N + 1", "the divisor counts the query", "LS13", "query read",
     lambda x, y, q, W0, eta: f.layers(x, y, q, eta, W0, include_query=True, rho=len(x) + 1), "two labels"),
    ("its label", "the answer in the query's slot", "LS13", "query read",
     lambda x, y, q, eta: f.layers(x, y, q, eta, include_query=True) + eta * jnp.sum(q * q), "from zero"),
    ("M / N", "the divisor of the prompt", "LS14", "divisor kept", f.own_divisor, "seven examples, trained with four"),
)  # fmt: skip

MUTANTS = tuple(
    Mutant(f"{label}, {form}: {name}", label, form, program, why, case)
    for name, why, label, form, program, case in (*LAYER, *CONSTRUCTIONS, *LIMITS)
)

HARMLESS = (
    Mutant("lsa: scores formed", "LS1", "lsa", layer(), "attention in place of a matrix", "query read"),
    Mutant("layers: put together", "LS7", "layers", built(), "the library's parts", "two steps"),
    Mutant("layers: rates in another order", "LS7", "layers", built(eta=lambda eta, x: eta[::-1]),
           "steps on one quadratic commute", "two steps"),
    Mutant("descend: the written loss", "LS6", "descend", by_loss(sum_over_twice), "another expression", "two labels"),
    Mutant("trained layer: Gamma again", "LS11", "trained layer", optimum(), "the library's parts",
           "trained with seven examples"),
    Mutant("GD++: example by example", "LS9", "layers", inputs_moved(), "the library's parts", "two layers"),
)  # fmt: skip
