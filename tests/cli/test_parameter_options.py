"""Options of the parameters: shown where they have an effect, with words, ranges and defaults."""

from __future__ import annotations

import re

from dask_dl import parameters
from dask_dl.cli import NO_OPTION, main


def test_parameters_are_shown_if_they_have_an_effect(shown):
    text = shown("train")
    for name in parameters.constructor_defaults().keys() - NO_OPTION:
        is_shown = re.search(rf"^  --{name.replace('_', '-')}[ ,]", text, re.MULTILINE) is not None
        assert is_shown == parameters.TABLE[name].has_effect, name
    for name in ("diagnostics", "variable_importances", "export_weights_and_biases"):
        assert not parameters.TABLE[name].has_effect


def test_parameters_without_effect_are_still_read(capsys):
    arguments = ["train", "nowhere.csv", "--target", "y", "--model", "m", "--no-variable-importances", "--diagnostics"]
    assert main(arguments) == 1
    assert "nowhere.csv: no such file" in capsys.readouterr().err


def test_groups_words_defaults_and_examples_are_shown(shown):
    text = shown("train")
    for row in parameters.TABLE.values():
        if row.scope == "constructor" and row.has_effect and row.name not in NO_OPTION:
            assert f"\n{row.group}:\n" in text
    assert "--missing-values-handling {mean_imputation,skip} (default: mean_imputation)" in text
    assert "--hidden INT,... >= 1 (default: 200,200)" in text
    assert "--rho FLOAT in [0, 1) (default: 0.99)" in text
    assert "--random-state INT >= 0 or -1 (default: none)" in text  # no generator of NumPy's can be typed
    assert "lift_top_group" in text and "hit_ratio_2" not in text  # which no history has
    for command in ("train", "predict", "evaluate", "anomaly"):
        assert shown(command).partition("Examples:\n")[2].count(f"  dask-dl {command} ") >= 2
