"""The glossary: every file that it sends a reader to exists and uses the word."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GLOSSARY = ROOT / "docs/development/glossary.md"
ROWS = re.findall(r"^\| ([a-z][\w -]*) \| .* \| `([\w/.]+)` \|$", GLOSSARY.read_text(encoding="utf-8"), re.MULTILINE)
WORDS = [(word, path) for word, path in ROWS if word != "word"]


@pytest.mark.parametrize(("word", "path"), WORDS)
def test_a_word_is_used_where_the_glossary_says(word, path):
    code = (ROOT / "dask_dl" / path).read_text(encoding="utf-8").casefold().replace("_", " ")
    assert re.search(rf"{word.removesuffix('s')}|{word.replace(' ', '')}", code)


def test_every_row_of_the_glossary_is_read():
    n_rows = GLOSSARY.read_text(encoding="utf-8").count("\n| ") - 4  # less the heads of the tables
    assert len(WORDS) == n_rows > 30
    assert len({word for word, _ in WORDS}) == len(WORDS)
