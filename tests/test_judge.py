"""Every bug that is planted in the judge is caught; without a bug no battery complains."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from judge.bug import ROOT, Bug, Stale
from judge.bugs import BUGS

TESTS = Path(__file__).parent
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join((str(ROOT.parent), str(TESTS))),
    "JAX_PLATFORMS": "cpu",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
}
ENVIRONMENT.pop("JAX_ENABLE_X64", None)
BATTERIES = sorted({bug.battery for bug in BUGS})


@pytest.fixture(scope="session")
def ask():
    """Asks a process that has imported JAX what a battery says, with a bug planted or without."""
    server = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "judge.server"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True, env=ENVIRONMENT,
    )  # fmt: skip
    assert json.loads(server.stdout.readline()) == {"ready": True}

    def verdict(battery: str, bug: int | None = None) -> dict[str, str]:
        print(json.dumps({"bug": bug, "battery": battery}), file=server.stdin, flush=True)
        return json.loads(server.stdout.readline())

    yield verdict
    server.stdin.close()
    server.wait(60)
    server.stdout.close()


@pytest.mark.parametrize("battery", BATTERIES)
def test_without_a_bug_the_battery_has_nothing_to_say(ask, battery):
    found = ask(battery)
    assert found["verdict"] == "missed", found["reason"]


@pytest.mark.parametrize("index", range(len(BUGS)), ids=[bug.name.replace(" ", "-") for bug in BUGS])
def test_the_bug_is_caught(ask, index):
    BUGS[index].planted()  # a stale text says so here
    found = ask(BUGS[index].battery, index)
    assert found["verdict"] == "caught", f"{BUGS[index].name}: {found['verdict']}, {found['reason']}"


def test_a_stale_text_and_a_broken_plant_are_no_catches(ask):
    with pytest.raises(Stale, match="expected the text 'no such line' once, found it 0 times"):
        Bug("prove/relations.py", "none", "proofs.exps", "no such line", "").planted()
    with pytest.raises(Stale, match=r"found it \d+ times; plant the bug anew"):
        Bug("prove/relations.py", "none", "proofs.exps", "return", "").planted()
    assert ask("proofs.no_such_battery")["verdict"] == "broken"


def test_the_bugs_are_many_and_everywhere():
    names = Counter(bug.name for bug in BUGS)
    assert names.most_common(1)[0][1] == 1
    areas = Counter(bug.area for bug in BUGS)
    assert len(BUGS) >= 90
    assert {"prove", "prove/rounding", "laws", "verify", "cli", "bench", "testing", "rules", "regression"} <= set(areas)
