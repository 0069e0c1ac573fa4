"""The page of an explanation: what it shows of classes and of numbers, with a target and without one."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from show.pages import Reader

from dask_dl import DeepLearningClassifier, DeepLearningRegressor

SMALL = {"hidden": [8], "epochs": 5, "reproducible": True, "random_state": 1, "score_duty_cycle": 0.0}


@pytest.fixture(scope="module")
def frame():
    random = np.random.default_rng(0)
    a, b = random.normal(size=(2, 400))
    color = random.choice(["<red>", "green"], 400)
    return pd.DataFrame({"a": a, "b": b, "color": color, "y": 2 * a + (color == "green")})


@pytest.fixture(scope="module")
def model(frame):
    return DeepLearningRegressor(**SMALL).fit(frame, "y")


def test_numbers_have_residuals(frame, model, tmp_path):
    found = model.explain(frame, n_columns=2, label="a <table>")
    found.report(tmp_path / "why.html")
    text = (tmp_path / "why.html").read_text("utf-8")
    assert text.startswith("<!doctype html>") and "http" not in text
    page = Reader(text)
    assert page.headings[0] == "Reasons of answers to a <table>"
    for heading in (
        "What the columns are worth",
        "How answers move with a",
        "What is missed",
        "Layers",
        "Contributions",
    ):
        assert heading in page.headings
    assert sum(heading.startswith("How answers move") for heading in page.headings) == 2
    assert page.row("deviance") == [f"{found.permutation.attrs['value']:.6g}"]
    assert not page.tags & {"img", "script", "link"}


def test_classes_have_no_residuals_and_a_table_without_target_no_permutation(frame):
    model = DeepLearningClassifier(**SMALL).fit(frame.assign(y=np.where(frame["y"] > 0, "up", "down")), "y")
    found = model.explain(frame.drop(columns="y"))
    assert found.permutation is None and found.residuals is None
    headings = Reader(found._repr_html_()).headings
    assert "What the columns are worth" not in headings and "What is missed" not in headings
    assert "How much they move the answers" in headings


def test_what_is_wrong_with_layers_is_said(frame):
    begun = [np.full((4 + 1, 8), 900.0), np.full((8, 1), 1.0)]
    model = DeepLearningRegressor(**SMALL | {"epochs": 0}, initial_weights=begun).fit(frame, "y")
    assert "hidden layer 0 has exploded" in model.explain(frame)._repr_html_()
