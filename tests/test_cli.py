"""The command line: exit codes, files, messages. `main` is called in this process; one test starts a real one."""

import json
import re
import subprocess
import sys

import pytest

from dualform import cli, files, verify
from dualform.laws import Case, Law, Result
from dualform.laws import find as find_law


def run(capsys, *arguments):
    """(exit status, standard output, standard error); argparse's own exits count as statuses."""
    try:
        status = cli.main([str(a) for a in arguments])
    except SystemExit as stop:
        status = stop.code
    out, err = capsys.readouterr()
    return status, out, err


def test_verify_prints_a_table_and_writes_json_and_a_plot(capsys, tmp_path):
    report, figure = tmp_path / "report.json", tmp_path / "figure.png"
    status, out, err = run(capsys, "verify", "--quick", "--only", "L4", "--json", report, "--plot", figure)
    assert status == cli.OK, out + err
    assert "one rank-1 update at a time" in out and "every law earned its stamp" in out
    assert err == ""  # no progress bar in a pipe
    data = json.loads(report.read_text())
    assert data["passed"] and data["seed"] == 0 and data["quick"] is True
    assert f"seed 0, proofs' seed {data['proof_seed']})" in out.replace("\n", " ")
    assert {r["stamp"] for r in data["results"]} == {"proved", "bounded", "measured"}
    proved = next(r for r in data["results"] if r["stamp"] == "proved")
    assert 0 < proved["failure_probability"] < 1e-12
    bounded = next(r for r in data["results"] if r["stamp"] == "bounded")
    assert 0 <= bounded["worst"] <= 1 and all(d["bound"] > 0 for d in bounded["details"])
    assert figure.read_bytes().startswith(b"\x89PNG") and figure.stat().st_size > 10_000
    assert sorted(p.name for p in tmp_path.iterdir()) == ["figure.png", "report.json"]  # nothing temporary is left


def proofs_of(capsys, path, *options):
    """The seed of the proofs and all results, of a quick run on one law."""
    status, out, err = run(capsys, "verify", "--quick", "--only", "L4", "--json", path, *options)
    assert status == cli.OK, out + err
    data = json.loads(path.read_text())
    for result in data["results"]:
        del result["seconds"]
    return data["seed"], data["proof_seed"], data["results"]


def test_proofs_draw_from_the_system_and_are_repeated_by_their_seed(capsys, tmp_path):
    """Data have the seed 0 unless another is given: what was bounded or measured does not change from run to run."""
    seed, proof_seed, first = proofs_of(capsys, tmp_path / "1.json")
    _, another, second = proofs_of(capsys, tmp_path / "2.json")
    assert seed == 0 and proof_seed != another
    assert [r == s for r, s in zip(first, second, strict=True)] == [r["stamp"] != "proved" for r in first]
    assert proofs_of(capsys, tmp_path / "3.json", "--proof-seed", proof_seed) == (0, proof_seed, first)
    seed, proof_seed, third = proofs_of(capsys, tmp_path / "4.json", "--seed", 5)
    assert (seed, proof_seed) == (5, 5) and third != first
    assert all(d["seed"] == 5 for r in third if r["stamp"] == "proved" for d in r["details"])


def test_verify_can_be_limited_to_one_rule(capsys, tmp_path):
    status, out, err = run(capsys, "verify", "--quick", "--rule", "retention", "--json", tmp_path / "r.json")
    assert status == cli.OK, out + err
    data = json.loads((tmp_path / "r.json").read_text())
    assert data["rule"] == "retention" and len(data["results"]) > 5
    cases = {d["case"] for r in data["results"] for d in r["details"]}
    assert "retention" in cases and "delta" not in cases


def broken(stamp):
    case = Case("planted", {"definition": lambda x: x + x, "wrong": lambda x: 3 * x}, ((2,),))
    return Law("L4", "a planted falsehood", "2x = 3x", (case,), (stamp,))


def test_a_law_that_fails_gives_status_1_and_a_script_that_reproduces_it(capsys, monkeypatch):
    monkeypatch.setattr(verify, "find", lambda label: [broken("proved")])
    status, out, _ = run(capsys, "verify", "--only", "L4")
    assert status == cli.FAILED
    assert "failed" in out and "1 of 1 stamps not earned" in out and "To reproduce:" in out
    script = out.split("To reproduce:\n\n")[1]
    seed = re.search(r"proofs'\s+seed (\d+)", out)[1]
    assert f"seed={seed}, " in script
    monkeypatch.setattr("dualform.laws.find", lambda label: [broken("proved")])
    exec(compile(script, "script", "exec"), {})
    assert "refuted" in capsys.readouterr().out


def test_a_refuted_claim_that_turns_out_true_fails(capsys, monkeypatch):
    case = Case("true", {"as claimed": lambda x: x + x, "truth": lambda x: 2 * x}, ((2,),))
    monkeypatch.setattr(
        verify, "find", lambda label: [Law("L4", "a claim that holds", "2x = x + x", (case,), ("refuted",))]
    )
    status, out, _ = run(capsys, "verify", "--only", "L4")
    assert status == cli.FAILED and "no counterexample" in out


def test_a_law_that_crashes_fails_and_the_others_still_run(capsys, monkeypatch):
    def crash(x):
        raise RuntimeError("planted crash")

    case = Case("crash", {"definition": lambda x: x, "crash": crash}, ((2,),))
    laws = [Law("L4", "crashes", "", (case,), ("proved",)), *find_law("L9")]
    monkeypatch.setattr(verify, "find", lambda label: laws)
    status, out, _ = run(capsys, "verify", "--only", "L4", "--quick")
    assert status == cli.FAILED
    assert "RuntimeError: planted crash" in out and "coefficients are not unique" in out


def test_an_interrupted_run_keeps_what_was_checked(capsys, monkeypatch, tmp_path):
    case = Case("squares", {"definition": lambda x: x * x, "square": lambda x: x**2}, ((2,),))

    def interrupted(rng):
        raise KeyboardInterrupt

    laws = [
        Law("L4", "is checked", "", (case,), ("proved",)),
        Law("L5", "is interrupted", "", (), ("measured",), measure=interrupted),
        Law("L6", "is not reached", "", (case,), ("proved",)),
    ]
    monkeypatch.setattr(verify, "find", lambda label: laws)
    status, out, err = run(capsys, "verify", "--only", "L", "--quick", "--json", tmp_path / "part.json")
    assert status == cli.INTERRUPTED == 130
    assert "interrupted after 1 of 3 stamps" in err and "is checked" in out and "so far" in out
    data = json.loads((tmp_path / "part.json").read_text())
    assert not data["complete"] and [row["key"] for row in data["results"]] == ["L4"]
    monkeypatch.setattr(verify, "find", lambda label: laws[:1])
    status, _, _ = run(capsys, "verify", "--only", "L", "--quick", "--json", tmp_path / "whole.json")
    assert status == cli.OK and json.loads((tmp_path / "whole.json").read_text())["complete"]


def test_nothing_run_is_no_success():
    assert not verify.Report(0, False).passed
    assert verify.Report(0, False, results=[Result("L1", "", "proved", True)]).passed


BAD = {
    "unknown label": (("verify", "--only", "Z9"), "expected one of L1"),
    "unknown rule": (("verify", "--rule", "gated"), "expected one of linear_attn"),
    "rule and label": (("verify", "--rule", "delta", "--only", "L1"), "leave the other out"),
    "negative seed": (("verify", "--seed", "-1"), "at least 0"),
    "no folder": (("verify", "--quick", "--json", "/no/such/folder/x.json"), "does not exist"),
    "unknown option": (("verify", "--slow"), "unrecognized"),
    "unknown command": (("prof",), "invalid choice"),
    "no command": ((), None),
    "unknown module": (("prove", "nowhere:f", "nowhere:g", "--input", "3"), "cannot import nowhere"),
    "unknown function": (("prove", "dualform.linear:f", "dualform.linear:g", "--input", "3"), "has no f"),
    "no colon": (("prove", "dualform.linear", "dualform.linear", "--input", "3"), "MODULE:FUNCTION"),
    "bad shape": (("prove", "dualform.linear:dual", "dualform.linear:primal", "--input", "a,b"), "expected sizes"),
    "bad domain": (("prove", "dualform.linear:dual", "dualform.linear:primal", "--input", "3:lag"), "domain"),
    "too few inputs": (("prove", "dualform.linear:dual", "dualform.linear:primal", "--input", "3,4"), "one input"),
    "program that raises": (
        ("prove", "jax.numpy:dot", "jax.numpy:dot", "--input", "3", "--input", "2,4"), "inputs (3,)",
    ),
    "a figure of no kind": (("verify", "--only", "L9", "--plot", "bounds.txt"), "expected one of .png, .svg, .pdf"),
    "a drawing of times": (("bench", "--plot", "times.doc"), "expected one of .png"),
    "a drawing of risks": (("regression", "risk", "--plot", "risk"), "expected one of .png"),
    "no trials": (("prove", "jax.numpy:sin", "jax.numpy:sin", "--input", "3", "--trials", "0"), "trials"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_usage_is_status_2_with_a_reason(capsys, name):
    arguments, message = BAD[name]
    status, out, err = run(capsys, *arguments)
    assert status == cli.USAGE
    assert (message in err) if message else "usage: dualform" in out
    assert "Traceback" not in err


def test_prove_decides_between_functions_of_a_module(capsys, tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(
        "import jax.numpy as jnp\n"
        "def recurrent(g):\n    return jnp.exp(g[0]) * jnp.exp(g[1])\n"
        "def summed(g):\n    return jnp.exp(jnp.sum(g))\n"
        "def wrong(g):\n    return jnp.exp(g[0])\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p])
    status, out, _ = run(
        capsys, "prove", "mine:recurrent", "mine:summed", "--input", "2:log", "--json", tmp_path / "c.json"
    )
    assert status == cli.OK and out.startswith("proved")
    assert json.loads((tmp_path / "c.json").read_text())["verdict"] == "proved"
    status, out, _ = run(capsys, "prove", "mine:recurrent", "mine:wrong", "--input", "2:log")
    assert status == cli.FAILED and out.startswith("refuted")


def test_list_names_every_law(capsys, tmp_path):
    from dualform.laws import LAWS

    status, out, _ = run(capsys, "list")
    assert status == cli.OK and all(law.label in out for law in LAWS)
    assert run(capsys, "list", "--json", tmp_path / "laws.json")[0] == cli.OK
    assert [x["label"] for x in json.loads((tmp_path / "laws.json").read_text())] == [law.label for law in LAWS]


def test_module_runs_in_a_process_of_its_own():
    done = subprocess.run([sys.executable, "-m", "dualform", "--version"], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout.startswith("dualform ")


def test_an_interrupted_write_leaves_the_old_file(tmp_path):
    target = tmp_path / "kept.json"
    files.write_json(target, {"a": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(target, {"a": float("nan")})
    assert json.loads(target.read_text()) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["kept.json"]
