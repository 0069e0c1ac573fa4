"""Evaluations: a mapping of figures, with the tables of a problem, at the last scoring and from files."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from evaluated import INPUTS, SMALL, TABLE, TARGETS, fitted, same

from dask_dl import DeepLearningClassifier, DeepLearningRegressor, load
from dask_dl.errors import ParameterError
from dask_dl.show.evaluation import Evaluation

DATA = Path(__file__).parents[1] / "data"
EARLY = "the file of this model is of an early version, which kept figures only: use `evaluate`"


@pytest.fixture(scope="module")
def models():
    return fitted()


def tables_of(evaluation):
    """Everything that an evaluation has beside its figures, by name."""
    found = evaluation.tables()
    if evaluation.has("confusion"):
        found |= {"confusion": evaluation.confusion_matrix(), "errors": evaluation.class_errors()}
    if evaluation.has("curve"):
        found |= {"thresholds": evaluation.thresholds(), "calibration": evaluation.calibration()}
    if evaluation.has("sample"):
        found["residuals"] = evaluation.residuals()
    return found


@pytest.mark.parametrize("kind", TARGETS)
def test_the_last_scoring_is_an_evaluation_and_is_saved(kind, tmp_path):
    target = TARGETS[kind]
    estimator = DeepLearningRegressor if kind == "regression" else DeepLearningClassifier
    more = {"auc_type": "weighted_ovo"} if kind == "multinomial" else {}
    held = TABLE[300:][[*INPUTS, target, "w"]]
    model = estimator(**SMALL, **more, score_validation_samples=0)
    model.fit(TABLE[:300][[*INPUTS, target, "w"]], target, sample_weight="w", eval_set=held)
    model.save(tmp_path / "m.zip")
    loaded = load(tmp_path / "m.zip")
    scored, found = model.metrics_["validation"], model.evaluate(held, sample_weight="w")
    assert [*scored] == [*found]
    for name, value in found.items():
        assert scored[name] == pytest.approx(value, rel=1e-5, nan_ok=True), name
    assert [*model.metrics_] == [*loaded.metrics_] == ["training", "validation"]
    for table, evaluation in model.metrics_.items():
        of_file = loaded.metrics_[table]
        assert dict(of_file) == pytest.approx(dict(evaluation), rel=1e-12, nan_ok=True)
        expected = tables_of(evaluation)
        assert [*tables_of(of_file)] == [*expected] and len(expected) >= 1
        for name, frame in tables_of(of_file).items():
            pd.testing.assert_frame_equal(frame, expected[name], obj=name)
    same(loaded.evaluate(held, sample_weight="w"), found)


@pytest.mark.parametrize(
    ("name", "figure"),
    [("format-1-classifier", "logloss"), ("format-1-regressor", "mae"), ("format-2-balanced", "brier"),
     ("format-2-hashed", "deviance")],
)  # fmt: skip
def test_early_files_have_figures_and_say_what_they_lack(name, figure):
    model = load(DATA / f"{name}.zip")
    evaluation = model.metrics_["training"]
    assert evaluation[figure] > 0 and figure in repr(evaluation)
    assert "auc" not in evaluation and evaluation.tables() == {}
    asked = evaluation.residuals if "regressor" in name or "hashed" in name else evaluation.thresholds
    with pytest.raises(ParameterError, match=EARLY):
        asked()
    assert model._repr_mimebundle_()["text/html"]


@pytest.mark.parametrize(
    ("kind", "method", "text"),
    [("multinomial", "thresholds", "thresholds are of two classes"), ("regression", "plot_roc", "curves are of two classes"),
     ("binomial", "residuals", "residuals are of regressions"), ("binomial", "hit_ratios", "three classes or more"),
     ("binomial", "areas", "3 to 50 classes"), ("regression", "class_errors", "errors by class are of classifications")],
)  # fmt: skip
def test_what_a_problem_has_not_is_said(models, kind, method, text):
    with pytest.raises(ParameterError, match=text):
        getattr(models[kind].evaluate(TABLE), method)()


def test_an_evaluation_is_a_mapping():
    found = Evaluation("regression", None, {"rmse": 2.0, "mae": 1.5}, label="a table", n_rows=7)
    assert [*found] == ["rmse", "mae"] and found["mae"] == 1.5 and found.get("auc") is None and len(found) == 2
    assert repr(found).splitlines()[0] == "regression metrics of 7 rows of a table"
    pd.testing.assert_series_equal(
        found.to_pandas(), pd.Series({"rmse": 2.0, "mae": 1.5}, name="a table").rename_axis("metric")
    )
