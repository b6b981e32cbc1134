"""`audit`: formats and exit codes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from secure_ray.audit.findings import Finding, Report, Rule, Severity
from secure_ray.base.locks import lock
from secure_ray.cli import audit as module
from secure_ray.cli.main import main
from secure_ray.node.instance import write_instance
from support.plans import NOW, instance_of, make_directories, plan_of

if TYPE_CHECKING:
    from pathlib import Path

    from secure_ray.policy.advisories import AdvisoryBook

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
    monkeypatch.setattr(module, "_before", lambda _config: Report((FAIL,), NOW, 0.1))

    main(["audit", "--pre", *options])

    report = json.loads(capsys.readouterr().out)
    assert report["schema"] == "secure-ray/audit/1"
    assert report["counts"]["fail"] == 1


def test_lines_for_people(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "_before", lambda _config: Report((PASS, FAIL), NOW, 0.1))

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


def write_advisory(directory: Path) -> Path:
    """A settings file that knows of a hole in every Ray."""
    osv = {
        "id": "GHSA-house-rule",
        "summary": "it is open",
        "affected": [
            {
                "package": {"ecosystem": "PyPI", "name": "ray"},
                "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}]}],
            }
        ],
        "database_specific": {"severity": "CRITICAL"},
    }
    (directory / "own.json").write_text(json.dumps(osv))
    settings = directory / "own.toml"
    settings.write_text(f'[advisories]\nfiles = ["{directory / "own.json"}"]\n')
    return settings


def test_advisories_of_the_named_settings_are_known_before_a_start(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = write_advisory(home)

    assert main(["audit", "--pre", "--config", str(settings)]) == 1

    assert "GHSA-house-rule" in capsys.readouterr().out


@pytest.mark.parametrize("way", ["recorded", "option", "variable"])
def test_running_cluster_is_judged_by_the_settings_of_its_start(
    home: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    settings = write_advisory(home)
    books: list[AdvisoryBook] = []

    def audit(_instance: object, book: AdvisoryBook, **_: object) -> Report:
        books.append(book)
        return Report((PASS,), NOW, 0.1)

    monkeypatch.setattr("secure_ray.audit.live.audit_instance", audit)
    if way == "variable":
        monkeypatch.setenv("SECURE_RAY_CONFIG", str(settings))
    plan = plan_of(home, settings_file=settings if way == "recorded" else None)
    write_instance(instance_of(make_directories(plan)))

    with lock(plan.paths.supervisor_lock, wait=0):
        assert main(["audit", *(["--config", str(settings)] if way == "option" else [])]) == 0

    assert "GHSA-house-rule" in {advisory.id for advisory in books[0].advisories}
