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


def benchmark(report: dict[str, Any], path: str | os.PathLike):
    """One panel a rule and direction: the best time of each subject, and where the machine's product rate would put it.

    Args:
        report: `Report.to_dict()` of `dualform.bench`, or the JSON that it wrote; the first number of threads is drawn.
        path: image file; the suffix chooses the format.

    Returns:
        The path.

    Raises:
        ValueError: nothing was timed, or the file cannot be written.
    """
    figure = draw_benchmark(report)
    return files.replace(path, lambda p: figure.savefig(p, dpi=130, bbox_inches="tight"))


def draw_benchmark(report: dict[str, Any]):
    """The figure of `benchmark`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if not report["speed"]:
        raise ValueError("report: got no times, expected those of at least one rule")
    threads = report["speed"][0]["threads"]
    rows = [r for r in report["speed"] if r["threads"] == threads and r["subject"] != "matmul"]
    rules, directions = (list(dict.fromkeys(r[name] for r in rows)) for name in ("rule", "direction"))
    names = list(dict.fromkeys(r["subject"] for r in rows))
    lengths = [r for r in report["lengths"] if "cold_ns_per_token" in r]
    heights = (0.3 * len(names) + 0.5) * len(rules) + 1, 3.2
    figure = Figure(figsize=(4.2 * len(directions) + 3, sum(heights[: 1 + bool(lengths)])), layout="constrained")
    FigureCanvasAgg(figure)
    parts: Any = figure.subfigures(2, 1, height_ratios=heights) if lengths else [figure]
    panels = parts[0].subplots(len(rules), len(directions), sharey=True, squeeze=False)
    for rule, line in zip(rules, panels, strict=True):
        for direction, panel in zip(directions, line, strict=True):
            _times(panel, names, {r["subject"]: r for r in rows if (r["rule"], r["direction"]) == (rule, direction)})
            panel.set_title(f"{rule}, {direction}", fontsize=10)
    for panel in panels[-1]:
        panel.set_xlabel("milliseconds, best round")
    panels[0, 0].invert_yaxis()
    handles, labels = panels[0, 0].get_legend_handles_labels()
    parts[0].legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    r = rows[0]
    sizes = f"T = {r['T']}, B = {r['B']}, H = {r['H']}, K = {r['K']}, V = {r['V']}"
    parts[0].suptitle(f"Times on CPU, {threads} thread{'s' * (threads > 1)}: {sizes}, float32")
    if lengths:
        parts[1].suptitle("Time per token, forward, one head, one thread")
        _lengths(parts[1].subplots(1, len(rules), sharey=True, squeeze=False)[0], rules, lengths)
    return figure


def _lengths(panels, rules: list[str], lengths: list[dict[str, Any]]) -> None:
    """Time per token against the length, from the same working memory at every length and from warm caches."""
    for rule, panel in zip(rules, panels, strict=True):
        rows = [r for r in lengths if r["rule"] == rule]
        at = [r["T"] for r in rows]
        cold, hot = ([r[f"{kind}_ns_per_token"] for r in rows] for kind in ("cold", "hot"))
        panel.plot(at, cold, "o-", color=OKABE_ITO["blue"], markersize=5, label="same working memory")
        panel.plot(at, hot, "o:", color=OKABE_ITO["blue"], markersize=5, fillstyle="none", label="one sequence, again")
        panel.set_xlabel("tokens")
        panel.set_xscale("log", base=2)
        panel.set_title(rule, fontsize=10)
        panel.grid(axis="y", color="0.9")
        for side in ("top", "right"):
            panel.spines[side].set_visible(False)
    panels[0].set_ylabel("ns a token")
    panels[0].set_ylim(bottom=0)
    panels[0].legend(frameon=False, fontsize=8, loc="lower left")


def _times(panel, names: list[str], rows: dict[str, dict[str, Any]]) -> None:
    from matplotlib import ticker

    for style, ours in ((("o", "blue", "dualform"), True), (("D", "orange", "other libraries"), False)):
        marker, colour, label = style
        seen = [(i, rows[n]["best_ms"]) for i, n in enumerate(names) if n in rows and n.startswith("dualform") == ours]
        at, best = zip(*seen, strict=True) if seen else ((), ())
        panel.plot(best, at, marker, color=OKABE_ITO[colour], label=label, markersize=6)
    limit = [(i, rows[n]["product_flops"] / rows[n]["matmul_gflops"] / 1e6) for i, n in enumerate(names)
             if n in rows and rows[n]["product_flops"]]  # fmt: skip
    at, best = zip(*limit, strict=True) if limit else ((), ())
    panel.plot(best, at, "|", color=OKABE_ITO["red"], markersize=11, markeredgewidth=2,
               label="its products alone, at the machine's rate")  # fmt: skip
    panel.set(xscale="log", ylim=(-0.6, len(names) - 0.4))
    panel.xaxis.set_major_locator(ticker.LogLocator(subs=(1.0, 2.0, 5.0)))
    panel.xaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
    panel.xaxis.set_minor_formatter(ticker.NullFormatter())
    panel.set_yticks(range(len(names)), names, fontsize=8)
    panel.grid(axis="x", color="0.9", which="both")
    for side in ("top", "right"):
        panel.spines[side].set_visible(False)
