"""Checks before a training: every finding, in one process and on a cluster."""

from __future__ import annotations

import warnings

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from cluster.tables import nothing_left
from distributed import Client
from distributed.utils_test import gen_cluster
from tables import make_table

from dask_dl import DeepLearningClassifier, DeepLearningRegressor, check
from dask_dl.cluster import environment
from dask_dl.errors import DaskDLError, DaskDLWarning
from dask_dl.preflight import CheckReport, Finding, trial
from dask_dl.preflight.findings import CheckListeners, Collector
from dask_dl.storage import Budget

SMALL = {"hidden": (4,), "epochs": 2, "n_jobs": 1}


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Trials of a moment, and no warning that gets out."""
    monkeypatch.setattr(trial, "SECONDS", 0.02)


def table(n=300, seed=0):
    frame = make_table(n, seed, labels=("down", "up"))[["a", "level", "w", "y", "label"]]
    return frame.rename(columns={"a": "x", "level": "city"}).assign(w=1.0)


def parted(frame, rows=100):
    parts = [frame[k : k + rows] for k in range(0, len(frame), rows)]
    return of_parts(parts)


def of_parts(parts):
    return dd.from_map(lambda k: parts[k], range(len(parts)), meta=parts[0][:0])


def found(report, level, *words):
    """The finding of a level in whose text all these words are."""
    (finding,) = [f for f in report.of(level) if all(word in f.text for word in words)]
    return finding


def words_of_fit(kind, *arguments, given=None, **parts):
    with pytest.raises(DaskDLError) as error:
        kind(**{**SMALL, **(given or {})}).fit(*arguments, **parts)
    return str(error.value)


def whole(finding):
    return f"{finding.text} {finding.remedy}".strip()


# ---- nothing wrong -------------------------------------------------------------------------------------------------------


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


# ---- faults --------------------------------------------------------------------------------------------------------------


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


def test_partitions():
    frame = table(6000).drop(columns="label")
    parts = [frame[:5000], frame[5000:5000], *(frame[5000 + k : 5100 + k] for k in range(0, 1000, 100))]
    report = check(of_parts(parts), "y", **SMALL)
    assert found(report, "warning", "have no rows: 1.").partition == 1
    skewed = found(report, "warning", "has 5,000 rows, and the median partition 100")
    assert skewed.partition == 0 and "repartition" in skewed.remedy


def test_partitions_too_large_for_the_memory_there_is(monkeypatch):
    budget = Budget(400 * 2**20, "80% of nearly nothing", 2**40, "/scratch")
    monkeypatch.setattr("dask_dl.cluster.local.LocalBackend.budget", lambda self, source: budget)
    frame = table(400_000).drop(columns="label")
    report = check(of_parts([frame[:1000], frame]), "y", **SMALL)
    large = found(report, "warning", "partition 1 takes", "80% of nearly nothing", "1 of 2 partitions")
    assert large.partition == 1 and "memory_limit" in large.remedy
    assert found(report, "warning", "may need").parameter == "storage"
    assert found(report, "note", "was not measured: it may need more memory")


def test_a_disk_that_is_too_small(monkeypatch):
    budget = Budget(2**34, "a limit", 100, "/scratch", "/scratch lies in memory")
    monkeypatch.setattr("dask_dl.cluster.local.LocalBackend.budget", lambda self, source: budget)
    report = check(table(), "y", storage="disk", **SMALL)
    assert found(report, "warning", "100 B are free in /scratch").parameter == "storage"


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


def test_rows_without_labels_and_without_weight():
    frame = table().drop(columns="y")
    frame.loc[:149, "label"] = None
    frame.loc[290:, "w"] = 0.0
    report = check(parted(frame), "label", sample_weight="w", **SMALL)
    missing = found(report, "warning", "150 of 300 rows (50.0%) have no target", "without any target: 0.")
    assert (missing.column, missing.partition) == ("label", 0)
    assert found(report, "note", "10 rows with a target have weight 0")


def test_identifiers_are_told_from_numbers_and_levels():
    random, n = np.random.default_rng(0), 3000
    frame = table(n).drop(columns=["label", "w"]).assign(
        customer_id=random.permutation(n * 1000)[:n],
        serial=np.arange(n) + 10**6,
        code=[f"c{k}" for k in range(n)],
        count=random.integers(0, 100, n),
        real=random.normal(size=n),
        some=random.choice([f"v{k}" for k in range(500)], n),
        sparse_ids=np.where(np.arange(n) % 100, np.nan, np.arange(n)),
    )  # fmt: skip
    for X in (frame, parted(frame, 500)):
        named = [f.column for f in check(X, "y", **SMALL).of("warning") if "identifier" in f.text]
        assert named == ["code", "customer_id", "serial", "sparse_ids"]


def test_values_that_float32_loses_beside_others_far_out_are_found():
    frame = table(300).drop(columns=["label", "w"])
    frame = frame.assign(z=frame["x"].where(frame.index != 7, 1e10), tail=np.exp(3 * frame["x"]), k=np.arange(300) % 50)
    for X in (frame, parted(frame)):
        (far,) = [f for f in check(X, "y", **SMALL).of("warning") if "float32" in f.text]
        assert far.column == "z" and "to 1e+10, deviation 5.7735e+08) that float32 leaves" in far.text
        assert not [f for f in check(X, "y", **SMALL, standardize=False).of("warning") if "float32" in f.text]


def test_many_useless_columns_are_not_named_one_by_one():
    frame = pd.concat([table(50), pd.DataFrame({f"c{k}": [1] * 50 for k in range(40)})], axis=1)
    constant = [f for f in check(frame, "y", **SMALL).of("warning") if "constant" in f.text]
    assert len(constant) == 31 and "11 more columns are constant or empty too" in constant[-1].text  # with `w`


def test_a_trial_that_diverges_is_a_warning():
    report = check(table(), "y", **SMALL, adaptive_rate=False, rate=1e30, standardize=False)
    assert "a trial on 300 rows failed" in report.of("warning")[-1].text


def test_the_time_counts_balanced_rows_and_the_limit(monkeypatch):
    frame = table().drop(columns="y").assign(label=np.where(np.arange(300) < 30, "rare", "usual"))
    report = check(frame, "label", **SMALL, balance_classes=True, max_runtime_secs=1e-9)
    text = found(report, "note", "the training takes").text
    assert "2 epochs of 540 rows" in text and "max_runtime_secs ends it after" in text


# ---- the report ----------------------------------------------------------------------------------------------------------


def test_a_report_as_frame_text_and_html():
    findings = [
        Finding("note", "good to know"),
        Finding("error", "column 'a<b': 3 values. ", "Clip\nthem.", column="a<b", partition=3),
        Finding("warning", "numba is old on tcp://w1", "Install it.", host="node1"),
    ]
    report = CheckReport(findings)
    assert [finding.level for finding in report.findings] == ["error", "warning", "note"]
    assert not report.ok and CheckReport(findings[::2]).ok
    frame = report.to_pandas()
    assert [*frame] == ["level", "text", "remedy", "host", "partition", "column", "parameter"]
    assert frame["partition"].tolist()[:1] == [3] and frame["partition"].isna().sum() == 2
    assert CheckReport([]).to_pandas().empty
    assert report.findings[0].where == "partition 3, column a<b"
    assert "numba is old on tcp://w1 (host node1)\n         Install it." in str(report)
    assert str(report).splitlines()[-1] == "1 error, 1 warning, 1 note"
    assert report.text("error").splitlines()[1:3] == ["         Clip", "         them."]
    html = report._repr_html_()
    assert "a&lt;b" in html and '<td class="error">error</td>' in html and html.count("<tr>") == 4


def test_other_errors_and_warnings_go_on():
    collector = Collector()
    with pytest.warns(FutureWarning, match="old"), collector.catching():
        collector.warn(FutureWarning("old"))
    with pytest.raises(ZeroDivisionError), collector.catching():
        1 / 0  # noqa: B018
    assert collector.findings == []


def test_warnings_of_listeners_become_findings_where_they_belong():
    heard, collector = [], Collector()
    tell = CheckListeners([heard.append], collector)
    with collector.catching(parameter="storage"):
        tell.warn("it is slow. Wait.")
    with collector.apart() as others:
        tell.warn(DaskDLWarning("others"))
    tell.warn("last")
    found = [(finding.level, finding.text, finding.remedy, finding.parameter) for finding in collector.findings]
    assert found == [("warning", "it is slow.", "Wait.", "storage"), ("warning", "last", "", None)]
    assert [finding.text for finding in others] == ["others"]
    assert [event.text for event in heard] == ["it is slow. Wait.", "others", "last"]


# ---- on a cluster --------------------------------------------------------------------------------------------------------


two_workers = gen_cluster(client=True, nthreads=[("127.0.0.1", 1)] * 2, timeout=120)


@pytest.fixture
def answers(monkeypatch):
    """Changes of what workers say, by the order in which they are asked."""
    changes, run, asked = {}, Client.run, {}

    async def changed(told, worker, answer):
        said = (await told)[worker]
        return {worker: answer if isinstance(answer, Exception) else said | answer}

    def run_and_change(client, function, *args, workers=None, **more):
        told = run(client, function, *args, workers=workers, **more)
        if function is not environment.describe:
            return told
        numbers = asked.setdefault(client.id, {})
        return changed(told, *workers, changes.get(numbers.setdefault(*workers, len(numbers)), {}))

    monkeypatch.setattr(Client, "run", run_and_change)
    return changes


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


def test_versions_that_differ_are_found_by_host(answers):
    answers[0] = {"numpy": "1.0", "host": "node7"}

    @two_workers
    async def refused(c, s, a, b):
        report = await check(parted(table().assign(x=np.inf)), "y", **SMALL)
        await nothing_left(s, a, b)
        reports.append(report)

    @two_workers
    async def differing(c, s, a, b):
        reports.append(await check(parted(table()), "y", **SMALL))

    reports = []
    differing()
    (report,) = reports
    assert report.ok
    finding = found(report, "warning", "numpy is", "1.0 on tcp://")
    assert finding.host == "node7" and "Install the same version everywhere" in finding.remedy
    assert found(report, "note", "host node7: 1 worker,", "numpy 1.0")

    # One worker cannot take part: the table is scanned by the other.
    answers[0], reports[:] = {"dask_dl": "0.0.1", "host": "node7"}, []
    refused()
    (report,) = reports
    assert found(report, "error", "dask_dl is", "0.0.1 on tcp://").host == "node7"
    assert found(report, "error", "infinite values in partition 0").column == "x"

    # None can.
    answers[1], reports[:] = ModuleNotFoundError("No module named 'dask_dl'"), []
    refused()
    (report,) = reports
    assert [f.text.partition(" ")[0] for f in report.of("error")] == ["dask_dl", "dask_dl"]
    assert found(report, "note", "was not read: there is no worker")
