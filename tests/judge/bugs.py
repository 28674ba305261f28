"""All planted bugs."""

from judge import bugs_prove, bugs_proofs, bugs_rest, bugs_rounding

BUGS = (*bugs_prove.ARITHMETIC, *bugs_proofs.PROOFS, *bugs_rounding.ROUNDING, *bugs_rest.REST)
