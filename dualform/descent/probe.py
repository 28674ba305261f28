"""From an optax transform to an `Optimizer`: by asking it, not by reading its name.

Transforms are closures that hide their numbers. But a transform that is one of ours betrays them to a handful of
gradients chosen for the purpose, and random gradients show whether it is one of ours at all:

    1. entries 2^-10, 1, 2^20 of one gradient: updates in any other ratio mean that entries are rescaled on their own;
    2. tiny impulses at steps t, t - 1, t - 2 and unit weights at t, t - 1: momentum, its kind, and the weight decay;
    3. gradients that hold the buffer at one value: the learning rate of every step;
    4. one huge gradient: the norm to which it is clipped;
    5. random gradients and weights of all sizes, replayed by the recovered optimiser.

All in float64 (float32 if tx insists), and step 5 within a bound derived from the number of roundings, so that no
tolerance decides.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dualform import _check
from dualform.descent.optimizer import Optimizer

TINY, HUGE = 2.0**-60, 2.0**60
STEPS = 32  # probed at least, whatever T
ENTRIES = 12  # of two weights, so that a norm over all entries is not the norm of one weight
NUMBER = 40  # roundings behind a recovered number: a quotient of two responses, and 20 units to a shorter decimal

Play = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Gradients `[T, 12]` and weights `[T, 12]`, free of each other, to updates `[T, 12]`."""


def from_optax(tx: Any, T: int | None = None) -> Optimizer:
    """The `Optimizer` that an optax transform is, found by probing and verified by replaying it (O1).

    Recognised are `optax.sgd`, every chain of `clip_by_global_norm`, `add_decayed_weights`, `trace`,
    `add_decayed_weights` (then decoupled) and a learning rate or schedule, in this order, and whatever else acts the
    same. The weights are those
    of one layer: masks and rates per layer are for the caller to take apart.

    Args:
        tx: an `optax.GradientTransformation`.
        T: number of steps; needed where the transform counts its steps, as schedules do.

    Returns:
        The optimiser, its numbers to about 15 digits; eta is `[T]` where it changes. If `clip` is set, `coefficients`
        asks for the recorded clip factors. Never an `ema`: optax keeps averages of the weights outside of the
        transform.

    Raises:
        ValueError: tx rescales entries on their own (Adam, RMSprop, AdaGrad, Lion, signs, elementwise clipping), which
            leaves no scalar coefficients: see `hadamard`; or it counts its steps and T is missing; or it cannot be run
            on weights and gradients alone; or its updates are not those of any `Optimizer`.

    Cost: five runs of max(T, 32) updates of 12 numbers.

    >>> import optax
    >>> from_optax(optax.sgd(0.1, momentum=0.9, nesterov=True))
    Optimizer(eta=0.1, momentum=0.9, nesterov=True, dampening=0.0, weight_decay=0.0, decoupled=False, clip=None,
    ema=None)
    """
    T = None if T is None else _check.count("T", T)
    steps = max(T or 0, STEPS)
    with jax.enable_x64(True):
        play, counts, unit = _player(tx)
        late = _responsive_step(play, steps)  # before T is asked for: Adam counts its steps too
        if counts and T is None:
            raise ValueError("T: got None, expected the number of steps, for tx counts them (a schedule?); pass T")
        found = _structure(play, steps, late, unit)
        eta = _learning_rates(play, steps, **found)
        found["clip"] = _clip(play, steps, late, unit)
        constant = not counts or bool(T and (eta[:T] == eta[0]).all())
        if constant:
            eta[: T if counts else steps] = _shorter(eta[0], unit)
        _replay(play, eta, unit, **found)
    return Optimizer(eta=float(eta[0]) if constant else jnp.asarray(eta[:T]), **found)


def _player(tx) -> tuple[Play, bool, float]:
    """Runs tx on chosen gradients and weights; whether its state counts; and the unit roundoff of that state."""

    def tree(entries):
        return {"first": entries[:6].reshape(2, 3), "second": entries[6:].reshape(3, 2)}

    @jax.jit
    def update(gradient, state, weight):
        updates, state = tx.update(tree(gradient), state, tree(weight))
        return jnp.concatenate([updates["first"].ravel(), updates["second"].ravel()]), state

    try:
        start = tx.init(tree(jnp.zeros(ENTRIES)))
        update(jnp.ones(ENTRIES), start, jnp.ones(ENTRIES))
    except Exception as reason:  # whatever a foreign transform raises
        raise ValueError(
            f"tx: got a {type(tx).__name__} that does not run on weights and gradients alone ({reason}), expected an "
            "optax transform such as optax.sgd(0.1); pass one whose init takes weights and whose update takes gradients"
        ) from reason

    def play(gradients, weights):
        state, updates = start, []
        for gradient, weight in zip(gradients, weights, strict=True):
            u, state = update(gradient, state, weight)
            updates.append(u)
        return np.array(updates)

    dtypes = [jnp.asarray(leaf).dtype for leaf in jax.tree.leaves(start)]
    counts = any(jnp.issubdtype(dtype, jnp.integer) for dtype in dtypes)
    floats = [dtype for dtype in dtypes if jnp.issubdtype(dtype, jnp.floating)]
    unit = max([2.0**-53, *(float(jnp.finfo(dtype).eps) / 2 for dtype in floats)])
    if unit > 2.0**-24:
        raise _unlike("keeps its state in less than float32, where rounding is a part of what it does")
    return play, counts, unit


def _responsive_step(play: Play, steps: int) -> int:
    """Probe 1. The step, third or later, of the largest update; refuses updates that are not scaled gradients."""
    gradients, entries = np.zeros((steps, ENTRIES)), np.array([2.0**-10, 1.0, 2.0**20])
    gradients[:, :3] = entries
    updates = play(gradients, np.zeros_like(gradients))[:, :3]
    # Powers of two pass through scalars and sums without rounding: equality is exact.
    if not (updates == updates[:, 1:2] * entries).all():
        raise ValueError(
            "tx: got an optimiser that is adaptive or not linear, entry by entry, expected SGD in any variant of "
            "Optimizer. Adam, RMSprop, AdaGrad, Lion and sign descent give each entry a rate of its own, so no "
            "coefficient per step exists; use dualform.descent.hadamard, the exact form with one matrix per step"
        )
    return 2 + int(np.argmax(np.abs(updates[2:, 1])))


def _structure(play: Play, steps: int, late: int, unit: float) -> dict[str, Any]:
    """Probe 2. Momentum, its kind, weight decay and its kind, from the update at one step."""
    gradients, weights = np.zeros((steps, ENTRIES)), np.zeros((steps, ENTRIES))
    for ago in range(3):
        gradients[late - ago, ago] = TINY
    for ago in range(2):
        weights[late - ago, 3 + ago] = 1.0
    updates = play(gradients, weights)[late]
    (now, before, earlier), (decay_now, decay_before) = updates[:3] / TINY, updates[3:5]
    if not np.isfinite(updates).all():
        raise _unlike("answers a gradient with a number that is not finite")
    if now == 0:  # a learning rate of zero throughout
        return {"momentum": 0.0, "nesterov": False, "weight_decay": 0.0, "decoupled": False}
    momentum = _shorter(earlier / before, unit) if before else 0.0
    if not 0 <= momentum <= 1:
        raise _unlike("has no momentum between 0 and 1")
    # Responses now and a step later: 1, mu for the heavy ball; 1 + mu, mu^2 for Nesterov.
    ratio, ahead = before / now, momentum**2 / (1 + momentum)
    nesterov = bool(momentum > 0 and abs(ratio - ahead) < abs(ratio - momentum))
    eta = -now / (1 + momentum if nesterov else 1)
    decoupled = bool(decay_now != 0 and momentum > 0 and decay_before == 0)  # without momentum the two are one
    weight_decay = _shorter(-decay_now / eta if decoupled else decay_now / now, unit)
    return {"momentum": momentum, "nesterov": nesterov, "weight_decay": weight_decay, "decoupled": decoupled}


def _learning_rates(play: Play, steps: int, *, momentum: float, nesterov: bool, **_) -> np.ndarray:
    """Probe 3. Gradients 1, 1 - mu, 1 - mu, ... hold the buffer at 1, and the update is minus the learning rate."""
    gradients = np.zeros((steps, ENTRIES))
    gradients[:, 0] = TINY * (1 - momentum)
    gradients[0, 0] = TINY
    eta = -play(gradients, np.zeros_like(gradients))[:, 0] / TINY
    eta[0] /= 1 + momentum if nesterov else 1
    return eta + 0.0  # no negative zeros


def _clip(play: Play, steps: int, late: int, unit: float) -> float | None:
    """Probe 4. The norm to which a huge gradient is scaled, from what a tiny one of the same direction does."""
    gradients = np.zeros((2, steps, ENTRIES))
    gradients[:, late, 0] = TINY, HUGE
    tiny, huge = (abs(play(g, np.zeros_like(g))[late, 0]) for g in gradients)
    return _shorter(huge / (tiny / TINY), unit) if huge / HUGE < tiny / TINY else None


def _replay(play: Play, eta: np.ndarray, unit: float, *, momentum, nesterov, weight_decay, decoupled, clip) -> None:
    """Probe 5. Random gradients and weights over 20 binary orders of magnitude, against the recovered optimiser.

    Every term of an update passes through a bounded number of roundings, so it differs from its exact value by at most
    gamma times the same sum over absolute values. Counted for both sides: the buffer multiplies by mu and adds, at
    each of t steps (NUMBER + 2 on our side, 2 on theirs), and holding it at 1 in probe 3 left NUMBER + 3 a step in
    eta; outside of the buffer are the decay, the clip factor (a norm of 12 entries), mu once more for Nesterov, and
    eta.
    """
    rng = np.random.default_rng(0)
    shape = (len(eta), ENTRIES)
    gradients, weights = (rng.standard_normal(shape) * 2.0 ** rng.integers(-10, 11, (len(eta), 1)) for _ in range(2))
    gradients = gradients * (clip or 1.0)
    updates = play(gradients, weights)
    buffer, largest = np.zeros(ENTRIES), np.zeros(ENTRIES)
    for t, (g, W, u) in enumerate(zip(gradients, weights, updates, strict=True)):
        g = g * min(1.0, clip / np.linalg.norm(g)) if clip else g
        size = np.abs(g)
        if not decoupled:
            g, size = g + weight_decay * W, size + abs(weight_decay * W)
        buffer, largest = momentum * buffer + g, momentum * largest + size
        step, size = (g + momentum * buffer, size + momentum * largest) if nesterov else (buffer, largest)
        if decoupled:
            step, size = step + weight_decay * W, size + abs(weight_decay * W)
        roundings = (2 * NUMBER + 7) * (t + 1) + 6 * NUMBER
        if roundings * unit > 0.1:
            raise ValueError(f"T: got {len(eta)}, too many steps for what rounding leaves to compare; pass fewer")
        gamma = roundings * unit / (1 - roundings * unit)
        if not (np.abs(u + eta[t] * step) <= gamma * abs(eta[t]) * size).all():
            raise _unlike(f"leaves the closest candidate at step {t + 1} of a random run")


def _unlike(what: str) -> ValueError:
    return ValueError(
        f"tx: got an optimiser that {what}, expected clip_by_global_norm, add_decayed_weights, trace, "
        "add_decayed_weights and a learning rate, each optional, in this order; reorder it, or find its coefficients "
        "by hand"
    )


def _shorter(value: float, unit: float) -> float:
    """A decimal of few digits within 20 units of roundoff, as good an answer to a probe; else the value."""
    decimal = float(f"{value:.{12 if unit < 2.0**-24 else 5}g}")
    return (decimal if abs(decimal - value) <= 20 * unit * abs(value) else float(value)) + 0.0  # not -0.0
