"""Models as ONNX, beside what the estimators answer."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from tables import UNSCORED, make_table

from dask_dl import DeepLearningAutoEncoder, DeepLearningClassifier, DeepLearningRegressor
from dask_dl.errors import ParameterError

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")

SMALL = UNSCORED | {"hidden": (6, 4), "epochs": 2, "random_state": 1, "n_jobs": 1}


def table(n=400, seed=0):
    """Numbers, levels, and missing values of both; names that are odd."""
    rng = np.random.default_rng(seed)
    frame = make_table(n, seed=seed)[["a", "b", "level", "y", "label"]].rename(columns={"a": "a b", "level": "Größe"})
    frame["color"] = rng.choice([f"c{k}" for k in range(15)], n)
    frame["far"] = 1e9 + rng.normal(size=n)
    frame.loc[rng.random(n) < 0.1, "b"] = np.nan
    frame.loc[rng.random(n) < 0.1, "color"] = None
    return frame


TRAIN, TEST = table(), table(100, 1)
TEST.loc[:5, "color"] = "unseen"


def fed(frame, session):
    """Columns as the model takes them."""
    found = {}
    for wanted in session.get_inputs():
        column = frame[wanted.name]
        is_text = wanted.type == "tensor(string)"
        values = column.astype(object).where(column.notna(), "").astype(str) if is_text else column.astype(np.float64)
        found[wanted.name] = values.to_numpy(dtype=object if is_text else np.float64)[:, None]
    return found


def run(model, frame, tmp_path):
    model.export_onnx(tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    given = fed(frame, session) if hasattr(frame, "columns") else {"X": frame}
    return dict(zip([o.name for o in session.get_outputs()], session.run(None, given), strict=True))


ENCODINGS = [{"categorical_encoding": e} for e in ("enum_limited", "sort_by_response", "binary", "eigen")]
KINDS = [
    {},
    {"activation": "tanh_with_dropout"},
    {"activation": "maxout_with_dropout", "hidden_dropout_ratios": (0.2, 0.1)},
    {"use_all_factor_levels": False},
    {"standardize": False},
    {"max_categorical_features": 5},
    {"sparse": True},
    {"hidden": (3,)},
    *ENCODINGS,
]


@pytest.mark.parametrize("given", KINDS, ids=str)
def test_probabilities_and_labels(given, tmp_path):
    predictors = TRAIN.drop(columns="y")
    model = DeepLearningClassifier(**SMALL | given).fit(predictors, "label")
    found = run(model, TEST, tmp_path)
    expected = model.predict_proba(TEST.drop(columns=["y", "label"]))
    np.testing.assert_allclose(found["probabilities"], expected, atol=1e-5)
    sure = np.abs(expected[:, 0] - 0.5) > 1e-4
    assert (found["label"] == model.predict(TEST.drop(columns=["y", "label"])))[sure].all()


@pytest.mark.parametrize(
    "given", [*KINDS, {"distribution": "poisson"}, {"distribution": "tweedie"}, {"distribution": "laplace"}], ids=str
)
def test_numbers_with_an_offset(given, tmp_path):
    frame, other = (part.assign(shift=part["y"] / 3, y=part["y"] - part["y"].min()) for part in (TRAIN, TEST))
    model = DeepLearningRegressor(**SMALL | given).fit(frame.drop(columns="label"), "y", offset="shift")
    found = run(model, other, tmp_path)
    expected = model.predict(other)
    np.testing.assert_allclose(found["variable"][:, 0], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "given", [{}, {"balance_classes": True}, {"max_categorical_features": 5}, {"activation": "maxout"}], ids=str
)
def test_several_classes_that_are_numbers(given, tmp_path):
    frame = TRAIN.drop(columns="label").assign(y=pd.qcut(TRAIN["y"], 3, labels=False))
    model = DeepLearningClassifier(**SMALL | given).fit(frame, "y")
    found = run(model, TEST, tmp_path)
    np.testing.assert_allclose(found["probabilities"], model.predict_proba(TEST), atol=1e-5)
    assert found["label"].dtype == np.int64
    assert (found["label"] == model.predict(TEST)).mean() > 0.98


def test_a_threshold_decides(tmp_path):
    model = DeepLearningClassifier(**SMALL).fit(TRAIN.drop(columns="y"), "label")
    model.set_threshold(0.2)
    found = run(model, TEST, tmp_path)
    assert (found["label"] == model.predict(TEST)).mean() > 0.98


@pytest.mark.parametrize(
    "given",
    [{}, {"activation": "tanh"}, {"max_categorical_features": 5}, {"output_activation": "linear"}, *ENCODINGS[2:]],
    ids=str,
)
def test_autoencoders_give_rows_back(given, tmp_path):
    predictors = TRAIN.drop(columns=["y", "label"])
    model = DeepLearningAutoEncoder(**SMALL | {"hidden": (4,)} | given).fit(predictors)
    found = run(model, TEST, tmp_path)
    np.testing.assert_allclose(found["reconstruction"], model.reconstruct(TEST), rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(found["anomaly"], model.anomaly(TEST), rtol=1e-4, atol=1e-6)


def test_a_table_without_names_is_one_input(tmp_path):
    X, y = TRAIN[["a b", "b", "far"]].to_numpy(), TRAIN["label"].to_numpy()
    model = DeepLearningClassifier(**SMALL).fit(X, y)
    found = run(model, X, tmp_path)
    np.testing.assert_allclose(found["probabilities"], model.predict_proba(X), atol=1e-5)


def test_what_cannot_be_expressed_is_named(tmp_path):
    model = DeepLearningClassifier(**SMALL, categorical_encoding="label_encoder").fit(TRAIN.drop(columns="y"), "label")
    with pytest.raises(ParameterError, match=r"categorical_encoding='label_encoder': .*color"):
        model.export_onnx(tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()
