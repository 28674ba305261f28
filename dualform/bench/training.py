"""How fast a layer of linear self-attention trains, beside the same training written in PyTorch.

The model is that of von Oswald et al.: ten inputs, ten examples, keys, queries, values and a projection of 11 x 11,
2,048 fresh prompts a step, Adam with a clipped gradient. Every program draws its own prompts, for that is part of a
step. They run in turns in one process, slices of `STEPS` steps each, and are compared by their best slice; before that
all compute the loss of one batch with one set of weights, which must agree.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from dualform.bench import timing

D, N, B, STEPS = 10, 10, 2048, 50
AGREES = 1e-4
"""Largest relative difference of the losses of two programs that train the same model."""

Row = dict[str, Any]


def bench_training(
    *, threads: Sequence[int] = (1,), seconds: float = 10.0, with_peers: bool = True, progress=None
) -> dict:
    """Times the training in a process of its own for each number of threads.

    Args:
        threads: 1 is pinned to one processor.
        seconds: for the rounds of each process.
        with_peers: time PyTorch, if it is installed.
        progress: called with (done, total, what).

    Returns:
        Plain data: versions, settings, and a row for each program and number of threads.

    Raises:
        RuntimeError: a process failed; its own message is given.

    Cost: compilation (20 s with PyTorch) and `seconds` for each.
    """
    rows: list[Row] = []
    for i, count in enumerate(threads):
        if progress is not None:
            progress(i, len(threads), f"training, {count} threads")
        rows += _rows({"threads": count, "seconds": seconds, "peers": with_peers})
    if progress is not None:
        progress(len(threads), len(threads), "done")
    settings = {"inputs": D, "examples": N, "batch": B, "steps_a_slice": STEPS, "seconds": seconds}
    return {"dualform": version("dualform"), "versions": _versions(), "settings": settings, "training": rows}


def _versions() -> dict[str, str]:
    found = {}
    for package in ("jax", "jaxlib", "optax", "torch"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _rows(task: dict) -> Iterator[Row]:
    environment = {**os.environ, "OMP_NUM_THREADS": str(task["threads"])}
    done = subprocess.run(
        [sys.executable, "-m", "dualform.bench.training"], input=json.dumps(task),
        capture_output=True, text=True, env=environment, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"training failed:\n{done.stderr[-2000:]}")
    yield from (json.loads(line) for line in done.stdout.splitlines() if line.startswith("{"))


def tables(report: dict) -> Iterator[tuple[str, tuple[str, ...], list[tuple[str, ...]]]]:
    """(title, columns, rows) for each number of threads."""
    for threads in dict.fromkeys(row["threads"] for row in report["training"]):
        rows = [row for row in report["training"] if row["threads"] == threads]
        title = f"training of one layer, {threads} thread{'s' if threads > 1 else ', pinned'}, batch {B}"
        yield title, ("program", "best ms a step", "median ms", "steps/s", "ours is faster by", "loss differs"), [
            (row["subject"], f"{row['best_ms']:.2f}", f"{row['median_ms']:.2f}", f"{row['steps_per_second']:.0f}",
             f"{row['ratio']:.1f}", f"{row['differs']:.0e}") for row in rows
        ]  # fmt: skip


# --- in a process of its own ------------------------------------------------------------------------------------------


def main() -> None:
    """Reads a task, prints a line for each program."""
    task = json.load(sys.stdin)
    if task["threads"] == 1:  # before any backend counts its processors
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    rng = np.random.default_rng(0)
    weights = {name: rng.normal(0, 0.1, (D + 1, D + 1)).astype(np.float32) for name in "KQVP"}
    x, w = rng.uniform(-0.5, 0.5, (B, N + 1, D)).astype(np.float32), rng.standard_normal((B, D), np.float32)
    subjects = {"dualform": ours} | (peers(task["threads"]) if task["peers"] else {})
    made = {name: make(weights) for name, make in subjects.items()}
    loss = {name: float(of_batch(x, w)) for name, (_, of_batch) in made.items()}
    times = timing.in_turns({name: run for name, (run, _) in made.items()}, seconds=task["seconds"])
    for name, found in times.items():
        best, median = found.best / STEPS, found.median / STEPS
        print(json.dumps({
            "subject": name, "threads": task["threads"], "best_ms": best, "median_ms": median, "rounds": found.rounds,
            "steps_per_second": 1e3 / best, "ratio": best * STEPS / times["dualform"].best,
            "differs": abs(loss[name] / loss["dualform"] - 1),
        }), flush=True)  # fmt: skip


Made = tuple[Callable[[], Any], Callable[[np.ndarray, np.ndarray], Any]]
"""A slice of steps, and the loss of a batch of inputs [B, N+1, D] and tasks [B, D] at the given weights."""


def ours(weights: dict[str, np.ndarray]) -> Made:
    """The library's own training."""
    import jax
    import jax.numpy as jnp

    from dualform.regression import batches, training
    from dualform.regression.tasks import Task, Uniform

    config = training.Training(
        Task(D, Uniform(0.5)), N, matrices="four", average=False, sign=1.0, batch=B, steps=STEPS
    )  # fmt: skip
    given = {name: jnp.asarray(W)[None, None] for name, W in weights.items()}
    slice_of, start = training.compiled(config), training.state(config)

    def of_batch(x, w):
        y = np.einsum("bnd,bd->nb", x, w)
        drawn = batches.Batch(x[:, :-1].transpose(2, 1, 0), y[:-1], x[:, -1].T, y[-1], w.T, jnp.eye(D))
        return training.batch_loss(config, given, drawn)

    return lambda: jax.block_until_ready(slice_of(start, jnp.arange(STEPS, dtype=jnp.uint32))), of_batch


def peers(threads: int) -> dict[str, Callable[[dict], Made]]:
    """The same in PyTorch, where it is installed: as one writes it, and what its compiler makes of that."""
    try:
        import torch
    except ImportError:
        return {}
    torch.set_num_threads(threads)
    found = {"torch: whole layer": _torch(torch, whole_layer), "torch: query only": _torch(torch, query_only)}
    try:
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.compile(lambda x: x + 1)(torch.ones(1))
    except Exception:  # no compiler on this machine
        return found
    return {**found, "torch: query only, torch.compile": _torch(torch, query_only, torch.compile)}


def whole_layer(K, Q, V, P, tokens):
    """The layer as it is defined, all tokens updated."""
    keys, values, queries = tokens[:, :-1] @ K.T, tokens[:, :-1] @ V.T, tokens @ Q.T
    return (tokens + (queries @ keys.transpose(1, 2) @ values) @ P.T)[:, -1, -1]


def query_only(K, Q, V, P, tokens):
    """The query's token alone."""
    keys, values, queries = tokens[:, :-1] @ K.T, tokens[:, :-1] @ V.T, tokens[:, -1:] @ Q.T
    return (tokens[:, -1:] + (queries @ keys.transpose(1, 2) @ values) @ P.T)[:, 0, -1]


def _torch(torch, predict, compiled=lambda f: f):
    def make(weights) -> Made:
        parameters = [torch.nn.Parameter(torch.from_numpy(weights[name].copy())) for name in "KQVP"]
        optimiser = torch.optim.Adam(parameters, lr=1e-3, betas=(0.9, 0.98))

        def loss_of(x, w):
            y = torch.einsum("bnd,bd->bn", x, w)
            labels = torch.cat([y[:, :-1], torch.zeros_like(y[:, -1:])], 1)
            said = predict(*parameters, torch.cat([x, labels[..., None]], 2))
            return 0.5 * ((said - y[:, -1]) ** 2).mean()

        step_loss = compiled(loss_of)

        def run():
            for _ in range(STEPS):
                x, w = torch.rand(B, N + 1, D) - 0.5, torch.randn(B, D)
                optimiser.zero_grad()
                step_loss(x, w).backward()
                torch.nn.utils.clip_grad_norm_(parameters, 10.0)
                optimiser.step()

        def of_batch(x, w):
            with torch.no_grad():
                return loss_of(torch.from_numpy(x), torch.from_numpy(w))

        return run, of_batch

    return make


if __name__ == "__main__":
    main()
