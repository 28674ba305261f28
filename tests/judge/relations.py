"""Batteries for maxima, logarithms and exponentials inside exponentials: what is proved of them, and what is not."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from test_soundness_relations import FALSE, TRUE

from dualform.prove import measure, relations
from dualform.prove.logarithms import Product
from dualform.prove.measure import sizes
from dualform.prove.programs import Signature, trace_both
from judge.proofs import P, false, true
from judge.sizes import least, size_of


def _told(*words: str) -> None:
    """All known answers whose names hold one of the words."""
    for known, judge in ((TRUE, true), (FALSE, false)):
        for name, (f, g, *inputs) in known.items():
            if any(word in name for word in words):
                judge(name, f, g, *inputs)


def extremes() -> None:
    _told("maximum", "minimum", "relu", "absolute", "clip", "causal", "undefined")
    for seed in range(20):
        false("the maximum of all is that of all but one", jnp.max, lambda x: jnp.max(x[1:]), (4,), seed=seed)


def logs() -> None:
    _told("log")
    find = relations.find

    def wrong(*arguments):  # as a prime that divides the difference would have it
        found = find(*arguments)
        found.products = {2: Product(logs=((0, 1), (1, 1)))}
        return found

    try:
        relations.find = wrong
        false("log(x + y) = log x + log y", lambda x, y: jnp.log(x) + jnp.log(y), lambda x, y: jnp.log(x + y), (), ())
    finally:
        relations.find = find


def nested() -> None:
    _told("softmax-of", "inside", "sigmoid", "hyperbola", "tanh", "sinh")


def related_sizes() -> None:
    """Degrees and heights where exponentials of logarithms are powers, and logarithms sums of arguments of exp."""

    def related(f: Callable, g: Callable, *inputs):
        signature = Signature.of(inputs)
        both = trace_both(f, g, signature)
        found = relations.find(both, P, signature.leaves, np.random.default_rng(3))
        return sizes(both, signature.leaves, found), found

    cube = lambda x: jnp.exp(3 * jnp.log(x * x + 1))  # noqa: E731
    size, found = related(cube, lambda x: x, ())
    assert found.power == 3
    least("a cube of a square", size.degree, 6)
    shifted = lambda x, y: jnp.log(jnp.exp(x - y**7).sum())  # noqa: E731
    plain_sum = lambda x, y: jnp.log(jnp.exp(x).sum()) + 0 * y  # noqa: E731
    size, found = related(shifted, plain_sum, (2,), ())
    both, leaves = trace_both(shifted, plain_sum, Signature.of([(2,), ()])), Signature.of([(2,), ()]).leaves
    (second, (bound,)) = measure._both(both, leaves, found, 1)[1][0]
    least("a logarithm that has a term of the other program", second.symbols.fraction(bound)[0], 7)
    order = [max((found.basis[j - 1] for j in row if j), default=0) for row in found.rows]
    assert all(last <= i for i, last in enumerate(order)), "an argument is made of later ones"
    size, found = related(lambda x: jnp.log(jnp.exp(x**5)), lambda x: x, ())
    assert found.products
    least("a logarithm that is an argument", size.degree, 5)
    plain = size_of(lambda x: jnp.exp(x), lambda x: jnp.exp(x), ())
    assert size.collisions > plain.collisions
