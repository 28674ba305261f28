"""Sphinx configuration: strict, with the notebooks executed by the build."""

import sys
from importlib.metadata import version as version_of
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent / "tests")]  # what is planted is listed

project = "dualform"
author = "The dualform authors"
project_copyright = "2026, The dualform authors"
version = release = version_of("dualform")

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "sphinxcontrib.bibtex",
    "myst_nb",
    "docstring_math",
    "generated_pages",
    "notebook_pages",
]
exclude_patterns = ["_build", "_generated", "**.ipynb_checkpoints"]
default_role = "code"  # docstrings are written with single backticks

myst_enable_extensions = ["amsmath", "dollarmath", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints = "signature"
python_maximum_signature_line_length = 100
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_custom_sections = ["Cost"]

bibtex_bibfiles = ["refs.bib"]
bibtex_default_style = "plain"

# A notebook that fails, or that a setting keeps from running, must not leave a green build behind.
nb_execution_mode = "cache"
nb_execution_raise_on_error = True
nb_execution_timeout = 120
nb_merge_streams = True

html_theme = "furo"
html_title = f"dualform {release}"
