r"""Where equation labels are defined and cited: a label is defined once, by `\tag{L1}`, and cited as (L1)."""

import ast
import io
import json
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

DEFINITION = re.compile(r"\\tag\{([A-Z]{1,2}\d+[a-z]?)\}")
CITATION = re.compile(r"(?<!\w)\(([A-Z]{1,2}\d+[a-z]?(?:(?:, | and | or | to |; )[A-Z]{1,2}\d+[a-z]?)*)\)")


class Place(NamedTuple):
    """A file and a line in it."""

    path: Path
    line: int

    def __str__(self):
        return f"{self.path}:{self.line}"


def defined(text: str) -> Iterator[tuple[str, int]]:
    """Labels that a text defines, with their lines."""
    for match in DEFINITION.finditer(text):
        yield match[1], text.count("\n", 0, match.start()) + 1


def cited(text: str) -> Iterator[tuple[str, int]]:
    """Labels that a text cites, with their lines."""
    for match in CITATION.finditer(text):
        for label in re.findall(r"[A-Z]{1,2}\d+[a-z]?", match[1]):
            yield label, text.count("\n", 0, match.start()) + 1


def prose(path: Path) -> str:
    """What a file says in words, line by line: of code the comments and strings, for (W0, W1) cites nothing."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        return spoken(text)
    if path.suffix == ".ipynb":
        cells = [(cell["cell_type"], "".join(cell["source"])) for cell in json.loads(text)["cells"]]
        return "\n".join(spoken(source) if kind == "code" else source for kind, source in cells)
    return text


def spoken(code: str) -> str:
    """Python code with all but its comments and strings left blank."""
    lines = code.splitlines()
    out = [""] * (len(lines) + 1)
    for token in tokenize.generate_tokens(io.StringIO(code).readline):
        if tokenize.tok_name[token.type] in ("COMMENT", "STRING", "FSTRING_MIDDLE"):
            for i, line in enumerate(token.string.splitlines(), token.start[0] - 1):
                out[i] += " " + line
    return "\n".join(out)


def places(paths, find) -> dict[str, list[Place]]:
    """Label -> places, over many files."""
    found: dict[str, list[Place]] = {}
    for path in paths:
        for label, line in find(prose(path)):
            found.setdefault(label, []).append(Place(path, line))
    return found


def order(label: str) -> tuple[str, int, str]:
    """Sort L2 before L10."""
    chapter, number, part = re.fullmatch(r"([A-Z]{1,2})(\d+)([a-z]?)", label).groups()
    return chapter, int(number), part


def functions(package: Path) -> dict[str, list[str]]:
    """Label -> qualified names of the public functions and classes whose docstrings cite it."""
    found: dict[str, list[str]] = {}
    for path in sorted(package.rglob("*.py")):
        module = ".".join(path.relative_to(package.parent).with_suffix("").parts).removesuffix(".__init__")
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                for label, _ in cited(ast.get_docstring(node) or ""):
                    names = found.setdefault(label, [])
                    if f"{module}.{node.name}" not in names:
                        names.append(f"{module}.{node.name}")
    return found
