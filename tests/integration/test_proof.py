"""The proof after the start: with a protection taken out of the plan, Ray is stopped again.

Whatever mistake of ours or of Ray's leads to an open cluster, it does not stay up.
"""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Any

import pytest

from support.tampered import up_tampered

if TYPE_CHECKING:
    from support.clusters import Machine

pytestmark = pytest.mark.ray


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def require_stopped(machine: Machine) -> None:
    assert machine.processes() == []
    facts = machine.status()
    assert facts["state"] == "failed"
    assert "SR-AUDIT" in facts["reason"]


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"unset": ["RAY_USE_TLS"]}, {"SR-AUDIT-010", "SR-AUDIT-011", "SR-AUDIT-012"}),
        ({"set": {"RAY_AUTH_MODE": "tokn"}}, {"SR-AUDIT-013", "SR-AUDIT-020", "SR-AUDIT-021"}),
        ({"token_in": "RAY_AUTH_TOKEN"}, {"SR-AUDIT-040", "SR-AUDIT-041"}),
        ({"set": {"DASHBOARD_METRIC_PORT": "{port}"}}, {"SR-AUDIT-002"}),
        ({"open_run": "starting"}, {"SR-AUDIT-033"}),
    ],
    ids=["no TLS", "no authentication", "token in the environment", "exporter", "open session"],
)
def test_ray_is_stopped_again(machine: Machine, changes: dict[str, Any], found: set[str]) -> None:
    if "{port}" in changes.get("set", {}).values():
        changes = {"set": {"DASHBOARD_METRIC_PORT": str(free_port())}}

    result = up_tampered(machine, changes)

    error = json.loads(result.stdout)
    assert result.returncode == error["exit_code"] == 4, result.stderr
    assert error["code"] == "SR-AUDIT-000"
    assert {rule for rule in found if rule not in error["cause"]} == set()
    # The reason is the last line.
    last = result.stderr.splitlines()[-1]
    assert {rule for rule in {"SR-AUDIT-000", *found} if rule not in last} == set()
    require_stopped(machine)


def test_nothing_starts_below_an_open_directory(machine: Machine) -> None:
    result = up_tampered(machine, {"open_run": "prepared"})

    assert result.returncode == 4
    assert "SR-FILE-002" in result.stderr
    assert machine.processes() == []


def test_untampered_passes(machine: Machine) -> None:
    """So it is the change that the others are stopped for, not how they are started."""
    result = up_tampered(machine, {})

    assert result.returncode == 0, result.stderr
    assert machine.status()["state"] == "running"
