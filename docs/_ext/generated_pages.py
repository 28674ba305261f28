"""Pages that only the site has: the reference of every public name, and a section for every update rule."""

import importlib
import inspect
import json
from pathlib import Path

import tables

from dualform import plots


def own_methods(cls) -> list[str]:
    """Documented public methods that a class defines itself; fields are described in its docstring."""
    return [
        name
        for name, value in vars(cls).items()
        if not name.startswith("_") and inspect.isfunction(getattr(value, "__func__", value)) and value.__doc__
    ]


def reference_page() -> str:
    """The reference of every public module; a public name without a docstring is an error."""
    out = []
    for name in tables.MODULES:
        module = importlib.import_module(name)
        out += [f"## {name}", "", "```{eval-rst}", f".. py:module:: {name}", ""]
        for member in tables.public_names(module):
            value = getattr(module, member)
            if not inspect.getdoc(value):
                raise ValueError(f"{name}.{member} has no docstring; every public name needs one")
            if inspect.isclass(value):
                out += [f".. autoclass:: {name}.{member}", ""]
                if methods := own_methods(value):
                    out[-1:] = [f"   :members: {', '.join(methods)}", ""]
            else:
                out += [f".. autofunction:: {name}.{member}", ""]
        out += ["```", ""]
    return "\n".join(out)


def rules_page() -> str:
    """Every update rule in a section of its own: its equations, and what its record says of it."""
    from dualform.rules import RULES

    out = []
    for name, rule in RULES.items():
        gates = ", ".join(f"`{gate.name}` {gate.shape_text}, {gate.domain}" for gate in rule.gates) or "none"
        out += [f"## {name}", "", f"$$ {rule.recurrence} $$", "", "| | |", "|---|---|"]
        out += [f"| inner loss | ${rule.loss}$ |" if "\\" in rule.loss else f"| inner loss | {rule.loss} |"]
        out += [f"| optimiser | {rule.optimiser} |", f"| gates | {gates} |"]
        out += [f"| state | {rule.state} |"]
        stable = rule.stability.replace("|", "\\|")
        out += [f"| stable | {stable} |"]
        out += [f"| elsewhere | {', '.join(rule.aliases)} |"] if rule.aliases else []
        out += [f"| paper | {rule.paper} |", ""]
        options = ["   :no-index:", "   :no-members:"]
        out += ["```{eval-rst}", f".. automodule:: {rule.module.__name__}", *options, "```", ""]
    return "\n".join(out)


def write(app, config):
    """Write the pages, each only where it changed, so that an incremental build stays incremental."""
    target = Path(app.srcdir) / "_generated"
    target.mkdir(exist_ok=True)
    report = json.loads((Path(app.srcdir) / "bench.json").read_text(encoding="utf-8"))
    plots.benchmark(report, target / "benchmark.png")
    for name, text in {"reference.md": reference_page(), "rules.md": rules_page()}.items():
        if not (target / name).exists() or (target / name).read_text(encoding="utf-8") != text:
            (target / name).write_text(text, encoding="utf-8")


def setup(app):
    """Connect to the start of the build."""
    app.connect("config-inited", write)
    return {"version": "1", "parallel_read_safe": True}
