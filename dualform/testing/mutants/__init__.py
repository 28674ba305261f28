"""A zoo of planted bugs: programs that are wrong in ways that people get them wrong, to prove that the laws notice.

`MUTANTS` lists them; each replaces one form of a law. `caught` checks that law and says which stamp was not earned.
`HARMLESS` lists programs that differ from ours in all but their function, and must pass.

>>> from dualform.testing.mutants import HARMLESS, MUTANTS, catch_rate
>>> print(catch_rate([m for m in MUTANTS if m.label == "L2"]))
3 of 3 planted bugs caught (3 by proved value)
"""

from dualform.testing.mutants import adam, features, linear, sgd
from dualform.testing.mutants.mutant import Catch as Catch
from dualform.testing.mutants.mutant import Mutant as Mutant
from dualform.testing.mutants.mutant import Rate as Rate
from dualform.testing.mutants.mutant import catch_rate as catch_rate
from dualform.testing.mutants.mutant import caught as caught
from dualform.testing.mutants.mutant import rate_of as rate_of

MUTANTS: tuple[Mutant, ...] = (*linear.MUTANTS, *sgd.MUTANTS, *features.MUTANTS, *adam.MUTANTS)
"""Wrong programs; every one must be caught."""

HARMLESS: tuple[Mutant, ...] = (*linear.HARMLESS, *sgd.HARMLESS, *features.HARMLESS, *adam.HARMLESS)
"""Right programs, differently written; none may be caught."""
