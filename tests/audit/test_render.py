from __future__ import annotations

import io
import json
from datetime import datetime, timezone

from rich.console import Console

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


def test_json_is_one_document() -> None:
    assert json.loads(render.as_json(REPORT)) == REPORT.to_json()


def test_table_shows_what_was_found_as_it_is() -> None:
    console = Console(file=io.StringIO(), width=200, color_system=None)
    console.print(render.as_table(REPORT))
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    for part in ("[red]odd", "[::1]:80", "2 places", "do that", "1 error in 0.50 s"):
        assert part in text


def test_empty_report_says_so() -> None:
    assert render.summary(Report((), REPORT.started, 0)) == "nothing checked in 0.00 s"
