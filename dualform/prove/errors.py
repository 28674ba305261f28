"""What the engine raises, each with the primitive and the line of the user's program that it comes from."""

import os
import re

import jax

HERE = os.path.dirname(os.path.abspath(__file__))
JAX = os.path.dirname(os.path.abspath(jax.__file__))
WRITTEN = (os.path.join(HERE, "lowered.py"), os.path.join(os.path.dirname(HERE), "_jax.py"))
"""Where the engine writes a primitive out: what happens in there happens on the line of the primitive."""
NOWHERE = "a line that JAX did not record"


class ProofError(ValueError):
    """The program cannot be evaluated in the chosen arithmetic; the message says why and where."""


class UnsupportedPrimitive(ProofError):
    """A primitive has no meaning in the chosen arithmetic."""


class ZeroDenominator(ProofError):
    """A draw hit the zero of a denominator; another draw may not."""


def where(eqn) -> str:
    """The user's source line of an equation (or None): the innermost frame outside JAX and the engine."""
    traceback = None if eqn is None else eqn.source_info.traceback
    frames = list(traceback.frames) if traceback is not None else []
    for frame in frames:
        if frame.file_name in WRITTEN:
            return NOWHERE
        if not frame.file_name.startswith((JAX, HERE, "<frozen")):
            return f"{frame.file_name}:{frame.line_num} in {frame.function_name}"
    return NOWHERE


def placed(error: ProofError, eqn) -> ProofError:
    """The error with the line of an enclosing equation, where its own has none (it lies inside a function of JAX)."""
    message, line = str(error), where(eqn)
    return type(error)(message.replace(NOWHERE, line)) if NOWHERE in message and line != NOWHERE else error


def first_line(error: Exception) -> str:
    """An exception of anybody in one line: its first, or where it quotes a traceback what that ends with."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    quoted = [line for line in lines if re.match(r"[\w.]+(Error|Exception|Warning)\b", line)]
    if "Traceback" in str(error) and quoted:
        return quoted[-1]
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"


def unsupported(eqn, arithmetic: str, why: str = "") -> UnsupportedPrimitive:
    """The error for a primitive that `arithmetic` cannot evaluate."""
    reason = f": {why}" if why else ""
    return UnsupportedPrimitive(
        f"primitive '{eqn.primitive.name}' has no meaning in {arithmetic} arithmetic{reason} ({where(eqn)})"
    )
