"""Long trainings in slices: progress, losses, and checkpoints from which an interrupted run goes on bit for bit.

A training is a state (any tree of arrays: weights, the optimiser's memory) and a compiled function that takes it some
steps further. What is random in step $t$ must follow from $t$ alone, e.g. by `jax.random.fold_in(key, t)`; then a run
that was stopped after any slice and resumed is the run that was not stopped.

A checkpoint is one .npz file: the arrays of the state by their place in the tree, the losses so far, and the settings
of the run as JSON. It is written beside its place and renamed, and it is refused by a run of other settings.
"""

import json
import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from dualform import _check, files


class Run(NamedTuple):
    """Where a training has got to."""

    state: Any  # a tree of arrays
    losses: np.ndarray  # [step] one number for each step so far

    @property
    def step(self) -> int:
        """Steps done."""
        return len(self.losses)


def save(path: str | os.PathLike, run: Run, config: Mapping[str, Any]) -> Path:
    """Writes a checkpoint, so that an interrupted write leaves the old one.

    Args:
        path: file name, ending in .npz.
        run: state and losses.
        config: settings of the run, anything that JSON can hold.

    Returns:
        The path.

    Raises:
        ValueError: another suffix, settings that JSON cannot hold, dtypes that numpy does not have, or a folder that
            cannot be written to.
    """
    arrays = {name: np.asarray(x) for name, x in _named(run.state).items()}
    if odd := [name for name, x in arrays.items() if x.dtype.kind not in "fiub"]:
        raise ValueError(f"state: got dtype {arrays[odd[0]].dtype} at {odd[0]}, expected numbers that numpy has")
    if Path(path).suffix != ".npz":
        raise ValueError(f"path: got {path}, expected a name that ends in .npz")

    stored: dict[str, Any] = {"config": _json(config), "losses": run.losses}
    stored |= {f"state{name}": x for name, x in arrays.items()}

    def write(temporary: Path) -> None:
        np.savez(temporary, **stored)

    return files.replace(path, write)


def load(path: str | os.PathLike, like: Any, config: Mapping[str, Any]) -> Run:
    """Reads a checkpoint of a run with these settings.

    Args:
        path: what `save` wrote.
        like: a state of the same structure, e.g. the initial one.
        config: settings, which must be those of the checkpoint.

    Returns:
        State and losses.

    Raises:
        ValueError: not a checkpoint, one of other settings, or one whose arrays have other names, shapes or dtypes.
    """
    stored = read(path)
    known, asked = json.loads(str(stored["config"])), json.loads(_json(config))
    if other := [k for k in dict.fromkeys([*known, *asked]) if known.get(k, "none") != asked.get(k, "none")]:
        difference = ", ".join(f"{k} = {known.get(k, 'none')} (here {asked.get(k, 'none')})" for k in other)
        raise ValueError(f"{path}: got a checkpoint with {difference}; use its settings, or another file")
    expected = {f"state{k}": (np.shape(x), np.dtype(x.dtype)) for k, x in _named(like).items()}
    found = {k: (x.shape, x.dtype) for k, x in stored.items() if k.startswith("state")}
    if found != expected:
        name = next(k for k in (*expected, *found) if found.get(k) != expected.get(k))
        raise ValueError(f"{path}: got {found.get(name)} at {name}, expected {expected.get(name)}; use another file")
    leaves = [jax.numpy.asarray(stored[name]) for name in expected]
    return Run(jax.tree.unflatten(jax.tree.structure(like), leaves), stored["losses"])


def read(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The arrays of a checkpoint by name: "config", "losses", and "state..." for those of the state.

    Raises:
        ValueError: not a checkpoint.
    """
    try:
        with open(path, "rb") as handle, np.load(handle, allow_pickle=False) as file:
            stored = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as reason:
        raise ValueError(f"{path}: got {reason}, expected a checkpoint; remove the file or name another") from reason
    if missing := {"config", "losses"} - set(stored):
        raise ValueError(f"{path}: got no {', '.join(sorted(missing))}, expected a checkpoint; name another file")
    return stored


def load_part(path: str | os.PathLike, like: Any, index: int) -> Any:
    """One part of a state that is a tuple, such as the weights without the optimiser's memory.

    Args:
        path: what `save` wrote.
        like: a tree of the structure and shapes of that part.
        index: its place in the tuple.

    Returns:
        The part.

    Raises:
        ValueError: not a checkpoint, or one whose arrays have other names or shapes.
    """
    stored, leaves = read(path), []
    for name, leaf in _named(like).items():
        found = stored.get(f"state[{index}]{name}")
        if found is None or found.shape != np.shape(leaf):
            got = "nothing" if found is None else f"shape {found.shape}"
            raise ValueError(f"{path}: got {got} at [{index}]{name}, expected {np.shape(leaf)}; use another file")
        leaves.append(jax.numpy.asarray(found))
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def run_slices(
    advance: Callable[[Any, int, int], tuple[Any, Any]],
    state: Any,
    steps: int,
    *,
    size: int = 50,
    path: str | os.PathLike | None = None,
    config: Mapping[str, Any] | None = None,
    every: int = 10,
    progress: Callable[[int, int, float], None] | None = None,
) -> Run:
    """Trains for a number of steps, slice by slice; from the checkpoint, if there is one.

    Args:
        advance: called with (state, first, count), returns the state after steps first, ..., first + count - 1, and
            their losses `[count]`. What is random in a step must follow from its number.
        state: the initial state, a tree of arrays.
        steps: in all, those of the checkpoint included.
        size: steps a slice; `count` is smaller only in the last one.
        path: checkpoint file, .npz; none if None.
        config: settings of the run, kept in the checkpoint; a checkpoint of other settings is refused. Whatever changes
            a step belongs here, also the number of steps if the learning rate depends on it.
        every: slices between checkpoints; one is written at the end, too.
        progress: called after each slice with (steps done, steps, mean loss of the slice).

    Returns:
        The last state and all losses.

    Raises:
        ValueError: as `load` and `save`; a checkpoint with more steps than asked for.

    >>> run = run_slices(lambda x, first, count: (x + count, np.arange(first, first + count)), np.zeros(()), 5, size=2)
    >>> print(run.state, run.losses, run.step)
    5.0 [0 1 2 3 4] 5
    """
    steps, size = _check.count("steps", steps), _check.count("size", size, 1)
    every, config = _check.count("every", every, 1), dict(config or {}) | {"slice": size}
    run = Run(state, np.zeros(0))
    if path is not None and Path(path).exists():
        run = load(path, state, config)
        if run.step > steps:
            raise ValueError(f"steps: got {steps}, expected at least the {run.step} of {path}; ask for more")
    saved, losses = run.step, [run.losses] if run.step else []
    for first in range(run.step, steps, size):
        count = min(size, steps - first)
        state, new = advance(run.state, first, count)
        losses.append(np.asarray(new))
        done, last = first + count, first + count == steps
        run = Run(state, np.concatenate(losses) if last or path is not None else run.losses)
        if path is not None and (last or done - saved >= every * size):
            save(path, run, config)
            saved = done
        if progress is not None:
            progress(done, steps, float(np.mean(losses[-1])))
    return run


def _named(tree: Any) -> dict[str, Any]:
    """The leaves by their place in the tree."""
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]}


def _json(config: Mapping[str, Any]) -> str:
    try:
        return json.dumps(dict(config), sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as reason:
        raise ValueError(f"config: got {config!r}, expected what JSON can hold ({reason})") from reason
