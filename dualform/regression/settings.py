"""Settings of tasks and trainings as plain data, and back, so that a checkpoint says all that it came from."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from dualform.regression import tasks


def describe(value: Any) -> Any:
    """A task, a training, or what they are made of, as data that JSON can hold.

    Args:
        value: dataclasses, arrays, functions of `tasks.FUNCTIONS`, tuples and plain values, nested.

    Returns:
        Dictionaries, with the name of a dataclass under "law", lists and plain values.

    >>> print(describe(tasks.Task(d=2))["inputs"])
    {'law': 'Gaussian', 'covariance': None}
    """
    if is_dataclass(value) and not isinstance(value, type):
        return {"law": type(value).__name__} | {f.name: describe(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, tuple | list):
        return [describe(x) for x in value]
    if hasattr(value, "shape"):
        return np.asarray(value).tolist()
    return value.__name__ if callable(value) else value


def restore(data: Any, *classes: type) -> Any:
    """The value that `describe` described.

    Args:
        data: what it returned.
        classes: dataclasses beyond those of `dualform.regression.tasks`.

    Returns:
        The value; lists of numbers become float arrays if nested, tuples if not.

    Raises:
        ValueError: a class that is not known.

    >>> print(restore(describe(tasks.Task(d=2, inputs=tasks.Uniform(0.5)))).inputs)
    Uniform(half_width=0.5)
    """
    if isinstance(data, Mapping):
        known = {c.__name__: c for c in (tasks.Task, tasks.Gaussian, tasks.Uniform, tasks.RandomDiagonal, *classes)}
        if data.get("law") not in known:
            raise ValueError(f"settings: got law {data.get('law')!r}, expected one of {', '.join(known)}")
        return known[data["law"]](**{k: restore(v, *classes) for k, v in data.items() if k != "law"})
    if isinstance(data, list):
        return np.array(data, np.float32) if data and isinstance(data[0], list) else tuple(data)
    return data
