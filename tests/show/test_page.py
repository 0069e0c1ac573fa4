"""Pages of HTML: whole in themselves, whatever names a table has, with figures as people write them."""

from __future__ import annotations

import re
from collections import Counter
from html.parser import HTMLParser

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from tables import make_table

import dask_dl
from dask_dl import DeepLearningClassifier, DeepLearningRegressor
from dask_dl.show.page import MAX_TABLE_ROWS, confusion_table, frame_table, template


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1234567, "1,234,567"),
        (3.0, "3"),
        (0.123456789, "0.123457"),
        (1e300, "1e+300"),
        (float("nan"), ""),
        (True, "True"),
        (None, "None"),
        ("a < b", "a < b"),
    ],
)
def test_a_figure_is_written_as_people_write_it(value, text):
    assert template("report.html").environment.filters["figure"](value) == text


def test_a_confusion_matrix_has_the_error_of_every_class():
    table = confusion_table(["no", 7], [[3.0, 1.0], [0.0, 0.0]])
    assert table.head == ["actual \\ predicted", "no", "7", "error"]
    assert table.rows == [("no", 3.0, 1.0, "25.0%"), (7, 0.0, 0.0, "")]


def test_an_index_with_a_name_is_a_column_and_long_tables_are_cut():
    frame = pd.DataFrame({"a": np.arange(MAX_TABLE_ROWS + 1)})
    assert frame_table(frame) == (["a"], [[k] for k in range(MAX_TABLE_ROWS)])
    assert frame_table(frame[:1].rename_axis("row")) == (["row", "a"], [[0, 0]])


#: Attributes whose values a browser fetches or follows, and tags that fetch, run or redirect.
FETCHED = {"action", "background", "cite", "data", "formaction", "href", "poster", "src", "srcset", "xlink:href"}
FETCHING = {"base", "embed", "form", "iframe", "link", "object", "script"}
#: A name that would be markup where it is not escaped.
MARKUP = "\"'><img src=//a.b onerror=x()>"


class Page(HTMLParser):
    """What a page of HTML fetches, runs, names and refers to."""

    def __init__(self, text):
        super().__init__()
        self.faults, self.ids, self.references, self.tags = [], Counter(), set(), Counter()
        self._in_style = False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags[tag] += 1
        self._in_style = tag == "style"
        if tag in FETCHING:
            self.faults.append(f"<{tag}>")
        for name, value in attributes:
            if name == "id":
                self.ids[value] += 1
            elif name in FETCHED and value.startswith("#"):
                self.references.add(value[1:])
            elif (name in FETCHED and not value.startswith("data:")) or name.startswith("on") or name == "http-equiv":
                self.faults.append(f"{name}={value!r} of <{tag}>")
            else:
                self._refer(value or "")

    def handle_data(self, data):
        if self._in_style:
            self._refer(data)

    def handle_endtag(self, tag):
        self._in_style = False

    def _refer(self, css):
        found = re.findall(r"url\(\s*['\"]?([^'\")]*)", css)
        self.references |= {url[1:] for url in found if url.startswith("#")}
        self.faults += [url for url in found if not url.startswith(("#", "data:"))] + re.findall("@import", css)


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder, given = tmp_path_factory.mktemp("pages"), {"hidden": (4,), "epochs": 2, "random_state": 1}
    table = make_table(300, labels=(MARKUP, "plain", "third"))[["a", "b", "level", "y", "label"]]
    table = table.rename(columns={"a": MARKUP}).replace({"level": {"u": MARKUP}})
    lazy = dd.from_pandas(table, npartitions=2)
    found = {}
    for name, kind, target, other in (
        ("classes", DeepLearningClassifier, "label", "y"),
        ("numbers", DeepLearningRegressor, "y", "label"),
    ):
        X = lazy.drop(columns=other)
        model = kind(**given, nfolds=3).fit(X, target)
        for what, shown in ((f"a model of {name}", model), (f"an evaluation of {name}", model.evaluate(X, target))):
            path = folder / f"{what} & <i>.html"
            shown.report(path)
            found |= {what: path.read_text("utf-8"), f"{what} in a notebook": shown._repr_html_()}
    findings = dask_dl.check(table.drop(columns="label").assign(**{f"{MARKUP}1": 1.0}), "y", **given)
    assert findings.of("warning")
    return found | {"findings in a notebook": findings._repr_html_()}


def test_pages_fetch_nothing_and_run_nothing(pages):
    assert len(pages) == 9
    for what, text in pages.items():
        page = Page(text)
        assert not page.faults, what
        assert page.references <= page.ids.keys(), what
        assert set(page.ids.values()) <= {1}, what
        assert page.tags["html"] == page.tags["title"] == page.tags["body"] == int("notebook" not in what), what
        assert page.tags["svg"] or "notebook" in what, what
        assert page.tags["table"], what
        assert "&lt;img src=//a.b" in text or "evaluation of numbers" in what, what  # which has no names


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("<img src='http://a.b/c'>", ["src='http://a.b/c' of <img>"]),
        ("<link rel=stylesheet>", ["<link>"]),
        ("<p onclick='go()'>", ["onclick='go()' of <p>"]),
        ("<style>@import 'a.css'; p { background: url( \"//a.b\" ) }</style>", ["//a.b", "@import"]),
        ("<p style='background: url(a.png)'>", ["a.png"]),
        ("<a href='#there'><p style='fill: url(#there)' id=there><img src='data:image/png;base64,'>@import", []),
    ],
)
def test_what_a_page_would_fetch_or_run_is_found(text, faults):
    page = Page(text)
    assert page.faults == faults and page.references <= page.ids.keys()
