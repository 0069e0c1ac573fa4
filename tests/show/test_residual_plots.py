"""Pictures of residuals show every row of a sample, and their mean and deviation where rows are alike."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from tables import UNSCORED, make_table

from dask_dl import DeepLearningRegressor
from dask_dl.show.residual_plots import MAX_BINS, binned, plot_residuals

mpl.use("Agg")
N = 600
TABLE = make_table(N, gaps=0.1).drop(columns="label")
DAYS = pd.Timestamp("2024-01-01") + pd.to_timedelta(np.arange(N), "h")


@pytest.fixture(scope="module")
def model():
    given = UNSCORED | {"hidden": (4,), "epochs": 2, "random_state": 1, "n_jobs": 1}
    return DeepLearningRegressor(**given).fit(TABLE[["a", "b", "level", "y"]], "y")


@pytest.fixture(autouse=True)
def _no_figure_stays():
    yield
    plt.close("all")


def test_bins_have_equal_weight_and_the_moments_of_their_rows():
    random = np.random.default_rng(0)
    values, residuals, weights = random.normal(size=(3, 3_000))
    weights = np.abs(weights) + 0.1
    found = binned(values, residuals, weights)
    edges = np.quantile(values, np.linspace(0, 1, MAX_BINS + 1), method="inverted_cdf", weights=weights)
    assert len(found.mean) == MAX_BINS
    for k in (0, 7, MAX_BINS - 1):
        inside = (values >= edges[k] - 0.01) & (values <= edges[k + 1] + 0.01)
        assert found.mean[k] == pytest.approx(np.average(residuals[inside], weights=weights[inside]), abs=0.1)
        assert found.middle[k] == pytest.approx(np.average(values[inside], weights=weights[inside]), abs=0.05)
    assert np.average(found.mean, weights=None) == pytest.approx(np.average(residuals, weights=weights), abs=0.02)


def test_equal_values_are_never_parted_and_few_rows_are_one_bin():
    values = np.repeat([1.0, 2.0, 3.0], [500, 10, 90])
    found = binned(values, values * 2, np.ones(600))
    np.testing.assert_allclose(found.middle[0], 1)
    np.testing.assert_allclose(found.mean, found.middle * 2)
    assert binned(np.arange(5.0), np.arange(5.0), np.ones(5)).middle.tolist() == [2.0]
    assert binned(np.arange(5.0), np.arange(5.0), np.ones(5)).deviation.tolist() == [pytest.approx(np.sqrt(2))]


def test_residuals_are_drawn_against_predictions_and_columns(model):
    rows = model.residuals(TABLE)
    ax = model.plot_residuals(TABLE)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("predicted", "actual less predicted")
    np.testing.assert_allclose(ax.collections[0].get_offsets(), rows[["predicted", "residual"]])
    ax = model.plot_residuals(TABLE, against="c", sample_weight="w")
    assert ax.get_xlabel() == "c" and len(ax.collections[0].get_offsets()) == (TABLE["w"] > 0).sum()
    known = binned(
        *(model.residuals(TABLE, columns=["c"], sample_weight="w")[[*"c", "residual", "weight"]].to_numpy().T)
    )
    np.testing.assert_allclose(ax.lines[0].get_ydata(), known.mean)
    ax = model.plot_residuals(TABLE, against="b")
    assert ax.get_title() == f"{TABLE['b'].isna().sum()} rows without a value left out"


def test_levels_stand_side_by_side_the_most_frequent_first(model):
    ax = model.plot_residuals(TABLE, against="level")
    counts = TABLE["level"].fillna("missing").value_counts()
    assert {label.get_text() for label in ax.get_xticklabels()} == {*counts.index}
    assert [counts[label.get_text()] for label in ax.get_xticklabels()] == sorted(counts, reverse=True)
    rows = model.residuals(TABLE, columns=["level"])
    means = rows.assign(level=rows["level"].fillna("missing")).groupby("level")["residual"].mean()
    line = ax.containers[0].lines[0]
    np.testing.assert_allclose(
        line.get_ydata(), [means[label.get_text()] for label in ax.get_xticklabels()], atol=1e-12
    )
    many = model.residuals(TABLE.assign(many=np.arange(N) % 40), columns=["many"])
    ax = plot_residuals(many.assign(many=many["many"].astype(str)), "many", "a sample")
    assert ax.get_title() == "the 20 most frequent of 40 levels\na sample" and len(ax.get_xticks()) == 20


def test_dates_and_samples(model, monkeypatch):
    ax = model.plot_residuals(TABLE.assign(day=DAYS), against="day")
    assert "Date" in type(ax.xaxis.get_major_locator()).__name__
    large = pd.concat([TABLE] * 20)
    ax = model.plot_residuals(large)
    assert ax.get_title() == "a sample of 10,000 of 12,000 rows"
    assert len(ax.collections[0].get_offsets()) == 10_000
