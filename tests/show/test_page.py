"""Parts of pages: figures as people write them, and tables of a frame and of a confusion matrix."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from dask_dl.show.page import MAX_TABLE_ROWS, confusion_table, frame_table, template


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1234567, "1,234,567"),
        (3.0, "3"),
        (0.123456789, "0.123457"),
        (1e300, "1e+300"),
        (float("nan"), ""),
        (True, "True"),
        (None, "None"),
        ("a < b", "a < b"),
    ],
)
def test_a_figure_is_written_as_people_write_it(value, text):
    assert template("report.html").environment.filters["figure"](value) == text


def test_a_confusion_matrix_has_the_error_of_every_class():
    table = confusion_table(["no", 7], [[3.0, 1.0], [0.0, 0.0]])
    assert table.head == ["actual \\ predicted", "no", "7", "error"]
    assert table.rows == [("no", 3.0, 1.0, "25.0%"), (7, 0.0, 0.0, "")]


def test_an_index_with_a_name_is_a_column_and_long_tables_are_cut():
    frame = pd.DataFrame({"a": np.arange(MAX_TABLE_ROWS + 1)})
    assert frame_table(frame) == (["a"], [[k] for k in range(MAX_TABLE_ROWS)])
    assert frame_table(frame[:1].rename_axis("row")) == (["row", "a"], [[0, 0]])
