"""Random expressions over square matrices, and rewrites that leave them equal.

An expression is a nested tuple: ("var", "x"), ("const", "0.3"), or (operation, arguments...). All values are [N, N];
`@` and `.T` act on matrices, everything else element by element.
"""

from collections.abc import Iterator

import numpy as np

N = 2
VARS = ("x", "y", "z")
CONSTANTS = ("2.0", "0.5", "-1.0", "0.3", "3.0", "-0.7", "1.5")
PATTERNS = {"tril": f"jnp.tri({N})", "eye": f"jnp.eye({N})"}

Expression = tuple


def render(e: Expression) -> str:
    """Source of an expression."""
    match e:
        case ("var", name):
            return name
        case ("const", value):
            return f"({value})"
        case ("pattern", name):
            return PATTERNS[name]
        case ("neg", a):
            return f"(-{render(a)})"
        case ("T", a):
            return f"{render(a)}.T"
        case ("square", a):
            return f"({render(a)} ** 2)"
        case ("cube", a):
            return f"({render(a)} ** 3)"
        case ("inverse", a):
            return f"({render(a)} ** -1)"
        case ("exp", a):
            return f"jnp.exp({render(a)})"
        case ("rows", a):
            return f"jnp.broadcast_to({render(a)}.sum(0), ({N}, {N}))"
        case ("flip", a):
            return f"{render(a)}[::-1]"
        case ("where", m, a, b):
            return f"jnp.where({render(m)} > 0, {render(a)}, {render(b)})"
        case (op, a, b):
            return f"({render(a)} {op} {render(b)})"
    raise ValueError(e)


def random(rng: np.random.Generator, depth: int, exp: bool) -> Expression:
    """An expression of at most the given depth; exponentials only of sums of inputs."""
    if depth == 0 or rng.random() < 0.1:
        return ("const", str(rng.choice(CONSTANTS))) if rng.random() < 0.2 else ("var", str(rng.choice(VARS)))
    sub = lambda: random(rng, depth - 1, exp)  # noqa: E731
    how = str(
        rng.choice(
            ["+", "-", "*", "/", "@", "neg", "T", "square", "cube", "rows", "flip", "where", "exp"],
            p=np.array([4, 4, 4, 1.5, 2, 1, 1, 1, 0.4, 0.7, 0.6, 0.6, 1.5 if exp else 0.0])
            / (20.8 + (1.5 if exp else 0.0)),
        )
    )
    if how == "exp":
        a, b = (("var", str(rng.choice(VARS))) for _ in range(2))
        return ("exp", (str(rng.choice(["+", "-"])), a, b))
    if how == "where":
        return ("where", ("pattern", "tril"), sub(), sub())
    if how == "@":
        return ("@", _matrix(sub()), _matrix(sub()))
    if how == "T":
        return ("T", _matrix(sub()))
    if how in ("rows", "flip"):
        return (how, _matrix(sub()))
    if how == "/":
        return ("/", sub(), ("var", str(rng.choice(VARS))))
    return (how, sub()) if how in ("neg", "square", "cube") else (how, sub(), sub())


def _matrix(e: Expression) -> Expression:
    """A constant as a matrix, where a matrix is needed."""
    return ("*", e, ("var", "x")) if is_scalar(e) else e


def is_scalar(e: Expression) -> bool:
    return e[0] == "const" or (
        e[0] not in ("var", "pattern") and all(is_scalar(a) for a in e[1:] if isinstance(a, tuple))
    )


def places(e: Expression, path: tuple = ()) -> Iterator[tuple[tuple, Expression]]:
    """Every node with its path."""
    yield path, e
    for i, a in enumerate(e[1:], 1):
        if isinstance(a, tuple):
            yield from places(a, (*path, i))


def put(e: Expression, path: tuple, new: Expression) -> Expression:
    if not path:
        return new
    return tuple(put(a, path[1:], new) if i == path[0] else a for i, a in enumerate(e))


def equals(e: Expression) -> list[Expression]:
    """What a node may be written as instead."""
    out: list[Expression] = []
    one = ("const", "1.0")
    match e:
        case ("+", a, b):
            out += [("+", b, a), ("-", a, ("neg", b))]
            if a[0] == "+":
                out.append(("+", a[1], ("+", a[2], b)))
            if a[0] == "*" and b[0] == "*" and a[1] == b[1]:
                out.append(("*", a[1], ("+", a[2], b[2])))
        case ("-", a, b):
            out += [("neg", ("-", b, a)), ("+", a, ("*", ("const", "-1.0"), b)), ("+", ("neg", b), a)]
        case ("*", a, b):
            out += [("*", b, a)]
            if a[0] in "+-":
                out.append((a[0], ("*", a[1], b), ("*", a[2], b)))
            if a[0] == "*":
                out.append(("*", a[1], ("*", a[2], b)))
            if a == b:
                out.append(("square", a))
        case ("/", a, b):
            out += [("*", a, ("inverse", b)), ("*", a, ("/", one, b)), ("neg", ("/", a, ("neg", b)))]
            if a[0] in "+-":
                out.append((a[0], ("/", a[1], b), ("/", a[2], b)))
        case ("square", a):
            out.append(("*", a, a))
            if a[0] == "+":
                mid = ("*", ("const", "2.0"), ("*", a[1], a[2]))
                out.append(("+", ("+", ("square", a[1]), mid), ("square", a[2])))
        case ("cube", a):
            out += [("*", a, ("square", a)), ("*", ("*", a, a), a)]
        case ("neg", a):
            out += [("*", ("const", "-1.0"), a), ("-", ("const", "0.0"), a)]
        case ("T", a):
            if a[0] in ("+", "-", "*"):
                if not is_scalar(a[1]) and not is_scalar(a[2]):
                    out.append((a[0], ("T", a[1]), ("T", a[2])))
            if a[0] == "@":
                out.append(("@", ("T", a[2]), ("T", a[1])))
            if a[0] == "T":
                out.append(a[1])
        case ("@", a, b):
            out.append(("T", ("@", ("T", b), ("T", a))))
            if a[0] in "+-" and len(a) == 3 and not is_scalar(a[1]) and not is_scalar(a[2]):
                out.append((a[0], ("@", a[1], b), ("@", a[2], b)))
            if a[0] == "@":
                out.append(("@", a[1], ("@", a[2], b)))
        case ("exp", a):
            if a[0] == "+":
                out.append(("*", ("exp", a[1]), ("exp", a[2])))
            if a[0] == "-":
                out += [("/", ("exp", a[1]), ("exp", a[2])), ("*", ("exp", a[1]), ("exp", ("neg", a[2])))]
            out.append(("inverse", ("exp", ("neg", a))))
        case ("rows", a):
            out.append(("rows", ("flip", a)))
            if a[0] in "+-" and len(a) == 3 and not is_scalar(a[1]) and not is_scalar(a[2]):
                out.append((a[0], ("rows", a[1]), ("rows", a[2])))
        case ("flip", a):
            if a[0] in "+-*" and len(a) == 3 and not is_scalar(a[1]) and not is_scalar(a[2]):
                out.append((a[0], ("flip", a[1]), ("flip", a[2])))
        case ("where", m, a, b):
            out.append(("+", ("*", m, a), ("*", ("-", one, m), b)))
    if not is_scalar(e) and e[0] != "pattern":
        out += [("T", ("T", e)), ("+", e, ("const", "0.0")), ("*", e, one)]
    return out


def rewritten(rng: np.random.Generator, e: Expression, steps: int) -> Expression:
    """An equal expression."""
    for _ in range(steps):
        choices = [(path, new) for path, node in places(e) for new in equals(node)]
        plain = [c for c in choices if c[1][0] not in ("T",)] or choices
        path, new = (plain if rng.random() < 0.7 else choices)[int(rng.integers(len(plain)))] if choices else ((), e)
        e = put(e, path, new)
    return e


def changed(rng: np.random.Generator, e: Expression) -> Expression | None:
    """One operation changed: nearly always another function, and the oracle decides."""
    choices: list[tuple[tuple, Expression]] = []
    for path, node in places(e):
        match node:
            case ("+", a, b):
                choices += [(path, ("-", a, b)), (path, a), (path, b)]
            case ("-", a, b):
                choices += [(path, ("+", a, b)), (path, ("-", b, a)), (path, a)]
            case ("*", a, b):
                choices += [(path, ("+", a, b)), (path, a)]
            case ("/", a, b):
                choices += [(path, ("/", b, a)), (path, ("*", a, b))]
            case ("@", a, b):
                choices += [(path, ("@", b, a)), (path, ("@", a, ("T", b))), (path, ("*", a, b))]
            case ("T", a):
                choices += [(path, a)]
            case ("square", a):
                choices += [(path, ("cube", a))]
            case ("neg", a):
                choices += [(path, a)]
            case ("exp", a):
                choices += [(path, ("exp", ("neg", a))), (path, ("+", ("const", "1.0"), a))]
            case ("flip", a):
                choices += [(path, a)]
            case ("where", m, a, b):
                choices += [(path, ("where", m, b, a)), (path, a)]
            case ("const", value):
                ulp = repr(float(np.nextafter(np.float32(value), np.float32(9))))
                choices += [(path, ("const", ulp))] * 2
            case ("var", name):
                others = [v for v in VARS if v != name]
                choices += [(path, ("var", str(rng.choice(others))))]
    if not choices:
        return None
    path, new = choices[int(rng.integers(len(choices)))]
    return put(e, path, new)
