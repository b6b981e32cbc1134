"""`audit`: formats and exit codes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from secure_ray.audit.findings import Finding, Report, Rule, Severity
from secure_ray.cli import audit as module
from secure_ray.cli.main import main
from support.plans import NOW

if TYPE_CHECKING:
    from pathlib import Path

RULE = Rule("SR-AUDIT-001", "a title", Severity.MEDIUM, "none", "mend it")
PASS = RULE.judge("here", holds=True, actual="none")
FAIL = RULE.judge("here", holds=False, actual="one")
ERROR = RULE.unproven("here", "no reason")


@pytest.fixture(autouse=True)
def state(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECURE_RAY_HOME", str(home))
    monkeypatch.delenv("SECURE_RAY_CLUSTER", raising=False)


@pytest.mark.parametrize(
    ("findings", "fail_on", "code"),
    [
        ([PASS], "low", 0),
        ([PASS, FAIL], "low", 1),
        ([PASS, FAIL], "medium", 1),
        ([PASS, FAIL], "high", 0),
        ([PASS, FAIL], "critical", 0),
        ([PASS, ERROR], "critical", 6),
        ([FAIL, ERROR], "low", 1),
        ([FAIL, ERROR], "high", 6),
    ],
)
@pytest.mark.parametrize("which", ["_live", "_before"])
def test_exit_code_is_by_severity(
    monkeypatch: pytest.MonkeyPatch,
    findings: list[Finding],
    fail_on: str,
    code: int,
    which: str,
) -> None:
    monkeypatch.setattr(module, which, lambda *_: Report(tuple(findings), NOW, 0.1))
    pre = ["--pre"] if which == "_before" else []

    assert main(["audit", *pre, "--fail-on", fail_on]) == code


@pytest.mark.parametrize("options", [["--json"], ["--format", "json"]])
def test_json(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    monkeypatch.setattr(module, "_before", lambda: Report((FAIL,), NOW, 0.1))

    main(["audit", "--pre", *options])

    report = json.loads(capsys.readouterr().out)
    assert report["schema"] == "secure-ray/audit/1"
    assert report["counts"]["fail"] == 1


def test_lines_for_people(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "_before", lambda: Report((PASS, FAIL), NOW, 0.1))

    main(["audit", "--pre"])

    out = capsys.readouterr().out
    assert "a title" in out
    assert "fix: mend it" in out


def test_cluster_that_is_down_cannot_be_proven(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit"]) == 4
    assert "SR-STATE-004" in capsys.readouterr().err


@pytest.mark.parametrize("option", [["--format", "xml"], ["--fail-on", "nothing"]])
def test_unknown_choice_is_a_usage_error(option: list[str]) -> None:
    assert main(["audit", *option]) == 2
