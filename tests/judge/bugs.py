"""All planted bugs."""

from judge import bugs_prove, bugs_proofs

BUGS = (*bugs_prove.ARITHMETIC, *bugs_proofs.PROOFS)
