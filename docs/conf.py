"""Settings of the documentation: Sphinx with MyST, as the pages are Markdown and the docstrings numpydoc."""

from __future__ import annotations

from dask_dl import __version__

project, author, release = "dask_dl", "The dask_dl developers", __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinxcontrib.mermaid"]
exclude_patterns = ["_build"]

myst_heading_anchors = 4  # as on GitHub
myst_fence_as_directive = ["mermaid"]  # as on GitHub

smartquotes = False

html_theme = "furo"
html_title = "dask_dl"

default_role = "literal"  # a word in single backticks of a docstring is code
autodoc_typehints = "none"  # types are in the docstrings
napoleon_google_docstring = False
napoleon_use_param = napoleon_use_rtype = False  # types are prose, not links
nitpick_ignore = [("py:class", "ndarray")]
maximum_signature_line_length = 100
