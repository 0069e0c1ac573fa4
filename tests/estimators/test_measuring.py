"""Evaluations on the rows of a Dataset, and methods that need the table itself."""

from __future__ import annotations

import dask.dataframe as dd
import numpy as np
import pytest
from tables import UNSCORED, make_table

import dask_dl
from dask_dl import DeepLearningClassifier, DeepLearningRegressor
from dask_dl.errors import ParameterError, SchemaError

SMALL = {"hidden": (5,), "epochs": 2, "n_jobs": 1, "random_state": 3}


@pytest.fixture(scope="module")
def table():
    return make_table(600).drop(columns=["d", "e"]).rename(columns={"w": "weight"})


@pytest.mark.parametrize("storage", ["memory", "disk", "stream"])
@pytest.mark.parametrize(("kind", "target"), [(DeepLearningRegressor, "y"), (DeepLearningClassifier, "label")])
def test_a_model_is_evaluated_on_the_rows_of_a_dataset(kind, target, storage):
    whole = make_table(500, gaps=0.1)[["a", "b", "level", "w", target]]
    whole.loc[:9, target] = None
    X = dd.from_pandas(whole, npartitions=3)
    given = SMALL | UNSCORED | {"storage": storage}
    with dask_dl.prepare(X, target, sample_weight="w", **given) as data:
        model = kind(**given, nfolds=2).fit(data)
        for fitted in (model, *model.cross_validation_models_):  # folds have units of their own
            found, expected = fitted.evaluate(data), fitted.evaluate(X, sample_weight="w")
            assert [*found] == [*expected] and found.n_rows == expected.n_rows
            assert found.to_pandas().to_dict() == pytest.approx(expected.to_pandas().to_dict(), rel=1e-4, nan_ok=True)
            if target == "label":
                np.testing.assert_allclose(found.confusion_matrix(), expected.confusion_matrix(), rtol=1e-6)
        assert "custom" in model.evaluate(data, custom_metric="r2" if target == "y" else "accuracy")
        with pytest.raises(ParameterError, match="a Dataset has its own y, sample_weight: give them to prepare"):
            model.evaluate(data, target, sample_weight="w")
    with pytest.raises(ParameterError, match="the Dataset is closed"):
        model.evaluate(data)


def test_a_model_of_other_rows_is_not_evaluated_on_a_dataset(table):
    given = SMALL | UNSCORED
    with dask_dl.prepare(table[["a", "b", "level", "y"]], "y", **given) as data:
        others = {
            "other columns or levels": DeepLearningRegressor(**given).fit(table[["a", "level", "y"]], "y"),
            "other columns or levels and another target": DeepLearningClassifier(**given).fit(
                table[["a", "b", "c", "label"]], "label"
            ),
            "no offsets": DeepLearningRegressor(**given).fit(table[["a", "b", "level", "y"]], "y", offset=table["c"]),
            "other means in place": DeepLearningRegressor(**given).fit(table[:300][["a", "b", "level", "y"]], "y"),
        }
        for words, model in others.items():
            with pytest.raises(ParameterError, match=f"the Dataset was encoded with {words}"):
                model.evaluate(data)
        poisson = DeepLearningRegressor(**given, distribution="poisson")
        poisson.fit(table[["a", "b", "level", "y"]].assign(y=table["y"].abs()), "y")
        with pytest.raises(SchemaError, match="the target of the training table"):
            poisson.evaluate(data)


def test_predictions_and_scores_need_the_table_itself(table):
    given = SMALL | UNSCORED
    with dask_dl.prepare(table[["a", "b", "label"]], "label", **given) as data:
        model = DeepLearningClassifier(**given).fit(data)
        calls = [model.predict, model.predict_proba, model.predict_table, lambda X: model.score(X, "label")]
        for call in calls:
            with pytest.raises(ParameterError, match=r"X is a Dataset.* evaluate takes the Dataset"):
                call(data)
