"""What the laws of the theory of regression in context have in common: cases, experiments, sources."""

from dualform import regression
from dualform.laws.law import MEASURED, Case, Experiment

ZHANG, MAHANKALI, OSWALD = "Zhang et al. 2024", "Mahankali et al. 2024", "von Oswald et al. 2023"
ROOT = (2, 2)
"""A factor F of a covariance F F'; every covariance is one."""
RISK = {"risk": regression.risk, "limit": regression.limit}


def case(name, first, second, inputs):
    """Two forms, each (name, program); derivatives are laws of their own here."""
    return Case(name, dict((first, second)), inputs, gradient=False, bounded=False)


def experiment(run, **forms):
    """What a law that is only measured has, under a full run."""
    return {"stamps": (MEASURED,), "measure": Experiment(run, forms), "full_only": (MEASURED,)}
