"""Three hundred forgeries; `python tests/fuzz.py --n 10000` tries more."""

from __future__ import annotations

import math

import pytest
from fuzz import run


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_no_forgery_does_harm():
    findings, counts = run(300, seconds=math.inf)  # what a load takes depends on what else runs here
    assert not findings
    assert counts["refused"] > 120 and counts["fine"] > 12
