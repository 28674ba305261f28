"""Bring the notebooks of the project into the docs, and list those that the build really executed."""

import json
import shutil
from pathlib import Path

from myst_nb.sphinx_ import NbMetadataCollector
from sphinx.errors import ExtensionError


def copy_notebooks(app, config):
    """Copy ../notebooks to nb/, a file only where it changed, so that an unchanged notebook stays cached."""
    source, target = Path(app.srcdir).parent / "notebooks", Path(app.srcdir) / "nb"
    target.mkdir(exist_ok=True)
    wanted = {path.name: path for path in sorted(source.glob("*.ipynb"))}
    for stale in target.glob("*.ipynb"):
        if stale.name not in wanted:
            stale.unlink()
    for name, path in wanted.items():
        copy = target / name
        if not copy.exists() or copy.read_bytes() != path.read_bytes():
            shutil.copy2(path, copy)


def list_executed(app, exception):
    """Write executed_notebooks.json, name -> result; fail where a notebook was not executed."""
    if exception is not None or app.builder.format != "html":
        return
    expected = {f"nb/{path.stem}" for path in (Path(app.srcdir) / "nb").glob("*.ipynb")}
    executed = {name: NbMetadataCollector.get_exec_data(app.env, name) for name in expected}
    if missing := sorted(name for name, run in executed.items() if not run or not run["succeeded"]):
        raise ExtensionError(f"notebooks not executed: {', '.join(missing)}; see nb_execution_mode in conf.py")
    report = {name: {"succeeded": run["succeeded"], "runtime": run["runtime"]} for name, run in executed.items()}
    Path(app.outdir, "executed_notebooks.json").write_text(json.dumps(report, indent=2, sort_keys=True) + "\n")


def setup(app):
    """Connect both ends of a build."""
    app.connect("config-inited", copy_notebooks)
    app.connect("build-finished", list_executed)
    return {"version": "1", "parallel_read_safe": True}
