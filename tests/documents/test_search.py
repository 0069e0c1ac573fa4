"""The JSON of a search's folder."""

from __future__ import annotations

import msgspec
import pytest

from dask_dl.checkpoint.codec import decode
from dask_dl.documents.search import CandidateDocument, SearchDocument
from dask_dl.errors import ArchiveError


def test_documents_come_back():
    search = SearchDocument(task="regression", seed=3, metric="mae", tables={"k": {"training": (1, 2**64 - 1)}})
    candidate = CandidateDocument(values=(0.5, None, "infinity"), seconds=1.5, chosen="l1=0.5")
    for document in (search, candidate):
        assert decode(msgspec.json.encode(document), type(document), "here") == document


@pytest.mark.parametrize(
    "text",
    [
        b'{"task": "painting", "seed": 1, "metric": "mae"}',
        b'{"task": "regression", "seed": -1, "metric": "mae"}',
        b'{"task": "regression", "seed": 1, "metric": "mae", "more": 1}',
        b'{"task": "regression", "seed": 1, "metric": "mae", "tables": {"k": {"training": [1e300]}}}',
    ],
)
def test_others_are_refused(text):
    with pytest.raises(ArchiveError, match="here"):
        decode(text, SearchDocument, "here")
