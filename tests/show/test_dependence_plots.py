"""Pictures of partial dependence show what was found: lines, bars and maps; scikit-learn's display draws it, too."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import pyplot as plt
from sklearn.inspection import PartialDependenceDisplay
from tables import UNSCORED, make_table

from dask_dl import DeepLearningClassifier, DeepLearningRegressor
from dask_dl.errors import ParameterError

mpl.use("Agg")
SMALL = UNSCORED | {"hidden": (6,), "epochs": 2, "random_state": 1, "n_jobs": 1}
TABLE = make_table(400, gaps=0.1, labels=("p", "q", "r"))
X = TABLE[["a", "c", "level"]]


@pytest.fixture(scope="module")
def regressor():
    return DeepLearningRegressor(**SMALL).fit(X, TABLE["y"])


@pytest.fixture(scope="module")
def classifier():
    return DeepLearningClassifier(**SMALL).fit(X, TABLE["label"])


@pytest.fixture(autouse=True)
def _no_figure_stays():
    yield
    plt.close("all")


def test_a_number_is_a_line_with_deciles_above_curves_of_rows(regressor):
    found = regressor.partial_dependence(X, "a", kind="both", subsample=30)
    ax = regressor.plot_partial_dependence(found)
    assert len(ax.lines) == 31 and ax.get_xlabel() == "a" and ax.get_ylabel() == "prediction"
    np.testing.assert_array_equal(ax.lines[-1].get_ydata(), found.average[0])
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), found.individual[0, 0])
    (ticks,) = ax.collections
    np.testing.assert_allclose([segment[0, 0] for segment in ticks.get_segments()], found.deciles[0])
    centered = regressor.plot_partial_dependence(found, centered=True)
    assert all(line.get_ydata()[0] == 0 for line in centered.lines)
    alone = regressor.plot_partial_dependence(X, "a", kind="individual", subsample=7)
    assert len(alone.lines) == 7


def test_levels_are_bars_and_marks_where_they_would_be_as_high(regressor):
    found = regressor.partial_dependence(X, "level")
    ax = regressor.plot_partial_dependence(found)
    np.testing.assert_allclose([bar.get_height() for bar in ax.patches], found.average[0])
    assert [label.get_text() for label in ax.get_xticklabels()] == [*found.grid_values[0][:3], "missing"]
    high = DeepLearningRegressor(**SMALL).fit(X, TABLE["y"] + 1e4)
    ax = high.plot_partial_dependence(X, "level")
    assert not ax.patches and ax.get_ylim()[0] > 9e3
    np.testing.assert_allclose(ax.lines[0].get_ydata(), high.partial_dependence(X, "level").average[0])
    names = X.assign(level=X["level"] + " of a name that is very long")
    ax = DeepLearningRegressor(**SMALL).fit(names, TABLE["y"]).plot_partial_dependence(names, "level", kind="both")
    assert max(len(label.get_text()) for label in ax.get_xticklabels()) == 24


def test_two_columns_are_a_map(regressor):
    found = regressor.partial_dependence(X, ("a", "c"), grid_resolution=5)
    ax = regressor.plot_partial_dependence(found)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("a", "c")
    assert ax.get_xlim() == pytest.approx((found.grid_values[0][0], found.grid_values[0][-1]))
    ax = regressor.plot_partial_dependence(X, ("level", "a"), grid_resolution=5)
    found = regressor.partial_dependence(X, ("level", "a"), grid_resolution=5)
    np.testing.assert_array_equal(ax.images[0].get_array(), found.average[0].T)
    assert [label.get_text() for label in ax.get_xticklabels()][-1] == "missing"


def test_several_results_are_panels_and_classes_lines(classifier):
    panels = classifier.plot_partial_dependence(X, ["a", "level", "c", "a"])
    assert panels.shape == (4,) and len({panel.figure for panel in panels}) == 1
    assert [text.get_text() for text in panels[0].get_legend().get_texts()] == ["p", "q", "r"]
    one = classifier.plot_partial_dependence(X, ("a", "level"), target="q")
    assert one.figure.axes[1].get_ylabel() == "probability of q"
    _, given = plt.subplots(1, 2)
    there = classifier.plot_partial_dependence(X, ["a", "c"], ax=given)
    assert list(there) == list(given)


def test_panels_have_one_scale_on_which_columns_without_an_effect_are_flat(regressor):
    found = regressor.partial_dependence(X, ["a", "c", "level"])
    panels = regressor.plot_partial_dependence(found)
    low, high = panels[0].get_ylim()
    assert [panel.get_ylim() for panel in panels] == [(low, high)] * 3
    assert low < min(result.average.min() for result in found) and high > max(result.average.max() for result in found)
    spread = max(result.deviation.max() for result in found[1:2])
    bottom, top = regressor.plot_partial_dependence(
        regressor.partial_dependence(X, "c", custom_values={"c": [0, 1e-6]})
    ).get_ylim()
    assert top - bottom == pytest.approx(1.1 * 0.2 * spread, rel=0.3)


def test_what_cannot_be_drawn_is_told(classifier, regressor):
    for call, words in (
        ({"columns": ("a", "c")}, "maps of two columns are of one class at a time"),
        ({"columns": "a", "kind": "both"}, "individual curves are of one class at a time"),
        ({"columns": ["a", "c"], "ax": plt.figure().add_subplot()}, "ax holds 1 axes, and there are 2 results"),
        ({}, "columns: give those to draw"),
    ):
        with pytest.raises(ParameterError, match=words):
            classifier.plot_partial_dependence(X, **call)
    with pytest.raises(ParameterError, match="maps of two columns show averages"):
        regressor.plot_partial_dependence(X, ("a", "c"), kind="individual")


def test_the_display_of_scikit_learn_draws_results_and_estimators(regressor, classifier):
    found = regressor.partial_dependence(X, "a", kind="both", subsample=20)
    display = PartialDependenceDisplay(
        [found], features=[(0,)], feature_names=["a"], target_idx=0, deciles={0: found.deciles[0]}, kind="both"
    ).plot()
    np.testing.assert_allclose(display.lines_[0, 0, -1].get_ydata(), found.average[0])
    whole = X.dropna()
    for model, more in ((regressor, {}), (classifier, {"target": "q"})):
        display = PartialDependenceDisplay.from_estimator(
            model, whole, ["a", "level", ("a", "c")], categorical_features=["level"], grid_resolution=5, **more
        )
        mine = model.partial_dependence(whole, "level", **more)
        order = np.argsort(mine.grid_values[0])
        heights = [bar.get_height() for bar in display.axes_[0, 1].patches]
        np.testing.assert_allclose(heights, mine.average[0][order], atol=1e-6)
