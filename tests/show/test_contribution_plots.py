"""Pictures of contributions: where bars begin and end, what shares a bar, and what is named."""

from __future__ import annotations

import numpy as np
import pytest

from dask_dl.show.contribution_plots import DOWN, MAX_INPUTS, UP, plot_means, plot_row

matplotlib = pytest.importorskip("matplotlib")
from matplotlib.colors import to_rgba  # noqa: E402  # without matplotlib there is none
from matplotlib.figure import Figure  # noqa: E402


def axes():
    return Figure(layout="constrained").subplots()


def ticks(ax):
    return [tick.get_text() for tick in ax.get_yticklabels()]


def test_bars_lead_from_the_background_to_the_row():
    ax = plot_row(np.array([1.0, -3.0, 0.5]), 10.0, ["a = 1", "b = 2", "c = 3"], "the prediction", "a title", axes())
    assert ticks(ax) == ["b = 2", "a = 1", "c = 3"]
    edges = [(bar.get_x(), bar.get_x() + bar.get_width()) for bar in ax.patches]
    assert [{round(x, 6) for x in edge} for edge in edges] == [{10.0, 7.0}, {7.0, 8.0}, {8.0, 8.5}]
    assert [bar.get_facecolor() for bar in ax.patches] == [to_rgba(color) for color in (DOWN, UP, UP)]
    assert [line.get_label() for line in ax.get_lines()] == ["background: 10", "this row: 8.5"]
    assert ax.get_xlabel() == "the prediction" and ax.get_title() == "a title"
    assert ax.get_xlim()[0] < 7 and ax.get_xlim()[1] > 10
    assert [text.get_text() for text in ax.texts] == ["-3", "+1", "+0.5"]


def test_small_contributions_share_a_bar():
    values = np.arange(30.0, 0.0, -1.0)
    ax = plot_row(values, 0.0, [f"x{k}" for k in range(30)], "the prediction", ax=axes())
    n = MAX_INPUTS - 1
    assert ticks(ax) == [*(f"x{k}" for k in range(n)), f"{30 - n} others"]
    assert ax.patches[-1].get_width() == values[n:].sum()
    assert len(plot_row(values[:MAX_INPUTS], 0.0, ["x"] * MAX_INPUTS, "", ax=axes()).patches) == MAX_INPUTS


def test_a_row_like_its_background_is_drawn():
    ax = plot_row(np.zeros(2), 1.0, ["a", "b"], "the prediction", ax=axes())
    assert ax.get_xlim()[0] < 1 < ax.get_xlim()[1]


def test_of_many_columns_the_largest_are_drawn():
    means = np.arange(30.0)
    ax = plot_means(means, [f"x{k}" for k in range(29)] + ["x" * 50], "the prediction", "a sample", axes())
    assert [bar.get_width() for bar in ax.patches] == means[::-1][:MAX_INPUTS].tolist()
    assert ax.get_title() == "the 20 largest of 30\na sample" and ticks(ax)[0] == "x" * 37 + "..."
    assert ax.get_xlabel() == "mean absolute contribution to the prediction"
