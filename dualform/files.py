"""Output files: written beside their place and renamed, so that an interrupted run leaves no half a file."""

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any


def replace(path: str | os.PathLike, write: Callable[[Path], None]) -> Path:
    """Calls `write` with a temporary path of the same suffix in the same folder, then renames.

    Raises:
        ValueError: the folder does not exist or cannot be written to.
    """
    target = Path(path)
    if not target.parent.is_dir():
        raise ValueError(f"{target}: the folder {target.parent} does not exist; make it first")
    try:
        handle, name = tempfile.mkstemp(prefix=f".{target.stem}-", suffix=target.suffix, dir=target.parent)
    except OSError as reason:
        raise ValueError(f"{target}: cannot write to the folder {target.parent}: {reason.strerror}") from reason
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    return target


def write_json(path: str | os.PathLike, data: Any) -> Path:
    """Data as indented JSON.

    Raises:
        ValueError: numbers that are not finite, or a folder that cannot be written to.
    """
    text = json.dumps(data, indent=2, allow_nan=False) + "\n"

    def write(temporary: Path) -> None:
        temporary.write_text(text)

    return replace(path, write)
