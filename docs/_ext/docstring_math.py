r"""Read docstrings as they are written: $...$ and $$...$$ for mathematics, `x` for code, indented blocks for listings.

Docstrings are read far more often in an editor than on a page, so they carry no reStructuredText. This translates them
before napoleon sees them. `\tag{L1}` needs an environment of its own, for Sphinx's default one splits lines.
"""

import re

# In order: doctests stay as they are; code; displayed equations; equations in a line; what reStructuredText would read
# as markup (a substitution |x|, a reference x_, emphasis *x*) and a mathematician does not.
TOKENS = re.compile(
    r"(?P<doctest>^[ ]*>>>.*(?:\n[ ]*\S.*)*)"
    r"|(?P<ticks>`{1,2})(?P<code>.+?)(?P=ticks)(?P<joined>\w?)"
    r"|^(?P<indent>[ ]*)(?P<before>[^\n$]*?)\$\$(?P<display>.+?)\$\$[ ]*(?P<after>[.,;:]?)"
    r"|\$(?P<inline>[^$]+?)\$"
    r"|(?P<markup>\||\*|(?<=\w)_(?!\w))",
    re.MULTILINE | re.DOTALL,
)


def translate(text: str) -> str:
    """The docstring in reStructuredText."""
    out, previous = [], ""
    for block in re.split(r"(\n[ ]*(?:\n[ ]*)*\n)", text):
        if block.strip():
            is_listing = _indent(block) >= _indent(previous) + 4 and previous.strip() and ">>>" not in block
            out.append(_listing(block) if is_listing and "$$" not in block else TOKENS.sub(_token, block))
            previous = block if is_listing else block.splitlines()[-1]
        else:
            out.append(block)
    return "".join(out)


def _indent(block: str) -> int:
    line = next((line for line in block.splitlines() if line.strip()), "")
    return len(line) - len(line.lstrip())


def _listing(block: str) -> str:
    return " " * (_indent(block) - 4) + "::\n\n" + block


def _token(match: re.Match) -> str:
    if match["doctest"] is not None:
        return match["doctest"]
    if match["code"] is not None:
        return f"``{match['code']}``" + (f"\\ {match['joined']}" if match["joined"] else "")
    if match["inline"] is not None:
        return f":math:`{' '.join(match['inline'].split())}`"
    if match["markup"] is not None:
        return "\\" + match["markup"]
    indent, before = match["indent"], match["before"].rstrip()
    lines = [line.strip() for line in (match["display"].strip() + match["after"]).splitlines() if line.strip()]
    body = "\n".join(f"{indent}   {line}" for line in ["\\begin{equation*}", *lines, "\\end{equation*}"])
    lead = f"{indent}{before}\n\n" if before else "\n"
    return f"{lead}{indent}.. math::\n{indent}   :nowrap:\n\n{body}\n"


def process(app, what, name, obj, options, lines):
    """Sphinx's hook: replace the lines in place."""
    lines[:] = translate("\n".join(lines)).split("\n")


def short_types(app, what, name, obj, options, signature, returns):
    """Sphinx's hook: `Array` where the signature says in which private module JAX keeps it."""
    return tuple(text and text.replace("jaxlib._jax.Array", "Array") for text in (signature, returns))


def setup(app):
    """Register before napoleon, whose priority is 500."""
    app.connect("autodoc-process-docstring", process, priority=400)
    app.connect("autodoc-process-signature", short_types)
    return {"version": "1", "parallel_read_safe": True}
