"""Pages made from the code at every build: the API reference and the table of equation labels."""

import importlib
import inspect
import json
from pathlib import Path

import equation_labels

from dualform import plots

MODULES = (
    "dualform.linear",
    "dualform.descent",
    "dualform.prove",
    "dualform.rules",
    "dualform.attention",
    "dualform.features",
    "dualform.patch",
    "dualform.peft",
    "dualform.fewshot",
    "dualform.regression",
    "dualform.shard",
    "dualform.bench",
    "dualform.laws",
    "dualform.testing",
    "dualform.cli",
)


def public_names(module) -> list[str]:
    """Functions and classes of dualform that a module defines or hands on, in the order of the module."""
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (inspect.isfunction(value) or inspect.isclass(value))
        and value.__module__.startswith("dualform")
        and (hasattr(module, "__path__") or value.__module__ == module.__name__)
    ]


def own_methods(cls) -> list[str]:
    """Documented public methods that a class defines itself; fields are described in its docstring."""
    return [
        name
        for name, value in vars(cls).items()
        if not name.startswith("_") and inspect.isfunction(getattr(value, "__func__", value)) and value.__doc__
    ]


def api_page() -> str:
    """The reference of every public module; a public name without a docstring is an error."""
    out = []
    for name in MODULES:
        module = importlib.import_module(name)
        out += [f"## {name}", "", "```{eval-rst}", f".. py:module:: {name}", ""]
        for member in public_names(module):
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


def laws_by_label() -> dict[str, list[tuple[str, str]]]:
    """Label -> (statement in words, stamps) of the laws that check it."""
    from dualform.laws import LAWS

    found: dict[str, list[tuple[str, str]]] = {}
    for law in LAWS:
        for label, _ in equation_labels.cited(f"({law.label})"):
            found.setdefault(label, []).append((law.name, ", ".join(law.stamps)))
    return found


def labels_page(root: Path) -> str:
    """Label -> where it is defined, which functions cite it, which laws check it."""
    package = root / "dualform"
    defined = equation_labels.places(sorted(package.rglob("*.py")), equation_labels.defined)
    functions = equation_labels.functions(package)
    for name, label in forms_of_rules():
        functions.setdefault(label, []).append(name)
    laws = laws_by_label()
    rows = ["| label | defined in | functions | laws |", "|---|---|---|---|"]
    for label in sorted(defined, key=equation_labels.order):
        home = defined[label][0].path.relative_to(root).as_posix()
        named = ", ".join(f"`{name.removeprefix('dualform.')}`" for name in functions.get(label, []))
        checked = ", ".join(f"{law} ({stamps})" for law, stamps in laws.get(label, []))
        rows.append(f"| ({label}) | `{home}` | {named} | {checked} |")
    return "\n".join(rows) + "\n"


def forms_of_rules() -> list[tuple[str, str]]:
    """(name, label that its docstring cites) of the forms of all rules, which are made from records."""
    from dualform.rules import RULES

    names = ("descent", "recurrent", "parallel", "chunked", "step", "errors")
    forms = [(f"dualform.rules.{rule.name}.{name}", rule.form(name)) for rule in RULES.values() for name in names]
    return [(name, label) for name, form in forms for label, _ in equation_labels.cited(form.__doc__)]


def laws_page(laws) -> str:
    """The laws of a chapter, with the stamps that they claim; what is refuted is a quoted claim."""
    rows = ["| label | law | holds for | stamps | source |", "|---|---|---|---|---|"]
    for law in laws:
        cells = [f"({law.label})", law.title, law.domain, ", ".join(f"*{stamp}*" for stamp in law.stamps), law.source]
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows) + "\n"


def claims_page(recorded: tuple[dict, ...]) -> str:
    """Every claim with its verdict, and what checking its laws gives, or gave in the committed run if they train."""
    from dualform.laws.claims import CLAIMS, command, laws_of, number

    rows = ["| | claim | source | verdict | because |", "|---|---|---|---|---|"]
    for claim in CLAIMS:
        verdict = ", ".join(f"*{word}*" for word in claim.verdict)
        rows.append(f"| {claim.label} | {claim.claim} | {claim.source} | {verdict} | {claim.because} |")
    rows += ["", "## The evidence", "", "| claim | law | stamp | number | command |", "|---|---|---|---|---|"]
    for claim in CLAIMS:
        for evidence in claim.evidence:
            titles = "; ".join(law.title for law in laws_of(evidence)).replace("|", "\\|")
            label, gave = laws_of(evidence)[0].label, number(evidence, recorded=recorded)
            cells = [claim.label, f"({label}) {titles}", f"*{evidence.stamp}*", gave, f"`{command(evidence)}`"]
            rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def rules_page() -> str:
    """Every update rule in a section of its own: its equations, and what its record says of it."""
    from dualform.rules import RULES

    out = []
    for name, rule in RULES.items():
        gates = ", ".join(f"`{gate.name}` {gate.shape_text}, {gate.domain}" for gate in rule.gates) or "none"
        out += [f"## {name}", "", f"$$ {rule.recurrence} $$", "", "| | |", "|---|---|"]
        out += [f"| inner loss | ${rule.loss}$ |" if "\\" in rule.loss else f"| inner loss | {rule.loss} |"]
        out += [f"| optimiser | {rule.optimiser} |", f"| gates | {gates} |"]
        out += [f"| state | {', '.join(rule.state.names)} |"]
        stable = rule.stability.replace("|", "\\|")
        out += [f"| stable | {stable} |"]
        out += [f"| elsewhere | {', '.join(rule.aliases)} |"] if rule.aliases else []
        out += [f"| paper | {rule.paper} |", ""]
        options = ["   :no-index:", "   :no-members:"]
        out += ["```{eval-rst}", f".. automodule:: {rule.module.__name__}", *options, "```", ""]
    return "\n".join(out)


def benchmark_page(report: dict) -> str:
    """The tables of a committed run of `dualform bench`."""
    from dualform.bench.report import tables

    versions = ", ".join(f"{name} {number}" for name, number in report["versions"].items())
    machine = report["machine"]
    out = [f"{machine['processor']}, {machine['cores']} cores, Python {report['python']}, {versions}.", ""]
    for title, columns, rows in tables(report):
        out += [f"**{title}**", "", f"| {' | '.join(columns)} |", "|---" + "|--:" * (len(columns) - 1) + "|"]
        out += [f"| {' | '.join(row)} |" for row in rows] + [""]
    return "\n".join(out)


def write(app, config):
    """Write the pages, each only where it changed, so that an incremental build stays incremental."""
    target = Path(app.srcdir) / "_generated"
    target.mkdir(exist_ok=True)
    pages = {"api.md": api_page(), "labels.md": labels_page(Path(app.srcdir).parent)}

    from mutants.rules import common

    from dualform.laws import FAMILY, find
    from dualform.laws.rules import laws as rules

    prefixes = ("L", "O", "IC", "SX", "MA", "FE", "CP", "PE", "LS", "DE", "RK", "TR", "GP")
    chapters = {**{prefix: find(prefix) for prefix in prefixes}, "rules": (*rules.LAWS, *FAMILY)}
    pages |= {f"laws_{chapter}.md": laws_page(laws) for chapter, laws in chapters.items()}
    pages["rules.md"] = rules_page()
    pages["planted.md"] = common.table()
    runs = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(Path(app.srcdir).glob("thorough/*.json"))]
    pages["claims.md"] = claims_page(tuple(result for run in runs for result in run["results"]))
    report = json.loads((Path(app.srcdir) / "bench.json").read_text(encoding="utf-8"))
    pages["benchmark.md"] = benchmark_page(report)
    plots.benchmark(report, target / "benchmark.png")
    for name, text in pages.items():
        if not (target / name).exists() or (target / name).read_text(encoding="utf-8") != text:
            (target / name).write_text(text, encoding="utf-8")


def setup(app):
    """Connect to the start of the build."""
    app.connect("config-inited", write)
    return {"version": "1", "parallel_read_safe": True}
