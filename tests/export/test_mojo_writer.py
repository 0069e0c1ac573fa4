"""Archives for H2O: read back here, and answered to by H2O's own scorer where there are Java and the wheel of h2o."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import dask_dl
from dask_dl.errors import DaskDLWarning, ParameterError

DATA = Path(__file__).parents[1] / "data" / "mojo"
INPUTS = ["a", "b", "color", "odd", "size"]
#: The scorer computes in float64, and this package in float32: so far answers differ, as a share of the largest one.
ROUNDING = 2e-6
SMALL = {"hidden": (5, 4), "epochs": 3, "random_state": 1, "reproducible": True, "quiet_mode": True}
#: name: (target, parameters, what is other in the table)
MODELS = {
    "two_classes": ("yes", {}),
    "classes": ("kind", {"activation": "tanh"}),
    "whole_numbers": ("digit", {"use_all_factor_levels": False}),
    "balanced": ("yes", {"balance_classes": True}),
    "numbers": ("y", {"activation": "maxout"}),
    "dropout": ("y", {"activation": "rectifier_with_dropout", "hidden_dropout_ratios": (0.5, 0.2)}),
    "unscaled": ("y", {"standardize": False}),
    "unscaled_maxout": ("yes", {"standardize": False, "activation": "maxout"}),
    "sparse": ("yes", {"sparse": True}),
    "tweedie": ("count", {"distribution": "tweedie"}),
    "laplace": ("y", {"distribution": "laplace"}),
    "binary": ("yes", {"categorical_encoding": "binary"}),
    "binary_unscaled": ("yes", {"categorical_encoding": "binary", "standardize": False}),
    "label_encoder": ("y", {"categorical_encoding": "label_encoder"}),
    "eigen": ("kind", {"categorical_encoding": "eigen"}),
    "eigen_unscaled": ("y", {"categorical_encoding": "eigen", "standardize": False}),
    "sort_by_response": ("yes", {"categorical_encoding": "sort_by_response"}),
    "no_hidden_units_but_one": ("yes", {"hidden": (1,)}),
}


def table(name):
    """A table of `make.py`, without targets that are no one's own."""
    return pd.read_csv(DATA / f"{name}.csv")


def trained(target, given):
    """An estimator, trained on a table with missing values."""
    train = table("train")
    kind = dask_dl.DeepLearningRegressor if target in {"y", "count"} else dask_dl.DeepLearningClassifier
    return kind(**{**SMALL, **given}).fit(train[[*INPUTS, target]], target)


def jar():
    """H2O's classes, or a reason to skip."""
    found = os.environ.get("H2O_JAR")
    if not found and (spec := importlib.util.find_spec("h2o")) is not None:
        found = str(Path(spec.origin).parent / "backend" / "bin" / "h2o.jar")
    if not found or not Path(found).is_file():
        pytest.skip("no h2o.jar: neither is the wheel of h2o 3.46.0.7 installed nor does H2O_JAR name one")
    if shutil.which("java") is None:
        pytest.skip("no Java to run H2O's scorer with")
    return found


def scored(mojo, rows, folder, **reading):
    """Answers of H2O's scorer."""
    given, answers = folder / "rows.csv", folder / "answers.csv"
    given.write_text(rows.to_csv(index=False).replace("\\", "\\\\"), encoding="utf-8")
    command = ["java", "-Dfile.encoding=UTF-8", "-cp", jar(), "hex.genmodel.tools.PredictCsv", "--decimal"]
    found = subprocess.run(
        [*command, "--mojo", mojo, "--input", given, "--output", answers], check=False, capture_output=True, text=True
    )
    assert found.returncode == 0, found.stdout + found.stderr
    return pd.read_csv(answers, **reading)


def known(name, rows):
    """Rows to which both scorers answer by the same rules: see the guide."""
    if name.startswith("binary"):
        return rows[rows[["color", "odd", "size"]].notna().all(axis=1)]
    if name == "label_encoder":
        return rows[(rows != "never seen").all(axis=1)]
    return rows


@pytest.fixture(scope="module")
def estimators():
    return {}


@pytest.fixture(params=MODELS)
def estimator(request, estimators):
    name = request.param
    if name not in estimators:
        estimators[name] = trained(*MODELS[name])
    return name, estimators[name]


def test_what_is_written_is_read_back_with_the_same_answers(estimator, tmp_path):
    _, mine = estimator
    mine.export_mojo(tmp_path / "m.zip")
    back = dask_dl.load(tmp_path / "m.zip")
    rows = table("test")[INPUTS]
    assert list(back.encoder_.columns) == list(mine.encoder_.columns)
    theirs, ours = back.predict_table(rows), mine.predict_table(rows)
    pd.testing.assert_frame_equal(theirs, ours, rtol=0, atol=ROUNDING * max(1, ours.iloc[:, -1].abs().max()))
    back.export_mojo(tmp_path / "again.zip")
    again = dask_dl.load(tmp_path / "again.zip")
    pd.testing.assert_frame_equal(again.predict_table(rows), theirs)


def test_scorer_of_h2o_gives_the_same_answers(estimator, tmp_path):
    name, mine = estimator
    mine.export_mojo(tmp_path / "m.zip")
    rows = known(name, table("test")[INPUTS])
    theirs, ours = scored(tmp_path / "m.zip", rows, tmp_path), mine.predict_table(rows)
    assert len(theirs) == len(rows) > 20
    if len(ours.columns) > 1:
        assert (theirs["predict"].to_numpy() == ours["predict"].to_numpy()).all()
    first = 1 if len(ours.columns) > 1 else 0
    assert theirs.shape[1] == ours.shape[1]
    largest = max(1, float(ours.iloc[:, -1].abs().max()))
    np.testing.assert_allclose(theirs.iloc[:, first:], ours.iloc[:, first:], rtol=0, atol=ROUNDING * largest)


@pytest.mark.parametrize("activation", ["tanh", "rectifier"])
def test_scorer_of_h2o_reconstructs_the_same(activation, tmp_path):
    given = {**SMALL, "activation": activation, "output_activation": "same"}
    mine = dask_dl.DeepLearningAutoEncoder(**given).fit(table("train")[INPUTS])
    mine.export_mojo(tmp_path / "m.zip")
    rows = table("test")[INPUTS]
    # By place: names of levels are in the head of the file without quotation marks.
    theirs = scored(tmp_path / "m.zip", rows, tmp_path, header=None, skiprows=1).to_numpy()
    ours = mine.predict_table(rows)
    # The scorer gives levels as the network does, and this package their shares.
    levels = mine.model_.predictor.answers(rows, None, "rows")[:, : mine.encoder_.n_onehot]
    expected = np.concatenate([levels, ours[["reconstr_a", "reconstr_b"]]], axis=1)
    np.testing.assert_allclose(theirs, expected, rtol=ROUNDING, atol=ROUNDING)
    back = dask_dl.load(tmp_path / "m.zip")
    pd.testing.assert_frame_equal(back.predict_table(rows), ours, rtol=0, atol=1e-5)


def test_scorer_of_h2o_takes_the_mean_target_for_the_offset(tmp_path):
    train, rows = table("train"), table("test")
    mine = dask_dl.DeepLearningRegressor(**SMALL).fit(train[[*INPUTS, "offset", "y"]], "y", offset="offset")
    with pytest.warns(DaskDLWarning, match="offset"):
        mine.export_mojo(tmp_path / "m.zip")
    back = dask_dl.load(tmp_path / "m.zip")
    np.testing.assert_allclose(back.predict(rows), mine.predict(rows), rtol=ROUNDING)
    theirs = scored(tmp_path / "m.zip", rows[[*INPUTS, "offset"]], tmp_path)
    ours = mine.predict(rows.assign(offset=mine.model_.head.shift))
    np.testing.assert_allclose(theirs["predict"], ours, rtol=ROUNDING)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"max_categorical_features": 5}, "max_categorical_features=5"),
        ({"categorical_encoding": "enum_limited"}, "categorical_encoding='enum_limited'"),
    ],
)
def test_what_no_mojo_can_carry_is_refused_by_name(given, named, tmp_path):
    with pytest.raises(ParameterError, match=named):
        trained("yes", given).export_mojo(tmp_path / "m.zip")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("given", "named"),
    [({"output_activation": "linear"}, "output_activation='linear'"), ({"standardize": False}, "standardize=False")],
)
def test_what_no_mojo_of_an_autoencoder_can_carry_is_refused_by_name(given, named, tmp_path):
    mine = dask_dl.DeepLearningAutoEncoder(**{**SMALL, "activation": "tanh", **given}).fit(table("train")[INPUTS])
    with pytest.raises(ParameterError, match=named):
        mine.export_mojo(tmp_path / "m.zip")


@pytest.mark.parametrize("name", [" a", "#a", "[info]", "a\nb"])
def test_names_that_the_ini_file_cannot_hold_are_refused(name, tmp_path):
    train = table("train")[["a", "b", "yes"]].rename(columns={"a": name})
    mine = dask_dl.DeepLearningClassifier(**SMALL).fit(train, "yes")
    with pytest.raises(ParameterError, match="a name that is empty"):
        mine.export_mojo(tmp_path / "m.zip")


def test_equal_models_give_equal_bytes(tmp_path):
    mine = trained("yes", {})
    for name in ("one.zip", "two.zip"):
        mine.export_mojo(tmp_path / name)
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "one.zip") as archive:
        assert "model.ini" in archive.namelist()
