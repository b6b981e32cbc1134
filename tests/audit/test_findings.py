from __future__ import annotations

from datetime import datetime, timezone

import pytest

from secure_ray.audit.findings import Finding, Report, Rule, Severity, Status

RULE = Rule("SR-AUDIT-900", "it holds", Severity.HIGH, "this", "do that")
LOW = Rule("SR-AUDIT-901", "it holds too", Severity.LOW, "this", "do that")
WHEN = datetime(2026, 1, 2, tzinfo=timezone.utc)


def _report(*findings: Finding) -> Report:
    return Report(findings, WHEN, 0.1234)


def test_rule_makes_findings() -> None:
    assert RULE.judge("here", holds=True, actual="x") == Finding(
        "SR-AUDIT-900", Severity.HIGH, Status.PASS, "it holds", "this", "x", "", "here"
    )
    assert RULE.judge("here", holds=False, actual="x").status is Status.FAIL
    assert RULE.judge("here", holds=False, actual="x").fix == "do that"
    assert RULE.unproven("here", "because").status is Status.ERROR


def test_worst_of_what_failed() -> None:
    low, high = (rule.judge("", holds=False, actual="") for rule in (LOW, RULE))
    assert _report(low, high).worst is Severity.HIGH
    assert _report(low, high).failed(Severity.MEDIUM) == (high,)
    assert _report(low).failed(Severity.LOW) == (low,)
    assert _report(RULE.judge("", holds=True, actual="")).worst is None


@pytest.mark.parametrize(
    ("findings", "proven"),
    [
        pytest.param((RULE.judge("", holds=True, actual=""),), True, id="pass"),
        pytest.param((RULE.judge("", holds=False, actual=""),), False, id="fail"),
        pytest.param((RULE.unproven("", ""),), False, id="error"),
        pytest.param((), False, id="nothing checked"),
    ],
)
def test_proven_only_when_all_was_checked_and_holds(
    findings: tuple[Finding, ...],
    *,
    proven: bool,
) -> None:
    assert _report(*findings).proven is proven


def test_error_is_told_apart_from_failure() -> None:
    report = _report(RULE.unproven("here", "because"))
    assert report.worst is None
    assert report.errors == report.findings


def test_json() -> None:
    assert _report(RULE.judge("here", holds=False, actual="that")).to_json() == {
        "schema": "secure-ray/audit/1",
        "started": "2026-01-02T00:00:00+00:00",
        "seconds": 0.123,
        "worst": "high",
        "proven": False,
        "counts": {"pass": 0, "fail": 1, "error": 0},
        "findings": [
            {
                "id": "SR-AUDIT-900",
                "severity": "high",
                "status": "fail",
                "title": "it holds",
                "expected": "this",
                "actual": "that",
                "fix": "do that",
                "where": "here",
            }
        ],
    }
