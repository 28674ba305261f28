"""Runs batteries, each in a process of its own: `python -m judge.server`, requests and verdicts as lines of JSON.

JAX takes seconds to import, so it is imported once. It has no threads before a backend starts, which happens in the
children only; so a fork is safe. A child plants the bug, imports dualform afresh and runs the battery.

    request     {"bug": index in BUGS or null, "battery": "module.function"}
    verdict     {"verdict": "caught" | "missed" | "broken", "reason": text}

Missed means that the battery had nothing to say, as it must not where no bug is planted. A planted text that cannot be
imported, names what does not exist or does not end is broken: a mistake of the plant.
"""

import json
import os
import signal
import sys
import warnings
from importlib import import_module

MISTAKES = (SyntaxError, NameError, ImportError, TypeError)
"""Of the planted text; a judge that is only wrong raises other exceptions."""
SECONDS = 60
USED = (
    "jax", "jax.numpy", "jax.extend", "jax.extend.core", "jax.scipy.special", "jax.export", "numpy", "scipy.linalg",
    "scipy.special", "hypothesis", "hypothesis.strategies", "hypothesis.internal.conjecture.engine", "jaxtyping",
    "rich.console", "rich.table", "rich.progress", "ml_dtypes", "importlib.metadata",
)  # fmt: skip
"""What dualform and the batteries import."""


def main() -> None:
    warnings.filterwarnings("ignore", message=r".*fork\(\)")
    for name in USED:
        import_module(name)
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        print(json.dumps(ask(**json.loads(line))), flush=True)


def ask(bug: int | None, battery: str) -> dict[str, str]:
    """The verdict of a child."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.close(read)
        with os.fdopen(write, "w") as out:
            json.dump(judged(bug, battery), out)
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as said:
        text = said.read()
    os.waitpid(child, 0)
    return json.loads(text) if text else {"verdict": "broken", "reason": "the process died"}


def judged(bug: int | None, battery: str) -> dict[str, str]:
    """Plants the bug in this process and runs the battery."""
    from judge.bug import bare, plant
    from judge.bugs import BUGS

    def late(signum, frame):
        raise TimeoutError(f"the battery did not end within {SECONDS} seconds")

    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what batteries print is not for the protocol
    signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        if bug is not None:
            plant(BUGS[bug])
        bare("dualform")  # a battery imports what it judges, not all that the package offers
        module, _, function = battery.partition(".")
        run = getattr(import_module(f"judge.{module}"), function)
    except BaseException as error:
        return {"verdict": "broken", "reason": f"at import: {described(error)}"}
    try:
        run()
    except TimeoutError as error:
        return {"verdict": "broken", "reason": str(error)}
    except MISTAKES as error:
        return {"verdict": "broken", "reason": described(error)}
    except BaseException as error:
        return {"verdict": "caught", "reason": described(error)}
    return {"verdict": "missed", "reason": f"{battery} found nothing wrong"}


def described(error: BaseException) -> str:
    """An exception in one line, with the last two places that it came through."""
    places, traceback = [], error.__traceback__
    while traceback is not None:
        code = traceback.tb_frame.f_code
        places.append(f"{os.path.basename(code.co_filename)}:{traceback.tb_lineno}")
        traceback = traceback.tb_next
    text = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {text[:200]} ({' < '.join(reversed(places[-2:]))})"


if __name__ == "__main__":
    main()
