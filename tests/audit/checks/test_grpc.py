from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from secure_ray.audit.checks import grpc as module
from secure_ray.audit.checks.grpc import (
    CALLS,
    CHECK,
    FOREIGN,
    NO_CERTIFICATE,
    PLAINTEXT,
    TOKEN,
    Door,
    Knocks,
    judge,
)
from secure_ray.audit.findings import Status
from secure_ray.network.grpc_probe import Outcome, ProbeResult
from secure_ray.policy.ports import COMPONENTS, Protocol
from support.cluster import hardened_cluster
from support.servers import Pki, Tls

if TYPE_CHECKING:
    from pathlib import Path

    from secure_ray.audit.target import Target

PORTS = len(CALLS) + 1  # and one worker
REFUSED = ProbeResult(Outcome.REFUSED, "closed by the server")
UNAUTHENTICATED = ProbeResult(Outcome.ACCEPTED, status=16)
GOOD = Knocks(REFUSED, REFUSED, REFUSED, UNAUTHENTICATED, UNAUTHENTICATED)
DOOR = Door("raylet", "127.0.0.1", 1, "/m")


def _statuses(target: Target) -> dict[str, set[Status]]:
    statuses: dict[str, set[Status]] = {}
    for finding in CHECK.run(target):
        statuses.setdefault(finding.id, set()).add(finding.status)
    return statuses


def test_hardened_cluster(target: Target) -> None:
    findings = list(CHECK.run(target))
    assert {finding.status for finding in findings} == {Status.PASS}
    assert len(findings) == 5 * PORTS


def test_server_that_does_not_know_its_methods_yet_is_waited_for(home: Path, pki: Pki) -> None:
    with hardened_cluster(home, pki, grpc_loading=2) as target:
        assert _statuses(target)[TOKEN.code] == {Status.PASS}


def test_every_grpc_component_has_a_call() -> None:
    assert set(CALLS) == {c.name for c in COMPONENTS if c.protocol is Protocol.GRPC}


def test_without_client_authentication(home: Path, pki: Pki) -> None:
    with hardened_cluster(home, pki, grpc_tls=Tls.SERVER_ONLY) as target:
        statuses = _statuses(target)
    assert statuses == {
        PLAINTEXT.code: {Status.PASS},
        NO_CERTIFICATE.code: {Status.FAIL},
        FOREIGN.code: {Status.FAIL},
        TOKEN.code: {Status.PASS},
    }


def test_without_token(home: Path, pki: Pki) -> None:
    with hardened_cluster(home, pki, grpc_token=None) as target:
        assert _statuses(target)[TOKEN.code] == {Status.FAIL}


@pytest.mark.parametrize("tokenless", [True, False])
def test_worker_that_has_gone_is_no_excuse_for_what_it_let_in(
    home: Path, pki: Pki, monkeypatch: pytest.MonkeyPatch, *, tokenless: bool
) -> None:
    cluster = (
        hardened_cluster(home, pki, grpc_token=None) if tokenless else hardened_cluster(home, pki)
    )
    with cluster as target:
        doors = module._planned_doors(target)
        looks = iter([doors, []])
        monkeypatch.setattr(module, "_planned_doors", lambda _target: [])
        monkeypatch.setattr(module, "_worker_doors", lambda _target: next(looks))
        found = _statuses(target)

    assert found == ({"SR-AUDIT-013": {Status.FAIL}} if tokenless else {})


def test_without_tls(home: Path, pki: Pki, monkeypatch: pytest.MonkeyPatch) -> None:
    # A plaintext server waits for more of what it takes for a broken greeting.
    monkeypatch.setattr("secure_ray.audit.checks.grpc.TIMEOUT", 0.2)
    with hardened_cluster(home, pki, grpc_tls=Tls.NONE) as target:
        statuses = _statuses(target)
    assert statuses[PLAINTEXT.code] == {Status.FAIL}
    assert statuses[NO_CERTIFICATE.code] == statuses[TOKEN.code] == {Status.ERROR}


def test_refusals_prove_nothing_when_the_own_certificate_is_refused(
    target: Target, pki: Pki
) -> None:
    wrong = replace(target, certificate=pki.foreign_certificate, key=pki.foreign_key)
    assert {status for told in _statuses(wrong).values() for status in told} == {Status.ERROR}


def test_judge_takes_a_full_set_of_refusals() -> None:
    assert [finding.status for finding in judge(DOOR, GOOD)] == [Status.PASS] * 5


@pytest.mark.parametrize("outcome", [Outcome.NO_ANSWER, Outcome.DEAD, Outcome.UNTRUSTED])
@pytest.mark.parametrize("client", ["plaintext", "no_certificate", "foreign"])
def test_what_is_no_refusal_is_no_pass(outcome: Outcome, client: str) -> None:
    knocks = replace(GOOD, **{client: ProbeResult(outcome)})
    assert [f.status for f in judge(DOOR, knocks)].count(Status.ERROR) == 1


@pytest.mark.parametrize("client", ["plaintext", "no_certificate", "foreign"])
def test_who_is_let_in_fails_whatever_the_control_says(client: str) -> None:
    knocks = replace(GOOD, no_token=REFUSED, **{client: ProbeResult(Outcome.ACCEPTED)})
    assert [f.status for f in judge(DOOR, knocks)].count(Status.FAIL) == 1


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (16, Status.PASS),
        (0, Status.FAIL),
        (12, Status.FAIL),
        (None, Status.ERROR),
    ],
)
def test_only_unauthenticated_is_a_refusal_of_the_token(
    status: int | None, expected: Status
) -> None:
    knocks = replace(GOOD, wrong_token=ProbeResult(Outcome.ACCEPTED, status=status))
    assert judge(DOOR, knocks)[-1].status is expected
