"""Parameters of primitives: a missing one and an unknown one are errors with the user's line, never a guess."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from exact_programs import CASES
from jax import lax
from jax.extend.core import Primitive
from residues import run, with_parameters

from dualform.prove import ProofError, UnsupportedPrimitive, degree, identical, parameters, rounding_bound
from dualform.prove.interpreter import live
from dualform.prove.programs import Program, Signature

HERE = r"test_parameters\.py:\d+"


def pairs() -> dict[tuple[str, str], str]:
    """(primitive, parameter) -> a program that emits it in an outermost equation on which a result depends."""
    found: dict[tuple[str, str], str] = {}
    for name, (f, shapes, _) in CASES.items():
        for eqn in live(Program.trace(f, Signature.of(shapes)).jaxpr.jaxpr):
            for parameter in ("", *eqn.params):
                found.setdefault((eqn.primitive.name, parameter), name)
    return found


PAIRS = pairs()


def whole(shapes):
    rng = np.random.default_rng(0)
    return [rng.integers(-3, 4, s).astype(float) for s in shapes]


@pytest.mark.parametrize(("primitive", "parameter"), sorted(p for p in PAIRS if p[1] and p[0] in parameters.KNOWN))
def test_a_missing_parameter_is_named_or_not_needed(primitive, parameter):
    f, shapes, _ = CASES[PAIRS[primitive, parameter]]
    arguments = whole(shapes)

    def without(params):
        return {k: v for k, v in params.items() if k != parameter}

    if parameter in parameters.NEEDED[primitive]:
        error = (
            rf"primitive '{primitive}' in JAX {re.escape(jax.__version__)} .* has no parameter '{parameter}'.*\.py:\d+"
        )
        with pytest.raises(ProofError, match=error):
            with_parameters(primitive, f, without, *arguments)
    elif primitive != "scan":  # which needs one or the other of two pairs
        for got, want in zip(with_parameters(primitive, f, without, *arguments), run(f, *arguments), strict=True):
            np.testing.assert_array_equal(got, want)


def summed(xs):
    return lax.scan(lambda c, x: (c + x, c), 0.0, xs)


def test_a_scan_that_tells_nothing_apart_is_named():
    def neither(params):
        return {k: v for k, v in params.items() if k not in ("num_consts", "num_carry", "ft_in", "ft_out")}

    with pytest.raises(ProofError, match=rf"'scan' in JAX .* no parameter 'num_consts'.*{HERE}"):
        with_parameters("scan", summed, neither, np.ones(3))


@pytest.mark.parametrize("primitive", sorted({p for p, _ in PAIRS if p in parameters.KNOWN} | {"add", "mul", "neg"}))
def test_an_unknown_parameter_is_named_unless_it_is_off(primitive):
    f, shapes, _ = CASES[PAIRS[primitive, ""]]
    arguments = whole(shapes)
    with pytest.raises(ProofError, match=rf"primitive '{primitive}' in JAX .* the parameter 'mood', which .*\.py:\d+"):
        with_parameters(primitive, f, lambda params: {**params, "mood": "new"}, *arguments)
    for off in (None, False, ()):
        eqn = jax.make_jaxpr(jnp.add)(1.0, 1.0).eqns[0]
        needed = dict.fromkeys(parameters.NEEDED.get(primitive, ()), None)
        parameters.check(eqn.replace(primitive=Primitive(primitive), params={**needed, "mood": off}), True)


def test_an_unknown_parameter_stops_every_entry_point(monkeypatch):
    """As it would be met: the engine is made to know less than the installed JAX gives."""
    monkeypatch.setitem(parameters.KNOWN, "cumsum", frozenset({"axis"}))
    monkeypatch.setitem(parameters.NEEDED, "cumsum", frozenset({"axis"}))

    def f(x):
        return lax.cumsum(x, reverse=True)

    why = rf"'cumsum' in JAX .* the parameter 'reverse'.*{HERE} in \S*f"
    certificate = identical(f, lambda x: x, (3,))
    assert certificate.equal is False or re.search(why, certificate.reason)
    assert re.search(why, identical(f, lambda x: f(x) * 1.0, (3,)).reason)
    with pytest.raises(ProofError, match=why):
        degree(f, (3,))
    with pytest.raises(ProofError, match=why):
        rounding_bound(f, np.ones(3, np.float32))


@pytest.mark.parametrize("entry", [lambda f: degree(f, (3,)), lambda f: rounding_bound(f, np.ones(3, np.float32))])
def test_an_unknown_primitive_is_named(entry):
    new = Primitive("transmogrify")
    new.def_abstract_eval(lambda x: x)
    with pytest.raises(UnsupportedPrimitive, match=rf"primitive 'transmogrify' has no meaning .*{HERE} in \S*<lambda>"):
        entry(lambda x: new.bind(x))
    assert re.search(HERE, identical(lambda x: new.bind(x), lambda x: x, (3,)).reason)
