"""Pages of HTML, read."""

from __future__ import annotations

from html.parser import HTMLParser


class Reader(HTMLParser):
    """Rows, cells and headings of a page; every tag must be closed."""

    VOID = frozenset({"meta", "img", "br"})

    def __init__(self, text):
        super().__init__()
        self.open, self.cells, self.text, self.rows = [], [], [], []
        self.tags, self.changed, self.headings = set(), [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        if tag == "tr":
            self.rows.append([])
            self.changed.append(dict(attributes).get("class") == "changed")
        if tag not in self.VOID:
            self.open.append(tag)
        if tag in {"td", "th"}:
            self.cells.append("")
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)
        if self.open and self.open[-1] in {"td", "th"}:
            self.cells[-1] += data
            self.rows[-1][-1] += data
        if self.open and self.open[-1] in {"h1", "h2", "summary"}:
            self.headings.append(data)

    def row(self, name):
        """The cells after the one of that name."""
        return next(cells for first, *cells in self.rows if first == name)
