from __future__ import annotations

from datetime import datetime, timezone

from secure_ray.audit import render
from secure_ray.audit.findings import Report, Rule, Severity

RULE = Rule("SR-AUDIT-900", "it holds", Severity.HIGH, "this", "do that")
OTHER = Rule("SR-AUDIT-901", "it holds too", Severity.LOW, "this", "do that")
REPORT = Report(
    (
        OTHER.unproven("there", "because"),
        RULE.judge("one", holds=True, actual="x"),
        RULE.judge("two", holds=True, actual="x"),
        RULE.judge("[::1]:80", holds=False, actual="[red]odd"),
    ),
    datetime(2026, 1, 2, tzinfo=timezone.utc),
    0.5,
)


def test_lines() -> None:
    assert list(render.as_lines(REPORT)) == [
        "pass   SR-AUDIT-900  it holds (2 places)",
        "fail   SR-AUDIT-900  it holds",
        "       high, [::1]:80: [red]odd",
        "       expected: this.  fix: do that",
        "error  SR-AUDIT-901  it holds too",
        "       low, there: because",
        "       expected: this.  fix: remove the cause, then run it again",
        "2 pass, 1 fail, 1 error in 0.50 s",
    ]


def test_lines_of_each_place() -> None:
    told = list(render.as_lines(REPORT, each=True))

    assert told[:4] == [
        "pass   SR-AUDIT-900  it holds",
        "       one: x",
        "pass   SR-AUDIT-900  it holds",
        "       two: x",
    ]
    assert told[-1] == "2 pass, 1 fail, 1 error in 0.50 s"


def test_empty_report_says_so() -> None:
    assert render.summary(Report((), REPORT.started, 0)) == "nothing checked in 0.00 s"
