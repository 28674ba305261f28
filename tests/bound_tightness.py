"""How tight rounding bounds are on programs of this field: `python -m tests.bound_tightness [--json FILE]`.

For each program the ratio bound / error is taken over all elements of ten draws whose error is not zero; the table
shows the median, the 90th percentile and the least. A ratio below 1 would be a broken bound.
"""

import argparse
import json
import sys

import jax
import jax.numpy as jnp
import numpy as np

from dualform.attention import softmax_attn
from dualform.prove import ProofError, rounding_bound
from dualform.rules import RULES

DRAWS = 10


def rule(name, form, T=48, K=8, V=6, **options):
    """A rule's form on T tokens, with gates and step sizes drawn beside the tokens."""

    def f(q, k, v, beta, g):
        k = k / jnp.linalg.norm(k, axis=-1, keepdims=True)
        given = {"beta": beta, "g": g}
        return RULES[name](q, k, v, form=form, **{n: given[n] for n in options["gates"]})[0][-4:]

    def draw(rng):
        wide = (T, K) if name in ("gla", "kda") else (T,)
        return (
            *(rng.standard_normal(s) for s in ((T, K), (T, K), (T, V))),
            rng.uniform(0.1, 1, T),
            -rng.exponential(0.1, wide),
        )

    return f, draw


def normals(*shapes):
    return lambda rng: tuple(rng.standard_normal(s) for s in shapes)


def rms_norm(x, gain):
    return x * jax.lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + 1e-6) * gain


def layer_norm(x, gain):
    centred = x - x.mean(-1, keepdims=True)
    return centred * jax.lax.rsqrt(jnp.mean(centred**2, -1, keepdims=True) + 1e-5) * gain


def adam(w, g, m, s):
    m, s = 0.9 * m + 0.1 * g, 0.999 * s + 0.001 * g * g
    return w - 1e-3 * (m / (1 - 0.9**3)) / (jnp.sqrt(s / (1 - 0.999**3)) + 1e-8)


def newton_schulz(G):
    X = G / (jnp.linalg.norm(G) + 1e-7)
    for _ in range(5):
        A = X @ X.T
        X = 3.4445 * X + (-4.775 * A + 2.0315 * A @ A) @ X
    return X


def cross_entropy(W, x, y):
    return -jax.nn.log_softmax(x @ W.T)[jnp.arange(len(x)), y].mean()


def mlp(x, A, B):
    return jax.nn.gelu(x @ A) @ B


def causal_attention(q, k, v):
    return jax.nn.dot_product_attention(q, k, v, is_causal=True)


def sgd_momentum(W, X, Y):
    Z = jnp.zeros_like(W)
    for x, y in zip(X, Y, strict=True):
        Z = 0.9 * Z + jnp.outer(W @ x - y, x)
        W = W - 0.05 * Z
    return W


def ridge(X, y):
    return jnp.linalg.solve(X.T @ X + 0.1 * jnp.eye(X.shape[1]), X.T @ y)


PROGRAMS = {
    "linear_attn chunked": rule("linear_attn", "chunked", gates=()),
    "retention recurrent": rule("retention", "recurrent", gates=("g",)),
    "gla chunked": rule("gla", "chunked", gates=("g",)),
    "delta recurrent": rule("delta", "recurrent", gates=("beta",)),
    "delta parallel": rule("delta", "parallel", gates=("beta",)),
    "delta chunked": rule("delta", "chunked", gates=("beta",)),
    "gated_delta recurrent": rule("gated_delta", "recurrent", gates=("beta", "g")),
    "gated_delta chunked": rule("gated_delta", "chunked", gates=("beta", "g")),
    "kda chunked": rule("kda", "chunked", gates=("beta", "g")),
    "longhorn recurrent": rule("longhorn", "recurrent", gates=("beta",)),
    "softmax attention": (softmax_attn, normals((32, 6), (32, 8), (5, 8))),
    "causal attention": (causal_attention, normals((1, 12, 2, 8), (1, 12, 2, 8), (1, 12, 2, 8))),
    "RMSNorm": (rms_norm, normals((6, 32), (32,))),
    "LayerNorm": (layer_norm, normals((6, 32), (32,))),
    "Adam step": (adam, lambda rng: (*normals((24,), (24,), (24,))(rng), rng.exponential(size=24))),
    "Newton-Schulz": (newton_schulz, normals((6, 8))),
    "cross-entropy gradient": (
        lambda W, x: jax.grad(cross_entropy)(W, x, jnp.arange(6) % 4), normals((4, 8), (6, 8)),
    ),
    "MLP with GELU": (mlp, normals((4, 8), (8, 16), (16, 4))),
    "SGD with momentum": (sgd_momentum, lambda rng: (np.zeros((4, 6)), *normals((16, 6), (16, 4))(rng))),
    "ridge regression": (ridge, normals((24, 5), (24,))),
}  # fmt: skip
"""Name -> (program, draw of its inputs)."""


def measure(f, draw, dtype="float32", draws=DRAWS) -> dict:
    """Quantiles of bound / error over all elements that err, and the largest share of an output that a bound is."""
    ratios, shares, infinite, elements = [], [], 0, 0
    compiled = jax.jit(f)
    for seed in range(draws):
        arguments = [np.asarray(x, jnp.dtype(dtype)) for x in draw(np.random.default_rng(seed))]
        value, bound = rounding_bound(f, *arguments)
        error = np.abs(np.asarray(compiled(*arguments)).astype(np.float64) - value)
        known = np.isfinite(bound)
        elements, infinite = elements + bound.size, infinite + int((~known).sum())
        ratios.append((bound[known & (error > 0)] / error[known & (error > 0)]).ravel())
        shares.append(np.max(bound[known], initial=0) / max(np.max(np.abs(value)), 1e-300))
    ratios = np.concatenate(ratios)
    found = {"share": float(np.median(shares)), "infinite": infinite, "elements": elements}
    if ratios.size:
        found |= {
            "median": float(np.median(ratios)),
            "p90": float(np.quantile(ratios, 0.9)),
            "least": float(ratios.min()),
        }
    return found


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", help="file to write the table to")
    parser.add_argument("--dtype", default="float32")
    options = parser.parse_args(arguments)
    rows = {}
    print(f"jax {jax.__version__}, {options.dtype}; bound / error: median, 90 %, least; bound / output; infinite")
    for name, (f, draw) in PROGRAMS.items():
        try:
            rows[name] = row = measure(f, draw, options.dtype)
        except ProofError as reason:
            print(f"{name:24s} refused: {reason}")
            continue
        cells = [f"{row.get(key, float('nan')):10.3g}" for key in ("median", "p90", "least", "share")]
        print(f"{name:24s}", *cells, f"{row['infinite']:4d} of {row['elements']}", flush=True)
    if options.json:
        with open(options.json, "w") as file:
            json.dump(rows, file, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
