"""Pictures of errors and codes: what is sorted, marked, labelled and colored, and what many inputs and levels share."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from dask_dl.show.reconstruction_plots import (
    GRAYS,
    MAX_INPUTS,
    MAX_LEVELS,
    in_two_dimensions,
    levels_shown,
    plot_anomaly,
    plot_anomaly_by_feature,
    plot_codes,
)

matplotlib = pytest.importorskip("matplotlib")
from matplotlib.figure import Figure  # noqa: E402  # without matplotlib there is none


def axes():
    return Figure(layout="constrained").subplots()


@pytest.mark.parametrize(("most", "scale"), [(3.0, "linear"), (1000.0, "log")])
def test_an_axis_is_logarithmic_where_usual_errors_would_lie_on_it(most, scale):
    ax = plot_anomaly(np.array([1.0, most, 2.0, 1.5]), 0.7, ax=axes())
    assert ax.get_yscale() == scale
    assert [line.get_label() for line in ax.get_lines()][1:] == ["1 row above", f"quantile 0.7: {ax_threshold(ax):.4g}"]


def ax_threshold(ax):
    return ax.get_lines()[2].get_ydata()[0]


def test_errors_of_zero_have_no_logarithm():
    assert plot_anomaly(np.array([0.0, 0.0, 9.0]), 0.5, ax=axes()).get_yscale() == "linear"


def test_of_many_inputs_the_largest_are_drawn():
    means = np.arange(30.0)
    ax = plot_anomaly_by_feature(means, [f"input {k}" for k in range(29)] + ["x" * 50], "a sample", axes())
    assert [bar.get_width() for bar in ax.patches] == means[::-1][:MAX_INPUTS].tolist()
    assert ax.get_title() == "the 20 largest of 30 inputs\na sample"
    assert ax.get_yticklabels()[0].get_text() == "x" * 37 + "..."


@pytest.mark.parametrize("n", [3, 10, 15])
def test_levels_differ_in_color(n):
    """Beside those that are missing, which are gray."""
    column = pd.Series([f"level {k:02}" for k in range(n)] + [None], name="kind")
    ax = plot_codes(np.arange(2.0 * n + 2).reshape(-1, 2), ["u", "v"], column, ax=axes())
    assert [part.get_label() for part in ax.collections] == ["missing", *column[:n]]
    assert len({tuple(part.get_facecolor()[0]) for part in ax.collections}) == n + 1


def test_one_unit_is_drawn_by_its_ranks():
    places, labels = in_two_dimensions(np.array([[3.0], [1.0], [2.0]]), ["DF.L1.C1"])
    np.testing.assert_allclose(places, [[3, 2.5 / 3], [1, 0.5 / 3], [2, 1.5 / 3]])
    assert labels[0] == "DF.L1.C1"


@pytest.mark.parametrize("n", [1, 3])
def test_codes_that_are_all_equal_are_drawn(n):
    places, _ = in_two_dimensions(np.ones((n, 4)), list("abcd"))
    assert (places == 0).all() and places.shape == (n, 2)


def test_rare_levels_share_a_color():
    column = pd.Series([f"level {k:02}" for k in range(30) for _ in range(1 + k)] + [None])
    shown = levels_shown(column)
    largest = {f"level {k:02}" for k in range(30 - MAX_LEVELS, 30)}
    assert {*shown} == largest | {*GRAYS} and shown[-1] == "missing"
    assert (shown == "other levels").sum() == sum(range(1, 31 - MAX_LEVELS))
