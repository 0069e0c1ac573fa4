"""`dask-dl anomaly`, and autoencoders on the command line."""

from __future__ import annotations

import json

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from tables import UNSCORED

from dask_dl import DeepLearningAutoEncoder, DeepLearningRegressor, load
from dask_dl.cli import main
from dask_dl.errors import SchemaError
from dask_dl.predictor import ERROR

SMALL = UNSCORED | {"hidden": (3,), "activation": "tanh", "epochs": 3, "random_state": 1, "n_jobs": 1}
N = 300


def run(command, *arguments):
    return main([command, *(str(argument) for argument in arguments)])


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A table in several files, an autoencoder and a regressor."""
    folder, random = tmp_path_factory.mktemp("place"), np.random.default_rng(0)
    table = pd.DataFrame(random.normal(size=(N, 3)), columns=list("abc"))
    table["who"], table["code"] = random.choice(["u", "v"], N), [f"{k:04}" for k in range(N)]
    table["price"], table["w"] = table["a"] * 2, random.choice([0.5, 2.0], N)
    (folder / "parts").mkdir()
    for k in range(3):
        table.iloc[100 * k : 100 * k + 100].to_parquet(folder / "parts" / f"{k}.parquet")
    table.to_csv(folder / "t.csv", index=False)
    DeepLearningAutoEncoder(**SMALL).fit(table[["a", "b", "c", "who"]]).save(folder / "usual.zip")
    DeepLearningRegressor(**SMALL).fit(table[["a", "price"]], "price").save(folder / "price.zip")
    return folder


def expected(place, *, per_feature=False):
    table = pd.read_parquet(place / "parts")
    model = load(place / "usual.zip")
    errors = pd.DataFrame({ERROR: model.anomaly(table)})
    return pd.concat([errors, model.anomaly(table, per_feature=True)], axis=1) if per_feature else errors


@pytest.mark.parametrize("data", ["parts", "t.csv"])
@pytest.mark.parametrize("name", ["o.csv", "o"])
@pytest.mark.parametrize("more", [[], ["--per-feature"]])
def test_every_row_has_its_error(place, tmp_path, data, name, more, capsys):
    out = tmp_path / name
    assert run("anomaly", place / "usual.zip", place / data, "--output", out, "--keep", "code", *more) == 0
    found = pd.read_csv(out, dtype={"code": "str"}) if name == "o.csv" else pd.read_parquet(out)
    errors = expected(place, per_feature=bool(more))
    assert [*found] == ["code", *errors] and found["code"].tolist() == [f"{k:04}" for k in range(N)]
    np.testing.assert_allclose(found[[*errors]], errors, rtol=1e-5, atol=1e-9)
    assert f"(300 of 300 rows)\nmean error {errors[ERROR].mean():.4g}"[:30] in capsys.readouterr().out


@pytest.mark.parametrize("is_sorted", [False, True])
def test_the_most_unusual_rows(place, tmp_path, is_sorted, capsys):
    out, errors = tmp_path / "o.parquet", expected(place)[ERROR].to_numpy()
    given = ["--output", out, "--keep", "code", "--threshold-quantile", 0.9, *(["--sort"] if is_sorted else [])]
    assert run("anomaly", place / "usual.zip", place / "parts", *given) == 0
    found = pd.read_parquet(out)
    rows = np.flatnonzero(errors > np.quantile(errors, 0.9) * (1 + 1e-3))
    rows = rows[np.argsort(-errors[rows], kind="stable")] if is_sorted else rows
    assert 28 <= len(rows) <= 30 and set(rows) <= set(found["row"]) and len(found) <= 30
    assert [row for row in found["row"] if row in rows] == rows.tolist()
    assert found["code"].tolist() == [f"{k:04}" for k in found["row"]]
    assert "the quantile 0.9 of 300 errors is" in capsys.readouterr().out


def test_all_rows_sorted(place, tmp_path):
    assert (
        run("anomaly", place / "usual.zip", place / "t.csv", "--output", tmp_path / "o.csv", "--sort", "--quiet") == 0
    )
    found, errors = pd.read_csv(tmp_path / "o.csv"), expected(place)[ERROR]
    assert [*found] == ["row", ERROR] and found[ERROR].is_monotonic_decreasing
    assert sorted(found["row"]) == list(range(N)) and found["row"][0] == errors.idxmax()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["usual.zip", "--threshold-quantile", "1"], "--threshold-quantile: 1 is not a quantile"),
        (["usual.zip", "--keep", "row"], "--keep: 'row' is the name"),
        (["price.zip"], "learned a regression: errors are those of an autoencoder"),
    ],
)
def test_what_cannot_be_asked_for(place, tmp_path, capsys, given, message):
    model, *more = given
    assert run("anomaly", place / model, place / "parts", "--output", tmp_path / "o", *more) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_an_autoencoder_is_trained_measured_and_starts_a_regressor(place, tmp_path, capsys):
    usual, price = tmp_path / "usual.zip", tmp_path / "price.zip"
    small = [
        "--hidden",
        "3",
        "--activation",
        "tanh",
        "--epochs",
        "2",
        "--random-state",
        "1",
        "--n-jobs",
        "1",
        "--ignore",
    ]
    given = ["--autoencoder", "--weights", "w", "--validation", place / "t.csv", "--model", usual]
    assert run("train", place / "parts", *given, *small, "code,price") == 0
    assert f"all columns from {place / 'parts'}" in capsys.readouterr().out
    model = load(usual)
    assert set(model.feature_names_in_) == {"a", "b", "c", "who"} and "validation" in model.metrics_
    assert run("evaluate", usual, place / "parts", "--weights", "w", "--json", tmp_path / "worth.json") == 0
    table = pd.read_parquet(place / "parts")
    worth = json.loads((tmp_path / "worth.json").read_text())["metrics"]
    assert worth["mse"] == pytest.approx(np.average(model.anomaly(table), weights=table["w"]), rel=1e-5)
    assert run("predict", usual, place / "parts", "--output", tmp_path / "o.csv") == 0
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "o.csv"), model.reconstruct(table), check_index_type=False)
    begun = ["--target", "price", "--pretrained-autoencoder", usual, "--model", price, *small, "code,w"]
    assert run("train", place / "parts", *begun) == 0
    assert load(price).model_.encoder.to_json() == model.model_.encoder.to_json()


def test_an_autoencoder_has_no_target(place, capsys):
    assert run("evaluate", place / "usual.zip", place / "parts", "--target", "price") == 1
    assert "is an autoencoder, whose truth is its inputs" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        run("train", place / "parts", "--target", "price", "--autoencoder", "--model", "m.zip")
    assert "not allowed with argument" in capsys.readouterr().err


def test_errors_beside_columns(place):
    table, model = pd.read_parquet(place / "parts"), load(place / "usual.zip")
    found = model.anomaly_table(table, keep=["code"], per_feature=True)
    pd.testing.assert_series_equal(found[ERROR], model.anomaly(table))
    pd.testing.assert_frame_equal(found.drop(columns=["code", ERROR]), model.anomaly(table, per_feature=True))
    lazy = model.anomaly_table(dd.from_pandas(table, npartitions=3), keep="code")
    assert lazy.known_divisions and lazy._meta.dtypes.equals(lazy.compute().dtypes)
    pd.testing.assert_frame_equal(
        lazy.compute(), found[["code", ERROR]], check_dtype=False
    )  # strings are pyarrow's there
    with pytest.raises(SchemaError, match="no columns"):
        model.anomaly_table(table, keep=["nothing"])
    with pytest.raises(SchemaError, match="is the name of the answer"):
        model.anomaly_table(table.assign(**{ERROR: 1}), keep=[ERROR])
    with pytest.raises(SchemaError, match="anomaly_table gives a frame"):
        model.anomaly_table(dd.from_pandas(table[["a", "b"]], npartitions=2).to_dask_array(lengths=True))
