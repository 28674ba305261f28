"""That a law earns its stamps, in short; in full, with gradients and every case, `dualform verify` checks them."""

from dualform.laws import check
from dualform.laws.law import BOUNDED, PROVED


def earns_what_it_claims(law):
    for stamp in law.stamps:
        result = check(law, stamp, quick=True)
        assert result.earned == stamp, result.reason
        if stamp == PROVED:
            assert 0 < result.failure_probability < 1e-12 and result.details
        if stamp == BOUNDED:
            exact = all(case.exact for case in law.cases)  # then nothing may round
            assert result.worst is not None and (result.worst == 0 if exact else 0 < result.worst <= 1)
