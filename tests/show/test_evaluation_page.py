"""The page of an evaluation: figures, tables and pictures in its own colors."""

from __future__ import annotations

import re

import pytest
from show.evaluations import EVALUATIONS, PLOTS


@pytest.mark.parametrize("name", EVALUATIONS)
def test_a_page_has_pictures_in_its_own_colors(name, tmp_path, monkeypatch):
    evaluation = EVALUATIONS[name]
    evaluation.report(tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text()
    assert page.count("<svg") == len(PLOTS[evaluation.kind]) and "currentColor" in page
    assert not re.search(r"#01020\d|NaN|<image[^>]*href=\"(?!data:)", page)
    if name == "seven":
        svg = page[page.index("each class against the rest") :]
        colors = {*re.findall(r"stroke: (#[0-9a-f]{6}|var\(--dask-dl-\w+\))", svg[: svg.index("</svg>")])}
        assert len(colors - {"#b0b0b0"}) >= 7
    assert "<svg" not in evaluation._repr_html_()
