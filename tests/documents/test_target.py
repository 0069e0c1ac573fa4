"""JSON of targets, read by the head of their task."""

from __future__ import annotations

import pytest
from msgspec import convert

from dask_dl.documents.target import TargetDocument
from dask_dl.tasks import HEADS, Classes, Numbers, Reconstruction


@pytest.mark.parametrize("task", [*HEADS])
def test_a_document_is_read_by_the_head_of_its_task(task):
    head = {
        "classification": Classes(("a", "b"), (0.5, 2.0)),
        "regression": Numbers(3.0, 0.5, is_standardized=True),
        "autoencoder": Reconstruction(),
    }[task]
    assert convert(head.to_json(), TargetDocument).head(task) == head
    for other in (Classes(("a", "b")), Numbers(3.0, 0.5, is_standardized=True)):
        if other.task != task:  # the document says more than this head knows
            with pytest.raises(ValueError, match="do not belong together"):
                convert(other.to_json(), TargetDocument).head(task)
