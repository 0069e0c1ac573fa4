"""Help and usage: what is shown of the options, and what a mistake in them is answered."""

from __future__ import annotations

import re

import pytest

from dask_dl import parameters
from dask_dl.cli import NO_OPTION, main
from dask_dl.cli.parser import Parser

WIDTH = 80
COMMANDS = ["train", "predict", "evaluate", "anomaly", "demo"]


def ended(capsys, *arguments):
    """Status, standard output and standard error of a command that ends while it reads its arguments."""
    with pytest.raises(SystemExit) as done:
        main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return done.value.code, captured.out, captured.err


@pytest.fixture
def shown(capsys, monkeypatch):
    """The help of a command."""
    monkeypatch.setenv("COLUMNS", str(WIDTH))

    def help_of(command):
        code, out, _ = ended(capsys, command, "--help")
        assert code == 0
        return out

    return help_of


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


@pytest.mark.parametrize("command", COMMANDS)
def test_a_meaning_takes_one_line(shown, command):
    lines = shown(command).splitlines()
    options = [k for k, line in enumerate(lines) if line.startswith("  -")]
    assert len(options) >= 3
    for k in options:
        assert re.match(r"      \S", lines[k + 1]), lines[k]
        assert not "".join(lines[k + 2 : k + 3]).startswith("      "), lines[k]


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


@pytest.mark.parametrize("command", ["train", "predict", "evaluate", "anomaly"])
def test_examples_are_of_options_that_there_are(capsys, monkeypatch, shown, command):
    inner, accepted = Parser.check, []

    def check(parser, options, unknown):
        inner(parser, options, unknown)
        accepted.append(options)
        parser.exit()  # before the command runs

    monkeypatch.setattr(Parser, "check", check)
    examples = re.findall(rf"^  dask-dl ({command} .*)$", shown(command), re.MULTILINE)
    for example in examples:
        assert ended(capsys, *example.replace("'", "").split()) == (0, "", "")
    assert len(accepted) == len(examples) >= 2


TRAIN = ["train", "t.csv", "--target", "y", "--model", "m"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([*TRAIN, "--hiden", "8"], "unknown arguments: --hiden 8; did you mean --hidden?"),
        ([*TRAIN, "--hidden_layer=9"], "did you mean --hidden?"),
        ([*TRAIN, "--l1_norm=0.1"], "did you mean --l1?"),
        ([*TRAIN, "--verbose=2"], "argument --verbose: takes no value, but was given '2'"),
        ([*TRAIN, "--verbos"], "did you mean --verbose?"),
        ([*TRAIN, "--seed", "1"], "--seed is no option: write --random-state 1"),
        ([*TRAIN, "--lr=0.1"], "--lr is no option: write --rate 0.1 --no-adaptive-rate"),
        ([*TRAIN, "--alpha", "1e-4"], "write --l2 5e-07"),
        ([*TRAIN, "--dropout", "0.5"], "write --hidden-dropout-ratios 0.5,0.5 --activation rectifier_with_dropout"),
        ([*TRAIN, "--early-stopping"], "write --stopping-rounds 5"),
        ([*TRAIN, "--no-early-stopping"], "--no-early-stopping is no option: write --stopping-rounds 0"),
        ([*TRAIN, "--no-shuffle"], "write --no-shuffle-training-data"),
        ([*TRAIN, "--no-standardise"], "write --no-standardize"),
        ([*TRAIN, "--optimizer", "sgd"], "write --no-adaptive-rate"),
        ([*TRAIN, "--shuffle", "false"], "write --no-shuffle-training-data"),
        ([*TRAIN, "--batch-size"], "write --mini-batch-size ..."),
        ([*TRAIN, "--eval-set", "v.csv"], "unknown arguments: --eval-set v.csv"),
        ([*TRAIN, "--validation-data", "v.csv"], "write --validation DATA"),
        ([*TRAIN, "--n-threads", "2"], "write --n-jobs 2"),
        ([*TRAIN, "--max-depth", "3"], "leave it out; it belongs to trees"),
        (["train", "t.csv", "--label", "y", "--model", "m"], "write --target NAME"),
        ([*TRAIN, "--fit-intercept", "1"], "leave it out; units have biases in any case"),
        ([*TRAIN, "--kernel-initializer", "he"], "write --initial-weight-distribution"),
        ([*TRAIN, "--sheduler", "tcp://a:1"], "did you mean --scheduler?"),
        ([*TRAIN, "--client", "tcp://a:1"], "--client is no option: --scheduler, --scheduler-file and --workers say"),
        ([*TRAIN, "--initial-weights", "w"], "train from Python"),
        ([*TRAIN, "--epochs", "many"], "argument --epochs: invalid float value: 'many'"),
        ([*TRAIN, "--hidden", "8,x"], "'8,x' is not a list of numbers such as 200,200"),
        ([*TRAIN, "--quiet", "--verbose"], "not allowed with argument"),
        ([*TRAIN, "--scheduler", "tcp://a:1", "--scheduler-file", "f"], "not allowed with argument --scheduler"),
        (["train", "t.csv", "--traget", "y", "--model", "m"], "did you mean --target?"),
        (["train", "t.csv"], "missing: --target NAME or --autoencoder, --model OUT"),
        (["train"], "the following arguments are required: DATA"),
        (["predict", "m", "t.csv"], "missing: --output OUT"),
        (["predict", "m", "t.csv", "--ouput", "o"], "did you mean --output?"),
        (["predict", "m", "t.csv", "--output", "o", "--epochs", "3"], "unknown arguments: --epochs 3"),
        (["trian"], "invalid choice: 'trian'"),
        ([], "the following arguments are required: COMMAND"),
    ],
)
def test_wrong_usage_is_answered_by_a_message_and_one_line_of_usage(capsys, arguments, message):
    code, out, err = ended(capsys, *arguments)
    assert (code, out) == (2, "")
    told, usage = err.splitlines()
    assert told.startswith("dask-dl: ") and message in told
    assert usage.startswith("usage: dask-dl ") and (not arguments or arguments[0] in usage or arguments[0] == "trian")


@pytest.mark.parametrize("option", ["--verbose", "--quiet"])
def test_verbosity_may_be_said_either_way(capsys, option):
    assert main(["train", "nowhere.csv", "--target", "y", "--model", "m", option]) == 1
    assert "nowhere.csv: no such file" in capsys.readouterr().err


def test_an_illegal_value_is_answered_with_usage_too(capsys):
    assert main([*TRAIN, "--rho", "2", "--l1", "-1"]) == 1
    *told, usage = capsys.readouterr().err.splitlines()
    assert told[0] == "dask-dl: 2 mistakes in the parameters:" and len(told) == 3
    assert usage.startswith("usage: dask-dl train DATA --target NAME --model OUT [options]")


def test_a_missing_file_is_no_matter_of_usage(capsys):
    assert main(["train", "nowhere.csv", "--target", "y", "--model", "m"]) == 1
    assert "usage" not in capsys.readouterr().err
