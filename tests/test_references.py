"""References: every citation of the algorithm's page, and every link between documents, leads to something that is there."""

from __future__ import annotations

import io
import re
import tokenize
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/explanation/algorithm.md"
DOCUMENTS = [
    *(ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "CHANGELOG")),
    *sorted(ROOT.glob("docs/**/*.md")),
]
CODE = [
    path
    for folder in ("dask_dl", "tests", "benchmarks", "examples")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if ROOT / "tests/golden" not in path.parents and path != Path(__file__)
]
#: Topics of the page that no code needs to cite.
NOT_CITED: set[str] = set()

#: What strangers look for, by the words that they search, and where it is explained.
LOOKED_FOR = {
    "over-fitting": "docs/guide/tune.md#over-fitting",
    "early stopping": "docs/guide/training.md#early-stopping",
    "imbalanced": "docs/guide/imbalanced-classes.md",
    "missing values": "docs/guide/data.md#missing-values",
    "unseen levels": "docs/explanation/algorithm.md#unseen-levels",
    "offsets": "docs/guide/data.md#weights-and-offsets",
    "weights": "docs/guide/data.md#weights-and-offsets",
    "resume after a crash": "docs/guide/resume.md",
    "memory": "docs/explanation/memory.md#the-formula",
    "hogwild": "docs/explanation/threads.md",
    "staleness": "docs/explanation/algorithm.md#staleness",
    "reproducible": "docs/guide/reproducible.md",
    "h2o": "docs/guide/from-h2o.md#parameters-with-other-names",
    "names of other libraries": "docs/reference/parameters.md#names-of-other-libraries",
    "adadelta": "docs/explanation/algorithm.md#adadelta",
    "deviance": "docs/explanation/algorithm.md#deviances",
    "huber": "docs/explanation/algorithm.md#losses-of-numbers",
    "tweedie": "docs/explanation/algorithm.md#losses-of-numbers",
    "max_w2": "docs/explanation/algorithm.md#max_w2",
    "corrected probabilities": "docs/explanation/algorithm.md#corrected-probabilities",
    "initial biases": "docs/explanation/algorithm.md#start-of-biases",
    "dropout": "docs/explanation/algorithm.md#dropout",
    "momentum ramp": "docs/explanation/algorithm.md#momentum",
    "elastic averaging": "docs/explanation/algorithm.md#elastic-averaging",
    "variances": "docs/explanation/algorithm.md#means-and-deviations",
}

CITATION = re.compile(r"\balgorithm\.md#([\w-]+)")
DOCUMENT = re.compile(r"\bdocs/[\w/-]+\.md\b")
LINK = re.compile(r"\[[^\]]*\]\(([^()\s]+)\)")
#: What cites something that is not in the repository. A section of a paper follows the paper's year.
ELSEWHERE = re.compile(
    r"(?<!\b\d{4}, )\bsections? \d|\bspecification\b|\bappendix\b|\bdecision \d|[\[(]Q\d+[\])]", re.IGNORECASE
)


def text_of(path: Path) -> str:
    """What a file holds."""
    return path.read_text(encoding="utf-8")


def name_of(path: Path) -> str:
    """Name of a test case."""
    return str(path.relative_to(ROOT))


def prose(markdown: str) -> str:
    """Markdown without its fenced blocks, whose lines may look like headings and links."""
    return re.sub(r"^```.*?^```", "", markdown, flags=re.MULTILINE | re.DOTALL)


def slug(heading: str) -> str:
    """The anchor that GitHub makes of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def headings(markdown: str, level: str = "#{1,6}") -> list[str]:
    """Anchors of the headings of some levels; of equal ones the second is numbered 1."""
    found: Counter[str] = Counter()
    anchors = []
    for heading in re.findall(rf"^{level} +(.+)$", prose(markdown), re.MULTILINE):
        anchor = slug(heading)
        anchors.append(f"{anchor}-{found[anchor]}" if found[anchor] else anchor)
        found[anchor] += 1
    return anchors


def broken_links(markdown: str, folder: Path) -> list[str]:
    """Relative links of a document in this folder that lead nowhere."""
    broken = []
    for target in LINK.findall(re.sub(r"`[^`\n]*`", "", prose(markdown))):
        address, _, anchor = target.partition("#")
        if re.match(r"[a-z]+:", address):
            continue
        if not address:
            if anchor not in headings(markdown):
                broken.append(target)
            continue
        path = (folder / address).resolve()
        is_here = path.exists() and path.is_relative_to(ROOT)
        if not is_here or (anchor and anchor not in headings(text_of(path))):
            broken.append(target)
    return broken


def linked(path: Path) -> list[tuple[str, str]]:
    """Links of a document, from the root, each with its line."""
    lines = [(line, link) for line in text_of(path).splitlines() for link in LINK.findall(line) if ":" not in link]
    return [(line, str((path.parent / link).resolve().relative_to(ROOT))) for line, link in lines if link[0] != "#"]


def clicks_to(target: str, word: str, start: Path) -> int:
    """Links from a document to a place, the last of them beside the word; 3 for more than two."""
    for n in (1, 2):
        pages = {start} if n == 1 else {ROOT / link.partition("#")[0] for _, link in linked(start)}
        for page in pages:
            if page.suffix == ".md" and any(t == target and word in line.lower() for line, t in linked(page)):
                return n
    return 3


def words(code: str) -> list[str]:
    """Comments and strings of Python code: neighbouring lines of comment are one text, in one line each."""
    found, last = [], (-1, -1)
    for token in tokenize.generate_tokens(io.StringIO(code).readline):
        if token.type == tokenize.COMMENT:
            text = token.string.lstrip("#: ")
            if token.start == (last[0] + 1, last[1]):
                found[-1] += f" {text}"
            else:
                found.append(text)
            last = token.start
        elif token.type in {tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}:
            found.append(token.string)
    return [" ".join(text.split()) for text in found]


def elsewhere(code: str) -> list[str]:
    """Citations in Python code of what is not in the repository."""
    return [found.group() for text in words(code) for found in ELSEWHERE.finditer(text)]


@pytest.mark.parametrize("path", [*DOCUMENTS, *CODE], ids=name_of)
def test_citations_lead_to_a_topic(path):
    text = text_of(path)
    assert {*CITATION.findall(text)} <= {*headings(text_of(PAGE))}
    assert [name for name in DOCUMENT.findall(text) if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("path", CODE, ids=name_of)
def test_code_cites_nothing_that_is_not_here(path):
    assert elsewhere(text_of(path)) == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_links_lead_somewhere(path):
    assert broken_links(text_of(path), path.parent) == []


@pytest.mark.parametrize("word", LOOKED_FOR)
def test_what_is_looked_for_is_found_from_the_readme(word):
    assert clicks_to(LOOKED_FOR[word], word, ROOT / "README.md") <= 2
    assert broken_links(f"[{word}]({LOOKED_FOR[word]})", ROOT) == []


def test_links_are_counted(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    (tmp_path / "README.md").write_text("[First](one.md) step\nnot here\n")
    (tmp_path / "one.md").write_text("the second [step](two.md#there)\n")
    (tmp_path / "two.md").write_text("# There\n\n[third](three.md)\n")
    targets = {"one.md": ("first", 1), "two.md#there": ("second", 2), "two.md": ("second", 3), "three.md": ("third", 3)}
    for target, (word, n) in targets.items():
        assert clicks_to(target, word, tmp_path / "README.md") == n
    assert clicks_to("one.md", "here", tmp_path / "README.md") == 3


def test_every_topic_is_cited_by_the_code():
    topics = headings(text_of(PAGE), "###")
    cited = {name for path in sorted((ROOT / "dask_dl").rglob("*.py")) for name in CITATION.findall(text_of(path))}
    assert len(topics) > 50
    assert [topic for topic in topics if topic not in cited | NOT_CITED] == []
    assert NOT_CITED.isdisjoint(cited)


def test_topics_have_names_of_their_own():
    assert not [anchor for anchor in headings(text_of(PAGE)) if re.search(r"-\d$", anchor)]


def test_anchors_are_those_of_github():
    page = "# A page: `x.py` (now)\n\n## max_w2\n\n## Two  words\n\n```\n# no heading\n```\n\n## max_w2\n"
    assert headings(page) == ["a-page-xpy-now", "max_w2", "two--words", "max_w2-1"]
    assert headings(page, "##") == ["max_w2", "two--words", "max_w2-1"]


@pytest.mark.parametrize(
    "target",
    [
        "docs/missing.md",
        "docs/explanation/algorithm.md#missing",
        "docs/explanation/scaling.svg#part",
        "#missing",
        "../README.md",
    ],
)
def test_a_link_that_leads_nowhere_is_found(target):
    good = "[to\nme](#here), [out](https://example.org/#x), ![drawn](docs/explanation/scaling.svg), `[a](b)`"
    page = f"# Here\n\n{good}, [off]({target})\n"
    assert broken_links(page, ROOT) == [target]


@pytest.mark.parametrize(
    "text",
    [
        "the rule of section 4",
        "sections 2.1 and 2.2",
        "as in the\n    specification",
        "Appendix A",
        "decision 1",
        "see [Q2]",
    ],
)
def test_a_citation_of_something_elsewhere_is_found(text):
    assert len(elsewhere(f'def f():\n    """Does it, {text}."""\n')) == 1
    assert len(elsewhere("x = 1\n" + "\n".join(f"    # {line.strip()}" for line in text.split("\n")))) == 1


def test_sections_of_papers_and_of_pages_may_be_cited():
    assert (
        elsewhere('"""Block momentum (Chen and Huo 2016,\n    section 2.2)."""  # of the section on speed, 2 lines\n')
        == []
    )
