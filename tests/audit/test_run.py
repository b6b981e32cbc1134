from __future__ import annotations

import socket
from dataclasses import replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import pytest

from secure_ray.audit.check import Check
from secure_ray.audit.checks import listeners
from secure_ray.audit.findings import Finding, Report, Rule, Severity, Status
from secure_ray.audit.run import CHECKS, PRIVATE_CHECKS, checks_for, prove, prove_start
from secure_ray.base.errors import InconclusiveError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from secure_ray.audit.target import Target

RULE = Rule("SR-AUDIT-900", "it holds", Severity.HIGH, "this", "do that")
OTHER = Rule("SR-AUDIT-901", "it holds too", Severity.LOW, "this", "do that")
WHEN = datetime(2026, 1, 2, tzinfo=timezone.utc)
PASSES = Check("good", (RULE,), lambda _: [RULE.judge("here", holds=True, actual="")])


def _prove(target: Target, *checks: Check) -> Report:
    return prove(target, clock=lambda: WHEN, checks=checks)


def test_hardened_cluster_is_proven(target: Target) -> None:
    report = prove(target, clock=lambda: WHEN)
    assert [finding for finding in report.findings if finding.status is not Status.PASS] == []
    assert report.proven
    assert report.started == WHEN


def test_every_rule_says_something(target: Target) -> None:
    told = {finding.id for finding in prove(target, clock=lambda: WHEN).findings}
    assert told == {rule.code for check in CHECKS for rule in check.rules}


def test_rule_codes_are_unique() -> None:
    codes = [rule.code for check in (*CHECKS, *PRIVATE_CHECKS) for rule in check.rules]
    assert len(codes) == len(set(codes))


def test_what_only_private_mode_has_is_looked_at_there_alone(target: Target) -> None:
    private = replace(target, ports=replace(target.ports, private=True))

    assert checks_for(target) == CHECKS
    assert checks_for(private) == (*CHECKS, *PRIVATE_CHECKS)


@pytest.mark.parametrize("run", [prove, prove_start])
def test_private_cluster_without_its_relay_and_door_is_not_proven(
    target: Target, monkeypatch: pytest.MonkeyPatch, run: Any
) -> None:
    """The stand-ins listen on loopback; what is looked at here is what is run."""
    monkeypatch.setattr("secure_ray.audit.run.CHECKS", (PASSES,))
    private = replace(target, ports=replace(target.ports, private=True))
    first = {"first": (PASSES,)} if run is prove_start else {}

    report = run(private, clock=lambda: WHEN, **first)

    told = {finding.id: finding.status for finding in report.findings}
    assert told == {"SR-AUDIT-900": Status.PASS} | dict.fromkeys(
        ("SR-AUDIT-014", "SR-AUDIT-015", "SR-AUDIT-016"), Status.ERROR
    )
    assert not report.proven


def _crash(_target: Target) -> list[Finding]:
    msg = "token 0123"
    raise ValueError(msg)


def _crash_half_way(_target: Target) -> Iterator[Finding]:
    yield RULE.judge("here", holds=True, actual="")
    raise PermissionError(13, "Permission denied", "/proc/1/environ")


def _refuse(_target: Target) -> list[Finding]:
    raise InconclusiveError("SR-PROBE-001", "cannot be read", fix="")


@pytest.mark.parametrize(
    ("check", "words"),
    [
        pytest.param(_crash, "ValueError", id="bug, without its text"),
        pytest.param(_crash_half_way, "Permission denied", id="half-way"),
        pytest.param(_refuse, "SR-PROBE-001", id="our own error"),
    ],
)
def test_check_that_breaks_is_an_error_and_stops_no_other(
    target: Target, check: object, words: str
) -> None:
    assert callable(check)
    report = _prove(target, Check("bad", (RULE, OTHER), check), PASSES)
    assert [(f.id, f.status) for f in report.findings] == [
        (RULE.code, Status.ERROR),
        (OTHER.code, Status.ERROR),
        (RULE.code, Status.PASS),
    ]
    assert words in report.errors[0].actual
    assert "0123" not in str(report)


def test_silence_of_a_rule_is_an_error(target: Target) -> None:
    silent = Check("silent", (RULE, OTHER), lambda _: [RULE.judge("", holds=True, actual="")])
    report = _prove(target, silent)
    assert [finding.id for finding in report.errors] == [OTHER.code]
    assert not report.proven


def test_no_checks_prove_nothing(target: Target) -> None:
    assert not _prove(target).proven


@pytest.mark.parametrize(
    "opens",
    [
        lambda _: [RULE.judge("0.0.0.0:1", holds=False, actual="open")],
        lambda _: [RULE.unproven("it", "cannot be read")],
        _crash,
        lambda _: [],
    ],
    ids=["open", "unproven", "bug", "silent"],
)
def test_start_that_is_open_waits_for_nothing_else(target: Target, opens: object) -> None:
    assert callable(opens)
    first = Check("listeners", (RULE,), opens)
    waits = Check("HTTP", (OTHER,), lambda _: pytest.fail("it waits for the dashboard"))

    report = prove_start(target, clock=lambda: WHEN, first=[first], checks=[first, waits])

    assert [finding.id for finding in report.findings] == [RULE.code]
    assert not report.proven


def test_open_listener_ends_the_proof_of_a_start(target: Target) -> None:
    with socket.socket() as listener:
        listener.bind(("0.0.0.0", 0))
        listener.listen()

        report = prove_start(target, clock=lambda: WHEN)

    assert {finding.id for finding in report.findings} == {
        rule.code for rule in listeners.CHECK.rules
    }
    assert report.worst is Severity.CRITICAL


def test_start_is_proven_by_all_checks(target: Target) -> None:
    report = prove_start(target, clock=lambda: WHEN)

    assert report.proven
    told = [finding.id for finding in report.findings]
    assert told == [finding.id for finding in prove(target, clock=lambda: WHEN).findings]


def test_start_is_not_proven_by_the_first_check_alone(target: Target) -> None:
    fails = Check("HTTP", (OTHER,), lambda _: [OTHER.judge("", holds=False, actual="open")])

    report = prove_start(target, clock=lambda: WHEN, first=[PASSES], checks=[PASSES, fails])

    assert [finding.id for finding in report.findings] == [RULE.code, OTHER.code]
    assert not report.proven
