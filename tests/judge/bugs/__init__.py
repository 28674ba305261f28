"""All planted bugs, by what they are planted in."""

from judge.bugs import arithmetic, proofs, relations, roundings, sizes, tools, verdicts

BUGS = (*arithmetic.BUGS, *sizes.BUGS, *proofs.BUGS, *relations.BUGS, *roundings.BUGS, *verdicts.BUGS, *tools.BUGS)
