"""Checkpoints of a training: written as it goes, found after any end, and gone on with to the same bits."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tables import unread
from training.resumed import SETTINGS, fit, make_table

from dask_dl import DeepLearningClassifier, DeepLearningRegressor
from dask_dl.checkpoint.folder import KEPT, CheckpointFolder
from dask_dl.errors import ArchiveError, DaskDLWarning, ParameterError, SchemaError
from dask_dl.training.checkpoints import unlike_parts


@pytest.fixture(scope="module")
def table():
    return make_table()


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


WAYS = {
    "one thread": {"n_jobs": 1},
    "team": {"n_jobs": 2, "parallelism": "team"},
    "reproducible": {"n_jobs": 3, "reproducible": True},
    "momentum": {"n_jobs": 1, "adaptive_rate": False, "momentum_start": 0.5, "momentum_stable": 0.9},
    "plain": {"n_jobs": 1, "adaptive_rate": False},
    "maxout with dropout": {"n_jobs": 1, "activation": "maxout_with_dropout", "input_dropout_ratio": 0.1},
    "huber in batches": {"n_jobs": 1, "distribution": "huber", "huber_alpha": 0.5, "mini_batch_size": 16},
    "team in batches": {"n_jobs": 2, "parallelism": "team", "hidden": (256, 200), "epochs": 4, "mini_batch_size": 32},
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("best", [True, False])
def test_a_resumed_training_ends_with_the_same_bits(table, tmp_path, way, best):
    given = {"epochs": 6, "overwrite_with_best_model": best, "train_samples_per_iteration": 250} | WAYS[way]
    whole = fit(table, **given)
    fit(table, tmp_path, until=4, **given)
    fit(table, tmp_path, until=9, resume=True, **given)
    model = fit(table, tmp_path, resume=True, **given)
    np.testing.assert_array_equal(model.model_.network.flat, whole.model_.network.flat)
    for mine, other in zip(model.model_.network.states, whole.model_.network.states, strict=True):
        np.testing.assert_array_equal(mine, other)
    columns = ["iterations", "samples", "epochs", "training_deviance"]
    pd.testing.assert_frame_equal(model.history_[columns], whole.history_[columns])
    assert model.history_["duration"].is_monotonic_increasing
    assert (model.n_iter_, model.best_iteration_, model.best_score_) == (
        whole.n_iter_, whole.best_iteration_, whole.best_score_,
    )  # fmt: skip


def test_another_number_of_threads_may_go_on(table, tmp_path):
    fit(table, tmp_path, until=5, n_jobs=1)
    for n, given in ((3, {"parallelism": "staleness"}), (2, {"parallelism": "team"}), (1, {})):
        model = fit(table, tmp_path, until=5 + n, resume=True, n_jobs=n, **given)
        assert model.parameters_["n_jobs"] == n
    model = fit(table, tmp_path, resume=True)
    assert model.stopped_by_ == "epochs" and model.score(table, "y") > 0.5


def test_more_epochs_after_the_end(table, tmp_path):
    fit(table, tmp_path, epochs=5, n_jobs=1)
    again = fit(table, tmp_path, epochs=5, n_jobs=1, resume=True)
    assert again.model_.record.n_seen == 5 * len(table)  # nothing is left to do
    longer = fit(table, tmp_path, epochs=12, n_jobs=1, resume=True, overwrite_with_best_model=False)
    whole = fit(table, epochs=12, n_jobs=1, overwrite_with_best_model=False)
    np.testing.assert_array_equal(longer.model_.network.flat, whole.model_.network.flat)


def test_a_training_that_had_learned_enough_stays_ended(table, tmp_path):
    given = {"epochs": 1000, "regression_stop": 0.9, "n_jobs": 1}
    ended = fit(table, tmp_path, **given)
    assert ended.stopped_by_.startswith("regression_stop")
    again = fit(table, tmp_path, resume=True, **given)
    assert again.model_.record.n_seen == ended.model_.record.n_seen
    np.testing.assert_array_equal(again.model_.network.flat, ended.model_.network.flat)


def test_the_seed_that_was_drawn_stays(table, tmp_path):
    first = fit(table, tmp_path, until=3, random_state=None)
    assert (
        fit(table, tmp_path, resume=True, random_state=None).parameters_["random_state"]
        == first.parameters_["random_state"]
    )


def test_the_last_few_are_kept_and_a_damaged_one_is_passed_over(table, tmp_path):
    given = {"n_jobs": 1, "overwrite_with_best_model": False}
    fit(table, tmp_path, until=7, **given)
    folder = CheckpointFolder(str(tmp_path))
    numbers = folder.numbers()
    assert len(numbers) == KEPT and names(tmp_path) == [Path(folder.path(n)).name for n in numbers]
    newest = Path(folder.path(numbers[-1]))
    content = newest.read_bytes()
    newest.write_bytes(content[: len(content) // 2])
    with pytest.warns(DaskDLWarning, match="passed over: "):
        assert folder.newest()[0] == folder.path(numbers[-2])
    whole = fit(table, **given)
    with pytest.warns(DaskDLWarning, match="passed over: "):
        again = fit(table, tmp_path, resume=True, **given)
    np.testing.assert_array_equal(again.model_.network.flat, whole.model_.network.flat)
    for number in folder.numbers():
        Path(folder.path(number)).write_bytes(b"nothing")
    with pytest.raises(ArchiveError, match=r"no checkpoint in .* can be read"):
        fit(table, tmp_path, resume=True)


def test_a_checkpoint_that_the_system_cannot_read_is_passed_over(table, tmp_path):
    fit(table, tmp_path, until=4)
    folder = CheckpointFolder(str(tmp_path))
    whole, last = folder.numbers()[-1], folder.numbers()[-1] + 1
    Path(folder.path(last)).symlink_to(folder.path(last))  # which nobody can follow, whatever their rights
    with pytest.warns(DaskDLWarning, match=rf"passed over: .*{last}.zip.* Going on from .*{whole}.zip"):
        assert folder.newest()[0] == folder.path(whole)


@pytest.mark.parametrize(
    ("change", "given", "message"),
    [
        (lambda t: t.drop(columns="e"), {}, r"columns: .*'e'.*, now"),
        (lambda t: t.head(-1), {}, "rows: 600, now 599"),
        (lambda t: t.assign(a=t["a"] * 2), {}, "columns, numbers a, deviation: "),
        (lambda t: t.assign(level=t["level"].replace("u", "x")), {}, "columns, categories level, levels: u, now v"),
        (lambda t: t.assign(y=t["y"] + 1), {}, "target, shift: "),
        (lambda t: t, {"hidden": (40, 31)}, r"hidden=\[40, 30\], now \[40, 31\]"),
        (lambda t: t, {"rho": 0.9}, "rho=0.99, now 0.9"),
        (lambda t: t, {"activation": "tanh"}, "activation=rectifier, now tanh"),
        (lambda t: t.iloc[::-1], {}, "training table: its numbers, categories, targets differ, or their order does"),
    ],
)
def test_another_training_is_refused_and_the_difference_named(table, tmp_path, change, given, message):
    fit(table, tmp_path, until=2)
    before = names(tmp_path)
    with pytest.raises(SchemaError, match=f"resume: .* is of another (training: )?{message}"):
        fit(change(table), tmp_path, resume=True, **given)
    assert names(tmp_path) == before


def test_checkpoints_of_an_earlier_training_are_not_overwritten(table, tmp_path):
    fit(table, tmp_path, until=2)
    with pytest.raises(ParameterError, match=r"holds checkpoints of an earlier training\. Use resume=True"):
        fit(table, tmp_path)


def test_without_a_checkpoint_training_starts_from_the_beginning(table, tmp_path, capsys):
    model = fit(table, tmp_path / "new" / "folder", resume=True, verbose=True, n_jobs=1)
    assert "there is no checkpoint" in capsys.readouterr().out
    np.testing.assert_array_equal(model.model_.network.flat, fit(table, n_jobs=1).model_.network.flat)


def test_a_folder_that_cannot_be_written_is_known_before_work_starts(table, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        fit(unread(table), tmp_path / "file")


def test_a_url(table):
    place = "memory://checkpoints-of-a-test"
    fit(table, place, until=5, n_jobs=1)
    assert len(CheckpointFolder(place).numbers()) == KEPT
    np.testing.assert_array_equal(
        fit(table, place, resume=True, n_jobs=1).model_.network.flat, fit(table, n_jobs=1).model_.network.flat
    )


def test_an_interval_of_time_lies_between_two_checkpoints(table, tmp_path):
    fit(table, tmp_path, checkpoint_interval=1e6)
    assert CheckpointFolder(str(tmp_path)).numbers() == [1]  # the end


def test_classes_with_validation_and_weights(tmp_path):
    table = make_table()
    table = table.assign(y=np.where(table["y"] > 0, "high", "low"), w=np.linspace(0, 2, len(table)))
    given = SETTINGS | {"n_jobs": 1, "stopping_rounds": 3, "epochs": 60}

    def train(resume=False, until=None, place=None):
        model = DeepLearningClassifier(**given, checkpoint_dir=place, checkpoint_interval=0.0 if place else 60.0)
        stop = [lambda record: record["iterations"] >= until] if until else None
        return model.fit(table, "y", sample_weight="w", eval_set=make_other(table), callbacks=stop, resume=resume)

    whole = train()
    train(until=3, place=str(tmp_path))
    resumed = train(resume=True, place=str(tmp_path))
    assert resumed.stopped_by_ == whole.stopped_by_
    np.testing.assert_array_equal(resumed.model_.network.flat, whole.model_.network.flat)
    assert resumed.history_["validation_logloss"].iloc[-1] == whole.history_["validation_logloss"].iloc[-1]


@pytest.mark.parametrize("storage", ["memory", "disk"])
def test_balanced_classes_go_on_as_they_were_drawn(tmp_path, storage):
    table = make_table()
    table = table.assign(y=np.where(table["y"] > 2, "high", "low"))
    given = SETTINGS | {"n_jobs": 1, "epochs": 6, "balance_classes": True, "categorical_encoding": "sort_by_response"}
    given |= {
        "activation": "tanh_with_dropout",
        "storage": storage,
        "max_after_balance_size": 1.3,
        "random_state": None,
    }

    def train(resume=False, until=None, **more):
        model = DeepLearningClassifier(**given | more, checkpoint_dir=str(tmp_path), checkpoint_interval=0.0)
        stop = [lambda record: record["iterations"] >= until] if until else None
        return model.fit(table, "y", callbacks=stop, resume=resume)

    seed = train(until=2).parameters_["random_state"]
    resumed = train(resume=True)
    whole = DeepLearningClassifier(**given | {"random_state": seed}).fit(table, "y")
    np.testing.assert_array_equal(resumed.model_.network.flat, whole.model_.network.flat)
    with pytest.raises(SchemaError, match="visits per row of a class"):
        train(resume=True, max_after_balance_size=1.5)


def make_other(table):
    return table.sample(frac=0.5, random_state=0)


KILL = """
import os, random, signal, sys, time
sys.path.insert(0, sys.argv[1])
import numpy as np
from tables import unread
from training.resumed import fit, make_table
from dask_dl.checkpoint.folder import CheckpointFolder
table, draw = make_table(), random.Random(1)
given = {"epochs": 50, "train_samples_per_iteration": 150, "overwrite_with_best_model": False, "score_each_iteration": False}
given["checkpoint_interval"] = 0.0


def killed(place, n_new, seconds, **given):
    # Once it has written so many checkpoints, and some time later: in the middle of a round, or of a checkpoint.
    folder = CheckpointFolder(place)
    wanted = max(folder.numbers(), default=0) + n_new
    child = os.fork()
    if child == 0:
        fit(table, place, resume=True, **given)
        os._exit(7)  # it must not come to its end
    while max(folder.numbers(), default=0) < wanted:
        assert os.waitpid(child, os.WNOHANG) == (0, 0), "ended by itself"
        time.sleep(0.001)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1]), "ended by itself"
    found = folder.newest()
    return found[2]["course"]["n_rounds"] if found else 0


for n_jobs in (1, 2):
    place = os.path.join(sys.argv[2], str(n_jobs))
    given |= {"n_jobs": n_jobs, "parallelism": "team"}
    whole = fit(table, **given)  # compiles, too
    last = 0
    for n_new in (0, 3, 1, 0, 1):
        rounds = killed(place, n_new, draw.uniform(0.0, 0.02 if n_new else 0.3), **given)
        assert rounds >= last + n_new, (n_jobs, rounds, last, n_new)
        last = rounds
    done = fit(table, place, resume=True, **given | {"checkpoint_interval": 1e6})
    assert done.n_iter_ == whole.n_iter_ == 200 > last, (n_jobs, last)
    assert np.array_equal(done.model_.network.flat, whole.model_.network.flat), n_jobs
    print(n_jobs, "threads, rounds at the last kill:", last)
"""


@pytest.mark.slow
def test_killed_again_and_again_it_ends_as_if_nothing_had_happened(tmp_path):
    here = str(Path(__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", KILL, here, str(tmp_path)],
        check=False, capture_output=True, text=True, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.assign(o=t["o"] * 5), "another training table: its offsets differ"),
        (lambda t: t.assign(w=np.roll(t["w"], 1)), "another training"),
    ],
)
def test_other_offsets_and_weights_are_refused(table, tmp_path, change, message):
    table = table.assign(o=np.linspace(-1, 1, len(table)), w=np.linspace(0.5, 1.5, len(table)))
    given = SETTINGS | {"checkpoint_dir": str(tmp_path), "checkpoint_interval": 0.0, "epochs": 2}
    DeepLearningRegressor(**given).fit(table, "y", sample_weight="w", offset="o")
    with pytest.raises(SchemaError, match=message):
        DeepLearningRegressor(**given).fit(change(table), "y", sample_weight="w", offset="o", resume=True)


def test_another_validation_table_is_refused(table, tmp_path):
    given = SETTINGS | {"checkpoint_dir": str(tmp_path), "checkpoint_interval": 0.0, "epochs": 2}
    DeepLearningRegressor(**given).fit(table, "y", eval_set=table[:100])
    with pytest.raises(SchemaError, match="another validation table"):
        DeepLearningRegressor(**given).fit(table, "y", eval_set=table[100:200], resume=True)


def test_another_seed_is_refused(table, tmp_path):
    fit(table, tmp_path, until=2)
    with pytest.raises(ParameterError, match=r"random_state=4, but .* is of a training with 3"):
        fit(table, tmp_path, resume=True, random_state=4)


def test_looser_stopping_goes_on_and_another_metric_finds_another_best(table, tmp_path):
    ended = fit(table, tmp_path, epochs=40, regression_stop=0.9, n_jobs=1)
    model = fit(table, tmp_path, epochs=40, regression_stop=-1, stopping_metric="mae", resume=True, n_jobs=1)
    assert model.model_.record.n_seen > ended.model_.record.n_seen and model.stopped_by_ == "epochs"
    assert model.best_score_ == pytest.approx(float((table["y"] - model.predict(table)).abs().mean()), rel=1e-4)


# ---- sparse inputs ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "now", "wrong"),
    [
        ([1, 2, 3, 4, 5], [1, 2, 3, 4, 5], ""),
        ([1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6], ""),
        ([1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 6], "sparse inputs"),
        ([1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5], "sparse inputs"),
        ([1, 2, 3, 4, 5, 6], [1, 2, 0, 4, 5, 7], "targets, sparse inputs"),
    ],
)
def test_checksums_of_sparse_inputs_are_compared(before, now, wrong):
    assert ", ".join(unlike_parts(before, now)) == wrong


def test_a_topology_without_sparse_columns_is_saved_as_it_always_was(tmp_path, table):
    fit(table, tmp_path, until=2)
    document = CheckpointFolder(str(tmp_path)).newest()[2]
    assert set(document["identity"]["topology"]) == {
        "n_onehot", "n_dense", "hidden", "n_outputs", "activation", "output", "has_means",
    }  # fmt: skip
