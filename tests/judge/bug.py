"""What a planted bug is, and how the wrong module takes the place of the right one."""

import sys
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2] / "dualform"


class Stale(Exception):
    """The text that a bug replaces does not stand in the file exactly once."""


@dataclass(frozen=True)
class Bug:
    """A mistake that a programmer could make in the judge.

    Args:
        file: the module, from the package's folder on.
        description: the mistake, in one line.
        battery: who must catch it, "module.function".
        old, new: a text that occurs once in the file, and what stands there instead.
    """

    file: str
    description: str
    battery: str
    old: str
    new: str

    @property
    def name(self) -> str:
        return f"{self.file.removesuffix('.py')}: {self.description}"

    @property
    def area(self) -> str:
        """The package that the bug is planted in: "prove", "prove/rounding", "laws", ..."""
        folder = self.file.rpartition("/")[0]
        return "prove/rounding" if folder == "prove/rounding" else folder.split("/")[0] or self.file.removesuffix(".py")

    @property
    def module(self) -> str:
        return ".".join(("dualform", *self.file.removesuffix(".py").removesuffix("/__init__").split("/")))

    def planted(self) -> str:
        """The source with the bug in it.

        Raises:
            Stale: the text occurs not once, so nobody knows where the bug belongs.
        """
        source = (ROOT / self.file).read_text()
        if (count := source.count(self.old)) != 1:
            raise Stale(f"{self.file}: expected the text {self.old!r} once, found it {count} times; plant the bug anew")
        return source.replace(self.old, self.new)


class _Loader(SourceFileLoader):
    """Compiles the planted source; the compiled code on disk is neither read nor written."""

    def __init__(self, name: str, path: str, source: str):
        super().__init__(name, path)
        self._source = source

    def get_code(self, fullname):
        return compile(self._source, self.path, "exec", dont_inherit=True)


class _Finder(MetaPathFinder):
    def __init__(self, bug: Bug):
        self.bug, self.source = bug, bug.planted()

    def find_spec(self, fullname, path=None, target=None):
        if fullname != self.bug.module:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        assert spec is not None and spec.origin is not None, fullname
        spec.loader = _Loader(fullname, spec.origin, self.source)
        return spec


def plant(bug: Bug) -> None:
    """From now on, this process imports the module with the bug in it."""
    if already := [name for name in sys.modules if name.partition(".")[0] == "dualform"]:
        raise RuntimeError(f"{already[0]} is imported already: a bug is planted before that")
    sys.meta_path.insert(0, _Finder(bug))


def bare(name: str, **contents) -> ModuleType:
    """A package whose modules can be imported, but whose own imports are not made: those of all laws take a second."""
    if getattr(sys.modules.get(name), "__file__", None):
        raise RuntimeError(f"{name} is imported already: a bare package is put in place before that")
    package = ModuleType(name)
    package.__path__ = [str(ROOT.joinpath(*name.split(".")[1:]))]
    vars(package).update(contents)
    sys.modules[name] = package
    return package
