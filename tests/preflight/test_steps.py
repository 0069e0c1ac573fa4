"""Checks before a training: every finding, in one process and on a cluster."""

from __future__ import annotations

import warnings

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pytest
import scipy.sparse
from cluster.tables import nothing_left
from distributed.utils_test import gen_cluster
from preflight.tables import SMALL, found, of_parts, parted, table, whole

from dask_dl import DeepLearningClassifier, DeepLearningRegressor, check
from dask_dl.errors import DaskDLError, DaskDLWarning


def words_of_fit(kind, *arguments, given=None, **parts):
    with pytest.raises(DaskDLError) as error:
        kind(**{**SMALL, **(given or {})}).fit(*arguments, **parts)
    return str(error.value)


@pytest.mark.parametrize("cut", [lambda frame: frame, parted])
def test_a_sound_table_has_notes_only(cut):
    frame = table().drop(columns="label")
    report = check(cut(frame), "y", sample_weight="w", eval_set=cut(table(50, 1)), **SMALL)
    assert report.ok and not report.of("error", "warning"), report
    texts = "\n".join(finding.text for finding in report.findings)
    for words in (
        "300 rows, 300 of which train",
        "1 numeric and 1 categorical columns with 3 levels",
        "storage='memory' needs up to",
        "storage='disk' needs up to",
        "that are free in",
        "storage='stream' needs up to",
        "storage: memory, needs up to",
        "memory: at most",
        "2 epochs of 300 rows at",
        "numba",
        "network: 5 inputs",
    ):
        assert words in texts
    assert found(report, "note", "numba").host


def test_every_partition_is_read_once_and_eight_for_a_sample():
    read = []
    parts = [table(100, k).drop(columns="label") for k in range(12)]
    frame = dd.from_map(lambda k: read.append(k) or parts[k], range(12), meta=parts[0][:0])
    report = check(frame, "y", **SMALL)
    assert report.ok
    assert sorted(read) == sorted([*range(12), *range(8)])


def test_arrays_and_sparse_matrices():
    X = np.random.default_rng(0).normal(size=(200, 3))
    y = np.arange(200.0) % 7
    assert check(X, y, **SMALL).ok
    assert check(da.from_array(X, chunks=(50, 3)), da.from_array(y, chunks=50), **SMALL).ok
    sparse = scipy.sparse.csr_matrix(np.where(X > 0, X, 0))
    assert check(sparse, y, **SMALL).ok
    sparse.data[3] = np.inf
    report = check(sparse, y, **SMALL)
    assert [finding.column for finding in report.of("error")] == [f"x{sparse.indices[3]}"]
    assert whole(report.of("error")[0]) == words_of_fit(DeepLearningRegressor, sparse, y)


@pytest.mark.parametrize(("target", "words"), [("label", "classes"), ("y", "a number")])
def test_the_task_follows_from_the_target(target, words):
    frame = table()
    for X in (frame, parted(frame)):
        report = check(X, target, **SMALL)
        assert words in found(report, "note", "the target is checked as").text
        beside = check(X.drop(columns=target), X[target], **SMALL)
        assert words in found(beside, "note", "the target is checked as").text
    wrong = check(frame, "y", task="ranking", **SMALL)
    assert found(wrong, "error", "task='ranking'").parameter == "task"


def test_ten_faults_give_ten_findings():
    n = 400
    frame = table(n).drop(columns="label").assign(
        infinite=np.where(np.arange(n) == 150, np.inf, 0.5),
        odd=np.arange(n) * 1j,
        huge=np.where(np.arange(n) == 5, 1e300, 1.0),
        flat=1.0,
        name=[f"n{k}" for k in range(n)],
        row_id=np.arange(n),
        offset=np.where(np.arange(n) == 390, np.nan, 0.0),
    )  # fmt: skip
    frame.loc[210, "w"] = -1.0
    frame.loc[330:340, "y"] = None
    parts = [frame[:100], frame[100:200], frame[:0], frame[200:300], frame[300:]]
    parts[4] = parts[4].assign(city=4.0)
    report = check(of_parts(parts), "y", sample_weight="w", offset="offset", rho=2.0, **SMALL)
    expected = {
        ("error", "rho", None, "rho"),
        ("error", "infinite", 1, None),
        ("error", "odd", 0, None),
        ("error", "huge", 0, None),
        ("error", "offset", 4, None),
        ("error", "w", 3, None),
        ("error", "city", 4, None),
        ("warning", "flat", None, None),
        ("warning", "name", None, None),
        ("warning", "row_id", None, None),
        ("warning", None, 2, None),  # without rows
    }
    seen = {(f.level, f.column or f.parameter, f.partition, f.parameter) for f in report.of("error", "warning")}
    assert seen == expected
    assert not report.ok
    assert found(report, "note", "have no target").partition == 4
    assert all(f.remedy for f in report.of("error", "warning") if not f.parameter)


@pytest.mark.filterwarnings("ignore::dask_dl.errors.DaskDLWarning")  # of fit
@pytest.mark.parametrize(
    ("kind", "change", "given", "parts"),
    [
        (DeepLearningRegressor, {"x": np.inf}, {}, {}),
        (DeepLearningRegressor, {"y": 1.0}, {}, {}),
        (DeepLearningClassifier, {"label": "up"}, {}, {}),
        (DeepLearningClassifier, {"label": None}, {}, {}),
        (DeepLearningRegressor, {"y": [-1.0, *range(1, 300)]}, {"distribution": "poisson"}, {}),
        (DeepLearningRegressor, {"x": 1.0, "city": "Rome"}, {}, {}),
        (DeepLearningRegressor, {"w": -1.0}, {}, {"sample_weight": "w"}),
        (DeepLearningRegressor, {"w": 0.0}, {}, {"sample_weight": "w"}),
        (DeepLearningRegressor, {"w": [1e-60, *[1.0] * 299]}, {}, {"sample_weight": "w"}),
        (DeepLearningRegressor, {}, {}, {"sample_weight": "weights"}),
        (DeepLearningRegressor, {}, {"hidden": (20_000, 20_000)}, {}),
        (DeepLearningRegressor, {}, {"initial_weights": [np.zeros((2, 2)), None]}, {}),
        (DeepLearningClassifier, {}, {"balance_classes": True, "class_sampling_factors": [1.0]}, {}),
        (DeepLearningRegressor, {}, {}, {"eval_set": table(30).drop(columns="x")}),
        (DeepLearningRegressor, {}, {}, {"eval_set": table(30).assign(x=np.inf)}),
        (DeepLearningRegressor, {}, {}, {"eval_set": table(30).assign(y=np.nan)}),
        (DeepLearningClassifier, {}, {}, {"eval_set": table(30).assign(label="left")}),
    ],
)  # fmt: skip
def test_what_fit_raises_is_a_finding_in_the_same_words(kind, change, given, parts):
    target = "label" if kind is DeepLearningClassifier else "y"
    frame = table().assign(**change).drop(columns="y" if target == "label" else "label")
    X = frame if parts.get("sample_weight") else frame.drop(columns="w")
    words = words_of_fit(kind, X, target, given=given, **parts)
    task = "classification" if target == "label" else "regression"
    report = check(X, target, task=task, **{**SMALL, **given}, **parts)
    texts = {whole(finding) for finding in report.of("error")}
    lines = [line.split(". ", 1)[1] for line in words.splitlines()[1:]] if words.startswith("1 mistake") else [words]
    assert set(lines) == texts


def test_what_fit_warns_of_is_a_finding_in_the_same_words():
    frame = table().assign(y=np.arange(300) % 2.0, code=10**12 * (1 + np.arange(300) % 50))
    with pytest.warns(DaskDLWarning) as warned:
        DeepLearningRegressor(**SMALL, momentum_start=0.1).fit(frame, "y")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = check(frame, "y", momentum_start=0.1, **SMALL)
    texts = {whole(finding) for finding in report.of("warning")}
    assert {str(w.message) for w in warned} - {"dropped 1 columns that are constant or empty: 'w'."} <= texts


def test_all_mistakes_in_parameters_are_found_and_the_table_is_checked_all_the_same():
    report = check(table().assign(x=np.inf), "y", hidden=(4,), epochs=1, rho=2, storge="disk", l1=-1)
    assert [finding.parameter for finding in report.of("error")] == ["rho", "storge", "l1", None]
    assert report.of("error")[3].column == "x"
    assert "leaves out columns with errors" in found(report, "note", "network:").text


@pytest.mark.parametrize("y", [None, "z", [1, 2]])
def test_a_table_that_cannot_be_opened(y):
    report = check(table(), y, rho=2)
    assert len(report.of("error")) == 2 and found(report, "error", "rho").parameter == "rho"


def test_a_source_that_cannot_be_streamed():
    shuffled = parted(table()).drop(columns=["label", "w"]).shuffle("city")
    streamed = check(shuffled, "y", storage="stream", **SMALL)
    assert whole(found(streamed, "error", "share work")) == words_of_fit(
        DeepLearningRegressor, shuffled, "y", given={"storage": "stream"}
    )
    assert check(shuffled, "y", **SMALL).ok


def test_a_folder_of_checkpoints_that_cannot_be_used(tmp_path):
    (tmp_path / "file").write_text("")
    report = check(table(), "y", checkpoint_dir=tmp_path / "file", **SMALL)
    assert [finding.parameter for finding in report.of("error")] == ["checkpoint_dir"]


two_workers = gen_cluster(client=True, nthreads=[("127.0.0.1", 1)] * 2, timeout=120)


@two_workers
async def test_on_a_cluster(c, s, a, b):
    frame = table(400).drop(columns=["label", "w"])
    frame.loc[250, "x"] = np.inf
    report = await check(parted(frame), "y", eval_set=parted(table(50, 1)), **SMALL)
    (error,) = report.of("error")
    assert (error.column, error.partition) == ("x", 2)
    report = await check(parted(frame.fillna(0).replace(np.inf, 0)), "y", **SMALL)
    assert report.ok and not report.of("warning"), report
    assert found(report, "note", "2 workers", "numba")
    assert found(report, "note", "memory of a worker: at most")
    assert found(report, "note", "the training takes", "400 rows")
    await nothing_left(s, a, b)
