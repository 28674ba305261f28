"""Wrong programs for the rules that divide by what they have read: normalized and mesa."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from dualform.rules.mesa import State as Mesa
from dualform.rules.normalized import State as Normalized
from dualform.rules.normalized import squares_plus_one as squares
from dualform.testing.mutant import Mutant
from mutants.precision import rounded
from mutants.rules.common import plant, scan, whole

GRADIENTS = "conjugate gradients"

# normalized: the read and the update of (S, z)


def normalised(
    divide=lambda y, n: y / n, phi_q=squares, phi_k=squares, phi_z=squares, start=lambda state: state, before=False,
) -> Callable:  # fmt: skip
    """(N1) with parts that may be wrong."""

    def update(state, k, v, now):
        return Normalized(state.S + jnp.outer(v, phi_k(k)), state.z + phi_z(k))

    def read(state, q):
        return divide(state.S @ phi_q(q), state.z @ phi_q(q))

    def form(q, k, v, gates, state, scale):
        return scan(update, read, before=before)(q, k, v, gates, start(state), 1.0)

    return form


def own_token(state, k, v, now):
    return Normalized(state.S + jnp.outer(v, squares(k)), state.z + squares(k))


def stale_normaliser(q, k, v, gates, state, scale):
    """The layer read after the write, the normaliser before it."""
    o, last = normalised(lambda y, n: y)(q, k, v, gates, state, scale)
    ones = jnp.ones((len(k), 1))
    n, _ = normalised(lambda y, n: n[None], before=True)(q, k, v, gates, state, scale)
    return o / (n * ones), last


NORMALIZED = (
    ("recurrent", "epsilon", "1e-6 added to the normaliser", normalised(lambda y, n: y / (n + 1e-6))),
    ("recurrent", "read before write", "a token does not see itself", normalised(before=True)),
    ("descent", "not divided", "the normaliser forgotten", normalised(lambda y, n: y)),
    ("descent", "raw keys in z", "features in S alone", normalised(phi_z=lambda k: k)),
    ("parallel", "raw queries", "features of keys alone", normalised(phi_q=lambda q: q)),
    ("parallel", "raw keys", "features of queries alone", normalised(phi_k=lambda k: k, phi_z=lambda k: k)),
    ("step", "stale normaliser", "z one token old", stale_normaliser),
    ("step", "other features", "no 1 in the feature map", normalised(
        phi_q=lambda x: x * x, phi_k=lambda x: x * x, phi_z=lambda x: x * x)),
    ("chunked", "normaliser from zero", "z lost from the initial state", normalised(
        start=lambda state: state._replace(z=0 * state.z))),
    ("chunked", "normaliser held", "no gradient through the division", normalised(
        lambda y, n: y / jax.lax.stop_gradient(n))),
)  # fmt: skip


def elu(x):
    """exp(x) - 1 below zero, x above."""
    return jnp.where(x >= 0, x, jnp.exp(jnp.minimum(x, 0)) - 1)


FEATURES = (
    ("parallel", "elu", "elu without the 1", elu),
    ("recurrent", "exponential", "exp for both branches", jnp.exp),
    ("chunked", "relu", "relu plus 1: no features of negative keys", lambda x: jnp.maximum(x, 0) + 1),
)


# mesa: the update of (G, H) and the read


def ridge(
    G=lambda G, k, v, now: jnp.exp(now["g"]) * G + now["beta"] * jnp.outer(v, k),
    H=lambda H, k, v, now: jnp.exp(now["g"]) * H + now["beta"] * jnp.outer(k, k),
    solve=lambda H, lam, q: jnp.linalg.solve(H + lam * jnp.eye(len(q)), q), before=False,
) -> Callable:  # fmt: skip
    """(Z2) with parts that may be wrong."""

    def update(state, k, v, now):
        return Mesa(G(state.G, k, v, now), H(state.H, k, v, now))

    def form(q, k, v, gates, state, scale):
        read = lambda state, q: state.G @ solve(state.H, gates["lam"], q)  # noqa: E731
        return scan(update, read, before=before)(q, k, v, gates, state, 1.0)

    return form


def ridge_in_the_state(q, k, v, gates, state, scale):
    """Recursive least squares: the ridge is the initial H, and decays with it."""
    lam = gates["lam"] * jnp.eye(k.shape[1])
    o, last = ridge(solve=lambda H, lam, q: jnp.linalg.solve(H, q))(
        q, k, v, gates, state._replace(H=state.H + lam), scale
    )
    decay = jnp.exp(jnp.sum(gates["g"]))
    return o, last._replace(H=last.H - decay * lam)


def stale_curvature(q, k, v, gates, state, scale):
    """G after the write, H before it."""
    _, last = ridge()(q, k, v, gates, state, scale)

    def token(carry, x):
        (G, H), (q_t, k_t, v_t, beta, g) = carry, x
        G = jnp.exp(g) * G + beta * jnp.outer(v_t, k_t)
        o = G @ jnp.linalg.solve(H + gates["lam"] * jnp.eye(len(k_t)), q_t)
        return (G, jnp.exp(g) * H + beta * jnp.outer(k_t, k_t)), o

    return jax.lax.scan(token, tuple(state), (q, k, v, gates["beta"], gates["g"]))[1], last


MESA = (
    ("recurrent", "curvature does not decay", "H sums all keys", None, ridge(
        H=lambda H, k, v, now: H + now["beta"] * jnp.outer(k, k))),
    ("recurrent", "ridge decays", "recursive least squares", None, ridge_in_the_state),
    ("recurrent", "no ridge", "H alone", None, ridge(solve=lambda H, lam, q: jnp.linalg.solve(H, q))),
    ("descent", "ridge halved", "the ridge's 1/2 left in the Hessian", None, ridge(
        solve=lambda H, lam, q: jnp.linalg.solve(H + lam / 2 * jnp.eye(len(q)), q))),
    ("descent", "input gate squared", "beta^2 in H", None, ridge(
        H=lambda H, k, v, now: jnp.exp(now["g"]) * H + now["beta"] ** 2 * jnp.outer(k, k))),
    ("descent", "decay after the write", "both sums", None, ridge(
        lambda G, k, v, now: jnp.exp(now["g"]) * (G + now["beta"] * jnp.outer(v, k)),
        lambda H, k, v, now: jnp.exp(now["g"]) * (H + now["beta"] * jnp.outer(k, k)))),
    ("parallel", "diagonal curvature", "of H its diagonal", None, ridge(
        solve=lambda H, lam, q: q / (jnp.diag(H) + lam))),
    ("parallel", "input gate on values alone", "H without beta", None, ridge(
        H=lambda H, k, v, now: jnp.exp(now["g"]) * H + jnp.outer(k, k))),
    ("step", "read before write", "the token is not in its own minimum", None, ridge(before=True)),
    ("step", "stale curvature", "H one token old", None, stale_curvature),
    ("step", "curvature held", "no gradient through the solve", None, ridge(
        solve=lambda H, lam, q: jnp.linalg.solve(jax.lax.stop_gradient(H) + lam * jnp.eye(len(q)), q))),
)  # fmt: skip


def descending(iterations, step=lambda r, Ap, size: size / (r @ Ap)):
    """Conjugate gradients of some iterations; `step` is the length of a step."""

    def solve(H, lam, q):
        x, r, p = jnp.zeros_like(q), q, q
        for _ in range(iterations):
            image = H @ p + lam * p
            alpha = (r @ r) / (p @ image)
            x, old, r = x + alpha * p, r @ r, r - alpha * image
            p = step(r, p, (r @ r) / old)
        return x

    return solve


def from_root(form):
    """As the law calls it: from a state whose H is a sum of outer products."""

    def program(q, k, v, gates, root, scale):
        return form(q, k, v, gates, root._replace(H=root.H @ root.H.T), scale)

    return program


ITERATED = (
    ("parallel", "an iteration short", "K - 1 iterations", descending(2, lambda r, p, b: r + b * p)),
    ("chunked", "steepest descent", "directions are not conjugate", descending(3, lambda r, p, b: r)),
    (
        "recurrent",
        "ridge on the first channel",
        "lam of one channel for all",
        lambda H, lam, q: jnp.linalg.solve(H + lam[0] * jnp.eye(len(q)), q),
    ),
)


def of_mesa(solve):
    return from_root(_with_ridges(solve))


def _with_ridges(solve):
    def form(q, k, v, gates, state, scale):
        lam, own = gates["lam"], {name: gates[name] for name in ("beta", "g")}
        update = lambda S, k, v, now: Mesa(  # noqa: E731
            jnp.exp(now["g"]) * S.G + now["beta"] * jnp.outer(v, k),
            jnp.exp(now["g"]) * S.H + now["beta"] * jnp.outer(k, k),
        )
        return scan(update, lambda S, q: S.G @ solve(S.H, lam, q))(q, k, v, own, state, 1.0)

    return form


NARROW = (
    ("normalized", "bfloat16 normaliser", normalised(
        start=lambda state: state._replace(z=rounded(state.z, jnp.bfloat16)))),
    ("mesa", "bfloat16 curvature", ridge(
        H=lambda H, k, v, now: rounded(jnp.exp(now["g"]) * H + now["beta"] * jnp.outer(k, k), jnp.bfloat16))),
)  # fmt: skip

MUTANTS: tuple[Mutant, ...] = (
    *(plant("normalized", form, name, why, program) for form, name, why, program in NORMALIZED),
    *(Mutant(f"normalized, elu + 1, {form}: {name}", "N1", form, normalised(phi_q=phi, phi_k=phi, phi_z=phi), why,
             "forms") for form, name, why, phi in FEATURES),
    *(plant("mesa", form, name, why, program, case) for form, name, why, case, program in MESA),
    *(plant("mesa", form, name, why, of_mesa(solve), GRADIENTS, what=f"{GRADIENTS}, {form}")
      for form, name, why, solve in ITERATED),
    *(whole(rule, "step", name, "what is carried kept in few bits", program) for rule, name, program in NARROW),
)  # fmt: skip

HARMLESS = (
    plant("normalized", "descent", "by recurrence", "two sums, then a quotient", normalised()),
    plant("mesa", "step", "by recurrence", "two sums, then elimination", ridge()),
    plant("mesa", "parallel", "by recurrence", "as many iterations as channels", of_mesa(
        descending(3, lambda r, p, b: r + b * p)), GRADIENTS, what=f"{GRADIENTS}, parallel"),
    Mutant("normalized, elu + 1, step: by recurrence", "N1", "step", normalised(
        phi_q=lambda x: elu(x) + 1, phi_k=lambda x: elu(x) + 1, phi_z=lambda x: elu(x) + 1), "elu plus 1", "forms"),
)  # fmt: skip
