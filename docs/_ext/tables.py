"""The tables in the pages that are made from the code: `python docs/_ext/tables.py` rewrites those that are stale.

A table stands in its page, committed, between `<!-- table: NAME -->` and `<!-- end of table -->`, so that the pages can
be read in the repository too. A test says which are stale.
"""

import importlib
import inspect
import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
DOCS = ROOT / "docs"
MARKED = re.compile(r"(<!-- table: (\w+) -->\n)(.*?)(<!-- end of table -->)", re.S)

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
"""What the API reference documents."""


def rows(header: tuple[str, ...], lines: list[tuple[str, ...]]) -> str:
    """A table in Markdown."""
    out = [header, ("---",) * len(header), *lines]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in out) + "\n"


def plain(cell: str) -> str:
    """A cell in which nothing splits the table."""
    return cell.replace("|", "\\|")


def source(path: Path) -> str:
    """A link from a page to a file of the repository."""
    name = path.relative_to(ROOT).as_posix()
    return f"[{name.removeprefix('dualform/')}](../{name})"


# The API reference


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


def summary(value) -> str:
    """The first sentence of a docstring, without mathematics that a table cannot hold."""
    first = " ".join((inspect.getdoc(value) or "").split("\n\n")[0].split())
    return plain(re.split(r"(?<=[.:])\s", first, maxsplit=1)[0])


def api() -> str:
    """Every public name with its first sentence and its file."""
    lines = []
    for name in MODULES:
        module = importlib.import_module(name)
        for member in public_names(module):
            value = getattr(module, member)
            lines.append((f"`{name.removeprefix('dualform.')}.{member}`", summary(value), source(file_of(value))))
    return rows(("name", "what it is", "file"), lines)


def file_of(value) -> Path:
    return Path(sys.modules[value.__module__].__file__)


# Labels


def laws_by_label() -> dict[str, list[str]]:
    """Label -> the laws that check it: key, title, stamps, file."""
    import equation_labels

    from dualform.laws import LAWS

    found: dict[str, list[str]] = {}
    homes = {law.key: path for path, module in law_modules() for law in module.LAWS}
    for law in LAWS:
        text = f"{law.key}, {plain(law.title)} ({', '.join(law.stamps)}), {source(homes[law.key])}"
        for label, _ in equation_labels.cited(f"({law.label})"):
            found.setdefault(label, []).append(text)
    return found


def law_modules() -> Iterator[tuple[Path, object]]:
    """The modules that hold laws, with their files."""
    for path in sorted((ROOT / "dualform" / "laws").rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        if path.stem in ("laws", "family", "calls", "induction"):
            yield path, importlib.import_module(name)


def forms_of_rules() -> list[tuple[str, str]]:
    """(name, label that its docstring cites) of the forms of all rules, which are made from records."""
    import equation_labels

    from dualform.rules import RULES

    names = ("descent", "recurrent", "parallel", "chunked", "step", "errors")
    forms = [(f"dualform.rules.{rule.name}.{name}", rule.form(name)) for rule in RULES.values() for name in names]
    return [(name, label) for name, form in forms for label, _ in equation_labels.cited(form.__doc__)]


def labels() -> str:
    """Label -> where it is defined, which functions cite it, which laws check it."""
    import equation_labels

    package = ROOT / "dualform"
    defined = equation_labels.places(sorted(package.rglob("*.py")), equation_labels.defined)
    functions = equation_labels.functions(package)
    for name, label in forms_of_rules():
        functions.setdefault(label, []).append(name)
    laws = laws_by_label()
    lines = []
    for label in sorted(defined, key=equation_labels.order):
        named = ", ".join(f"`{name.removeprefix('dualform.')}`" for name in functions.get(label, []))
        lines.append((f"({label})", source(defined[label][0].path), named, "; ".join(laws.get(label, []))))
    return rows(("label", "defined in", "functions that cite it", "laws that check it"), lines)


# Laws


def laws(which: Callable) -> str:
    """Laws of a chapter, with the stamps that they claim; what is refuted is a quoted claim."""
    lines = []
    for law in which():
        stamps = ", ".join(f"*{stamp}*" for stamp in law.stamps)
        lines.append(tuple(map(plain, (f"`{law.key}`", law.title, law.domain, stamps, law.source))))
    return rows(("key", "law", "holds for", "stamps", "source"), lines)


def found(letters: str) -> Callable[[], str]:
    """The table of the laws whose labels begin with these letters."""

    def table() -> str:
        from dualform.laws import find

        return laws(lambda: find(letters))

    return table


def laws_of_rules() -> str:
    from dualform.laws import FAMILY
    from dualform.laws.rules import laws as own

    return laws(lambda: (*own.LAWS, *FAMILY))


def planted() -> str:
    """How many bugs are planted in each form of each rule."""
    sys.path.insert(0, str(ROOT / "tests"))
    from mutants.rules import common

    return common.table()


# Claims


def claims() -> str:
    """Every claim with its verdict."""
    from dualform.laws.claims import CLAIMS

    lines = []
    for claim in CLAIMS:
        verdict = ", ".join(f"*{word}*" for word in claim.verdict)
        lines.append((claim.label, claim.claim, claim.source, verdict, claim.because))
    return rows(("", "claim", "source", "verdict", "because"), lines)


def evidence(number: Callable | None = None) -> str:
    """The laws that decide the claims. `number` gives the number of each: by checking the law, unless one is given."""
    from dualform.laws.claims import CLAIMS, command, laws_of

    number = number or measured()
    lines = []
    for claim in CLAIMS:
        for item in claim.evidence:
            titles = plain("; ".join(law.title for law in laws_of(item)))
            law = f"({laws_of(item)[0].label}) {titles}"
            lines.append((claim.label, law, f"*{item.stamp}*", number(claim, item), f"`{command(item)}`"))
    return rows(("claim", "law", "stamp", "number", "command"), lines)


def measured() -> Callable:
    """(claim, evidence) -> what checking the law gives, or gave in the committed run if it trains."""
    from dualform.laws.claims import number

    runs = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(DOCS.glob("thorough/*.json"))]
    recorded = tuple(result for run in runs for result in run["results"])
    return lambda claim, item: number(item, recorded=recorded)


def committed_numbers() -> Callable:
    """(claim, evidence) -> the number that stands in the page: a machine's measurements are not stale."""
    from dualform.laws.claims import command

    page = (DOCS / "claims.md").read_text(encoding="utf-8")
    known = {}
    for line in page.splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if len(cells) == 5:
            known[cells[0], cells[2], cells[4]] = cells[3]
    return lambda claim, item: known.get((claim.label, f"*{item.stamp}*", f"`{command(item)}`"), "")


# The benchmark


def benchmark() -> str:
    """The tables of the committed run of `dualform bench`."""
    from dualform.bench.report import tables

    report = json.loads((DOCS / "bench.json").read_text(encoding="utf-8"))
    versions = ", ".join(f"{name} {number}" for name, number in report["versions"].items())
    machine = report["machine"]
    out = [f"{machine['processor']}, {machine['cores']} cores, Python {report['python']}, {versions}.", ""]
    for title, columns, lines in tables(report):
        out += [f"**{title}**", "", f"| {' | '.join(columns)} |", "|---" + "|--:" * (len(columns) - 1) + "|"]
        out += [f"| {' | '.join(row)} |" for row in lines] + [""]
    return "\n".join(out)


TABLES: dict[str, Callable[[], str]] = {
    "api": api, "labels": labels, "claims": claims, "evidence": evidence, "benchmark": benchmark, "planted": planted,
    "laws_rules": laws_of_rules,
    **{f"laws_{x}": found(x) for x in ("L", "O", "IC", "SX", "MA", "FE", "CP", "PE", "LS", "DE", "RK", "TR", "GP")},
}  # fmt: skip


def refreshed(page: str, makers: dict[str, Callable[[], str]]) -> str:
    """A page with its tables made anew."""
    return MARKED.sub(lambda m: f"{m[1]}\n{makers[m[2]]()}\n{m[4]}", page)


def stale() -> list[str]:
    """Pages whose tables are not those that the code makes; of claims, all but the numbers."""
    makers = {**TABLES, "evidence": lambda: evidence(committed_numbers())}
    pages = sorted(DOCS.glob("*.md"))
    return [path.name for path in pages if refreshed(text := path.read_text(encoding="utf-8"), makers) != text]


def main() -> None:
    """Rewrite the tables; with names of pages, those of these pages."""
    for path in sorted(DOCS.glob("*.md")):
        text = path.read_text(encoding="utf-8")
        if (not sys.argv[1:] or path.name in sys.argv[1:]) and (new := refreshed(text, TABLES)) != text:
            path.write_text(new, encoding="utf-8")
            print(path.name)


if __name__ == "__main__":
    sys.path.insert(0, str(HERE))
    main()
