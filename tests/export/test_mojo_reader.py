"""Archives that the real H2O wrote (`tests/data/mojo/make.py`), and what it answered."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import dask_dl
from dask_dl.errors import ArchiveError, ParameterError

DATA = Path(__file__).parents[1] / "data" / "mojo"
MODELS = sorted(path.name.removesuffix(".answers.csv") for path in DATA.glob("*.answers.csv"))
#: Archives that H2O writes and its own scorer cannot read, and what is said of them.
REFUSED = {"hashed": "max_categorical_features", "enum_limited": "enum_limited"}
#: Of float32 beside H2O's float64, as a share of the largest answer.
ROUNDING = 1e-6


def table(name="test"):
    """A table of `make.py`."""
    return pd.read_csv(DATA / f"{name}.csv")


def answers_of(name):
    """H2O's answers."""
    return pd.read_csv(DATA / f"{name}.answers.csv")


def known(name, rows):
    """Rows of which H2O's two scorers say the same: of levels never seen they do not where these are bits of a code."""
    return (rows != "never seen").all(axis=1) if name == "binary" else np.ones(len(rows), bool)


@pytest.mark.parametrize("name", [name for name in MODELS if not name.startswith("autoencoder")])
def test_answers_are_those_of_h2o(name):
    rows = table()
    kept = known(name, rows)
    mine, theirs = dask_dl.load(DATA / f"{name}.zip").predict_table(rows)[kept], answers_of(name)[kept]
    assert list(mine.columns) == list(theirs.columns)
    assert len(mine) >= 35
    if len(theirs.columns) > 1:
        assert (mine["predict"] == theirs["predict"]).all()
        mine, theirs = mine.iloc[:, 1:], theirs.iloc[:, 1:]
    np.testing.assert_allclose(mine, theirs, rtol=0, atol=ROUNDING * max(1, theirs.abs().to_numpy().max()))


@pytest.mark.parametrize("name", [name for name in MODELS if name.startswith("autoencoder")])
def test_reconstructions_are_those_of_h2o(name):
    rows, model, theirs = table(), dask_dl.load(DATA / f"{name}.zip"), answers_of(name)
    mine = model.predict_table(rows)
    assert [*mine.columns, "Reconstruction.MSE"] == list(theirs.columns)
    np.testing.assert_allclose(mine[["reconstr_a", "reconstr_b"]], theirs[["reconstr_a", "reconstr_b"]], rtol=2e-6)
    # H2O gives levels as the network does, and this package their shares.
    levels = model.model_.predictor.answers(rows, None, "rows")[:, : model.encoder_.n_onehot]
    np.testing.assert_allclose(levels, theirs.iloc[:, : model.encoder_.n_onehot], rtol=0, atol=ROUNDING)
    np.testing.assert_allclose(model.anomaly(rows), theirs["Reconstruction.MSE"], rtol=1e-5)


@pytest.mark.parametrize("name", REFUSED)
def test_what_h2o_itself_cannot_read_is_refused(name):
    with pytest.raises(ArchiveError, match=REFUSED[name]):
        dask_dl.load(DATA / f"{name}.zip")


@pytest.mark.parametrize("name", MODELS)
def test_models_can_be_saved_and_explained(name, tmp_path):
    model = dask_dl.load(DATA / f"{name}.zip")
    assert model.importances()["share"].sum() == pytest.approx(1)
    assert set(model.feature_names_in_) <= {"a", "b", "color", "odd", "size"}
    model.save(tmp_path / "m")
    again = dask_dl.load(tmp_path / "m")
    pd.testing.assert_frame_equal(again.predict_table(table()), model.predict_table(table()))
    model.report(tmp_path / "page.html")
    assert (tmp_path / "page.html").stat().st_size > 1000


def test_classes_are_texts_but_whole_numbers_are_numbers():
    assert list(dask_dl.load(DATA / "multinomial.zip").classes_) == ["high=er", "low", "middle"]
    assert dask_dl.load(DATA / "digits.zip").classes_.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "labels", [["01", "1"], ["1_0", "2"], ["-0", "1"], ["1", "1" * 19], ["\u0661", "2"], ["1.0", "2"]]
)
def test_texts_that_only_resemble_whole_numbers_stay_texts(labels, tmp_path):
    with zipfile.ZipFile(DATA / "binomial.zip") as archive, zipfile.ZipFile(tmp_path / "m.zip", "w") as other:
        for name in archive.namelist():
            other.writestr(name, "\n".join([*labels, ""]) if name == "domains/d003.txt" else archive.read(name))
    assert dask_dl.load(tmp_path / "m.zip").classes_.tolist() == labels


def test_levels_with_odd_names_are_read():
    odd = next(c for c in dask_dl.load(DATA / "binomial.zip").encoder_.categories if c.name == "odd")
    assert set(odd.levels) == {"a=b", "[c]", "back\\slash", "#hash", "ünï", "with, comma"}


def test_training_goes_on_with_a_fresh_state_of_the_optimizer():
    before, train = dask_dl.load(DATA / "numbers.zip"), table("train")[["a", "b", "y"]].dropna()
    parameters = {"hidden": (5, 4), "reproducible": True, "random_state": 1, "epochs": 20.0}
    after = dask_dl.DeepLearningRegressor(**parameters).fit(train, "y", checkpoint=DATA / "numbers.zip")
    assert before.model_.network.states == ()
    assert len(after.model_.network.states) == 2
    truth = train["y"].to_numpy()
    error = [float(((m.predict(train) - truth) ** 2).mean()) for m in (before, after)]
    assert error[1] < 0.9 * error[0]
    with pytest.raises(ParameterError, match="hidden"):
        dask_dl.DeepLearningRegressor(hidden=(3,)).fit(train, "y", checkpoint=before)


def changed(folder, name="binomial", **replaced):
    """An archive of which lines of the ini file are other ones; None leaves one out."""
    with zipfile.ZipFile(DATA / f"{name}.zip") as archive:
        parts = {entry: archive.read(entry).decode() for entry in archive.namelist()}
    lines = []
    for line in parts["model.ini"].split("\n"):
        key = line.partition(" = ")[0]
        value = replaced.get(key, line)
        if value is not None:
            lines.append(value if value is line else f"{key} = {value}")
    parts["model.ini"] = "\n".join(lines)
    with zipfile.ZipFile(folder / "m.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for entry, text in parts.items():
            archive.writestr(entry, text)
    return folder / "m.zip"


@pytest.mark.parametrize(
    ("replaced", "said"),
    [
        ({"algorithm": "Gradient Boosting Machine"}, "algorithm"),
        ({"mojo_version": "2.00"}, "version"),
        ({"category": "Clustering"}, "category"),
        ({"category": None}, "no category"),
        ({"n_columns": "7"}, "n_columns"),
        ({"n_features": "99"}, "n_features"),
        ({"nums": "-1"}, "nums"),
        ({"nums": "99999999999999999999"}, "nums"),
        ({"norm_mul": "[NaN, 1.0]"}, "not finite"),
        ({"norm_mul": "[0.0, 1.0]"}, "not positive"),
        ({"norm_mul": "[1e-300, 1.0]"}, "1e-170"),
        ({"norm_sub": "[1.0]"}, "norm_sub has 1 numbers"),
        ({"norm_sub": "[1.0, Infinity]"}, "not finite"),
        ({"norm_sub": "[1.0, x]"}, "no numbers"),
        ({"norm_sub": "2"}, "no list"),
        ({"cat_offsets": "[0, 14, 21, 26]"}, "cat_offsets"),
        ({"use_all_factor_levels": "perhaps"}, "neither true nor false"),
        ({"activation": "ExpRectifier"}, "ExpRectifier"),
        ({"neural_network_sizes": "[27, 2147483647, 2147483647, 2]"}, "weight_layer0 has 135 numbers"),
        ({"neural_network_sizes": "[27, 1e300, 4, 2]"}, "not from 0"),
        ({"neural_network_sizes": "[27, 0, 4, 2]"}, "hidden"),
        ({"neural_network_sizes": "[]"}, "inputs"),
        ({"neural_network_sizes": "[27, 5, 4, 3]"}, "outputs"),
        ({"bias_layer1": "[1e39, 0.0, 0.0, 0.0]"}, "finite"),
        ({"bias_layer1": "[1e30, 0.0, 0.0, 0.0]"}, "exploded"),
        ({"hidden_dropout_ratios": "[1.0, 0.0, 0.0]"}, "dropout"),
        ({"hidden_dropout_ratios": "[0.5]"}, "hidden_dropout_ratios"),
        ({"default_threshold": "NaN"}, "default_threshold"),
        ({"default_threshold": "2.0"}, "threshold"),
        ({"n_classes": "3"}, "n_classes"),
        ({"_genmodel_encoding": "Binary"}, "Binary"),
        ({"_genmodel_encoding": "Other"}, "not known"),
    ],
)
def test_forged_archives_are_refused(replaced, said, tmp_path):
    with pytest.raises(ArchiveError, match=said):
        dask_dl.load(changed(tmp_path, **replaced))


@pytest.mark.parametrize(
    ("name", "replaced", "said"),
    [
        ("poisson", {"distribution": "cauchy"}, "cauchy"),
        ("offset", {"offset_column": "a"}, "offset_column"),
        ("binomial", {"license": "x\noffset_column = yes"}, "offset_column"),
        ("binary", {"_m_orig_domain_values_4": "0"}, "_m_orig_domain_values_4"),
        ("gaussian", {"norm_resp_mul": "[0.0]"}, "1e-170"),
        ("balanced", {"model_class_distrib": "[0.0, 1.0]"}, "not positive"),
        ("binary", {"_n_orig_names": "5"}, "_n_orig_names"),
        ("eigen", {"_orig_projection_array": "[1.0]"}, "_orig_projection_array"),
    ],
)
def test_forged_archives_of_other_models_are_refused(name, replaced, said, tmp_path):
    with pytest.raises(ArchiveError, match=said):
        dask_dl.load(changed(tmp_path, name, **replaced))
