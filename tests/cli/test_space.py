"""Files of TOML that name the space of a search."""

from __future__ import annotations

import numpy as np
import pytest

from dask_dl.cli.space import read_space
from dask_dl.errors import ParameterError


@pytest.fixture
def read(tmp_path):
    def read_text(text):
        (tmp_path / "space.toml").write_text(text)
        return read_space(str(tmp_path / "space.toml"))

    return read_text


def test_lists_are_values(read):
    assert read("hidden = [[32, 32], [100]]\ninput-dropout-ratio = [0.0, 0.1]") == [
        {"hidden": [[32, 32], [100]], "input_dropout_ratio": [0.0, 0.1]}
    ]


def test_sub_spaces_have_what_stands_above_them(read):
    text = "l1 = [0.0]\n[[space]]\nadaptive_rate = [true]\n[[space]]\nadaptive_rate = [false]\nl1 = [0.1]"
    assert read(text) == [{"l1": [0.0], "adaptive_rate": [True]}, {"l1": [0.1], "adaptive_rate": [False]}]


def test_distributions_have_their_limits(read):
    text = "l1 = {loguniform = [1e-6, 1e-3]}\nrho = {uniform = [0.9, 0.99]}\nmini_batch_size = {randint = [1, 3]}"
    (space,) = read(text)
    drawn = {name: space[name].rvs(size=300, random_state=1) for name in space}
    assert drawn["l1"].min() >= 1e-6 and drawn["l1"].max() <= 1e-3
    assert drawn["rho"].min() >= 0.9 and drawn["rho"].max() <= 0.99
    assert np.unique(drawn["mini_batch_size"]).tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("l1 = ", "is no TOML"),
        ("l1 = 0.1", "l1 is 0.1; write a list of values, or l1 = {uniform = "),
        ("l1 = {normal = [0, 1]}", "l1 is {'normal'"),
        ("l1 = {uniform = [1, 0]}", "l1 is uniform of .* with low < high"),
        ("l1 = {loguniform = [0, 1]}", "with 0 < low < high"),
        ("l1 = {uniform = 3}", "l1 is uniform of 3"),
        ("space = 3", r"write \[\[space\]\]"),
    ],
)
def test_other_files_are_refused(read, text, message):
    with pytest.raises(ParameterError, match=message):
        read(text)
