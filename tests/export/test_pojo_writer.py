"""Models as Java, compiled and run beside what the estimators answer."""

from __future__ import annotations

import base64
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest
from tables import UNSCORED, make_table

from dask_dl import DeepLearningAutoEncoder, DeepLearningClassifier, DeepLearningRegressor
from dask_dl.errors import ParameterError

needs_java = pytest.mark.skipif(shutil.which("javac") is None, reason="there is no javac to compile Java with")
SMALL = UNSCORED | {"hidden": (6, 4), "epochs": 2, "random_state": 1, "n_jobs": 1}
MAIN = """
import java.nio.charset.StandardCharsets;
import java.nio.file.*;
import java.util.*;

public class Main {
  static String text(String cell) {
    return new String(Base64.getDecoder().decode(cell), StandardCharsets.UTF_8);
  }

  public static void main(String[] names) throws Exception {
    for (String name : names) {
      Class<?> model = Class.forName(name);
      List<String> lines = Files.readAllLines(Paths.get(name + ".tsv"));
      String[] head = lines.get(0).split("\\t", -1);
      StringBuilder out = new StringBuilder();
      for (String line : lines.subList(1, lines.size())) {
        String[] cells = line.split("\\t", -1);
        Map<String, Object> row = new HashMap<>();
        for (int k = 0; k < head.length; k++) {
          Object value = cells[k].isEmpty() ? null : cells[k].charAt(0) == '#' ? Double.valueOf(cells[k].substring(1))
              : text(cells[k].substring(1));
          row.put(text(head[k]), value);
        }
        double offset = row.get("shift") == null ? 0.0 : (Double) row.get("shift");
        double[] found = (double[]) model.getMethod("score", Map.class, double.class).invoke(null, row, offset);
        String label = ((String[]) model.getField("CLASSES").get(null)).length == 0 ? ""
            : (String) model.getMethod("predict", Map.class).invoke(null, row);
        out.append(Base64.getEncoder().encodeToString(label.getBytes(StandardCharsets.UTF_8)));
        for (double x : found) {
          out.append('\\t').append(x);
        }
        out.append('\\n');
      }
      Files.write(Paths.get(name + ".out"), out.toString().getBytes(StandardCharsets.UTF_8));
    }
  }
}
"""


def table(n=300, seed=0):
    """Numbers, levels, and missing values of both; names that are odd."""
    rng = np.random.default_rng(seed)
    frame = make_table(n, seed=seed)[["a", "b", "level", "y", "label"]].rename(columns={"a": 'a "b"', "level": "Größe"})
    frame["color"] = rng.choice([f"c{k}\n\\" for k in range(15)], n)
    frame["far"] = 1e9 + rng.normal(size=n)
    frame.loc[rng.random(n) < 0.1, "b"] = np.nan
    frame.loc[rng.random(n) < 0.1, "color"] = None
    frame["shift"] = frame["y"] / 3
    return frame


TRAIN, TEST = table(), table(60, 1)
TEST.loc[:5, "color"] = "unseen"
KINDS = {
    "Plain": {},
    "TanhDropout": {"activation": "tanh_with_dropout"},
    "MaxoutDropout": {"activation": "maxout_with_dropout", "hidden_dropout_ratios": (0.2, 0.1)},
    "FewLevels": {"use_all_factor_levels": False},
    "Raw": {"standardize": False},
    "Hashed": {"max_categorical_features": 5},
    "Sparse": {"sparse": True},
    "Limited": {"categorical_encoding": "enum_limited"},
    "Binary": {"categorical_encoding": "binary"},
    "Eigen": {"categorical_encoding": "eigen"},
    "Label": {"categorical_encoding": "label_encoder"},
}


def models():
    """(name, model, its predictors, whether there are offsets)."""
    inputs = TRAIN.drop(columns=["y", "label", "shift"])
    for name, given in KINDS.items():
        yield f"Class{name}", DeepLearningClassifier(**SMALL | given).fit(inputs, TRAIN["label"])
    for name, given in {
        "Plain": {},
        "Poisson": {"distribution": "poisson"},
        "Maxout": {"activation": "maxout"},
    }.items():
        frame = inputs.assign(shift=TRAIN["shift"], y=TRAIN["y"] - TRAIN["y"].min())
        yield f"Number{name}", DeepLearningRegressor(**SMALL | given).fit(frame, "y", offset="shift")
    three = pd.qcut(TRAIN["y"], 3, labels=False)
    yield "Balanced", DeepLearningClassifier(**SMALL, balance_classes=True).fit(inputs, three)
    threshold = DeepLearningClassifier(**SMALL).fit(inputs, TRAIN["label"])
    yield "Threshold", threshold.set_threshold(0.2)
    for name in ("Plain", "Hashed", "Binary"):
        yield f"Again{name}", DeepLearningAutoEncoder(**SMALL | {"hidden": (4,)} | KINDS[name]).fit(inputs)
    yield "AgainTanh", DeepLearningAutoEncoder(**SMALL | {"hidden": (4,), "activation": "tanh"}).fit(inputs)


def cell(value):
    if pd.isna(value):
        return ""
    return f"#{float(value)!r}" if not isinstance(value, str) else f"@{coded(value)}"


def coded(text):
    return base64.b64encode(text.encode()).decode()


def compiled(folder, *names):
    for command in (["javac", "-Xlint:all", "-Werror", *(f"{name}.java" for name in names)],):
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=200)
        assert done.returncode == 0, done.stderr


@needs_java
def test_java_answers_as_the_estimators_do(tmp_path):
    found = dict(models())
    head = "\t".join(map(coded, TEST.columns))
    rows = [head, *("\t".join(map(cell, row)) for row in TEST.itertuples(index=False))]
    for name, model in found.items():
        model.export_pojo(tmp_path / f"{name}.java")
        (tmp_path / f"{name}.tsv").write_text("\n".join(rows))
    (tmp_path / "Main.java").write_text(MAIN)
    compiled(tmp_path, "Main", *found)
    subprocess.run(["java", "Main", *found], cwd=tmp_path, check=True, timeout=200)
    for name, model in found.items():
        lines = [line.split("\t") for line in (tmp_path / f"{name}.out").read_text().splitlines()]
        answers = np.array([line[1:] for line in lines], float)
        expected = expected_of(model, name)
        np.testing.assert_allclose(answers, expected, rtol=1e-5, atol=1e-6, err_msg=name)
        if hasattr(model, "classes_"):
            labels = [base64.b64decode(line[0]).decode() for line in lines]
            top = np.sort(expected, axis=1)
            sure = (top[:, -1] - top[:, -2] > 1e-5) if name != "Threshold" else np.abs(expected[:, 1] - 0.2) > 1e-5
            assert (np.array(labels) == model.predict(TEST).astype(str))[sure].all(), name


def expected_of(model, name):
    if name == "ClassLabel":  # unseen levels are numbered in the table at hand
        return np.concatenate([model.predict_proba(TEST[k : k + 1]) for k in range(len(TEST))])
    if hasattr(model, "classes_"):
        return model.predict_proba(TEST)
    return model.predict(TEST)[:, None] if hasattr(model, "predict") else model.reconstruct(TEST).to_numpy()


@needs_java
def test_a_large_network_compiles_in_a_package(tmp_path):
    frame = make_table(50)[["a", "b", "y"]]
    model = DeepLearningRegressor(**SMALL | {"hidden": (1024, 1024), "epochs": 0.02}).fit(frame, "y")
    (tmp_path / "com" / "example").mkdir(parents=True)
    model.export_pojo(tmp_path / "com" / "example" / "Large.java", package="com.example")
    compiled(tmp_path, "com/example/Large")
    assert (tmp_path / "com" / "example" / "Large.class").exists()


@pytest.mark.parametrize(
    ("name", "package", "message"),
    [
        ("model.txt", None, "no name of a class"),
        ("2nd.java", None, "no name of a class"),
        ("class.java", None, "no name of a class"),
        ("Model.java", "com.new", "no name of a package"),
        ("Model.java", "", "no name of a package"),
    ],
)
def test_names_that_java_has_not_are_refused(name, package, message, tmp_path):
    model = DeepLearningRegressor(**SMALL).fit(make_table(50)[["a", "y"]], "y")
    with pytest.raises(ParameterError, match=message):
        model.export_pojo(tmp_path / name, package=package)
