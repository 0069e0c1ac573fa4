"""Every parameter in one table, and everything that is derived from it.

Validation, the effective values, the page of parameters, the estimators' docstrings and the command line follow from `TABLE`,
`CONFLICTS` and `NO_EFFECT`. What to answer to the names of other libraries is in `synonyms`. Imports only the standard
library, and at once.
"""

from __future__ import annotations

from dask_dl.parameters.checks import (
    constructor_defaults,
    effective,
    outputs_of,
    prepared,
    refuse_names,
    validate,
    warnings_for,
)
from dask_dl.parameters.kinds import show
from dask_dl.parameters.render import document, numpydoc
from dask_dl.parameters.restart import Restarted, restarted
from dask_dl.parameters.rules import CONFLICTS, NO_EFFECT
from dask_dl.parameters.table import ARRAYS, OBJECTS, RESTART, TABLE, Parameter, Task

__all__ = [
    "ARRAYS",
    "CONFLICTS",
    "NO_EFFECT",
    "OBJECTS",
    "RESTART",
    "TABLE",
    "Parameter",
    "Restarted",
    "Task",
    "constructor_defaults",
    "document",
    "effective",
    "numpydoc",
    "outputs_of",
    "prepared",
    "refuse_names",
    "restarted",
    "show",
    "validate",
    "warnings_for",
]
