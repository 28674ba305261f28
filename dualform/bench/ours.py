"""dualform's own forms."""

import jax
import jax.numpy as jnp

from dualform.bench.problems import RULES
from dualform.bench.subjects import Subject
from dualform.rules import RULES as RECORDS
from dualform.rules import over_heads


def _heads(form: str):
    """[B, T, H, D], as a model has them."""

    def load(rule):
        return lambda **inputs: over_heads(RECORDS[rule], **inputs, form=form)[0]

    return load


def _vmap(rule):
    """[B, H, T, D]: `jax.vmap` over heads in front, which spares the transpositions."""

    def one(inputs):
        return RECORDS[rule](**inputs)[0]

    def run(**inputs):
        B, H = inputs["q"].shape[:2]
        o = jax.vmap(one)({name: x.reshape(B * H, *x.shape[2:]) for name, x in inputs.items()})
        return o.reshape(B, H, *o.shape[1:])

    return run


def _scan(rule):
    """[B, H, T, D]: one head after the other, token by token."""

    def one(inputs):
        return RECORDS[rule](**inputs, form="recurrent")[0]

    def run(**inputs):
        B, H = inputs["q"].shape[:2]
        o = jax.lax.map(one, {name: x.reshape(B * H, *x.shape[2:]) for name, x in inputs.items()})
        return jnp.reshape(o, (B, H, *o.shape[1:]))

    return run


SUBJECTS = (
    Subject("dualform: auto", None, "dualform", "jax", RULES, _vmap, "BHTD"),
    Subject("dualform: auto, over_heads", None, "dualform", "jax", RULES, _heads("auto")),
    Subject("dualform: recurrent, head by head", None, "dualform", "jax", RULES, _scan, "BHTD", differentiable=False),
)
