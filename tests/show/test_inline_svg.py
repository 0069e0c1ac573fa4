"""Pictures within a page: in its colors, untouched by the user's style, with names of their own."""

from __future__ import annotations

import re
import sys

import matplotlib.style
from show.pages import Reader

from dask_dl import DeepLearningClassifier


def test_the_picture_takes_its_colors_from_the_page(model):
    text = model._repr_html_()
    svg = text[text.index("<svg") : text.index("</svg>")]
    colors = set(re.findall(r"(?:fill|stroke): ([^;\"]+)", svg))
    variables = {f"var(--dask-dl-{name})" for name in ("training", "validation", "sheet")}
    assert {"currentColor", *variables} <= colors and colors - variables <= {"currentColor", "none", "#808080"}
    assert "<style" not in svg and not re.search(r' id="\w+_\d', svg)  # rules and names would be the whole page's
    assert all(f"{name}:" in text for name in ("--dask-dl-training", "--dask-dl-validation", "--dask-dl-sheet"))


def test_a_style_of_the_user_does_not_reach_the_page(model, monkeypatch):
    plain, style = model._repr_html_(), dict(matplotlib.rcParams)
    with matplotlib.style.context("dark_background"):
        assert model._repr_html_() == plain
    assert dict(matplotlib.rcParams) == style


def test_two_pictures_in_a_notebook_have_no_name_in_common(model, table):
    other = DeepLearningClassifier(hidden=(3,), epochs=1).fit(table, "y")._repr_html_()
    first, second = (set(re.findall(r' id="([^"]+)"', text)) for text in (model._repr_html_(), other))
    assert first and second and not first & second


def test_without_matplotlib_the_page_says_what_is_missing(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert 'pip install "dask_dl[plots]"' in model._repr_html_()
    Reader(model._repr_html_())
