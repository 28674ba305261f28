"""What the commands share: numbers and files that are checked before the work, a progress bar, tables."""

import argparse
import sys
from contextlib import contextmanager
from pathlib import Path


def natural(text: str) -> int:
    """A number of at least 0, for argparse."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"expected a number of at least 0, got {value}")
    return value


def writable(path: Path | None) -> None:
    """Fails before the work, not after it."""
    if path is not None:
        if not path.parent.is_dir():
            raise ValueError(f"{path}: the folder {path.parent} does not exist; make it first")
        if path.is_dir():
            raise ValueError(f"{path}: is a folder, expected the name of a file")


FIGURES = (".png", ".svg", ".pdf")
"""Endings of files that figures are drawn to."""


def drawable(path: Path | None) -> None:
    """Fails before the work where no figure can be drawn to a file of this name."""
    writable(path)
    if path is not None and path.suffix.lower() not in FIGURES:
        raise ValueError(f"{path}: got the ending {path.suffix!r}, expected one of {', '.join(FIGURES)}")


@contextmanager
def progress(command: str = "verify"):
    """A bar on a terminal, nothing in a pipe."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(command)
        yield lambda done, total, what: bar.update(task, completed=done, total=total, description=what)


def console():
    """As wide as the terminal; in a pipe wide enough for any row."""
    from rich.console import Console

    return Console() if sys.stdout.isatty() else Console(width=140)


def table(*columns: tuple[str, str]):
    """An empty table with columns (name, "left" or "right"); the names of laws are never wrapped."""
    from rich import box
    from rich.table import Table

    made = Table(box=box.SIMPLE, pad_edge=False)
    for name, justify in columns:
        made.add_column(name, justify=justify, no_wrap=name == "law", overflow="fold")  # type: ignore[arg-type]
    return made


def print_tables(tables) -> None:
    """Prints (title, columns, rows) one after the other: the first column to the left, the others to the right."""
    out = console()
    for title, columns, rows in tables:
        made = table(*((name, "left" if i == 0 else "right") for i, name in enumerate(columns)))
        for row in rows:
            made.add_row(*row)
        out.print(title, highlight=False)
        out.print(made)
