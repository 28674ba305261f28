"""The optimisers whose steps are linear in the gradients, as data (O1)."""

from dataclasses import dataclass, fields
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dualform import _check


@dataclass(frozen=True)
class Optimizer:
    r"""SGD with everything that keeps a step linear in the gradients (O1), in the conventions of torch.optim.SGD.

    A step with the minibatch's mean gradient $\bar g_t$ is, in this order: clip, coupled decay, momentum, decoupled
    decay, step, average.

        g    = scale_t gbar_t  (+ weight_decay W, unless decoupled)
        buf  = g at the first step, else momentum buf + (1 - dampening) g
        W    = W (1 - eta_t weight_decay), if decoupled
        W    = W - eta_t (g + momentum buf if nesterov, else buf)
        Wbar = ema Wbar + (1 - ema) W, if ema is set; it starts at W_0 and is not debiased

    A pytree: numbers are leaves, so it passes through `jax.jit`, `jax.grad` and `jax.vmap`; the two flags are static.
    Any finite number will do, for the theorem asks no more, but for dampening without momentum (0): torch ignores it
    then, having no buffer, and here it is an error, since a momentum that is known only inside `jit` cannot be asked.

    Args:
        eta: learning rate, one number or `[T]`, one for every step.
        momentum: how much of the buffer is kept, 0 for none.
        nesterov: look ahead, g + momentum buf. (torch accepts it with momentum and without dampening only.)
        dampening: taken off the gradient that enters the buffer, but for the first.
        weight_decay: multiplies W in the gradient (coupled), or shrinks W by eta_t weight_decay (decoupled, as in
            AdamW).
        decoupled: which of the two.
        clip: the norm to which larger gradients were scaled. What counts is the recorded factor of each step, the
            argument `scale` of `coefficients` and `run`; see `clip_factors`.
        ema: how much of the weight average is kept per step; None for no average. If set, results describe the average.

    Raises:
        ValueError: numbers that are not finite, of another shape, integer arrays or complex; a clip that is not above
            0; dampening without momentum.

    >>> Optimizer(eta=0.1, momentum=0.9, nesterov=True)
    Optimizer(eta=0.1, momentum=0.9, nesterov=True, dampening=0.0, weight_decay=0.0, decoupled=False, clip=None,
    ema=None)
    """

    eta: _check.Scalar | Float[Array, " T"]
    momentum: _check.Scalar = 0.0
    nesterov: bool = False
    dampening: _check.Scalar = 0.0
    weight_decay: _check.Scalar = 0.0
    decoupled: bool = False
    clip: _check.Scalar | None = None
    ema: _check.Scalar | None = None

    def __post_init__(self):
        eta = self.eta if isinstance(self.eta, int | float) else _check.array("eta", self.eta, "| T")
        checked: dict[str, _check.Scalar | None] = {
            "eta": eta if getattr(eta, "ndim", 0) else _check.scalar("eta", eta)
        }
        for name in ("momentum", "dampening", "weight_decay"):
            checked[name] = _check.scalar(name, getattr(self, name))
        for name in ("clip", "ema"):
            value = getattr(self, name)
            checked[name] = None if value is None else _check.scalar(name, value, positive=name == "clip")
        for name in ("nesterov", "decoupled"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name}: got {getattr(self, name)!r}, expected True or False; it picks the program")
        known = all(_check.is_concrete(checked[name]) for name in ("momentum", "dampening"))
        if known and checked["momentum"] == 0 and checked["dampening"] != 0:
            got = float(self.dampening)
            raise ValueError(
                f"dampening: got {got:g} without momentum, expected 0: there is no buffer for it, and torch ignores "
                "it; leave it out"
            )
        for name, value in checked.items():
            object.__setattr__(self, name, value)


LEAVES = ("eta", "momentum", "dampening", "weight_decay", "clip", "ema")
FLAGS = ("nesterov", "decoupled")
assert {*LEAVES, *FLAGS} == {field.name for field in fields(Optimizer)}


def _flatten(optimizer):
    keys = map(jax.tree_util.GetAttrKey, LEAVES)
    leaves = [getattr(optimizer, name) for name in LEAVES]
    return tuple(zip(keys, leaves, strict=True)), tuple(getattr(optimizer, name) for name in FLAGS)


def _unflatten(flags, leaves):
    # Not through __init__: JAX also builds trees of axes, shapes and placeholders, which no check would accept.
    optimizer = object.__new__(Optimizer)
    for name, value in (*zip(FLAGS, flags, strict=True), *zip(LEAVES, leaves, strict=True)):
        object.__setattr__(optimizer, name, value)
    return optimizer


jax.tree_util.register_pytree_with_keys(Optimizer, _flatten, _unflatten)


class Steps(NamedTuple):
    """What each of the T steps uses: arrays `[T]`."""

    eta: Array
    scale: Array
    kept: Array  # 1 - dampening, but 1 at the first step: the buffer starts as the first gradient


def steps(optimizer: Optimizer, T: int, scale, dtype) -> Steps:
    """The numbers that change from step to step, for `coefficients` and `run` alike; checks eta and scale against T."""
    if not isinstance(optimizer, Optimizer):
        raise ValueError(
            f"optimizer: got a {type(optimizer).__name__}, expected a dualform.descent.Optimizer; "
            "an optax transform becomes one by from_optax"
        )
    if scale is None and optimizer.clip is not None:
        raise ValueError(
            "scale: got None, expected the clip factors [T], for the optimizer clips and how much depends on the run; "
            "record the gradient norms and pass clip_factors(norms, optimizer.clip)"
        )
    if jnp.ndim(optimizer.eta):
        _check.array("eta", optimizer.eta, "T", {"T": (T, "the number of steps")})
    scale = (
        jnp.ones(T, dtype) if scale is None else _check.array("scale", scale, "T", {"T": (T, "the number of steps")})
    )
    eta = jnp.broadcast_to(jnp.asarray(optimizer.eta, dtype), (T,))
    kept = jnp.broadcast_to(1 - jnp.asarray(optimizer.dampening, dtype), (T,))
    first = jnp.ones(T, dtype)[:1]
    return Steps(eta, scale.astype(dtype), jnp.concatenate([first, kept[1:]]))


def leaves(optimizer: Optimizer) -> list:
    """The optimiser's numbers, those that are set."""
    return jax.tree_util.tree_leaves(optimizer)
