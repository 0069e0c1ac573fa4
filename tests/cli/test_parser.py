"""Help and usage: an option on two lines, examples that run, and what a mistake is answered."""

from __future__ import annotations

import re

import pytest
from cli.tables import ended

from dask_dl.cli import main
from dask_dl.cli.parser import Parser

COMMANDS = ["train", "predict", "evaluate", "anomaly", "demo"]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_meaning_takes_one_line(shown, command):
    lines = shown(command).splitlines()
    options = [k for k, line in enumerate(lines) if line.startswith("  -")]
    assert len(options) >= 3
    for k in options:
        assert re.match(r"      \S", lines[k + 1]), lines[k]
        assert not "".join(lines[k + 2 : k + 3]).startswith("      "), lines[k]


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
