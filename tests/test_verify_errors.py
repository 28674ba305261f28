"""An exception in a check is a row of its own: an error, neither earned nor failed."""

import json

import pytest

from dualform import _jax, cli, digits, verify
from dualform.laws import Case, Law
from dualform.laws import find as find_law


def crash(x):
    raise RuntimeError("planted crash")


def crashing(stamp):
    return Law("L4", "crashes", "", (Case("c", {"definition": lambda x: x, "crash": crash}, ((2,),)),), (stamp,))


def lying():
    case = Case("c", {"definition": lambda x: x + x, "wrong": lambda x: 3 * x}, ((2,),))
    return Law("L4", "false", "2x = 3x", (case,), ("proved",))


def written(capsys, path, *arguments):
    """(exit status, printed, JSON)."""
    status = cli.main(["verify", "--quick", "--json", str(path), *arguments])
    return status, capsys.readouterr().out, json.loads(path.read_text())


@pytest.mark.parametrize("stamp", ["proved", "bounded", "refuted"])
def test_a_crash_is_an_error_and_the_other_laws_run(capsys, monkeypatch, tmp_path, stamp):
    laws = [crashing(stamp), lying(), *find_law("L9")]
    monkeypatch.setattr(verify, "find", lambda label: laws)
    status, out, data = written(capsys, tmp_path / "r.json", "--only", "L4")
    assert status == cli.FAILED and data["passed"] is False and data["jax_tried"] == _jax.NEWEST
    first, second, *others = data["results"]
    assert (first["earned"], first["stamp"], first["passed"]) == ("error", stamp, False)
    assert first["reason"] == "RuntimeError: planted crash"
    assert "Traceback (most recent call last)" in first["traceback"] and "in crash" in first["traceback"]
    assert second["earned"] == "failed" and second["traceback"] == ""
    assert others and all(r["passed"] and r["earned"] == r["stamp"] and not r["traceback"] for r in others)
    row = next(line for line in out.splitlines() if "crashes" in line)
    assert "error" in row and "failed" not in row
    assert f"2 of {len(data['results'])} stamps not earned" in out


def test_a_crash_of_a_measurement_is_an_error(monkeypatch):
    def measure(rng):
        return {}["no such key"]

    law = Law("L4", "measured", "", (), ("measured",), measure=measure)
    monkeypatch.setattr(verify, "find", lambda label: [law])
    (result,) = verify.verify(only="L4").results
    assert result.earned == "error" and result.reason == "KeyError: 'no such key'" and "measure" in result.traceback


def test_a_crash_of_the_digits_is_an_error(capsys, monkeypatch, tmp_path):
    def stops(*a, **k):
        raise OSError("no digits")

    monkeypatch.setattr(digits, "train", stops)
    status, out, data = written(capsys, tmp_path / "r.json", "--only", "O9.digits")
    (result,) = data["results"]
    assert status == cli.FAILED and result["earned"] == "error" and result["label"] == "O9"
    assert result["reason"] == "OSError: no digits" and "in stops" in result["traceback"]
    script = out.split("To reproduce:\n\n")[1]
    with pytest.raises(OSError, match="no digits"):
        exec(compile(script, "script", "exec"), {})


def test_an_interruption_is_no_error(monkeypatch):
    def stops(*a, **k):
        raise KeyboardInterrupt

    monkeypatch.setattr(digits, "train", stops)
    with pytest.raises(KeyboardInterrupt):
        verify.verify(only="O9.digits", quick=True)
