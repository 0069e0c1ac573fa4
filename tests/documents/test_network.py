"""Networks in files: shapes of their arrays, outputs, and weights that would answer nothing but NaN."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
from saved import SETTINGS, TABLE

from dask_dl import DeepLearningClassifier, load
from dask_dl.documents.network import TopologyDocument, shapes_of
from dask_dl.errors import ArchiveError

DATA = Path(__file__).parents[1] / "data"


def test_shapes_are_those_of_the_arrays_that_are_written(model_file):
    for path in (model_file, DATA / "format-2-hashed.zip"):
        model = load(path).model_
        named = model.network.topology.named("network", model.network.flat)
        assert shapes_of(model.network.topology, "network") == {name: array.shape for name, array in named.items()}


def test_outputs_of_a_reconstruction_are_legal_but_not_beside_maxout():
    given = {"n_onehot": 3, "n_dense": 2, "hidden": [4], "n_outputs": 5, "activation": "tanh", "output": "activated"}
    assert msgspec.convert(given, TopologyDocument).topology().output == "activated"
    with pytest.raises(msgspec.ValidationError, match="not 'maxout'"):
        msgspec.convert(given | {"activation": "maxout"}, TopologyDocument)


def test_a_deep_model_that_would_answer_nothing_but_nan_is_refused(tmp_path):
    table = TABLE[["a", "b", "y"]]
    model = DeepLearningClassifier(**SETTINGS | {"hidden": (4,) * 8, "epochs": 0.1}).fit(table, "y")
    model.save(tmp_path / "sound.zip")
    load(tmp_path / "sound.zip")
    signs = np.random.default_rng(0).choice(np.array([-1, 1], np.float32), len(model.model_.network.flat))
    model.model_.network.flat[:] = np.where(model.model_.network.flat == 0, 0, 9e4 * signs)
    model.save(tmp_path / "forged.zip")
    with pytest.raises(ArchiveError, match="beyond float32"):
        load(tmp_path / "forged.zip")
