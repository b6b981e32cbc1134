"""Every socket that waits for others is on loopback and on the plan, and the plan is met."""

from __future__ import annotations

from typing import TYPE_CHECKING

from secure_ray.audit.check import Check
from secure_ray.audit.findings import Rule, Severity, Status
from secure_ray.network.addresses import (
    is_loopback,
    is_wildcard,
    plain_address,
    same_address,
)
from secure_ray.network.listeners import Kind, listeners_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from secure_ray.audit.findings import Finding
    from secure_ray.audit.target import Target
    from secure_ray.network.listeners import Listener
    from secure_ray.policy.ports import PortPlan

ADDRESS = Rule(
    "SR-AUDIT-001",
    "listens only where it was told to",
    Severity.CRITICAL,
    expected="loopback, or the address of this node that the cluster was bound to",
    fix="stop the cluster; if a job opened the socket, bind it to 127.0.0.1",
)
ON_PLAN = Rule(
    "SR-AUDIT-002",
    "listens only on planned ports",
    Severity.HIGH,
    expected="a port of the plan at its place, over TCP",
    fix="stop the cluster; if a job opened the socket, use a port from the worker range",
)
PLAN_MET = Rule(
    "SR-AUDIT-003",
    "every planned component listens on its port",
    Severity.HIGH,
    expected="a process of this cluster listens",
    fix="look at the component's log: it has not started, or another program has its port",
)


def _run(target: Target) -> list[Finding]:
    return judge(target.bind, target.ports, listeners_of(target.pids))


def judge(bind: str, ports: PortPlan, found: tuple[Listener, ...]) -> list[Finding]:
    """The findings about the listeners `found` of a node that listens on `bind`."""
    return [*_judge_each(bind, ports, found), *_judge_plan(bind, ports, found)]


def only_late(bind: str, ports: PortPlan, found: tuple[Listener, ...]) -> bool:
    """Whether something planned does not listen yet, and nothing else is off."""
    failed = {one.id for one in judge(bind, ports, found) if one.status is Status.FAIL}
    return failed == {PLAN_MET.code}


def _judge_each(bind: str, ports: PortPlan, found: tuple[Listener, ...]) -> Iterator[Finding]:
    for listener in found:
        yield ADDRESS.judge(
            str(listener), holds=is_allowed(listener.address, bind), actual=listener.address
        )
        on_plan = listener.kind is Kind.TCP and ports.allows_at(
            plain_address(bind), plain_address(listener.address), listener.port
        )
        yield ON_PLAN.judge(str(listener), holds=on_plan, actual=f"port {listener.port}")


def _judge_plan(bind: str, ports: PortPlan, found: tuple[Listener, ...]) -> Iterator[Finding]:
    holders = {
        (plain_address(entry.address), entry.port): entry.process
        for entry in found
        if entry.kind is Kind.TCP
    }
    for expected in ports.expected(plain_address(bind)):
        there = (holders.get((address, expected.port)) for address in expected.addresses)
        process = next(filter(None, there), None)
        yield PLAN_MET.judge(
            f"{expected.planned.component.title}, port {expected.port}",
            holds=process is not None,
            actual=f"{process} listens" if process else "no process of this cluster listens",
        )


def is_allowed(address: str, bind: str) -> bool:
    """Whether a listener may be at `address` on the node that listens on `bind`."""
    return is_loopback(address) or (same_address(address, bind) and not is_wildcard(address))


CHECK = Check("listeners", (ADDRESS, ON_PLAN, PLAN_MET), _run)
