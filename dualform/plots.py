"""Figures, readable in grey: markers as well as colours, titles, labelled axes. matplotlib is imported on use."""

import os
from typing import Any

import numpy as np

from dualform import files

OKABE_ITO = {"black": "#000000", "orange": "#E69F00", "blue": "#0072B2", "green": "#009E73", "red": "#D55E00"}
DTYPE_STYLE = {"float64": "o", "float32": "s", "bfloat16": "^", "float16": "D"}
TINY = 1e-18
"""Where an error of exactly zero is drawn."""


def rows(results: list[dict[str, Any]]) -> dict[str, dict[str, tuple[float, float]]]:
    """ "LABEL form" -> dtype -> (largest error, its bound), relative to the largest output, from a report's results."""
    table: dict[str, dict[str, tuple[float, float]]] = {}
    for result in results:
        for d in result["details"]:
            if "ratio" not in d or not d["bound"]:
                continue
            scale = d["relative"] / d["bound"] if d["bound"] else 1.0
            pair = (d["error"] * scale, d["bound"] * scale)
            name = f"{result['label']}  {d['form']}"
            old = table.setdefault(name, {}).get(d["dtype"])
            if old is None or pair[0] / pair[1] >= old[0] / old[1]:
                table[name][d["dtype"]] = pair
    return table


def error_against_bound(report: dict[str, Any], path: str | os.PathLike):
    """One row a form, one panel a dtype: the worst error seen (filled) and the bound derived for it (bar).

    Args:
        report: `Report.to_dict()` of a verification, or the JSON that it wrote.
        path: image file; the suffix chooses the format.

    Returns:
        The path.

    Raises:
        ValueError: nothing in the report was bounded, or the file cannot be written.
    """
    figure = draw(report)
    return files.replace(path, lambda p: figure.savefig(p, dpi=130, bbox_inches="tight"))


def draw(report: dict[str, Any]):
    """The figure of `error_against_bound`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    table = rows(report["results"])
    if not table:
        raise ValueError("report: got no bounded result, expected at least one; verify a label that claims 'bounded'")
    dtypes = [d for d in DTYPE_STYLE if any(d in row for row in table.values())]
    figure = Figure(figsize=(3.2 * len(dtypes) + 3.2, 0.24 * len(table) + 1.8), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(dtypes), sharey=True, squeeze=False)[0]
    for panel, dtype in zip(panels, dtypes, strict=True):
        _panel(panel, dtype, table)
    panels[0].set_yticks(range(len(table)), list(table))
    panels[0].invert_yaxis()
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    figure.suptitle("Rounding: the largest error that was seen, and the bound derived from the program")
    return figure


def _panel(panel, dtype: str, table: dict[str, dict[str, tuple[float, float]]]) -> None:
    seen = [(i, *row[dtype]) for i, row in enumerate(table.values()) if dtype in row]
    at, errors, bounds = (np.array(x, float) for x in zip(*seen, strict=True))
    exact = errors == 0
    low = max(TINY, min(errors[~exact].min(initial=np.inf), bounds.min()) / 3)
    shown = np.where(exact, low, errors)
    panel.hlines(at, shown, bounds, color="0.75", linewidth=1)
    panel.plot(
        shown[~exact], at[~exact], DTYPE_STYLE[dtype], color=OKABE_ITO["blue"], markersize=4.5, label="largest error"
    )
    panel.plot(
        shown[exact],
        at[exact],
        "<",
        color="white",
        markeredgecolor=OKABE_ITO["blue"],
        markersize=5,
        label="no error at all",
    )
    panel.plot(bounds, at, "|", color=OKABE_ITO["red"], markersize=9, markeredgewidth=2, label="derived bound")
    panel.set(xscale="log", title=dtype, xlabel="relative to the largest output", ylim=(-0.7, len(table) - 0.3))
    panel.grid(axis="x", color="0.9")
    panel.tick_params(axis="y", labelsize=8)
    for side in ("top", "right"):
        panel.spines[side].set_visible(False)
