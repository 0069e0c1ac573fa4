"""Write the page of parameters: python -m dask_dl.parameters > docs/reference/parameters.md."""

from __future__ import annotations

import sys

from dask_dl.parameters.render import document

sys.stdout.write(document())
