"""Heads: one for each task, and what those do to whom something means nothing."""

from __future__ import annotations

import pytest

from dask_dl.errors import ParameterError
from dask_dl.tasks import HEADS, Classes, Numbers, Reconstruction


def test_every_task_has_its_head():
    assert {task: head.task for task, head in HEADS.items()} == {task: task for task in HEADS}
    assert [*HEADS] == ["classification", "regression", "autoencoder"]


@pytest.mark.parametrize("head", [Numbers(), Reconstruction(), Classes(("a", "b", "c"))])
def test_only_two_classes_have_a_threshold(head):
    with pytest.raises(ParameterError, match="only a model of two classes has one; leave it out"):
        head.with_threshold(0.5)


def test_what_a_task_knows_nothing_of_stays_as_it_is():
    head = Reconstruction()
    assert head.corrected([2.0]) is head is head.rescaled(3.0, 4.0)
    assert head.encoded_residual(3.0) == 3.0 and head.start_of_bias(5.0, has_offset=True) == 0.0
    assert head.numbers is None and not head.has_unseen({"never": 1}) and not head.has_text_labels
