"""Write the page of parameters: python -m dask_dl.parameters > docs/parameters.md."""

from __future__ import annotations

import sys

from dask_dl.parameters.render import document

sys.stdout.write(document())
