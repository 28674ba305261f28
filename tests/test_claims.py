"""The list of claims: complete, each verdict resting on laws that exist and carry the stamps that it states."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from dualform.laws import LAWS, find
from dualform.laws.claims import CLAIMS, OPEN, READ, Evidence, command, laws_of, number


def test_every_claim_is_there_once_and_none_is_empty():
    assert [claim.label for claim in CLAIMS] == [f"C{i}" for i in range(1, 46)]
    assert all(claim.claim and claim.source and claim.because for claim in CLAIMS)
    assert len({claim.claim for claim in CLAIMS}) == len(CLAIMS)
    with pytest.raises(ValueError, match=r"verdict: got \('true',\), expected some of"):
        replace(CLAIMS[0], verdict=("true",))


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.label)
def test_a_verdict_rests_on_laws_that_exist_and_carry_its_stamps(claim):
    for evidence in claim.evidence:
        named = laws_of(evidence)
        assert named, f"{claim.label}: no law {evidence.law} is {evidence.stamp}"
        assert all(evidence.stamp in law.stamps for law in named)
        assert {law.name for law in named} <= {law.name for law in find(evidence.law)}  # what the command checks
        thorough = "--thorough " if any(law.thorough for law in named) else ""
        assert command(evidence) == f"dualform verify {thorough}--only {evidence.law}"
    if claim.verdict in ((OPEN,), (READ,)):
        assert claim.verdict == (OPEN,) or not claim.evidence
    else:
        assert {evidence.stamp for evidence in claim.evidence} == set(claim.verdict)


def test_what_is_open_waits_for_language_models():
    decided = {claim.label for claim in CLAIMS if claim.verdict != (OPEN,)}
    assert decided == {f"C{i}" for i in (*range(1, 11), 16, 19, 20, 21, *range(23, 32), 34, 35, 38, 39, 40, 41, 44, 45)}
    for claim in CLAIMS:
        if claim.verdict == (OPEN,):
            assert claim.because.startswith("waits for the runs on language models")


def test_laws_that_cite_a_claim_are_its_evidence():
    """Where a law's source says "claim C9", that claim's entry names a law of its label, or says it is open."""
    cited = 0
    for law in LAWS:
        if law.source.startswith(("reading", "carrying")) or law.label.startswith(("PE", "CP", "FE")):
            continue  # these cite a claim as what they carry further, or list more laws than an entry needs
        for label in re.findall(r"\bC\d+\b", law.source):
            claim = next(claim for claim in CLAIMS if claim.label == label)
            labels = {law.label for evidence in claim.evidence for law in laws_of(evidence)}
            assert law.label in labels or (label == "C1" and law.label == "L6"), (law.name, label)
            cited += 1
    assert cited >= 15


def test_numbers_of_the_evidence_are_those_of_the_checks():
    evidence = {e.stamp: e for claim in CLAIMS for e in claim.evidence if e.law in ("IC8", "IC11")}
    assert re.fullmatch(r"P\(false\) \de-\d\d", number(evidence["proved"]))
    assert re.fullmatch(r"0\.\d+ in \[0\.\d+, 0\.\d+\], control -?\S+", number(evidence["measured"]))
    assert re.fullmatch(r"\S+ in place of \S+", number(evidence["refuted"]))
    bounded = next(e for claim in CLAIMS for e in claim.evidence if e.stamp == "bounded" and e.law == "FE11")
    assert re.fullmatch(r"error/bound 0\.\d\d", number(bounded))


def test_every_law_that_trains_has_a_committed_run_in_which_it_earned_its_stamps():
    """The page of claims shows these numbers; `dualform verify --thorough --only TR --json docs/thorough/TR.json`."""
    folder = Path(__file__).parent.parent / "docs" / "thorough"
    kept = [result for path in folder.glob("*.json") for result in json.loads(path.read_text())["results"]]
    for law in LAWS:
        if law.thorough:
            found = [r for r in kept if r["key"] == law.key]
            assert {r["stamp"] for r in found} == set(law.stamps), f"no run of {law.name}: run it again"
            assert all(r["passed"] for r in found), law.name
            if law in [law for claim in CLAIMS for evidence in claim.evidence for law in laws_of(evidence)]:
                evidence = Evidence(law.key, law.stamps[0])
                for gave in number(evidence, recorded=tuple(kept)).split("; "):
                    assert re.fullmatch(r"\S+ in \[\S+, \S+\], control \S+", gave)
    evidence = Evidence("TR13", "measured")
    assert set(number(evidence).split("; ")) == {"trained on demand"}  # and nothing is trained for it
