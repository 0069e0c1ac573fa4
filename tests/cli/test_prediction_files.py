"""Files of predictions: rows in order, equal bytes, whole or not there, and nothing else replaced."""

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
from cli.tables import QUICK, make_table, predict, run
from hypothesis import given, settings
from hypothesis import strategies as st

from dask_dl import load
from dask_dl.cli.prediction_files import predictions_file


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


def test_predictions_do_not_overwrite_unless_told(folder, tmp_path, capsys):
    model, out = tmp_path / "model.zip", tmp_path / "out"
    run("train", folder / "all.csv", "--target", "label", *QUICK, "--model", model, "--quiet")
    out.mkdir()
    (out / "precious").touch()
    for options, message in ((), "exists"), (("--overwrite",), "holds other things than predictions"):
        assert run("predict", model, folder / "all.csv", "--output", out, *options) == 1
        assert message in capsys.readouterr().err and (out / "precious").exists()
    (out / "precious").unlink()
    for _ in range(2):
        assert run("predict", model, folder / "all.csv", "--output", out, "--overwrite") == 0
        assert len(pd.read_parquet(out)) == 200
    assert run("predict", model, out, "--output", out, "--overwrite") == 1
    assert "which is read" in capsys.readouterr().err and len(pd.read_parquet(out)) == 200
