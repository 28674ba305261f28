"""A zoo of planted bugs: programs that are wrong in ways that people get them wrong, to prove that the laws notice.

`MUTANTS` lists them; each replaces one form of a law. `caught` checks that law and says which stamp was not earned.
`HARMLESS` lists programs that differ from ours in all but their function, and must pass.

>>> from dualform.testing.mutants import HARMLESS, MUTANTS, catch_rate, softmax_features
>>> print(catch_rate([m for m in MUTANTS if m.label == "L2"]))
3 of 3 planted bugs caught (3 by proved value)
"""

from dualform.testing.mutants import (
    adam,
    attention,
    depth,
    features,
    linear,
    lsa,
    patch,
    peft,
    regression_gpt,
    regression_theory,
    regression_training,
    rules_arguments,
    rules_chunks,
    rules_pairs,
    rules_quotients,
    rules_states,
    rules_tokens,
    samplers,
    sgd,
    softmax_features,
)
from dualform.testing.mutants.mutant import Catch as Catch
from dualform.testing.mutants.mutant import Mutant as Mutant
from dualform.testing.mutants.mutant import Rate as Rate
from dualform.testing.mutants.mutant import catch_rate as catch_rate
from dualform.testing.mutants.mutant import caught as caught
from dualform.testing.mutants.mutant import rate_of as rate_of

MUTANTS: tuple[Mutant, ...] = (
    *linear.MUTANTS,
    *sgd.MUTANTS,
    *features.MUTANTS,
    *adam.MUTANTS,
    *rules_arguments.MUTANTS,
    *rules_tokens.MUTANTS,
    *rules_pairs.MUTANTS,
    *rules_chunks.MUTANTS,
    *rules_states.MUTANTS,
    *rules_quotients.MUTANTS,
    *attention.MUTANTS,
    *softmax_features.MUTANTS,
    *patch.MUTANTS,
    *peft.MUTANTS,
    *lsa.MUTANTS,
    *depth.MUTANTS,
    *samplers.MUTANTS,
    *regression_theory.MUTANTS,
    *regression_training.MUTANTS,
    *regression_gpt.MUTANTS,
)
"""Wrong programs; every one must be caught."""

HARMLESS: tuple[Mutant, ...] = (
    *linear.HARMLESS,
    *sgd.HARMLESS,
    *features.HARMLESS,
    *adam.HARMLESS,
    *rules_arguments.HARMLESS,
    *rules_tokens.HARMLESS,
    *rules_pairs.HARMLESS,
    *rules_chunks.HARMLESS,
    *rules_states.HARMLESS,
    *rules_quotients.HARMLESS,
    *attention.HARMLESS,
    *softmax_features.HARMLESS,
    *patch.HARMLESS,
    *peft.HARMLESS,
    *lsa.HARMLESS,
    *depth.HARMLESS,
    *samplers.HARMLESS,
    *regression_theory.HARMLESS,
    *regression_training.HARMLESS,
    *regression_gpt.HARMLESS,
)
"""Right programs, differently written; none may be caught."""
