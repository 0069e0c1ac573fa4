"""Checkpoints that do not hold together are refused before they are used."""

from __future__ import annotations

import pytest
from saved import SETTINGS, TABLE, array, at, drop, put, spoiled, without

from dask_dl import DeepLearningRegressor
from dask_dl.checkpoint.folder import CheckpointFolder
from dask_dl.errors import ArchiveError, DaskDLWarning
from dask_dl.training.checkpoints import Checkpoint


def train(folder, *, resume=False, **given):
    given = SETTINGS | {"checkpoint_dir": str(folder), "checkpoint_interval": 1e6} | given
    return DeepLearningRegressor(**given).fit(TABLE[["a", "b", "z"]], "z", resume=resume)


@pytest.fixture(scope="module")
def checkpoint_file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    train(folder, distribution="huber")
    return max(folder.glob("*.zip"))


CHECKPOINTS = {
    "no seed": (drop("seed"), "required field `seed`"),
    "no identity": (drop("identity"), "required field `identity`"),
    "fewer states": (put("n_states", value=1), "has 2 vectors of state, and not 1"),
    "states without end": (put("n_states", value=2**32), "n_states"),
    "states of another optimizer": (put("identity", "settings", "adaptive_rate", value=False), "has 0 vectors"),
    "settings that are a heap": (put("identity", "settings", value={"a": [{}] * 20_000}), "lists, objects and keys"),
    "settings that are none": (put("identity", "settings", value=None), "settings"),
    "no training rows": (put("identity", "n_used", value=0), "of 120 rows have a target"),
    "more rows than there are": (put("identity", "n_used", value=121), "121 of 120 rows"),
    "a role that is not there": (put("identity", "roles", "fold", value="a"), "roles"),
    "checksums that are texts": (put("fingerprints", "training", value=["1"]), "Expected `int`, got `str`"),
    "a balance of classes that are none": (put("identity", "balance", value=[1.0]), "not as many as classes"),
    "rows learned in no time": (put("course", "training_seconds", value=0.0), "in no time"),
    "a negative time": (put("course", "seconds", value=-1.0), "seconds"),
    "a step that is halved without end": (put("course", "n_halvings", value=10**9), "n_halvings"),
    "another metric": (put("course", "metric", value="purity"), "Invalid enum value"),
    "a negative delta": (put("course", "delta", value=-1.0), "delta"),
    "a history without a beginning": (put("course", "history", 0, "samples", value=5), "does not begin"),
    "a validation that was not scored": (put("identity", "n_validation", value=9), "was not scored"),
    "a best model without weights": (without("best/"), "'best/network/weights/0' is missing"),
    "weights of no best model": (put("course", "best", value=None), "belong to nothing"),
    "a best model of three numbers": (put("course", "best", value=[1, 2, 3]), "best"),
    "an exploded best model": (array("best/network/biases/1", at(0, 1e30)), "have exploded"),
}  # fmt: skip


@pytest.mark.parametrize("what", CHECKPOINTS)
def test_a_checkpoint_that_does_not_hold_together_is_refused_before_it_is_used(checkpoint_file, tmp_path, what):
    spoil, text = CHECKPOINTS[what]
    path = spoiled(checkpoint_file, tmp_path / "spoiled.zip", "training", spoil)
    with pytest.raises(ArchiveError) as caught:
        Checkpoint.read(str(path))
    assert text in str(caught.value) and str(path) in str(caught.value)


def test_a_checkpoint_of_another_optimizer_reaches_no_kernel(tmp_path):
    train(tmp_path / "sound")
    (tmp_path / "forged").mkdir()
    sound = max((tmp_path / "sound").glob("*.zip"))
    spoiled(sound, tmp_path / "forged" / "checkpoint-00000001.zip", "training", put("n_states", value=1))
    with pytest.raises(ArchiveError, match=r"no checkpoint in .* can be read.*2 vectors of state"):
        train(tmp_path / "forged", resume=True)


def test_training_goes_on_from_the_newest_checkpoint_that_holds_together(tmp_path):
    often = {"checkpoint_interval": 0.0, "score_each_iteration": True, "train_samples_per_iteration": 0}
    train(tmp_path, epochs=4, **often)
    folder = CheckpointFolder(str(tmp_path))
    older, newest = map(folder.path, folder.numbers()[-2:])
    spoiled(newest, newest, "training", put("course", "n_seen", value=-1))
    with pytest.warns(DaskDLWarning, match="passed over: ") as warned:
        model = train(tmp_path, epochs=6, resume=True)
    text = next(str(w.message) for w in warned if "passed over" in str(w.message))
    assert newest in text and f"Going on from {older}" in text
    assert model.model_.record.n_seen == 6 * 120
