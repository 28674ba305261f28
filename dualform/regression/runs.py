r"""The trainings that the laws (TR11) to (TR14) measure, by name, each done once and kept.

`trained("oswald_half")` trains, or takes what this process or the folder given to `use` already has; a run that was
interrupted goes on from its checkpoint. One core needs between ten seconds and a minute for each.

What theory says that they find: for normal inputs of covariance $\Lambda$, with $\Gamma$ of (RK5), and for inputs that
have another covariance in every prompt, with $A^*$ of (RK9),

$$ w_{22}\, W_{11} = \Gamma^{-1}, \qquad w_{22}\, W_{11} = A^*,                                     \tag{TR11} $$

($w_{22}$ is the last entry of $W_{PV}$, $W_{11}$ the block of $W_{KQ}$ on the inputs); for inputs uniform on $(-a, a)$,
with $p^*$ of (RK8),

$$ -[P\, V]_{d+1,\, d+1}\; [K^\top Q]_{1:d,\, 1:d} = \tfrac{p^*}{N}\, I;                          \tag{TR12} $$

for one layer that is applied twice, a loss no worse than that of two steps of gradient descent with the best correction
of the curvature, and well below that of two plain steps,

$$ L_{\text{trained}} \le L_{\text{GD++}} < L_{\text{GD}};                                         \tag{TR13} $$

and the same for two and three layers with weights of their own. Layers that can do nothing but steps of gradient
descent, with any matrix in front of the gradient, reach the best scalar steps and no more,

$$ \min_{A_1, \dots, A_L} R = \min_{\eta_1, \dots, \eta_L} R.                                      \tag{TR14} $$
"""

from collections.abc import Callable
from pathlib import Path

import jax.numpy as jnp

from dualform.regression.tasks import Gaussian, RandomDiagonal, Task, Uniform
from dualform.regression.training import Trained, Training, train

VARIANCES = (2.0, 1.0, 0.5, 0.25)


def _zhang(task: Task, **changes) -> Training:
    """One layer that reads all tokens, from balanced weights (TR6)."""
    settings = dict(include_query=True, sign=1.0, eta=5e-3, b2=0.999, schedule="cosine", balanced=True, initial=0.1)
    return Training(task, **{"examples": 20, "steps": 3000, "batch": 1024, **settings, **changes})


def _oswald(half_width: float, **changes) -> Training:
    """Keys, queries, values and projections of 11 x 11, sums over the examples without a divisor."""
    settings = dict(examples=10, matrices="four", average=False, steps=4000, batch=2048, schedule="cosine")
    return Training(Task(10, Uniform(half_width)), **{**settings, **changes})


def _ahn(depth: int, **changes) -> Training:
    """Layers of five inputs on twenty examples, d = 5."""
    settings = dict(examples=20, depth=depth, steps=6000, batch=1024, eta=1e-2, schedule="cosine", initial=0.05)
    return Training(Task(5), **{**settings, **changes})


def _named() -> dict[str, Training]:
    return {
        "short": _zhang(Task(3), examples=10, steps=400, batch=512, eta=2e-2, initial=0.3),
        "zhang_identity": _zhang(Task(5)),
        "zhang_diagonal": _zhang(Task(4, Gaussian(jnp.diag(jnp.array(VARIANCES))))),
        "zhang_random_covariance": _zhang(Task(5, RandomDiagonal()), steps=6000, batch=4096),
        "oswald_half": _oswald(0.5),
        "oswald_one": _oswald(1.0),
        "recurrent_two": _oswald(0.5, repeat=2, steps=5000, initial=0.001),
        "ahn_two": _ahn(2),
        "ahn_three": _ahn(3),
        "ahn_two_steps": _ahn(2, matrices="steps"),
        "ahn_three_steps": _ahn(3, matrices="steps"),
        "ahn_two_scalars": _ahn(2, matrices="scalars"),
        "ahn_three_scalars": _ahn(3, matrices="scalars"),
    }


NAMES = tuple(_named())

_folder: Path | None = None
_progress: Callable[[int, int, str], None] | None = None
_kept: dict[str, Trained] = {}


def use(folder: Path | None, *, progress: Callable[[int, int, str], None] | None = None) -> None:
    """Where trainings are kept from now on, and who is told how far they are.

    Args:
        folder: made if it does not exist; None for this process only.
        progress: called with (steps done, steps, what).
    """
    global _folder, _progress
    if folder is not None:
        Path(folder).mkdir(parents=True, exist_ok=True)
    _folder, _progress = None if folder is None else Path(folder), progress


def place(name: str) -> Path | None:
    """The checkpoint of a training of this name in the folder in use; None without one."""
    return None if _folder is None else _folder / f"{name}.npz"


def reporter(name: str) -> Callable[[int, int, float], None]:
    """A function that reports progress: a training calls it with (steps done, steps, loss).

    The report goes to the listener that `use` has set, and nowhere if there is none.
    """

    def report(done: int, steps: int, loss: float) -> None:
        if _progress is not None:
            _progress(done, steps, f"{name}: loss {loss:.3g}")

    return report


def training(name: str) -> Training:
    """The settings of a named training.

    Raises:
        ValueError: no such name.
    """
    if name not in NAMES:
        raise ValueError(f"name: got {name!r}, expected one of {', '.join(NAMES)}")
    return _named()[name]


def trained(name: str, progress: Callable[[int, int, str], None] | None = None) -> Trained:
    """A named training, done once in a process, and once for all with a folder in use.

    Args:
        name: one of `NAMES`.
        progress: called with (steps done, steps, what); that of `use` if None.

    Returns:
        `Trained`.

    Raises:
        ValueError: no such name, or a checkpoint of other settings in the folder.
    """
    config, told = training(name), progress or _progress
    if name not in _kept:

        def tell(done: int, steps: int, what: str) -> None:
            if told is not None:
                told(done, steps, f"{name}: {what}")

        _kept[name] = train(config, path=place(name), progress=tell)
    return _kept[name]
