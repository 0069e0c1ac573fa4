"""Options that commands share: where the work is done, certificates, and how CSV is read."""

from __future__ import annotations

import json
import shutil
import subprocess

import dask
import numpy as np
import pandas as pd
import pytest
from cli.tables import QUICK, run
from distributed import Client, LocalCluster, Security

from dask_dl import load
from dask_dl.cli import main


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder of tables and a model."""
    folder = tmp_path_factory.mktemp("place")
    (folder / "t").mkdir()
    random = np.random.default_rng(0)
    for k in range(5):
        a = random.normal(size=60)
        pd.DataFrame({"a": a, "row": np.arange(60) + 60 * k, "y": 2 * a}).to_parquet(folder / "t" / f"{k}.parquet")
    assert train(folder, folder / "m.zip") == 0
    return folder


def train(place, model, *options):
    common = ["--target", "y", "--columns", "a", "--hidden", "4", "--epochs", "2", "--n-jobs", "1", "--quiet"]
    return main([*map(str, ("train", place / "t", *common, "--model", model, *options))])


def predict(place, out, *options):
    arguments = ["predict", place / "m.zip", place / "t", "--output", out, "--keep", "row", *options]
    return main([str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def cluster():
    settings = {"n_workers": 2, "threads_per_worker": 1, "processes": False, "dashboard_address": ":0"}
    with LocalCluster(**settings) as cluster:
        yield cluster


@pytest.fixture
def scheduler_file(cluster, tmp_path):
    """What `dask scheduler --scheduler-file` writes, as far as it is of use."""
    file = tmp_path / "scheduler.json"
    file.write_text(json.dumps({"type": "Scheduler", "address": cluster.scheduler_address, "workers": {}}))
    return file


def test_workers_predict_what_this_process_predicts(place, tmp_path, cluster, scheduler_file, capsys):
    assert predict(place, tmp_path / "here.csv") == 0
    here = capsys.readouterr().out
    for k, option in enumerate((["--scheduler", cluster.scheduler_address], ["--scheduler-file", scheduler_file])):
        assert predict(place, tmp_path / f"{k}.csv", *option) == 0
        assert (tmp_path / f"{k}.csv").read_bytes() == (tmp_path / "here.csv").read_bytes()
        there = capsys.readouterr().out
        assert there.partition("metrics")[2].splitlines()[1:] == here.partition("metrics")[2].splitlines()[1:] != []
    assert pd.read_csv(tmp_path / "here.csv")["row"].tolist() == [*range(300)]
    assert predict(place, tmp_path / "folder", "--scheduler", cluster.scheduler_address) == 0
    assert pd.read_parquet(tmp_path / "folder")["row"].tolist() == [*range(300)]


def test_training_finds_the_scheduler_by_its_file(place, tmp_path, scheduler_file):
    assert train(place, tmp_path / "m.zip", "--scheduler-file", scheduler_file) == 0
    assert load(tmp_path / "m.zip").stopped_by_ == "epochs"


def test_mistakes_in_a_table_arrive_from_the_workers(place, tmp_path, cluster, capsys):
    pd.DataFrame({"a": ["x"] * 3}).to_csv(tmp_path / "bad.csv", index=False)
    output = ["--output", tmp_path / "o.csv", "--scheduler", cluster.scheduler_address]
    assert main([str(argument) for argument in ("predict", place / "m.zip", tmp_path / "bad.csv", *output)]) == 1
    assert "'a' of the table to predict was a number in training" in capsys.readouterr().err
    assert not (tmp_path / "o.csv").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--scheduler", "tls://host:8786"], "needs certificates: give --tls-ca-file and --tls-cert (and --tls-key)"),
        (["--scheduler", "tls://host:8786", "--tls-ca-file", "ca.pem"], "needs certificates: give --tls-cert"),
        (
            ["--scheduler", "tls://host:8786", "--tls-ca-file", "no.pem", "--tls-cert", "c"],
            "--tls-ca-file: no.pem is no",
        ),
        (
            ["--scheduler", "tls://host:8786", "--tls-ca-file", "text", "--tls-cert", "text"],
            "not certificates and key in",
        ),
        (["--scheduler", "tcp://host:8786", "--tls-cert", "c"], "is not encrypted: leave out --tls-cert"),
        (["--tls-cert", "c", "--tls-key", "k"], "are for a --scheduler at tls://"),
        (["--workers", "1", "--tls-key", "k"], "are for a --scheduler at tls://"),
        (["--scheduler", "http://host"], "--scheduler http://host: cannot be reached"),
        (["--scheduler", "tcp://host"], "--scheduler tcp://host: cannot be reached: missing port"),
        (["--scheduler", "tcp://localhost:1"], "--scheduler tcp://localhost:1: cannot be reached"),
        (["--scheduler-file", "no.json"], "--scheduler-file: no.json cannot be read: No such file"),
        (["--scheduler-file", "text"], "--scheduler-file: text holds no address"),
        (["--scheduler-file", "tls.json"], "--scheduler tls://host:8786 needs certificates"),
        (["--threads", "2"], "add --workers N"),
        (["--workers", "0"], "--workers: 0 is less than 1"),
    ],
)
@pytest.mark.parametrize("command", [train, predict])
def test_what_is_wrong_with_a_scheduler_is_one_line(place, tmp_path, monkeypatch, capsys, command, options, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text").write_text("no certificate")
    (tmp_path / "ca.pem").touch()
    (tmp_path / "tls.json").write_text(json.dumps({"address": "tls://host:8786"}))
    with dask.config.set({"distributed.comm.timeouts.connect": "1s"}):
        assert command(place, tmp_path / "out.csv", *options) == 1
    err = capsys.readouterr().err
    assert err.startswith("dask-dl: ") and message in err and "Traceback" not in err
    assert len([line for line in err.splitlines() if not line.startswith("usage:")]) == 1
    assert not (tmp_path / "out.csv").exists()
    assert dask.config.get("scheduler", None) is None
    with pytest.raises(ValueError, match="No clients found"):
        Client.current()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """An authority's certificate, one that it signed, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    folder = tmp_path_factory.mktemp("tls")

    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True, timeout=60)

    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=authority")
    openssl("req", *key, "-keyout", "key.pem", "-out", "request", "-subj", "/CN=localhost")
    signer = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"]
    openssl("x509", "-req", "-in", "request", *signer, "-out", "cert.pem", "-days", "2")
    (folder / "both.pem").write_bytes((folder / "cert.pem").read_bytes() + (folder / "key.pem").read_bytes())
    return folder


def test_a_scheduler_behind_tls(place, tmp_path, certificates):
    ca, cert, key = (str(certificates / name) for name in ("ca.pem", "cert.pem", "key.pem"))
    roles = ("scheduler", "worker", "client")
    certs, keys = ({f"tls_{role}_{part}": file for role in roles} for part, file in (("cert", cert), ("key", key)))
    security = Security(tls_ca_file=ca, require_encryption=True, **certs, **keys)
    settings = {"n_workers": 1, "threads_per_worker": 1, "processes": False, "dashboard_address": ":0"}
    with LocalCluster(**settings, protocol="tls://", security=security) as cluster:
        where = ["--scheduler", cluster.scheduler_address, "--tls-ca-file", ca]
        assert cluster.scheduler_address.startswith("tls://")
        assert train(place, tmp_path / "m.zip", *where, "--tls-cert", cert, "--tls-key", key) == 0
        assert predict(place, tmp_path / "o.csv", *where, "--tls-cert", certificates / "both.pem", "--quiet") == 0
    assert len(pd.read_csv(tmp_path / "o.csv")) == 300


def test_options_of_csv_files(tmp_path, capsys):
    random = np.random.default_rng(0)
    table = pd.DataFrame({"a": random.normal(size=60), "note": "x", "b": random.normal(size=60)})
    table["y"] = table["a"] + table["b"]
    table.to_csv(tmp_path / "t.csv", index=False, header=False, sep="\t", decimal=",")
    table.to_csv(tmp_path / "held.csv", index=False, header=False, sep="\t", decimal=",")
    model, out = tmp_path / "model.zip", tmp_path / "out"
    form = ["--no-header", "--names", "a,note,b,y", "--sep", r"\t", "--decimal", ",", "--ignore", "note", "--quiet"]
    held = ["--validation", tmp_path / "held.csv"]
    assert run("train", tmp_path / "t.csv", "--target", "y", *form, *held, *QUICK, "--model", model) == 0
    assert load(model).encoder_.columns == ("a", "b")
    assert run("predict", model, tmp_path / "t.csv", *form, "--output", out) == 0
    np.testing.assert_allclose(pd.read_parquet(out)["predict"], load(model).predict(table[["a", "b"]]), rtol=1e-6)
    assert run("train", tmp_path / "t.csv", "--target", "y", "--ignore", "y", "--model", tmp_path / "m") == 1
    assert "--ignore: ['y'] cannot be left out" in capsys.readouterr().err
