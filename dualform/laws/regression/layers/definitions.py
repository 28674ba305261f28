"""Both sides of the laws on the layer, (LS1) to (LS4), and on what layers do to a token, (LS12): tokens one by one."""

import jax.numpy as jnp
import numpy as np

from dualform import regression as r
from dualform.laws.law import Measurement

# (LS1) to (LS4): the layer


def one_by_one(tokens, P, Q, rho, include_query=True):
    """(LS1) and (LS3) as they are written: for each token a sum over tokens and heads of value times score."""
    P, Q = (P, Q) if P.ndim == 3 else (P[None], Q[None])
    last, rows = len(tokens) if include_query else len(tokens) - 1, []
    for j in range(len(tokens)):
        row = tokens[j]
        for p, q in zip(P, Q, strict=True):
            asked = jnp.sum(q * tokens[j][None], axis=1)
            for i in range(last):
                row = row + jnp.sum(p * tokens[i][None], axis=1) * jnp.sum(tokens[i] * asked) / rho
        rows.append(row)
    return jnp.stack(rows)


def examples_only(form):
    return lambda tokens, P, Q, rho: form(tokens, P, Q, rho, include_query=False)


def columns(tokens, P, Q, rho):
    """The papers' form, tokens as columns of E."""
    E = tokens.T
    return (E + P @ E @ (E.T @ Q @ E) / rho).T


def heads_added(tokens, P, Q, rho):
    """Each head a layer by itself; what it adds, added."""
    return tokens + sum(r.lsa(tokens, p, q, rho) - tokens for p, q in zip(P, Q, strict=True))


def in_sequence(tokens, P, Q, rho):
    """Layers of heads, token by token, one after the other."""
    for p, q in zip(P, Q, strict=True):
        tokens = one_by_one(tokens, p, q, rho)
    return tokens


def three_times(tokens, P, Q, rho):
    for _ in range(3):
        tokens = one_by_one(tokens, P, Q, rho)
    return tokens


def repeated(tokens, P, Q, rho):
    return r.lsa_layers(tokens, P[None], Q[None], rho, repeat=3)


def predicted(x, y, q, P, Q, rho):
    return one_by_one(r.prompt(x, y, q), P, Q, rho)[-1, -1]


def reduced(x, y, q, P, Q, rho):
    return r.reduced(r.prompt(x, y, q), P, Q, rho)


def parts_unread(x, y, q, P, Q, rho):
    """The prediction with all that has no part in it set to zero."""
    d = x.shape[1]
    return r.prediction(r.lsa(r.prompt(x, y, q), P * (jnp.arange(d + 1) == d)[:, None], Q.at[:, -1].set(0.0), rho))


# (LS12): what layers do to a token


def token_by_token(tokens, P, Q, rho):
    """(LS12)'s left-hand side: layers of heads as they are written, the query not read."""
    for p, q in zip(P, Q, strict=True):
        tokens = one_by_one(tokens, p, q, rho, include_query=False)
    return tokens


def one_matrix(tokens, P, Q, rho):
    return tokens @ r.token_map(tokens[:-1].T @ tokens[:-1], P, Q, rho).T


def blocks(tokens, P, Q, rho):
    """M, u, w, a by a recursion of their own, from the moments of the examples (Vladymyrov et al.)."""
    d = tokens.shape[1] - 1
    x, y = tokens[:-1, :d], tokens[:-1, d]
    xx, yx, yy = x.T @ x, x.T @ y, y @ y
    M, u, w, a = jnp.eye(d), jnp.zeros(d), jnp.zeros(d), jnp.ones(())
    for p, q in zip(P, Q, strict=True):
        moved = M @ xx @ M.T + jnp.outer(M @ yx, u) + jnp.outer(u, M @ yx) + yy * jnp.outer(u, u)
        cross = a * (M @ yx) - M @ (xx @ w) + u * (a * yy) - u * (yx @ w)
        square = a * a * yy - 2 * a * (w @ yx) + w @ xx @ w
        G = jnp.concatenate([jnp.concatenate([moved, cross[:, None]], 1), jnp.append(cross, square)[None]])
        S = sum(p[h] @ G @ q[h] for h in range(len(p))) / rho
        M, u, w, a = (
            M + S[:d, :d] @ M - jnp.outer(S[:d, d], w),
            u + S[:d, :d] @ u + a * S[:d, d],
            w - M.T @ S[d, :d] + S[d, d] * w,
            a + S[d, :d] @ u + a * S[d, d],
        )
    x, y = tokens[:, :d], tokens[:, d]
    return jnp.concatenate([x @ M.T + jnp.outer(y, u), (a * y - x @ w)[:, None]], 1)


def network(n, d, L, H):
    """A random prompt and random layers, small enough that values stay of size one."""
    D = d + 1

    def sample(rng):
        tokens = rng.standard_normal((n + 1, D))
        tokens[-1, -1] = 0.0
        return tokens, 0.3 * rng.standard_normal((L, H, D, D)), 0.3 * rng.standard_normal((L, H, D, D)), float(n)

    return sample


def squares_missed(rng, layers) -> Measurement:
    """Theorem 4.2 of Vladymyrov et al.: with linear labels no output over the tokens resembles x_1^2.

    All outputs of all networks lie in the span of the inputs' columns, so the projection of x_1^2 on that span is the
    largest cosine that any weights can have.
    """
    n, d, L, H, top, seen, control = 20_000, 4, 2, 2, [], [], []
    for _ in range(8):
        x, w, hidden = rng.standard_normal((n, d)), rng.standard_normal(d), rng.standard_normal((16, d))
        P, Q = (0.3 * rng.standard_normal((L, H, d + 1, d + 1)) for _ in range(2))
        tokens = np.concatenate([np.column_stack([x, x @ w]), np.zeros((1, d + 1))])
        outputs = layers(*(jnp.asarray(a, jnp.float32) for a in (tokens, P, Q)), float(n))
        square = x[:, 0] ** 2
        top.append(_largest_cosine(x, square))
        seen.append(_largest_cosine(np.asarray(outputs, np.float64)[:-1], square))
        control.append(_largest_cosine(np.maximum(x @ hidden.T, 0.0), square))
    mean, half = float(np.mean(top)), 1.96 * float(np.std(top, ddof=1)) / len(top) ** 0.5
    return Measurement(
        mean, mean - half, mean + half, min(control),
        "largest cosine with x_1^2 that any network's output can have, n = 20,000, d = 4 (must be at most 0.1); of "
        f"random networks of 2 layers, 2 heads at most {max(seen):.3f}; control: the same behind 16 ReLU units",
        bool(max(top) <= 0.1 and max(seen) <= 0.1 and min(control) > 0.5),
    )  # fmt: skip


def _largest_cosine(columns, target) -> float:
    """Of a vector with the span of columns; directions below float32's rounding are none."""
    values, vectors = np.linalg.eigh(columns.T @ columns)
    kept = values > 1e-8 * values[-1]
    along = (vectors[:, kept].T @ (columns.T @ target)) / np.sqrt(values[kept])
    return float(np.linalg.norm(along) / np.linalg.norm(target))
