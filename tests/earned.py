"""That a law earns its stamps, in short; in full, with gradients, every case and every dtype, `dualform verify` checks
them, and `test_laws_in_full.py` that nothing is missing there.
"""

from dualform.laws import check
from dualform.laws.law import BOUNDED, MEASURED, PROVED


def earns_what_it_claims(law):
    """Its stamps, but for those that a quick run leaves out; of a law that has no others, the first."""
    for stamp in [stamp for stamp in law.stamps if stamp not in law.full_only] or law.stamps[:1]:
        result = check(law, stamp, quick=True)
        assert result.earned == stamp, result.reason
        if stamp == PROVED:
            assert 0 < result.failure_probability < 1e-12 and result.details
        if stamp == BOUNDED:
            exact = law.observe is None and all(case.exact for case in law.cases)  # then nothing may round
            assert result.worst == 0 if exact else result.worst <= 1
            assert exact != any(entry["bound"] > 0 for entry in result.details)
        if stamp == MEASURED:
            (entry,) = result.details
            assert entry["interval"][0] <= entry["value"] <= entry["interval"][1] and entry["meaning"]
