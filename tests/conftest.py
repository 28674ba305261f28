"""Settings of the whole suite: the Hypothesis profile, strict ranks, where compiled programs are kept, a summary."""

import os
from collections import Counter

import jax

import dualform.testing

dualform.testing.load_profile()

# A [n, 1] array that silently broadcasts against [n] is the commonest way to a wrong shape that "works".
jax.config.update("jax_numpy_rank_promotion", "raise")

# Workers compile the same programs. With a directory to share (JAX reads its name from the environment itself)
# each is compiled once; by default only programs that take a second to compile are worth keeping.
if os.environ.get("JAX_COMPILATION_CACHE_DIR"):
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


def pytest_terminal_summary(terminalreporter):
    """The catch rate of the planted bugs: reports carry it, for with pytest-xdist no process sees all the tests."""
    reports = terminalreporter.getreports("passed") + terminalreporter.getreports("failed")
    catches = [value for r in reports if r.when == "call" for name, value in r.user_properties if name == "planted bug"]
    if catches:
        caught = Counter(how for how in catches if how != "missed")
        how = ", ".join(f"{count} by {stamp}" for stamp, count in caught.most_common())
        terminalreporter.write_sep("=", "planted bugs")
        terminalreporter.write_line(f"{caught.total()} of {len(catches)} planted bugs caught: {how}")
