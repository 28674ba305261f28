"""Values and gradients of the rules of `rule_loops` at the ends of their domains, against loops in float64.

Log decays of -inf and -1e4, alternating -100 and -0.01; step sizes 0, 1, 2; momenta 0 and 1; duplicate and zero keys.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rule_loops import AXES, FORMS, VARIANTS, T, run, wide, within

from dualform.laws.checks import pullback
from dualform.prove import rounding_bound
from dualform.rules import normalized

DECAYS = {
    "resets": [-np.inf, 0.0, -1e4, -np.inf, -np.inf, 0.0, -0.5],
    "alternating": [-100.0, -0.01, -100.0, -0.01, -100.0, -0.01, -100.0],
    "mixed": [-100.0, -0.01, -np.inf, -np.inf, -1e4, -0.01, -100.0],
}
EDGES = {"step": [0.0, 1.0, 2.0, 1.0, 0.0, 2.0, 1.0], "momentum": [0.0, 1.0, 1.0, 0.0, 1.0, 0.5, 1.0]}


def extreme(rule, decays, n):
    """n arguments at the edges; keys of length 1, two of them the same and one zero."""
    q, k, v, gates, state = rule.draw(T, seed=6)
    k = k / np.linalg.norm(k, axis=1, keepdims=True)
    k[2], k[4] = k[1], 0
    for name, kind in rule.gates.items():
        if kind in EDGES:
            gates[name] = np.array(EDGES[kind], np.float32)
        if kind.startswith("log"):
            g = np.array(DECAYS[decays], np.float32)
            gates[name] = np.stack([np.roll(g, c) for c in range(rule.K)], axis=1) if "K" in AXES[kind] else g
    if rule.module is normalized:
        q[2], q[3], k[1], k[3] = -200, 80, -50, -8
    return *rule.take(slice(n), q, k, v, gates), state


def cases(*patterns):
    found = []
    for name, rule in VARIANTS.items():
        log = any(kind.startswith("log") for kind in rule.gates.values())
        for decays in patterns if log else patterns[:1]:
            found.append(pytest.param(rule, decays, id=f"{name}-{decays}" if log else name))
    return found


@pytest.mark.parametrize("rule, decays", cases("resets", "alternating"))
def test_values_at_the_edges(rule, decays):
    arguments = extreme(rule, decays, T)
    with np.errstate(under="ignore"):
        expected = rule.loop(*wide(arguments))
    for form in ("parallel", "chunked"):
        f = rule.program(form, **FORMS[form])
        value, bound = rounding_bound(f, *arguments)
        within(value, expected, bound)
        if form == "chunked":
            within(run(f, arguments), expected, bound)


@pytest.mark.parametrize("rule, decays", cases("mixed"))
def test_gradients_at_the_edges(rule, decays):
    """With cotangents on the output and on the final state, with respect to all arguments."""
    arguments = extreme(rule, decays, 5)
    rng = np.random.default_rng(7)
    shapes = jax.eval_shape(rule.program("recurrent"), *arguments)
    cotangent = jax.tree.map(lambda x: rng.standard_normal(x.shape).astype(np.float32), shapes)
    with jax.enable_x64():
        exact = jax.tree.map(jnp.asarray, wide((arguments, cotangent)))
        expected = run(pullback(lambda *a: rule.loop(*a, xp=jnp)), exact)
    expected = jax.tree.map(np.asarray, expected)
    gradient = pullback(rule.program("chunked", **FORMS["chunked"]))
    _, bound = rounding_bound(gradient, arguments, cotangent)
    within(run(gradient, (arguments, cotangent)), expected, bound, margin=None)
