"""`dualform regression train | risk | compare`, and `verify --thorough`: what users type and what they get."""

import json
from dataclasses import replace

import numpy as np
import pytest

from dualform import cli
from dualform.regression import experiments, risk
from dualform.regression.risk_table import risk_table
from dualform.regression.settings import describe, restore
from dualform.regression.tasks import Gaussian, Task, Uniform

SMALL = ["-d", "2", "-N", "4", "--steps", "40", "--batch", "64"]


def run(capsys, *arguments):
    status = cli.main([*map(str, arguments)])
    said = capsys.readouterr()
    return status, said.out + said.err


def test_risk_prints_exact_values_beside_drawn_ones(capsys, tmp_path):
    file, plot = tmp_path / "risk.json", tmp_path / "risk.png"
    status, said = run(
        capsys, "regression", "risk", "--variances", "2,1,0.5,0.25", "-N", 10, "-M", "10,40", "--noise", 0.7,
        "--prompts", 4096, "--json", file, "--plot", plot,
    )  # fmt: skip
    assert status == cli.OK and "1.22586" in said and "predicting zero has risk 3.75" in said
    table = json.loads(file.read_text())
    Lambda = np.diag([2.0, 1.0, 0.5, 0.25])
    for row in table["rows"]:
        assert row["exact"] == risk(Lambda, 10, row["M"], noise=0.7)
        assert abs(row["mean"] - row["exact"]) < 5 * row["error"]
    assert plot.read_bytes()[:4] == b"\x89PNG"


def test_drawn_risks_follow_scale_and_query(tmp_path):
    table = risk_table([1.0, 2.0], 8, [6], scale=1.5, query_variances=[3.0, 0.5], drawn=40_000)
    (row,) = table["rows"]
    assert row["error"] < 0.02 * row["exact"] and abs(row["mean"] - row["exact"]) < 5 * row["error"]
    assert table["zero"] == 1.5**2 * 3.5
    with pytest.raises(ValueError, match="query_variances: got"):
        risk_table([1.0, 2.0], 8, [6], query_variances=[1.0])


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("trained") / "run.npz"
    assert cli.main(["regression", "train", *SMALL, "--checkpoint", str(path)]) == cli.OK
    return path


def test_a_training_is_kept_gone_on_from_and_refused_under_other_settings(capsys, checkpoint, tmp_path):
    kept, file, plot = checkpoint.read_bytes(), tmp_path / "run.json", tmp_path / "loss.png"
    status, said = run(
        capsys, "regression", "train", *SMALL, "--checkpoint", checkpoint, "--json", file, "--plot", plot
    )
    report = json.loads(file.read_text())
    assert status == cli.OK and checkpoint.read_bytes() == kept  # nothing was left to train
    assert report["steps"] == len(report["losses"]) == 40 and report["settings"]["task"]["d"] == 2
    assert report["least"] == risk(np.eye(2), 4, 4) / 2 and f"{report['least']:.6g}" in said
    assert plot.read_bytes()[:4] == b"\x89PNG"
    status, said = run(capsys, "regression", "train", *SMALL, "--eta", 0.1, "--checkpoint", checkpoint)
    assert status == cli.USAGE and "eta = 0.005 (here 0.1)" in said and checkpoint.read_bytes() == kept


def test_a_checkpoint_is_compared_with_the_construction(capsys, checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(experiments, "FACTORS", (2.0,))  # each shift is a program of its own
    file, plot = tmp_path / "compared.json", tmp_path / "shifts.png"
    status, said = run(capsys, "regression", "compare", checkpoint, "--prompts", 2048, "--json", file, "--plot", plot)
    report = json.loads(file.read_text())
    (found,) = report["comparisons"].values()
    assert status == cli.OK and "trained network beside one step" in said and "entry 2, 2" in said
    assert -1 <= found["cosine"]["mean"] <= 1 and found["risks"][1]["mean"] < found["risks"][0]["mean"]
    A = np.array(report["matrix"])
    net = experiments.stored(checkpoint).network()
    label, inputs = np.diag([0.0, 0.0, 1.0]).astype(np.float32), np.diag([1.0, 1.0, 0.0]).astype(np.float32)
    net = replace(net, W_PV=label @ net.W_PV @ label, W_KQ=inputs @ net.W_KQ @ inputs)  # the rest tends to zero
    x, y, query = np.eye(2, dtype=np.float32), np.array([1.0, 3.0], np.float32), np.array([2.0, -1.0], np.float32)
    assert float(net(x, y, query)) == pytest.approx(query @ A @ (y @ x) / 2, rel=1e-5)
    assert plot.read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    "changes", [{"depth": 2}, {"repeat": 2}, {"heads": 2}, {"inputs": ("uniform", [0.5])}, {"inputs": ("random", [])}]
)
def test_every_kind_of_training_has_references_of_its_own_conventions(changes):
    from dualform.regression.evaluation import drawn_risk
    from dualform.regression.references import least_loss, references

    config = experiments.settings(d=2, N=5, **changes)
    found = references(config)
    assert list(found) == (["GD", "GD++"] if changes.get("depth", 1) * changes.get("repeat", 1) > 1 else ["one step"])
    risks = {name: drawn_risk(network, config.task, 5, prompts=20_480) for name, network in found.items()}
    if (least := least_loss(config)) is not None:
        (one,) = risks.values()
        assert abs(one.mean - 2 * least) < 5 * one.error
    else:
        assert risks["GD++"].mean < risks["GD"].mean < 2 * least_loss(experiments.settings(d=2, N=5))


def test_a_gpt_is_trained_and_compared(capsys, tmp_path):
    path, file, plot = tmp_path / "gpt.npz", tmp_path / "gpt.json", tmp_path / "errors.png"
    small = ["-d", "1", "-N", "2", "--steps", "3", "--batch", "4"]
    assert run(capsys, "regression", "train", "--gpt", *small, "--checkpoint", path)[0] == cli.OK
    status, said = run(capsys, "regression", "compare", path, "--prompts", 64, "--json", file, "--plot", plot)
    report = json.loads(file.read_text())
    assert status == cli.OK and "implied ridge" in said and len(report["implied"]) == 2
    assert report["errors"]["least squares"][0][1] < 1e-6 < report["errors"]["GPT"][0][1]
    assert plot.read_bytes()[:4] == b"\x89PNG"


def test_settings_come_back_from_what_describes_them():
    from dualform.regression.training import Training

    covariance = np.array([[2.0, 0.5], [0.5, 1.0]], np.float32)
    for config in (Training(Task(2, Gaussian(covariance), noise=(1.0, 3.0)), 4), Training(Task(3, Uniform(0.5)), 4)):
        again = restore(json.loads(json.dumps(describe(config))), Training)
        assert describe(again) == describe(config) and again.task.noise == config.task.noise
    with pytest.raises(ValueError, match="settings: got law 'Cauchy', expected one of Task, Gaussian"):
        restore({"law": "Cauchy"})


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["regression", "train", "--run", "nope"], "name: got 'nope', expected one of short, zhang_identity"),
        (["regression", "train", "--run", "short", "-d", "3"], "d: got it beside --run short"),
        (["regression", "train", "--gpt", "--depth", "2"], "depth: got it beside --gpt"),
        (["regression", "train", "--gpt", "--run", "short"], "--gpt: got it beside --run"),
        (["regression", "compare", "nowhere.npz"], "nowhere.npz: got"),
        (["bench", "--training", "--plot", "x.png"], "--training: got it beside --plot or --rule"),
        (["verify", "--runs", "here"], "--runs: is for --thorough"),
        (["verify", "--quick", "--thorough"], "quick: got both quick and thorough"),
        (["verify", "--only", "TR13"], "train networks for minutes; add --thorough"),
    ],
)
def test_bad_usage_is_status_2_with_a_reason(capsys, arguments, reason):
    status, said = run(capsys, *arguments)
    assert status == cli.USAGE and reason in said


@pytest.mark.parametrize("text", ["uniform:1,2", "cauchy", "gaussian:a"])
def test_laws_of_inputs_that_do_not_exist_are_refused(capsys, text):
    with pytest.raises(SystemExit):
        cli.main(["regression", "train", "--inputs", text])
    assert "expected" in capsys.readouterr().err


def test_help_without_an_action(capsys):
    status, said = run(capsys, "regression")
    assert status == cli.USAGE and all(action in said for action in ("train", "risk", "compare"))
