"""Explanations for shap: its own pictures take them, and their figures are the contributions."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from predicted import SMALL
from tables import make_table

from dask_dl import DeepLearningClassifier, DeepLearningRegressor

shap = pytest.importorskip("shap")
pytest.importorskip("matplotlib")
pytestmark = pytest.mark.filterwarnings("ignore")  # shap's own, of other packages

TABLE = make_table(120, gaps=0.1, labels=("a", "b", "c"))
X = TABLE[[*"abc", "level"]]


@pytest.fixture
def pyplot():
    from matplotlib import pyplot as plt

    yield plt
    plt.close("all")


def test_a_frame_is_explained(pyplot):
    import dask.dataframe as dd

    model = DeepLearningRegressor(**SMALL).fit(X, TABLE["y"])
    found, contributions = model.shap_explanation(X, X), model.contributions(X, X)
    assert (found.values == contributions.to_numpy()[:, :-1]).all()
    assert (found.base_values == contributions.to_numpy()[:, -1]).all()
    assert found.feature_names == list(X.columns)
    pd.testing.assert_frame_equal(pd.DataFrame(found.data, columns=X.columns), X.astype(object), check_dtype=False)
    lazy = model.shap_explanation(dd.from_pandas(X, npartitions=3), X)
    assert (lazy.values == found.values).all()
    for plot, rows in ((shap.plots.beeswarm, found), (shap.plots.bar, found), (shap.plots.waterfall, found[0])):
        pyplot.figure()
        plot(rows, show=False)
        drawn = [tick.get_text() for tick in pyplot.gca().get_yticklabels()]
        assert any("level" in text for text in drawn)


def test_several_classes_and_inputs_are_explained(pyplot):
    model = DeepLearningClassifier(**SMALL).fit(X, TABLE["label"])
    found = model.shap_explanation(X, X, per_input=True)
    assert found.values.shape == (120, 7, 3) and found.output_names == ["a", "b", "c"]
    assert found.feature_names == model.encoder_.input_names
    assert np.allclose(found.data[:, :4].sum(axis=1), 1)  # one level
    assert np.allclose(found.data[:, 4], (X["a"] - X["a"].mean()) / X["a"].std(), atol=1e-5)
    shap.plots.beeswarm(found[..., 1], show=False)
    alone = model.shap_explanation(X, X, label="b", per_input=True)
    assert np.allclose(alone.values, found.values[..., 1], atol=1e-7)
