"""Files of models that do not hold together are refused when they are loaded."""

from __future__ import annotations

import math

import numpy as np
import pytest
from saved import array, at, drop, put, spoiled, without

from dask_dl import load
from dask_dl.errors import ArchiveError

#: (change, what the refusal says)
MODELS = {
    "no task": (drop("task"), "required field `task`"),
    "another task": (put("task", value="regression"), "do not belong together"),
    "a task that is not there": (put("task", value="ranking"), "Invalid enum value 'ranking'"),
    "an unknown field": (put("more", value=1), "unknown field `more`"),
    "an unknown field within": (put("topology", "more", value=1), "unknown field `more`"),
    "a bool for an int": (put("n_rows", value=True), "Expected `int`, got `bool`"),
    "an int for a bool": (put("is_named", value=1), "Expected `bool`, got `int`"),
    "a float for an int": (put("n_seen", value=240.0), "Expected `int`, got `float`"),
    "a text for a float": (put("encoder", "numbers", "fill", value=["0"]), "Expected `float`, got `str`"),
    "a negative count": (put("n_rounds", value=-1), "Expected `int` >= 0"),
    "a count that is too large": (put("n_seen", value=2**70), "n_seen"),
    "no rows": (put("n_rows", value=0), "Expected `int` >= 1"),
    "too many states": (put("n_states", value=3), "n_states"),
    "fewer states than arrays": (put("n_states", value=1), "belong to nothing"),
    "more states than arrays": (without("state/1"), "'state/1/weights/0' is missing"),
    "a hidden layer without units": (put("topology", "hidden", value=[0, 3]), "Expected `int` >= 1"),
    "another hidden layer": (put("topology", "hidden", value=[5, 4]), "needs float32 of shape (4, 5)"),
    "a huge hidden layer": (put("topology", "hidden", value=[2**31 - 1, 3]), "needs float32"),
    "too many hidden layers": (put("topology", "hidden", value=[1] * 2**13), "length <= "),
    "another activation": (put("topology", "activation", value="exec"), "Invalid enum value"),
    "dropout of 1": (put("topology", "dropout", value=[1.0, 0.5]), "< 1"),
    "dropout of another depth": (put("topology", "dropout", value=[0.5]), "not as many as hidden layers"),
    "other inputs than the encoder's": (put("topology", "n_dense", value=7), "and the encoder"),
    "no numbers": (put("encoder", "numbers", "name", value=[]), "different numbers of names"),
    "a factor of 0": (put("encoder", "numbers", "factor", value=[0.0]), "factor"),
    "a negative factor": (put("encoder", "numbers", "factor", value=[-1.0]), "factor"),
    "another factor than 1 / deviation": (put("encoder", "numbers", "factor", value=[3.0]), "and its deviation is"),
    "a negative deviation": (put("encoder", "numbers", "deviation", value=[-1.0]), "deviation"),
    "a mean that is not the centre": (put("encoder", "numbers", "fill", value=[1e9]), "which is not its mean"),
    "a mean that is too large": (
        lambda a, d: d["encoder"]["numbers"].update(fill=[1e40], shift=[0.0], factor=[1.0]), "too large for the network",
    ),
    "levels that repeat": (put("encoder", "codes", 0, "levels", value=["u", "u", "w"]), "levels of column 'b' repeat"),
    "levels that are no texts": (put("encoder", "codes", 0, "levels", value=["u", 1, "w"]), "Expected `str`, got `int`"),
    "another scheme": (put("encoder", "codes", 0, "scheme", value="label_encoder"), "does not have a mean"),
    "a scheme that is not there": (put("encoder", "codes", 0, "scheme", value="hash"), "Invalid enum value"),
    "fewer numbers than levels": (put("encoder", "codes", 0, "vector", value=[0.5]), "does not have a mean"),
    "numbers beyond float32": (put("encoder", "codes", 0, "vector", value=[1e300, 0.0, 0.0]), "too large for the network"),
    "columns that repeat": (put("encoder", "codes", 0, "name", value="a"), "names of columns repeat"),
    "a column of no table": (put("feature_names", value=["a", "c"]), "'b' is not among those"),
    "names of columns that repeat": (put("feature_names", value=["a", "b", "b"]), "names of columns repeat"),
    "hashing without levels": (put("encoder", "hashing", value={"n_inputs": 4, "seed": 1}), "than they have"),
    "a hash of no inputs": (put("encoder", "hashing", value={"n_inputs": 0, "seed": 1}), "n_inputs"),
    "another seed of the hash": (put("encoder", "hashing", value={"n_inputs": 1, "seed": 2**32}), "seed"),
    "labels that repeat": (put("target", "classes", value=["p", "p"]), "labels repeat"),
    "labels of another type": (put("target", "classes", value=["p", 1]), "labels are not of the types str"),
    "a type of labels that is not there": (put("target", "types", value=["Decimal"]), "Invalid enum value"),
    "more labels than outputs": (put("target", "classes", value=["p", "q", "r"]), "do not belong together"),
    "a single class": (put("target", "classes", value=["p"]), "a single class"),
    "a correction of 0": (put("target", "correction", value=[0.0, 1.0]), "correction"),
    "a correction beyond float32": (put("target", "correction", value=[1e-200, 1.0]), "correction"),
    "too few corrections": (put("target", "correction", value=[1.0]), "not as many as classes"),
    "another link": (put("target", "link", value="logit"), "Invalid enum value"),
    "classes with a logarithm": (put("target", "link", value="log"), "classes have a logarithm"),
    "classes with a mean": (put("target", "shift", value=1.0), "not standardised"),
    "no history": (put("history", value=[]), "length >= 1"),
    "an event without time": (drop("history", 0, "timestamp"), "required field `timestamp`"),
    "an event of no time": (put("history", 0, "timestamp", value="yesterday"), "timestamp"),
    "an event of the far future": (put("history", 0, "timestamp", value="9999-01-01 00:00:00"), "the year 9999"),
    "an event with another metric": (put("history", 0, "training_purity", value=0.5), "unknown field `training_purity`"),
    "an event of the other task": (put("history", 0, "training_mae", value=0.5), "not measured here"),
    "a metric that is a word": (put("history", 1, "training_rmse", value="low"), "training_rmse"),
    "an offset of a classifier": (put("offset_name", value="o"), "no offsets"),
    "a target that is a predictor": (lambda a, d: d.update(target_name=d["feature_names"][0]), "target is a predictor"),
    "a confusion of another size": (put("confusion", value={"training": [[1.0]]}), "2 rows and columns"),
    "a ragged confusion": (put("confusion", value={"training": [[1.0, 2.0], [1.0]]}), "2 rows and columns"),
    "a negative confusion": (put("confusion", value={"training": [[1.0, 2.0], [1.0, -1.0]]}), ">= 0"),
    "a confusion of another table": (put("confusion", value={"test": [[1.0, 2.0], [1.0, 1.0]]}), "not scored"),
    "a measurement of another table": (lambda a, d: d["measured"].update(test=d["measured"]["training"]), "not scored"),
    "a measurement without weight": (put("measured", "training", "weight", value=0.0), "weight"),
    "a mean that is a word": (put("measured", "training", "means", "mse", value="low"), "Invalid enum value"),
    "an average that is not there": (put("measured", "training", "average", value="mean"), "Invalid enum value"),
    "scores without end": (put("measured", "training", "scores", value=[0, 2**40]), "scores"),
    "curves of other classes": (put("measured", "training", "class_scores", value=[[0, 9]]), "of other than 2 classes"),
    "scores that are missing": (without("measured/training/scores/codes"), "are missing, or do not fit"),
    "scores out of order": (array("measured/training/scores/codes", lambda a: a[::-1].copy()), "in their order"),
    "a score above 1": (array("measured/training/scores/codes", lambda a: a | np.uint64(2**63)), "in their order"),
    "a score of a third class": (array("measured/training/scores/codes", lambda a: a | np.uint64(2)), "in their order"),
    "more scores than weights": (array("measured/training/scores/weights", lambda a: a[1:]), "do not fit"),
    "a negative weight": (array("measured/training/scores/weights", at(0, -1.0)), "cannot be weights"),
    "a matrix of another size": (array("measured/training/confusion", lambda a: a[:1]), "of shape (1, 2)"),
    "a matrix with NaN": (array("measured/training/confusion", at(0, math.nan)), "NaN"),
    "ranks of two classes": (lambda a, d: a.update({"measured/training/ranks": np.zeros(9)}), "does not suit 2 classes"),
    "a sample of classes without end": (
        lambda a, d: a.update({"measured/training/sample": np.zeros((2, 9999))}), "more than 2,000 rows",
    ),
    "an unknown array of a measurement": (
        lambda a, d: a.update({"measured/training/more": np.zeros(3)}), "belong to nothing, such as 'more'",
    ),
    "an array of no measurement": (
        lambda a, d: a.update({"measured/test/ranks": np.zeros(3)}), "belong to nothing",
    ),
    "rows of another table": (put("table_rows", "test", value=[1, 1]), "number of rows of 'test', a table that was not"),
    "more rows used than there are": (put("table_rows", "training", value=[5, 6]), "6 of 5 rows of the training table"),
    "rows of which none was used": (put("table_rows", "validation", value=[5, 0]), "0 of 5 rows of the validation table"),
    "a version that is a heap": (put("versions", "numpy", value="2" * 1000), "versions"),
    "versions without end": (put("versions", value={f"p{k}": "1" for k in range(1000)}), "versions"),
    "parameters that are no object": (put("requested", value=[1]), "requested: Expected `object`"),
    "parameters that are a heap": (put("effective", value={"a": [[]] * 20_000}), "lists, objects and keys"),
    "parameters without end": (put("requested", value={f"a{k}": k for k in range(20_000)}), "lists, objects and keys"),
    "an unknown array": (lambda a, d: a.update(extra=np.zeros(3, "f4")), "belong to nothing, such as 'extra'"),
    "start values of another layer": (lambda a, d: a.update({"initial_biases/9": np.zeros(3, "f4")}), "belong to nothing"),
    "start values of another shape": (lambda a, d: a.update({"initial_biases/0": np.zeros(3, "f4")}), "of shape (3,)"),
    "a float64 array": (array("network/biases/0", lambda a: a.astype("f8")), "is float64"),
    "a weight that is NaN": (array("network/weights/0", at(0, math.nan)), "not finite"),
    "a state that is infinite": (array("state/1/weights/0", at(0, math.inf)), "not finite"),
    "a mean of squares below 0": (array("state/0/weights/0", at(0, -1.0)), "negative means of squares"),
    "weights that have exploded": (array("network/weights/0", at(0, 1e30)), "have exploded"),
    "means of units that nobody asked for": (put("topology", "has_means", value=True), "'network/means/0' is missing"),
}  # fmt: skip


@pytest.mark.parametrize("what", MODELS)
def test_a_model_that_does_not_hold_together_is_refused_when_it_is_loaded(model_file, tmp_path, what):
    spoil, text = MODELS[what]
    path = spoiled(model_file, tmp_path / "spoiled.zip", "model", spoil)
    with pytest.raises(ArchiveError) as caught:
        load(path)
    assert text in str(caught.value) and str(path) in str(caught.value)
