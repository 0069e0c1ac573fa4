"""
Golden cases as arrays: all that a replay of one needs, without the package.

Tables are expanded with the constants that a case's ``intended`` part holds. What those constants are, and how they
enter, as the golden cases settle it:

* Means and deviations of inputs and response cover the present values of all rows. With observation weights they are
  weighted, and then rows that ``skip`` leaves out are left out here too; without weights such rows count
  (algorithm.md#means-and-deviations).
* The deviation's divisor is the number of present rows of positive weight, less one.
* A missing number becomes the mean, which is then scaled like any number, so it is not 0 with ``sparse`` or without
  standardising (algorithm.md#missing-values). A missing or unseen level sets the factor's last slot
  (algorithm.md#unseen-levels).
* A row's weight is divided by the mean positive weight, of the same rows that the weighted means cover.
* An offset takes no part in any statistic. It enters the output as ``(offset - mean) / deviation`` with the response's
  own mean and deviation, whatever its sign, so that the prediction is ``net * deviation + offset``: the response's mean
  is not added to it (algorithm.md#offsets). Counts and amounts are not scaled, and neither is their offset.
* Numbers of an autoencoder are divided by their range rather than their deviation. Its targets are its own inputs, all of
  them, before any is dropped; a row's anomaly is the mean of its squared misses in the network's unit, and what was
  restored is told in the table's.

No case has weights together with an offset, a weight of 0, a missing response, factors without their first level, or an
autoencoder with factors or dropout.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import mlp

if TYPE_CHECKING:
    from numpy.typing import NDArray

FOLDER = Path(__file__).parent.parent / "golden"


@dataclass(frozen=True)
class Rows:
    """
    One table of a case, ready for the network.

    Attributes
    ----------
    X : ndarray
        Expanded rows.
    y : ndarray
        Index of each row's class, or its response, scaled; an autoencoder's inputs.
    weight : ndarray
        Observation weights divided by the mean positive one of training; 1 where there are none.
    offset : ndarray
        Offsets in the output's own unit; 0 where there are none.
    """

    X: NDArray[np.float64]
    y: NDArray[Any]
    weight: NDArray[np.float64]
    offset: NDArray[np.float64]


def names() -> list[str]:
    """Names of all cases, metric cases included."""
    return sorted(path.stem for path in FOLDER.glob("*.json") if path.stem != "index")


def load(name: str) -> dict[str, Any]:
    """One case as its file holds it."""
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def column(case: dict[str, Any], table: str, name: str) -> list[Any]:
    """Values of a column of ``"train"`` or ``"test"``; None where missing."""
    return next(c["values"] for c in case[table]["columns"] if c["name"] == name)


def numbers(case: dict[str, Any], table: str, name: str) -> NDArray[np.float64]:
    """Values of a numeric column; NaN where missing."""
    return np.array([np.nan if v is None else v for v in column(case, table, name)], dtype=np.float64)


def classes(case: dict[str, Any]) -> list[str] | None:
    """Levels of the response in order, or None for a numeric one."""
    return case["derived"].get("response_levels")


def is_autoencoder(case: dict[str, Any]) -> bool:
    """Whether the case has no response and restores its inputs."""
    return case["params"].get("autoencoder", False)


def weighed_rows(case: dict[str, Any]) -> NDArray[np.float64] | None:
    """
    Weights of the training rows as statistics see them, or None without a weights column.

    A row that ``missing_values_handling = skip`` leaves out weighs 0.
    """
    if "weights_column" not in case["params"]:
        return None
    weight = numbers(case, "train", case["params"]["weights_column"])
    if case["params"].get("missing_values_handling", "").lower() == "skip":
        for name in case["x"]:
            weight[[v is None for v in column(case, "train", name)]] = 0.0
    return weight


def response_scale(case: dict[str, Any]) -> tuple[float, float]:
    """What is taken off the response, and what it is then multiplied by."""
    intended = case["intended"]
    if intended["normrespsub"] is None:
        return 0.0, 1.0
    return intended["normrespsub"][0], intended["normrespmul"][0]


def encode(case: dict[str, Any], table: str) -> Rows:
    """
    Expand a table: factors to their slots, numbers filled and scaled.

    The rules: algorithm.md#one-hot-inputs, algorithm.md#numbers, algorithm.md#missing-values.

    Parameters
    ----------
    case : dict
        A training case with one-hot inputs.
    table : {"train", "test"}
        Which of its tables.
    """
    intended, inputs, starts = case["intended"], case["input_names"], case["catoffsets"]
    n_rows = len(case[table]["columns"][0]["values"])

    X = np.zeros((n_rows, len(inputs)))
    for first, stop in pairwise(starts):
        factor = inputs[stop - 1].removesuffix(".missing(NA)")
        slots = {inputs[slot].removeprefix(f"{factor}."): slot for slot in range(first, stop - 1)}
        for row, level in enumerate(column(case, table, factor)):
            X[row, slots.get(level, stop - 1)] = 1.0
    for i, name in enumerate(inputs[starts[-1] :]):
        values = numbers(case, table, name)
        values[np.isnan(values)] = intended["input_fill"][i]
        if intended["normsub"] is not None:
            values = (values - intended["normsub"][i]) * intended["normmul"][i]
        X[:, starts[-1] + i] = values

    sub, mul = response_scale(case)
    levels = classes(case)
    if is_autoencoder(case):
        y = X
    elif levels is None:
        y = (numbers(case, table, case["y"]) - sub) * mul
    else:
        y = np.array([levels.index(v) for v in column(case, table, case["y"])])

    weight, offset = np.ones(n_rows), np.zeros(n_rows)
    weighed = weighed_rows(case)
    if weighed is not None:
        weight = numbers(case, table, case["params"]["weights_column"]) / weighed[weighed > 0.0].mean()
    if "offset_column" in case["params"]:
        offset = (numbers(case, table, case["params"]["offset_column"]) - sub) * mul
    return Rows(X, y, weight, offset)


def start(case: dict[str, Any]) -> tuple[list[NDArray[np.float64]], list[NDArray[np.float64]]]:
    """Weights and biases that training starts from."""
    weights = case["initial_weights"] or case["derived"]["seeded_start_weights"]
    biases = case["initial_biases"] or case["derived"]["seeded_start_biases"]
    return [np.array(w) for w in weights], [np.array(b) for b in biases]


def rules(case: dict[str, Any]) -> dict[str, Any]:
    """Settings of the case as fields of `naive.mlp.Rules`, whose defaults are those of the parameters."""
    params = case["params"]
    numeric = ["rho", "epsilon", "rate", "rate_annealing", "rate_decay", "l1", "l2", "max_w2", "fast_mode"]
    numeric += ["momentum_start", "momentum_ramp", "momentum_stable", "sparsity_beta", "average_activation"]
    activation = params["activation"]
    hidden_ratios = []
    if activation.endswith("_with_dropout"):
        hidden_ratios = params.get("hidden_dropout_ratios", [0.5] * len(params["hidden"]))
    output = "softmax" if classes(case) is not None else "linear"
    # The distribution chooses the gradient, of classes the loss. Of Huber's loss `huber_alpha` shapes no gradient.
    objective = case["effective_params"]["distribution"]
    if output == "softmax":
        is_quadratic = params.get("loss", "automatic").lower() == "quadratic"
        objective = "quadratic_classes" if is_quadratic else "cross_entropy"
    return {
        "activation": activation.removesuffix("_with_dropout"),
        "output": "activation" if is_autoencoder(case) else output,
        "objective": objective,
        "shape": params.get({"quantile": "quantile_alpha", "tweedie": "tweedie_power"}.get(objective)),
        "optimizer": "adadelta" if params.get("adaptive_rate", True) else "sgd",
        "nesterov": params.get("nesterov_accelerated_gradient", True),
        "input_ratio": params["input_dropout_ratio"],
        "hidden_ratios": hidden_ratios,
        **{name: params[name] for name in numeric if name in params},
    }


def masks(case: dict[str, Any]) -> list[list[list[bool]]] | None:
    """Who is kept at each update: inputs, if any are dropped, then hidden layers; or None without dropout."""
    if "keep_masks" not in case["derived"]:
        return None
    return [[[unit == "1" for unit in layer] for layer in update] for update in case["derived"]["keep_masks"]]


def predictions(case: dict[str, Any], table: str, outputs: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Columns as ``intended`` names them for a table, from one row of network outputs per table row."""
    intended, levels = case["intended"], classes(case)
    if is_autoencoder(case):
        anomaly = ((outputs - encode(case, table).X) ** 2).mean(axis=1)
        if intended["normsub"] is not None:
            outputs = outputs / intended["normmul"] + intended["normsub"]
        names = [f"reconstr_{name}" for name in case["input_names"]]
        return {**dict(zip(names, outputs.T, strict=True)), "anomaly": anomaly}
    if levels is None:
        sub, mul = response_scale(case)
        objective = rules(case)["objective"]
        return {"predict": np.array([mlp.linked(z, objective) for z in outputs[:, 0]]) / mul + sub}
    return dict(zip(levels, outputs.T, strict=True))


def intended_predictions(case: dict[str, Any], table: str) -> dict[str, list[float]]:
    """What ``intended`` holds of `predictions`."""
    intended = case["intended"]
    if is_autoencoder(case):
        return {**intended[f"{table}_reconstruction"], "anomaly": intended[f"{table}_anomaly"]}
    return intended[f"{table}_predictions"]
