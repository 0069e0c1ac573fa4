"""Pictures of a search."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from dask_dl.errors import ParameterError
from dask_dl.show.search_plots import plot_curves, plot_parallel_coordinates, plot_parameters

pytest.importorskip("matplotlib")

TABLE = pd.DataFrame(
    {
        "hidden": [[5], [10, 5], [5], [300]],
        "l1": [1e-6, 1e-3, 1e-4, 1e-5],
        "rho": [0.9, 0.95, 0.99, 0.999],
        "activation": ["tanh", "tanh", None, math.nan],
        "logloss": [0.1, 0.2, 0.3, 0.4],
    }
)
NAMES = ["hidden", "l1", "rho", "activation"]


def history(*values):
    events = [SimpleNamespace(epochs=k + 1.0, value=lambda *_, v=v: v) for k, v in enumerate(values)]
    return SimpleNamespace(table="validation", events=events)


def test_a_picture_for_each_parameter():
    figure = plot_parameters(TABLE, NAMES, "logloss")
    axes = [ax for ax in figure.axes if ax.get_visible()]
    assert [ax.get_xlabel() for ax in axes] == NAMES
    assert [ax.get_xscale() for ax in axes] == ["linear", "log", "linear", "linear"]
    words = [text.get_text() for text in axes[0].get_xticklabels()]
    assert words == ["[10, 5]", "[300]", "[5]"]
    assert [text.get_text() for text in axes[3].get_xticklabels()] == ["default", "tanh"]
    points = axes[1].collections[0].get_offsets()
    np.testing.assert_allclose(points, TABLE[["l1", "logloss"]])
    best = axes[1].collections[1].get_offsets()
    np.testing.assert_allclose(best, [[1e-6, 0.1]])


def test_lines_run_through_all_parameters_to_the_metric():
    ax = plot_parallel_coordinates(TABLE, NAMES, "logloss")
    assert [text.get_text() for text in ax.get_xticklabels()] == [*NAMES, "logloss"]
    lines = [line for line in ax.lines if len(line.get_xdata()) == 5]
    assert len(lines) == 4
    last = lines[-1].get_ydata()  # the best is drawn last
    assert last[1] == 0.0 and last[-1] == 0.0
    np.testing.assert_allclose(sorted(line.get_ydata()[1] for line in lines), [0, 1 / 3, 2 / 3, 1])


def test_one_candidate_is_a_picture_too():
    plot_parameters(TABLE.iloc[:1], NAMES, "logloss")
    plot_parallel_coordinates(TABLE.iloc[:1], NAMES, "logloss")


def test_the_best_curve_is_thick_and_on_top():
    ax = plot_curves({0: history(3.0, 2.0), 1: history(2.0, 1.0, 0.5), 2: history(math.nan)}, [1, 0, 2], "logloss")
    assert len(ax.lines) == 2
    thick = max(ax.lines, key=lambda line: line.get_linewidth())
    np.testing.assert_allclose(thick.get_ydata(), [2.0, 1.0, 0.5])
    assert ax.get_ylabel() == "validation logloss"
    assert {text.get_text() for text in ax.get_legend().get_texts()} == {"candidate 1, the best", "others"}


def test_nothing_to_draw_is_said():
    with pytest.raises(ParameterError, match="no candidate was trained"):
        plot_parameters(TABLE.iloc[:0], NAMES, "logloss")
    with pytest.raises(ParameterError, match="metric='auc': no candidate has a history"):
        plot_curves({0: history(math.nan)}, [0], "auc")
