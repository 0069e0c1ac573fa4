"""Archives that the real H2O wrote, with tables and what it answers to them: run where the wheel h2o 3.46.0.7 and Java are.

    python tests/data/mojo/make.py

writes NAME.zip and NAME.answers.csv into this folder for each of the models below, and the tables, train.csv and test.csv.
"""

from __future__ import annotations

import csv
import random
import zipfile
from pathlib import Path

import h2o
from h2o.estimators import H2OAutoEncoderEstimator, H2ODeepLearningEstimator

HERE = Path(__file__).parent
ODD = ["a=b", "[c]", "back\\slash", "#hash", "ünï", "with, comma"]  # levels
COLORS = ["red", "green", "blue", "black", "white", "grey", "pink", "lime", "teal", "navy", "gold", "plum", "rust"]


def rows(n: int, seed: int, *, new_levels: bool = False) -> list[dict[str, object]]:
    """Rows with two numbers, three columns of levels and several targets; some values are missing, some levels new."""
    draw = random.Random(seed)  # reproducible
    found = []
    for _ in range(n):
        a, b = draw.gauss(5, 3), draw.gauss(-2, 0.1)
        color, odd, size = draw.choice(COLORS), draw.choice(ODD), draw.choice(["s", "m", "l"])
        mean = 0.3 * a + 10 * (b + 2) + (color > "n") + len(odd) / 10
        row: dict[str, object] = {"a": a, "b": b, "color": color, "odd": odd, "size": size}
        row = {name: ("" if draw.random() < 0.08 else value) for name, value in row.items()}
        if new_levels and draw.random() < 0.15:
            row[draw.choice(["color", "odd", "size"])] = "never seen"
        row |= {
            "yes": "yes" if mean + draw.gauss(0, 1) > 2.5 else "no",
            "kind": "low" if mean < 1.5 else "middle" if mean < 3.5 else "high=er",
            "digit": str(min(3, max(0, int(mean)))),
            "y": mean * 100 + draw.gauss(0, 10),
            "count": int(abs(mean) * 2),
            "offset": abs(draw.gauss(0, 1)) / 4,
        }
        found.append(row)
    return found


INPUTS = ["a", "b", "color", "odd", "size"]
#: name: (target, what is other than a small network)
MODELS: dict[str, tuple[str | None, dict[str, object]]] = {
    "binomial": ("yes", {}),
    "multinomial": ("kind", {"activation": "tanh"}),
    "digits": ("digit", {"use_all_factor_levels": False}),
    "gaussian": ("y", {"hidden": [6]}),
    "poisson": ("count", {"distribution": "poisson"}),
    "tweedie": ("count", {"distribution": "tweedie", "standardize": False}),
    "gamma": ("offset", {"distribution": "gamma"}),
    "huber": ("y", {"distribution": "huber", "activation": "maxout"}),
    "laplace": ("y", {"distribution": "laplace", "standardize": False}),
    "quantile": ("y", {"distribution": "quantile", "use_all_factor_levels": False}),
    "offset": ("y", {"offset_column": "offset"}),
    "autoencoder": (None, {"activation": "tanh"}),
    "autoencoder_plain": (None, {"activation": "rectifier", "standardize": False}),
    "maxout": ("kind", {"activation": "maxout_with_dropout", "hidden_dropout_ratios": [0.5, 0.25]}),
    "dropout": ("yes", {"activation": "rectifier_with_dropout", "hidden_dropout_ratios": [0.5, 0.2]}),
    "tanh_dropout": ("y", {"activation": "tanh_with_dropout", "hidden_dropout_ratios": [0.1, 0.3]}),
    "raw": ("yes", {"standardize": False}),
    "skip": ("yes", {"missing_values_handling": "Skip"}),
    "balanced": ("yes", {"balance_classes": True, "seed": 5}),
    "sparse": ("yes", {"sparse": True}),
    "hashed": ("yes", {"max_categorical_features": 6}),
    "binary": ("yes", {"categorical_encoding": "binary"}),
    "label_encoder": ("y", {"categorical_encoding": "label_encoder"}),
    "eigen": ("yes", {"categorical_encoding": "eigen"}),
    "sort_by_response": ("yes", {"categorical_encoding": "sort_by_response"}),
    "enum_limited": ("yes", {"categorical_encoding": "enum_limited"}),
    "numbers": ("y", {"x": ["a", "b"]}),
    "levels": ("yes", {"x": ["color", "size"], "use_all_factor_levels": False}),
}
#: Models of which H2O writes archives that its own scorer cannot read.
REFUSED = {"hashed", "enum_limited"}


def written(path: Path, table: list[dict[str, object]]) -> str:
    """Write a table as CSV."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(table[0]))
        writer.writeheader()
        writer.writerows(table)
    return str(path)


def without_details(path: Path) -> None:
    """Rewrite an archive compressed, without what does not concern scoring."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist() if not name.startswith("experimental")}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, content in parts.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)


def main() -> None:
    """Train, export, score."""
    h2o.init(nthreads=2, max_mem_size="2G", strict_version_check=False)
    kinds = dict.fromkeys(("color", "odd", "size", "yes", "kind", "digit"), "enum")
    train = h2o.import_file(written(HERE / "train.csv", rows(400, 1)), col_types=kinds, header=1)
    test = h2o.import_file(written(HERE / "test.csv", rows(40, 2, new_levels=True)), col_types=kinds, header=1)
    for name, (target, given) in MODELS.items():
        chosen = {"hidden": [5, 4], "epochs": 5, "seed": 3, "reproducible": True, **given}
        inputs = chosen.pop("x", INPUTS)
        cls = H2ODeepLearningEstimator if target else H2OAutoEncoderEstimator
        model = cls(**chosen)
        model.train(inputs, target, train) if target else model.train(inputs, training_frame=train)
        model.download_mojo(str(HERE / f"{name}.zip"))
        if name not in REFUSED:
            # Its scorer of archives knows neither offsets nor frames of autoencoders' answers: the model itself does.
            scorer = model if target is None or "offset_column" in given else h2o.import_mojo(str(HERE / f"{name}.zip"))
            answers = scorer.predict(test)
            if target is None:
                answers = answers.cbind(model.anomaly(test))
            answers.as_data_frame(use_multi_thread=False).to_csv(HERE / f"{name}.answers.csv", index=False)
        without_details(HERE / f"{name}.zip")
    h2o.cluster().shutdown()


if __name__ == "__main__":
    main()
