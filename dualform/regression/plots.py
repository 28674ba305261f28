"""Figures of chapter 9, from the reports of its commands; readable in grey. matplotlib is imported on use."""

import os
from typing import Any

from dualform import files
from dualform.plots import OKABE_ITO


def save(figure, path: str | os.PathLike):
    """Writes a figure; the suffix chooses the format."""
    return files.replace(path, lambda p: figure.savefig(p, dpi=130, bbox_inches="tight"))


def blank(width: float = 6.4, height: float = 4.2, columns: int = 1):
    """A figure that needs no display, and its panels."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * columns, height), layout="constrained")
    FigureCanvasAgg(figure)
    panels = list(figure.subplots(1, columns, squeeze=False)[0])
    for panel in panels:
        panel.grid(color="0.9")
        for side in ("top", "right"):
            panel.spines[side].set_visible(False)
    return figure, panels


def risk_against_length(table: dict[str, Any]):
    """Exact risks, drawn ones with two standard errors, the floor and the zero predictor, from `risk_table`."""
    figure, (panel,) = blank()
    rows = table["rows"]
    M = [row["M"] for row in rows]
    panel.plot(M, [row["exact"] for row in rows], "-", color=OKABE_ITO["black"], label="exact")
    if drawn := [row for row in rows if "mean" in row]:
        panel.errorbar(
            [row["M"] for row in drawn], [row["mean"] for row in drawn], [2 * row["error"] for row in drawn],
            fmt="o", color=OKABE_ITO["blue"], capsize=3, label=f"{table['prompts']:,} drawn prompts, 2 s.e.",
        )  # fmt: skip
    panel.axhline(table["floor"], linestyle="--", color=OKABE_ITO["green"], label="infinitely many examples")
    panel.axhline(table["zero"], linestyle=":", color=OKABE_ITO["red"], label="predicting zero")
    panel.axvline(table["N"], linestyle="-.", linewidth=0.8, color="0.6", label=f"training length N = {table['N']}")
    panel.set(xscale="log", yscale="log", xlabel="examples in the test prompt, M", ylabel="risk E (prediction - w.x)^2")
    panel.set_title(f"One trained layer, d = {len(table['variances'])}")
    panel.legend(frameon=False, fontsize=8)
    return figure


def training_loss(report: dict[str, Any]):
    """The loss over the steps of a training, and its exact minimum where it is known."""
    figure, (panel,) = blank()
    losses = report["losses"]
    steps = [report["steps"] * (i + 0.5) / len(losses) for i in range(len(losses))]
    panel.plot(steps, losses, "-", color=OKABE_ITO["blue"], label="training batches")
    if report["least"] is not None:
        panel.axhline(report["least"], linestyle="--", color=OKABE_ITO["black"], label="exact minimum")
    panel.set(yscale="log", xlabel="steps of Adam", ylabel=report["meaning"], title="Training on fresh prompts")
    panel.legend(frameon=False)
    return figure


def shifts(report: dict[str, Any]):
    """Risks of a trained network and of constructions on shifted prompts."""
    found = report["comparisons"]
    if not found:
        raise ValueError("plot: no construction is known for this task, so there is nothing to draw; leave it out")
    kinds = list(next(iter(found.values()))["sweeps"])
    figure, panels = blank(columns=len(kinds))
    marks = zip(("s--", "^:", "D-."), ("orange", "green", "red"), strict=True)
    styles = dict(zip(found, marks, strict=False))
    for panel, kind in zip(panels, kinds, strict=True):
        for i, (name, one) in enumerate(found.items()):
            ours, theirs = one["sweeps"][kind]
            if not i:
                panel.plot(one["factors"], ours, "o-", color=OKABE_ITO["blue"], label="trained")
            mark, colour = styles[name]
            panel.plot(
                one["factors"], theirs, mark, color=OKABE_ITO[colour], fillstyle="none", markersize=9, label=name
            )
        panel.set(yscale="log", xlabel=f"factor on the {kind}", ylabel="risk", title=f"Shifted {kind}")
        panel.legend(frameon=False)
    return figure


def errors_by_examples(report: dict[str, Any]):
    """Errors after 0, 1, ... examples of a GPT and of the baselines, with 95 % intervals."""
    figure, (panel,) = blank()
    marks = ("o-", "s--", "^:", "D-.", "v-")
    colours = ("blue", "black", "orange", "green", "red")
    for (name, (mean, half)), mark, colour in zip(report["errors"].items(), marks, colours, strict=False):
        shown = [value if value < 3 else float("nan") for value in mean]  # averaging starts far above the rest
        panel.errorbar(range(len(mean)), shown, half, fmt=mark, color=OKABE_ITO[colour], capsize=2, markersize=4,
                       label=name)  # fmt: skip
    panel.xaxis.get_major_locator().set_params(integer=True)
    panel.set(xlabel="examples in the prompt, k", ylabel="squared error / d", title="Error after k examples")
    panel.legend(frameon=False)
    return figure
