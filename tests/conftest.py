"""Settings of the whole suite: the Hypothesis profile, strict ranks, a summary."""

from collections import Counter

import jax

import dualform.testing

dualform.testing.load_profile()

# The batteries of the judge put bare packages in the places of dualform's own: they run in processes of their own.
collect_ignore = ["judge"]

# A [n, 1] array that silently broadcasts against [n] is the commonest way to a wrong shape that "works".
jax.config.update("jax_numpy_rank_promotion", "raise")


def pytest_terminal_summary(terminalreporter):
    """The catch rate of the planted bugs: reports carry it, for with pytest-xdist no process sees all the tests."""
    reports = terminalreporter.getreports("passed") + terminalreporter.getreports("failed")
    catches = [value for r in reports if r.when == "call" for name, value in r.user_properties if name == "planted bug"]
    if catches:
        caught = Counter(how for how in catches if how != "missed")
        how = ", ".join(f"{count} by {stamp}" for stamp, count in caught.most_common())
        terminalreporter.write_sep("=", "planted bugs")
        terminalreporter.write_line(f"{caught.total()} of {len(catches)} planted bugs caught: {how}")
