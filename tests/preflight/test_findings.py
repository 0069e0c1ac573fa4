"""Findings, and their report as text, frame and page."""

from __future__ import annotations

import pytest

from dask_dl.errors import DaskDLWarning
from dask_dl.preflight import CheckReport, Finding
from dask_dl.preflight.findings import CheckListeners, Collector


def test_a_report_as_frame_text_and_html():
    findings = [
        Finding("note", "good to know"),
        Finding("error", "column 'a<b': 3 values. ", "Clip\nthem.", column="a<b", partition=3),
        Finding("warning", "numba is old on tcp://w1", "Install it.", host="node1"),
    ]
    report = CheckReport(findings)
    assert [finding.level for finding in report.findings] == ["error", "warning", "note"]
    assert not report.ok and CheckReport(findings[::2]).ok
    frame = report.to_pandas()
    assert [*frame] == ["level", "text", "remedy", "host", "partition", "column", "parameter"]
    assert frame["partition"].tolist()[:1] == [3] and frame["partition"].isna().sum() == 2
    assert CheckReport([]).to_pandas().empty
    assert report.findings[0].where == "partition 3, column a<b"
    assert "numba is old on tcp://w1 (host node1)\n         Install it." in str(report)
    assert str(report).splitlines()[-1] == "1 error, 1 warning, 1 note"
    assert report.text("error").splitlines()[1:3] == ["         Clip", "         them."]
    html = report._repr_html_()
    assert "a&lt;b" in html and '<td class="error">error</td>' in html and html.count("<tr>") == 4


def test_other_errors_and_warnings_go_on():
    collector = Collector()
    with pytest.warns(FutureWarning, match="old"), collector.catching():
        collector.warn(FutureWarning("old"))
    with pytest.raises(ZeroDivisionError), collector.catching():
        1 / 0  # noqa: B018
    assert collector.findings == []


def test_warnings_of_listeners_become_findings_where_they_belong():
    heard, collector = [], Collector()
    tell = CheckListeners([heard.append], collector)
    with collector.catching(parameter="storage"):
        tell.warn("it is slow. Wait.")
    with collector.apart() as others:
        tell.warn(DaskDLWarning("others"))
    tell.warn("last")
    found = [(finding.level, finding.text, finding.remedy, finding.parameter) for finding in collector.findings]
    assert found == [("warning", "it is slow.", "Wait.", "storage"), ("warning", "last", "", None)]
    assert [finding.text for finding in others] == ["others"]
    assert [event.text for event in heard] == ["it is slow. Wait.", "others", "last"]
