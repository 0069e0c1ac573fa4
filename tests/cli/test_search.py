"""What `dask-dl search` prints and writes."""

from __future__ import annotations

import pandas as pd
import pytest
import tables

from dask_dl import load, parameters
from dask_dl.cli import main
from dask_dl.cli.search import search_option
from dask_dl.tuning.options import OPTIONS

SMALL = ["--epochs", 2, "--random-state", 1, "--n-jobs", 1, "--stopping-rounds", 0]


@pytest.fixture
def place(tmp_path):
    tables.make_table(300)[["a", "b", "level", "y"]].to_csv(tmp_path / "table.csv", index=False)
    (tmp_path / "space.toml").write_text("hidden = [[3], [4, 3]]\nl1 = [0.0, 1e-3]\n")
    return tmp_path


def search(place, *arguments):
    options = ["search", place / "table.csv", "--target", "y", "--space", place / "space.toml", *SMALL, *arguments]
    return main([str(option) for option in options])


def test_the_best_model_and_the_table_are_written(place, capsys):
    written = place / "best.zip", place / "board.csv", place / "search.png"
    assert search(place, "--model", written[0], "--leaderboard", written[1], "--plot", written[2]) == 0
    printed = capsys.readouterr().out
    board = pd.read_csv(written[1])
    assert len(board) == 4 and board["deviance"].is_monotonic_increasing
    model = load(written[0])
    assert str(list(model.get_params()["hidden"])) == board["hidden"].iloc[0]
    assert written[2].stat().st_size > 1000
    assert "candidate 3: deviance" in printed and f"model: {written[0]}" in printed
    assert search(place, "--model", written[0]) == 1
    assert "--overwrite" in capsys.readouterr().err


def test_options_of_the_search_and_of_the_training_keep_apart(place, capsys):
    more = [
        "--method",
        "random",
        "--max-models",
        2,
        "--search-random-state",
        5,
        "--search-n-jobs",
        1,
        "--metric",
        "mae",
    ]
    assert search(place, *more, "--leaderboard", place / "board.csv", "--recovery-dir", place / "kept", "--quiet") == 0
    assert not capsys.readouterr().out
    board = pd.read_csv(place / "board.csv")
    assert len(board) == 2 and board["mae"].is_monotonic_increasing
    assert load(board["model"].iloc[0]).model_.record.requested["random_state"] == 1


def test_every_option_of_a_search_has_one():
    names = {search_option(name) for name in OPTIONS}
    assert len(names) == len(OPTIONS)
    assert not names & {f"--{name.replace('_', '-')}" for name in parameters.TABLE}


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--method", "bayes"], 'method="bayes"'),
        (["--leaderboard", "board.xlsx"], "let it end with .csv"),
        (["--min-epochs", "1"], "min_epochs=1 is of method='halving' only"),
        (["--space", "missing.toml"], "missing.toml: No such file"),
        (["--epochs", "-1"], "epochs"),
    ],
)
def test_mistakes_are_told_before_the_table_is_read(place, more, message, capsys):
    assert search(place, *more) == 1
    assert message in capsys.readouterr().err


def test_what_is_missing_is_told(place, capsys):
    with pytest.raises(SystemExit):
        main(["search", str(place / "table.csv"), "--target", "y"])
    assert "missing: --space FILE" in capsys.readouterr().err
