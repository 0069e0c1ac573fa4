"""Paths: names of this machine's files, and URLs that fsspec reads.

Names are not given to fsspec, which would split them where they hold `::`.
"""

from __future__ import annotations


def is_url(path: object) -> bool:
    """Whether a path is a URL, and no name of this machine."""
    return isinstance(path, str) and "://" in path
