"""What tests of soundness share: verdicts with the reason in the failure, and a judge that runs programs in floats."""

import jax
import numpy as np

from dualform.prove import Certificate, identical


def not_proved(f, g, *inputs, **options) -> Certificate:
    certificate = identical(f, g, *inputs, **options)
    assert certificate.equal is not True, f"a false identity is called {certificate}"
    return certificate


def proved(f, g, *inputs, **options) -> Certificate:
    certificate = identical(f, g, *inputs, **options)
    assert certificate.equal is True, certificate
    return certificate


def differ_in_floats(f, g, *arguments) -> bool:
    """Whether the programs give different numbers at a point, or nowhere a number."""
    one, two = ([np.asarray(x, np.float64) for x in jax.tree.leaves(h(*arguments))] for h in (f, g))
    numbers = all(np.isfinite(x).all() for x in (*one, *two))
    return not numbers or any(not np.allclose(x, y, rtol=1e-3, atol=1e-3) for x, y in zip(one, two, strict=True))
