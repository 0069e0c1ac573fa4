"""What `dask-dl predict` writes and measures."""

from __future__ import annotations

import datetime as dt
import gzip
import io
import re

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tables
from hypothesis import given, settings
from hypothesis import strategies as st
from tables import UNSCORED

from dask_dl import DeepLearningClassifier, DeepLearningRegressor, load, memory
from dask_dl.cli import main
from dask_dl.cli.prediction_files import predictions_file

SMALL = UNSCORED | {"hidden": (6,), "epochs": 3, "random_state": 1, "n_jobs": 1}


def predict(*arguments):
    return main(["predict", *(str(argument) for argument in arguments)])


def make_table(n, seed=0):
    table = tables.make_table(n, seed, labels=("7", "007"))[["a", "level", "w", "y", "label"]]
    table = table.assign(y=np.exp(table["y"]), w=table["w"] + 0.5, row=np.arange(n))
    return table.rename(columns={"level": "who", "y": "price"})


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A table in several files, a classifier and a regressor."""
    folder = tmp_path_factory.mktemp("place")
    table = make_table(700)
    (folder / "parts").mkdir()
    for k in range(7):
        table.iloc[100 * k : 100 * k + 100].to_parquet(folder / "parts" / f"{k}.parquet")
    table.to_csv(folder / "t.csv", index=False)
    inputs = ["a", "who"]
    DeepLearningClassifier(**SMALL).fit(table[[*inputs, "label"]], "label").save(folder / "label.zip")
    DeepLearningRegressor(**SMALL).fit(table[[*inputs, "price"]], "price").save(folder / "price.zip")
    return folder


@pytest.fixture
def many_partitions(monkeypatch):
    """CSV is read in blocks of a few rows."""
    monkeypatch.setattr("dask_dl.frame.csv.MIN_BLOCK", 2000)
    monkeypatch.setattr("dask_dl.frame.csv.SAMPLE", 2000)
    limits = memory.PartitionLimits(8000, 2**30)
    monkeypatch.setattr("dask_dl.cluster.worker_memory.partition_limits", lambda client: limits)


def figures(text):
    """Metrics as they are printed."""
    return {name: float(value) for name, value in re.findall(r"^(\w+) +(-?[\d.e+-]+|nan)$", text, re.MULTILINE)}


# ---- files --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", ["parts", "t.csv"])
@pytest.mark.parametrize("name", ["o.csv", "o.csv.gz", "o.parquet", "o"])
def test_rows_are_written_in_order_whatever_the_file(place, tmp_path, many_partitions, capsys, data, name):
    out = tmp_path / name
    assert predict(place / "label.zip", place / data, "--output", out, "--keep", "row,label", "--ignore", "w") == 0
    assert re.search(r"700 rows in \d", capsys.readouterr().out)
    read = pd.read_csv if ".csv" in name else pd.read_parquet
    found = read(out, dtype={"label": "str", "predict": "str"}) if ".csv" in name else read(out)
    table = make_table(700)
    model = load(place / "label.zip")
    assert [*found] == ["row", "label", "predict", "p007", "p7"]
    assert found["row"].tolist() == table["row"].tolist()
    assert found["label"].tolist() == table["label"].tolist()
    assert found["predict"].tolist() == model.predict(table).tolist()
    assert (found[["p007", "p7"]].to_numpy(np.float32) == model.predict_proba(table)).all()
    assert out.is_dir() == (".csv" not in name)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_equal_predictions_make_equal_files(place, tmp_path):
    for name in ("one.csv.gz", "two.csv.gz"):
        assert predict(place / "price.zip", place / "parts", "--output", tmp_path / name, "--quiet") == 0
    assert (tmp_path / "one.csv.gz").read_bytes() == (tmp_path / "two.csv.gz").read_bytes()
    assert gzip.decompress((tmp_path / "one.csv.gz").read_bytes()).startswith(b"predict\n")


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.lists(
            st.one_of(
                st.none(), st.text(st.characters(exclude_categories=["Cs"]), min_size=1), st.sampled_from('\r\n",')
            ),
            min_size=1,
            max_size=3,
        ),
        min_size=1,
        max_size=3,
    )
)
def test_any_string_survives_csv(parts):
    texts = [text for part in parts for text in part]
    there = fsspec.filesystem("memory")
    with predictions_file("memory://any.csv", "--output") as write:
        for part in parts:
            write(pd.DataFrame({"kept": pd.Series(part, dtype="str"), "predict": 0.5}))
    content = there.cat("/any.csv")
    found = pd.read_csv(io.BytesIO(content), dtype={"kept": "str"}, na_values=[""], keep_default_na=False)
    assert [None if pd.isna(text) else text for text in found["kept"]] == texts
    assert (found["predict"] == 0.5).all()


def test_kept_columns_without_a_value_in_one_file_have_one_type_in_all(place, tmp_path):
    (tmp_path / "t").mkdir()
    values = {
        "id": (2**60 + 1, pa.int64()),
        "flag": (True, pa.bool_()),
        "note": ("x", pa.string()),
        "raw": (b"\xff\x00", pa.binary()),
        "day": (dt.date(2020, 1, 2), pa.date32()),
        "at": (pd.Timestamp(2020, 1, 2, 3), pa.timestamp("us")),
    }
    for k in range(2):
        kept = {name: pa.array([value if k else None], kind) for name, (value, kind) in values.items()}
        pq.write_table(pa.table({"a": [0.5], "who": ["u"], **kept}), tmp_path / "t" / f"{k}.parquet")
    arguments = ["--output", tmp_path / "o", "--keep", ",".join(values), "--quiet"]
    assert predict(place / "price.zip", tmp_path / "t", *arguments) == 0
    first, second = pq.read_table(tmp_path / "o").drop_columns("predict").to_pylist()
    assert first == dict.fromkeys(values)
    assert second == {name: value for name, (value, _) in values.items()}


def test_a_failed_prediction_leaves_the_file_that_was_there(place, tmp_path, many_partitions, capsys):
    table = make_table(700).drop(columns=["price", "label"]).astype({"a": object})
    table.loc[699, "a"] = "half"
    table.to_csv(tmp_path / "bad.csv", index=False)
    for name in ("o.csv", "o.csv.gz", "o"):
        assert predict(place / "price.zip", place / "t.csv", "--output", tmp_path / name, "--quiet") == 0
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for name in ("o.csv", "o.csv.gz", "o"):
        output = ["--output", tmp_path / name]
        assert predict(place / "price.zip", tmp_path / "bad.csv", *output) == 1
        assert f"{tmp_path / name} exists" in capsys.readouterr().err
        assert predict(place / "price.zip", tmp_path / "bad.csv", *output, "--overwrite") == 1
        assert "holds 'half'" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_model_that_is_not_there_is_named_first(place, tmp_path, capsys):
    assert predict(tmp_path / "none.zip", place / "t.csv", "--output", tmp_path / "o.csv") == 1
    assert capsys.readouterr().err == f"dask-dl: {tmp_path / 'none.zip'}: No such file or directory\n"


def test_what_is_read_is_not_replaced(place, tmp_path, capsys):
    (tmp_path / "t.csv").write_bytes((place / "t.csv").read_bytes())
    for data in (tmp_path / "t.csv", tmp_path / "*.csv", f"file://{tmp_path}/t.csv"):
        assert predict(place / "price.zip", data, "--output", tmp_path / "t.csv", "--overwrite") == 1
        assert "another file of this command" in capsys.readouterr().err
    for option in ("--model", "--report"):
        arguments = ["train", tmp_path / "t.csv", "--target", "price", "--model", tmp_path / "m", "--overwrite"]
        assert main([*map(str, arguments), option, str(tmp_path / "t.csv")]) == 1
        assert f"{option}: {tmp_path / 't.csv'} is {tmp_path / 't.csv'}, another" in capsys.readouterr().err
    both = ["--plot", tmp_path / "h.svg", "--report", tmp_path / "h.svg"]
    assert main([*map(str, (*arguments, *both))]) == 1
    assert "--report: " in capsys.readouterr().err
    assert (tmp_path / "t.csv").read_bytes() == (place / "t.csv").read_bytes()


@pytest.mark.parametrize("name", ["o.csv", "o.csv.gz", "o"])
def test_predictions_go_to_urls(place, capsys, name):
    there, url = fsspec.filesystem("memory"), f"memory://answers/{name}"
    arguments = [place / "price.zip", place / "parts", "--output", url, "--quiet"]
    try:
        assert predict(*arguments) == 0
        assert predict(*arguments) == 1
        assert f"{url} exists" in capsys.readouterr().err
        assert predict(*arguments, "--overwrite") == 0
        if name == "o":
            files = [there.cat(file) for file in sorted(there.find("/answers"))]
            found = pd.concat([pd.read_parquet(io.BytesIO(file)) for file in files])
        else:
            content = there.cat(f"/answers/{name}")
            found = pd.read_csv(io.BytesIO(gzip.decompress(content) if name.endswith("gz") else content))
        np.testing.assert_array_equal(found["predict"], load(place / "price.zip").predict(make_table(700)))
        assert predict(place / "price.zip", url, "--output", url, "--overwrite") == 1
        assert capsys.readouterr().err
    finally:
        there.rm("/answers", recursive=True)


# ---- metrics ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("distribution", ["gaussian", "gamma", "huber", "laplace", "classes"])
def test_metrics_are_those_of_a_validation_table(place, tmp_path, capsys, distribution):
    table, held = make_table(300), make_table(700)
    target = "label" if distribution == "classes" else "price"
    columns = ["a", "who", "w", target]
    if distribution == "classes":
        estimator = DeepLearningClassifier(**SMALL)
    else:
        estimator = DeepLearningRegressor(**SMALL, distribution=distribution)
    model = estimator.set_params(score_duty_cycle=0.1).fit(
        table[columns], target, sample_weight="w", eval_set=held[columns]
    )
    model.save(tmp_path / "m.zip")
    expected = model.metrics_["validation"]
    assert predict(tmp_path / "m.zip", place / "parts", "--weights", "w", "--output", tmp_path / "o.csv") == 0
    printed = capsys.readouterr().out
    assert f"metrics of 700 rows by '{target}' of" in printed
    found = figures(printed)
    assert {*found} == {*expected}
    for name, value in expected.items():
        # Of a huber loss each place keeps a sketch of its residuals: pairs in another order, other rounding.
        assert found[name] == pytest.approx(value, rel=1e-4, nan_ok=True), name


def test_a_folder_of_other_parquet_files_is_never_replaced(place, tmp_path, capsys):
    table = make_table(20)
    table.to_csv(tmp_path / "t.csv", index=False)
    folder = tmp_path / "months"
    for name in ("january.parquet", "part.0.parquet"):
        folder.mkdir()
        table.to_parquet(folder / name)
        assert predict(place / "price.zip", tmp_path / "t.csv", "--output", folder, "--overwrite") == 1
        assert "holds other things than predictions" in capsys.readouterr().err
        pd.testing.assert_frame_equal(pd.read_parquet(folder / name), table)
        (folder / name).unlink()
        folder.rmdir()
    for _ in range(2):
        assert predict(place / "price.zip", tmp_path / "t.csv", "--output", folder, "--overwrite") == 0


def test_rows_without_a_known_target_are_predicted_and_not_measured(place, tmp_path, capsys):
    table = make_table(100)
    table.loc[:9, "label"] = None
    table.loc[10:19, "label"] = "new"
    table.to_csv(tmp_path / "t.csv", index=False)
    assert predict(place / "label.zip", tmp_path / "t.csv", "--output", tmp_path / "o.csv") == 0
    captured = capsys.readouterr()
    assert "metrics of 80 rows by 'label'" in captured.out
    assert "'label' of" in captured.err and "10 of 90 rows have labels that the model has never seen" in captured.err
    truth, answers = table["label"][20:], pd.read_csv(tmp_path / "o.csv", dtype={"predict": "str"})["predict"]
    assert len(answers) == 100
    assert figures(captured.out)["misclassification"] == pytest.approx(np.mean(truth != answers[20:]), rel=1e-5)


@pytest.mark.parametrize(("column", "message"), [("?", "not numbers"), (-1.0, None), (np.inf, "infinite")])
def test_a_target_that_cannot_be_measured_costs_no_prediction(place, tmp_path, capsys, column, message):
    make_table(50).assign(price=column).to_csv(tmp_path / "t.csv", index=False)
    assert predict(place / "price.zip", tmp_path / "t.csv", "--output", tmp_path / "o.csv") == 0
    captured = capsys.readouterr()
    assert len(pd.read_csv(tmp_path / "o.csv")) == 50
    assert ("metrics of" in captured.out) == (message is None)
    if message is not None:
        assert captured.err.startswith("warning: no metrics: ") and message in captured.err


def test_targets_that_a_distribution_forbids_cost_no_prediction(tmp_path, capsys):
    table = make_table(50)[["a", "price"]]
    DeepLearningRegressor(**SMALL, distribution="gamma").fit(table, "price").save(tmp_path / "m.zip")
    table.assign(price=0.0).to_csv(tmp_path / "t.csv", index=False)
    assert predict(tmp_path / "m.zip", tmp_path / "t.csv", "--output", tmp_path / "o.csv") == 0
    captured = capsys.readouterr()
    assert "metrics of" not in captured.out and "distribution 'gamma' allows no zero" in captured.err
    assert len(pd.read_csv(tmp_path / "o.csv")) == 50


def test_a_metric_that_cannot_see_so_many_rows_costs_no_prediction(place, tmp_path, capsys, monkeypatch):
    table = make_table(100)[["a", "label"]]
    DeepLearningClassifier(**SMALL, custom_metric="roc_auc").fit(table, "label").save(tmp_path / "m.zip")
    common = [tmp_path / "m.zip", place / "parts", "--output", tmp_path / "o.csv", "--overwrite"]
    assert predict(*common) == 0
    printed = figures(capsys.readouterr().out)
    assert printed["custom"] == pytest.approx(printed["auc"], rel=1e-4)
    monkeypatch.setattr("dask_dl.metrics.custom.MAX_KEPT_BYTES", 2000)
    assert predict(*common) == 0
    captured = capsys.readouterr()
    assert "metrics of" not in captured.out and "no metrics: custom_metric: a scorer sees all" in captured.err
    assert len(pd.read_csv(tmp_path / "o.csv")) == 700


def test_a_predictor_named_as_the_target_of_classes_costs_no_prediction(place, tmp_path, capsys):
    make_table(40).to_csv(tmp_path / "t.csv", index=False)
    assert predict(place / "label.zip", tmp_path / "t.csv", "--output", tmp_path / "o.csv", "--target", "a") == 0
    captured = capsys.readouterr()
    assert "metrics of" not in captured.out
    assert "no metrics: the target of 'a' of" in captured.err and "is continuous" in captured.err
    assert len(pd.read_csv(tmp_path / "o.csv")) == 40


def test_the_target_is_found_by_its_name_or_as_it_is_said(place, tmp_path, capsys):
    table = make_table(60)
    table.drop(columns="price").to_parquet(tmp_path / "t.parquet")
    table.rename(columns={"price": "cost"}).to_parquet(tmp_path / "u.parquet")
    common = [place / "price.zip", tmp_path / "u.parquet", "--output", tmp_path / "o", "--overwrite"]
    assert predict(place / "price.zip", tmp_path / "t.parquet", "--output", tmp_path / "o") == 0
    assert predict(*common) == 0
    assert predict(place / "price.zip", place / "t.csv", "--ignore", "price", *common[2:]) == 0
    assert "metrics" not in capsys.readouterr().out
    assert predict(*common, "--target", "cost") == 0
    assert "metrics of 60 rows by 'cost'" in capsys.readouterr().out
    assert predict(*common, "--target", "costs") == 1
    assert "no columns ['costs']" in capsys.readouterr().err


def test_offsets_are_read_by_their_name(tmp_path, capsys):
    table = make_table(80)[["a", "w", "price"]]
    model = DeepLearningRegressor(**SMALL).fit(table, "price", offset="w")
    model.save(tmp_path / "m.zip")
    table.to_csv(tmp_path / "t.csv", index=False)
    assert predict(tmp_path / "m.zip", tmp_path / "t.csv", "--output", tmp_path / "o.csv") == 0
    np.testing.assert_allclose(pd.read_csv(tmp_path / "o.csv")["predict"], model.predict(table), rtol=1e-12)
    table.rename(columns={"w": "known"}).to_csv(tmp_path / "u.csv", index=False)
    common = [tmp_path / "m.zip", tmp_path / "u.csv", "--output", tmp_path / "o.csv", "--overwrite"]
    assert predict(*common) == 1
    assert "trained with offsets" in capsys.readouterr().err
    assert predict(*common, "--offset", "known") == 0
    np.testing.assert_allclose(pd.read_csv(tmp_path / "o.csv")["predict"], model.predict(table), rtol=1e-12)


def test_models_of_earlier_formats_know_no_target():
    model = load("tests/data/format-1-regressor.zip").model_
    assert model.record.target_name is None


def test_a_model_knows_the_column_of_its_target(tmp_path):
    table = make_table(40)[["a", "price"]]
    for fitted, expected in (
        (DeepLearningRegressor(**SMALL).fit(table, "price"), "price"),
        (DeepLearningRegressor(**SMALL).fit(table[["a"]], table["price"]), None),
        (DeepLearningRegressor(**SMALL).fit(table.to_numpy(), 1), "x1"),
    ):
        fitted.save(tmp_path / "m.zip")
        assert load(tmp_path / "m.zip").model_.record.target_name == expected


def test_progress_is_told_while_it_lasts(place, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("dask_dl.cli.model_tables.INTERVAL", 0.0)
    assert predict(place / "price.zip", place / "parts", "--output", tmp_path / "o.csv") == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  ... ")]
    assert [line.split(" partitions, ")[0] for line in lines] == [f"  ... {k} of 7" for k in range(1, 7)]
    assert re.fullmatch(r"  \.\.\. 6 of 7 partitions, 600 rows, [\d,]+ rows/s, \d+ s left", lines[-1])


def test_quiet_prints_nothing(place, tmp_path, capsys):
    assert predict(place / "price.zip", place / "parts", "--output", tmp_path / "o.csv", "--quiet") == 0
    assert capsys.readouterr().out == ""


def test_a_threshold_decides_between_two_classes(place, tmp_path, capsys):
    options = [place / "label.zip", place / "t.csv", "--output", tmp_path / "p.csv", "--overwrite"]
    model = load(place / "label.zip")
    table = pd.read_csv(place / "t.csv", dtype={"who": str})
    for threshold in ("0.3", "max_f1"):
        assert predict(*options, "--threshold", threshold) == 0
        expected = model.predict(table, threshold=float(threshold) if threshold[0] == "0" else threshold)
        np.testing.assert_array_equal(pd.read_csv(tmp_path / "p.csv", dtype={"predict": str})["predict"], expected)
    assert predict(*options, "--threshold", "f1") == 1 and "max_f1" in capsys.readouterr().err
    options[0] = place / "price.zip"
    assert predict(*options, "--threshold", "0.5") == 1 and "two classes" in capsys.readouterr().err
