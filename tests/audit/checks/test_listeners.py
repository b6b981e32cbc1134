from __future__ import annotations

import socket
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from secure_ray.audit.checks.listeners import ADDRESS, CHECK, ON_PLAN, PLAN_MET, judge, only_late
from secure_ray.audit.findings import Status
from secure_ray.network.listeners import Kind, Listener, listeners_of

if TYPE_CHECKING:
    from secure_ray.audit.findings import Finding, Rule
    from secure_ray.audit.target import Target


def _failed(findings: list[Finding], rule: Rule) -> list[Finding]:
    return [f for f in findings if f.id == rule.code and f.status is Status.FAIL]


def _listener(target: Target, address: str, *, kind: Kind = Kind.TCP) -> Listener:
    return Listener(address, target.ports.first_worker, kind, 1, "ray::IDLE")


def test_hardened_cluster(target: Target) -> None:
    assert {finding.status for finding in CHECK.run(target)} == {Status.PASS}


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "::ffff:0.0.0.0", "10.0.0.5", "fe80::1%eth0"])
def test_listener_off_loopback(target: Target, address: str) -> None:
    findings = judge(target.bind, target.ports, (_listener(target, address),))
    assert [finding.actual for finding in _failed(findings, ADDRESS)] == [address]


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "::ffff:127.0.0.1", "10.0.0.5"])
def test_listener_where_the_cluster_is_bound(target: Target, address: str) -> None:
    findings = judge("10.0.0.5", target.ports, (_listener(target, address),))
    assert not _failed(findings, ADDRESS)


@pytest.mark.parametrize("wildcard", ["0.0.0.0", "::"])
def test_wildcard_is_never_right(target: Target, wildcard: str) -> None:
    findings = judge(wildcard, target.ports, (_listener(target, wildcard),))
    assert _failed(findings, ADDRESS)


def test_listener_that_nobody_planned(target: Target) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        failed = _failed(list(CHECK.run(target)), ON_PLAN)
    assert [finding.actual for finding in failed] == [f"port {port}"]


def test_udp_is_never_planned(target: Target) -> None:
    listener = _listener(target, "127.0.0.1", kind=Kind.UDP)
    assert _failed(judge(target.bind, target.ports, (listener,)), ON_PLAN)


def test_planned_component_that_does_not_listen(target: Target) -> None:
    failed = _failed(judge(target.bind, target.ports, ()), PLAN_MET)
    assert len(failed) == len(target.ports.ports)


def test_planned_port_of_another_program(target: Target) -> None:
    """Who listens on the dashboard's port must be a process of this cluster."""
    strangers = replace(target, pids=())
    assert len(_failed(list(CHECK.run(strangers)), PLAN_MET)) == len(target.ports.ports)


def test_only_what_comes_late_is_waited_for(target: Target) -> None:
    live = listeners_of(target.pids)
    late = target.ports.ports[0].port
    early = tuple(one for one in live if one.port != late)
    stray = _listener(target, "0.0.0.0")

    assert not only_late(target.bind, target.ports, live)
    assert only_late(target.bind, target.ports, early)
    assert not only_late(target.bind, target.ports, (*early, stray))
