"""The benchmark of training: that it times the training it says, beside a peer where there is one."""

import json

import numpy as np
import pytest

from dualform import cli
from dualform.bench import training as bench


def test_our_program_trains_the_model_that_the_peers_train():
    rng = np.random.default_rng(1)
    weights = {name: rng.normal(0, 0.3, (11, 11)).astype(np.float32) for name in "KQVP"}
    x, w = rng.uniform(-0.5, 0.5, (6, 11, 10)).astype(np.float32), rng.standard_normal((6, 10), np.float32)
    K, Q, V, P = (weights[name].astype(np.float64) for name in "KQVP")
    total = 0.0
    for b in range(6):
        y = x[b].astype(np.float64) @ w[b]
        tokens = np.concatenate([x[b], y[:, None]], 1)
        target, tokens[-1, -1] = y[-1], 0.0
        out = tokens[-1] + sum(P @ (V @ e) * ((K @ e) @ (Q @ tokens[-1])) for e in tokens[:-1])
        total += 0.5 * (out[-1] - target) ** 2 / 6
    assert abs(float(bench.ours(weights)[1](x, w)) / total - 1) < bench.AGREES
    for name, make in bench.peers(1).items():  # where PyTorch is installed
        assert abs(float(make(weights)[1](x, w)) / total - 1) < bench.AGREES, name


@pytest.mark.slow
def test_the_command_writes_times_as_json(tmp_path, capsys):
    report = tmp_path / "training.json"
    arguments = ["bench", "--training", "--threads", "one", "--quick", "--no-peers", "--json", str(report)]
    assert cli.main(arguments) == cli.OK
    assert "steps/s" in capsys.readouterr().out
    (row,) = json.loads(report.read_text())["training"]
    assert row["subject"] == "dualform" and row["ratio"] == 1.0 and row["differs"] == 0.0
    assert row["steps_per_second"] == pytest.approx(1e3 / row["best_ms"])
