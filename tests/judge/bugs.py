"""All planted bugs."""

from judge import bugs_prove

BUGS = (*bugs_prove.ARITHMETIC,)
