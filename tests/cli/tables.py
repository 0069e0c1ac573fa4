"""Commands as a user types them, on small tables."""

from __future__ import annotations

import re

import numpy as np
import pytest
import tables
from tables import UNSCORED

from dask_dl.cli import main

SMALL = UNSCORED | {"hidden": (6,), "epochs": 3, "random_state": 1, "n_jobs": 1}
QUICK = ["--hidden", "6,4", "--epochs", "2", "--random-state", "1"]  # of a command


def predict(*arguments):
    return main(["predict", *(str(argument) for argument in arguments)])


def make_table(n, seed=0):
    table = tables.make_table(n, seed, labels=("7", "007"))[["a", "level", "w", "y", "label"]]
    table = table.assign(y=np.exp(table["y"]), w=table["w"] + 0.5, row=np.arange(n))
    return table.rename(columns={"level": "who", "y": "price"})


def figures(text):
    """Metrics as they are printed."""
    return {name: float(value) for name, value in re.findall(r"^(\w+) +(-?[\d.e+-]+|nan)$", text, re.MULTILINE)}


def run(*arguments):
    return main([str(a) for a in arguments])


def ended(capsys, *arguments):
    """Status, standard output and standard error of a command that ends while it reads its arguments."""
    with pytest.raises(SystemExit) as done:
        main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return done.value.code, captured.out, captured.err
