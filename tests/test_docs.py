"""The documents hold together: labels, links, notebooks, versions; and the docs' own translation of docstrings."""

import json
import re
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "docs" / "_ext"))

import docstring_math  # noqa: E402
import equation_labels  # noqa: E402

from dualform.chapters import CHAPTERS  # noqa: E402
from dualform.laws import LAWS  # noqa: E402

MODULES = sorted((ROOT / "dualform").rglob("*.py"))
PAGES = sorted(path for path in (ROOT / "docs").glob("*.md"))
TOP_PAGES = sorted(ROOT.glob("*.md"))
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

ROWS = re.compile(r"[Rr]ows? \d+ of the table|\(row \d+\)|\"\"\"Row \d+|table of experiments")
named = {"ids": lambda path: path.relative_to(ROOT).as_posix()}


def cells(path: Path, kind: str) -> list[dict]:
    return [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == kind]


# Labels


def test_every_label_is_defined_once():
    defined = equation_labels.places([*MODULES, *PAGES], equation_labels.defined)
    assert len(defined) >= 10
    assert {label: [str(place) for place in places] for label, places in defined.items() if len(places) > 1} == {}


def test_every_label_that_is_cited_is_defined():
    defined = equation_labels.places([*MODULES, *PAGES], equation_labels.defined)
    tests = sorted(set((ROOT / "tests").rglob("*.py")) - {Path(__file__)})
    cited = equation_labels.places([*MODULES, *PAGES, *TOP_PAGES, *NOTEBOOKS, *tests], equation_labels.cited)
    assert len(cited) >= 10
    assert {label: str(places[0]) for label, places in cited.items() if label not in defined} == {}


def test_notebooks_show_only_equations_that_a_module_defines():
    defined = equation_labels.places([*MODULES, *PAGES], equation_labels.defined)
    # in JSON a backslash is doubled: read the cells, not the file
    shown = {
        label: path.name
        for path in NOTEBOOKS
        for cell in cells(path, "markdown")
        for label, _ in equation_labels.defined("".join(cell["source"]))
    }
    assert {label: name for label, name in shown.items() if label not in defined} == {}


@pytest.mark.parametrize(
    "text, labels",
    [
        ("by (L1)", ["L1"]),
        ("(L1, L3) and (L4 to L6)", ["L1", "L3", "L4", "L6"]),
        ("(L10a)", ["L10a"]),
        ("f(A1 + 2), (12), (L)", []),
    ],
)
def test_citations_are_found(text, labels):
    assert [label for label, _ in equation_labels.cited(text)] == labels


def test_only_words_cite():
    code = 'def f(W0):\n    """By (L1)."""\n    return g((W0, W1))  # (L2)\n'
    assert list(equation_labels.cited(equation_labels.spoken(code))) == [("L1", 2), ("L2", 3)]


# Links

LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")


@pytest.mark.parametrize("path", [*TOP_PAGES, *PAGES], **named)
def test_relative_links_resolve(path):
    for target in LINK.findall(path.read_text(encoding="utf-8")):
        if target.startswith(("https://", "http://", "mailto:", "#")):
            continue
        name = target.split("#")[0]
        # the build copies the notebooks to docs/nb
        where = ROOT / "notebooks" / name.removeprefix("nb/") if name.startswith("nb/") else path.parent / name
        assert where.exists(), f"{path.name} links to {target}, which does not exist"


def test_every_page_is_in_a_table_of_contents():
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    entries = {
        line.strip() for block in re.findall(r"```\{toctree\}(.*?)```", index, re.S) for line in block.split("\n")
    }
    assert {path.stem for path in PAGES} - {"index"} <= entries


# Notebooks


def test_there_are_notebooks_numbered_in_reading_order():
    numbers = [int(path.name[:2]) for path in NOTEBOOKS]
    assert len(numbers) >= 10 and numbers == sorted(set(numbers))  # those of later chapters leave room


@pytest.mark.parametrize("path", NOTEBOOKS, **named)
def test_notebooks_are_committed_as_they_ran(path):
    code = [cell for cell in cells(path, "code") if "".join(cell["source"]).strip()]
    # top to bottom, in one go
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell["outputs"]]
    assert outputs
    assert [output["evalue"] for output in outputs if output["output_type"] == "error"] == []
    assert [output["text"] for output in outputs if output.get("name") == "stderr"] == []
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert str(ROOT) not in path.read_text(encoding="utf-8")


# Versions and packaging


def test_version_is_the_same_everywhere():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"## [{version}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_import_leaves_scipy_and_matplotlib_for_later():
    """They take longer to import than dualform."""
    code = (
        "import sys, dualform; print([m for m in ('scipy.special', 'scipy.linalg', 'matplotlib') if m in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_readme_names_the_two_commands():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "pip install . && dualform verify" in readme
    assert 'pip install ".[test]" && pytest -n 2' in readme


def readme_examples() -> list[tuple[str, str]]:
    """Every Python block of the README with the output that follows it."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.findall(r"```python\n(.*?)```\s+```text\n(.*?)```", readme, re.S)


def test_the_readme_begins_with_an_example_of_eight_lines():
    examples = readme_examples()
    assert len(examples) >= 2
    assert len([line for line in examples[0][0].splitlines() if line.strip()]) <= 8


@pytest.mark.parametrize("number", range(2))
def test_readme_examples_print_what_the_readme_says(number):
    code, printed = readme_examples()[number]
    lines: list[str] = []
    exec(compile(code, "README.md", "exec"), {"print": lambda *values: lines.append(" ".join(map(str, values)))})
    assert "\n".join(lines).split() == printed.split()


def test_no_module_needs_future_annotations_or_private_jax():
    for path in MODULES:
        assert "from __future__ import annotations" not in path.read_text(encoding="utf-8"), path
        assert "jax._src" not in path.read_text(encoding="utf-8"), path


# The translation of docstrings


@pytest.mark.parametrize(
    "docstring, expected",
    [
        ("the sum $a_i\n b_i$ of", "the sum :math:`a_i b_i` of"),
        ("costs `$5`, ``$6`` each", "costs ``$5``, ``$6`` each"),
        ("two `Shape`s of | |k|^2 - 1 | * 2 in norm_", "two ``Shape``\\ s of \\| \\|k\\|^2 - 1 \\| \\* 2 in norm\\_"),
        (">>> print('$x$')\n$x$", ">>> print('$x$')\n$x$"),
    ],
)
def test_inline_mathematics_is_translated(docstring, expected):
    assert docstring_math.translate(docstring) == expected


def test_displayed_mathematics_keeps_its_label():
    text = docstring_math.translate("so that\n\n$$ a = b. \\tag{L1} $$\n\nand on")
    assert ".. math::\n   :nowrap:\n\n   \\begin{equation*}\n   a = b. \\tag{L1}\n   \\end{equation*}\n" in text
    assert "$" not in text


def test_neighbouring_displays_stay_apart():
    text = docstring_math.translate("$$ a \\tag{L1} $$\n$$ b \\tag{L2} $$")
    assert text.count(".. math::") == 2 and "$" not in text


def test_indented_paragraphs_become_listings():
    text = docstring_math.translate("In this order:\n\n    g = scale_t g\n\nand so on")
    assert text == "In this order:\n\n::\n\n    g = scale_t g\n\nand so on"
    assert docstring_math.translate("Args:\n    x: a\n        b") == "Args:\n    x: a\n        b"


# Chapters


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda chapter: chapter.module)
def test_the_docstring_of_a_chapter_has_its_number(chapter):
    assert import_module(chapter.module).__doc__.startswith(f"Chapter {chapter.number}. ")


def test_every_law_is_of_one_chapter():
    letters = {letter: chapter.number for chapter in CHAPTERS for letter in chapter.labels}
    assert len(letters) == sum(len(chapter.labels) for chapter in CHAPTERS)
    for law in LAWS:
        assert law.label.rstrip("0123456789") in letters, f"{law.name} is of no chapter in dualform.chapters"


def test_nothing_refers_to_a_table_that_is_not_here():
    text = {path: path.read_text(encoding="utf-8") for path in (*MODULES, *PAGES)}
    rows = {str(path.relative_to(ROOT)): found for path, words in text.items() if (found := ROWS.findall(words))}
    assert rows == {}


# Tables


def test_the_committed_tables_are_those_that_the_code_makes():
    """`python docs/_ext/tables.py` rewrites them. The numbers of claims are a machine's, and are not compared."""
    import tables

    assert tables.stale() == []


def test_a_stale_table_is_seen():
    import tables

    page = "<!-- table: planted -->\n\n| rule |\n<!-- end of table -->"
    assert "| delta |" in tables.refreshed(page, {"planted": lambda: "| delta |"})
    assert "| rule |" not in tables.refreshed(page, {"planted": lambda: "| delta |"})
    assert tables.refreshed(page, {"planted": lambda: "| rule |"}) == page
