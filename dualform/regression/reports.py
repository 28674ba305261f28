"""The reports of `dualform regression train` and `compare` as lines and tables."""

from typing import Any

import numpy as np

Report = dict[str, Any]
Row = tuple[str, ...]
Table = tuple[str, tuple[str, ...], list[Row]]
"""Title, columns, rows."""


def summary(report: Report) -> str:
    """The outcome of a training in a line."""
    line = f"{report['steps']} steps; {report['meaning']}: {report['losses'][0]:.5g} -> {report['final']:.5g}"
    if report["least"] is not None:
        line += f"; exact minimum {report['least']:.6g}, off by {report['final'] / report['least'] - 1:+.1%}"
    return line


def tables(report: Report) -> list[Table]:
    """A comparison as tables: (title, columns, rows)."""
    if report["kind"] == "gpt":
        return _gpt_tables(report)
    out: list[Table] = []
    for name, found in report["comparisons"].items():
        rows: list[Row] = [(what.replace("_", " "), _drawn(found[what]), "")
                for what in ("cosine", "sensitivity_difference", "prediction_difference")]  # fmt: skip
        rows.append(("risk", *(_drawn(x) for x in found["risks"])))
        if found["interpolated"] is not None:
            rows.append(("risk of the mean of the weights", _drawn(found["interpolated"]), ""))
        for kind, (ours, theirs) in found["sweeps"].items():
            rows += [(f"risk, {kind} times {f:g}", f"{a:.5g}", f"{b:.5g}")
                     for f, a, b in zip(found["factors"], ours, theirs, strict=True)]  # fmt: skip
        out.append((f"trained network beside {name}", ("", "trained", name), rows))
    if report.get("best") is not None:
        rows = [(f"entry {i + 1}, {i + 1}", f"{report['matrix'][i][i]:.5g}", f"{report['best'][i][i]:.5g}")
                for i in range(len(report["best"]))]  # fmt: skip
        off = [np.array(report[name]) - np.diag(np.diag(report[name])) for name in ("matrix", "best")]
        rows.append(("largest entry off the diagonal", *(f"{np.max(np.abs(x)):.2g}" for x in off)))
        out.append(("the matrix A of the prediction x_q' A (1/N) sum y x", ("", "trained", "exact"), rows))
    return out or [("no construction is known for this task", ("",), [])]


def _drawn(found: Report) -> str:
    return f"{found['mean']:.5g} +- {2 * found['error']:.1g}"


def _gpt_tables(report: Report) -> list[Table]:
    names = list(report["errors"])
    rows: list[Row] = []
    for k in range(len(report["errors"]["GPT"][0])):
        implied = f"{report['implied'][k - 1]['lam']:.3g}" if k else ""
        rows.append((str(k), *(f"{report['errors'][name][0][k]:.3g}" for name in names), implied))
    title = "squared error over d after k examples; the ridge parameter nearest to the GPT"
    return [(title, ("k", *names, "implied ridge"), rows)]
