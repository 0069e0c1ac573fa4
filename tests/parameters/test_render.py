"""Documents of the parameters are those of their table."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dask_dl import parameters
from dask_dl.parameters import TABLE, constructor_defaults


def test_docs_file_is_the_table():
    path = Path(parameters.__file__).parents[2] / "docs" / "reference" / "parameters.md"
    if not path.exists():
        pytest.skip("installed without its docs")
    assert path.read_text() == parameters.document(), (
        "regenerate: python -m dask_dl.parameters > docs/reference/parameters.md"
    )


def test_document_names_every_row_once():
    own, _, _ = parameters.document().partition("## Names of other libraries")
    rows = re.findall(r"^\| `(\w+)` \|", own, re.MULTILINE)
    assert rows == list(TABLE)


def test_numpydoc_lists_the_constructors_parameters():
    lines = parameters.numpydoc().split("\n")
    assert lines[:3] == ["Parameters", "----------", "hidden : list of int >= 1, default=(200, 200)"]
    assert [line.split(" : ")[0] for line in lines[2:] if not line.startswith(" ")] == list(constructor_defaults())
