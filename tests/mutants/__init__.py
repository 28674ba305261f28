"""A zoo of planted bugs: programs that are wrong in ways that people get them wrong, to prove that the laws notice.

`MUTANTS` lists them; each replaces one form of a law. `dualform.testing.mutant.caught` checks that law and says which
stamp was not earned. `HARMLESS` lists programs that differ from ours in all but their function, and must pass.

>>> from dualform.testing.mutant import catch_rate
>>> print(catch_rate([mutant for mutant in MUTANTS if mutant.label == "L2"]))
3 of 3 planted bugs caught (3 by proved value)
"""

from dualform.testing.mutant import Mutant
from mutants import attention, features, linear, patch, peft
from mutants.descent import adam, sgd
from mutants.descent import features as single_features
from mutants.regression import depth, gpt, lsa, samplers, theory, training
from mutants.rules import arguments, chunks, pairs, quotients, states, tokens, unnamed

CHAPTERS = (
    linear, sgd, single_features, adam, arguments, tokens, pairs, chunks, states, quotients, unnamed, attention,
    features, patch,
    peft, lsa, depth, samplers, theory, training, gpt,
)  # fmt: skip
MUTANTS: tuple[Mutant, ...] = tuple(mutant for chapter in CHAPTERS for mutant in chapter.MUTANTS)
"""Wrong programs; every one must be caught."""
HARMLESS: tuple[Mutant, ...] = tuple(mutant for chapter in CHAPTERS for mutant in chapter.HARMLESS)
"""Right programs, differently written; none may be caught."""
