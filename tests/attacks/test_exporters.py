"""Ray's Prometheus exporters ask for no token; so unless metrics are asked for, none listens."""

from __future__ import annotations

import pytest

from support.live import HERE, Live, ask

pytestmark = pytest.mark.ray

# Ray 2.60.0: autoscaler/_private/constants.py and dashboard/consts.py.
DEFAULT_PORTS = {44217, 44227}


def test_default_ports_are_not_ours(live: Live) -> None:
    assert DEFAULT_PORTS.isdisjoint(entry.port for entry in live.listeners())


def test_every_listener_is_a_planned_service_or_worker(live: Live) -> None:
    plan = live.machine.record()["plan"]["ports"]
    workers = range(plan["first_worker"], plan["last_worker"] + 1)
    services = set(live.ports.values())

    listeners = live.listeners()

    assert services <= {entry.port for entry in listeners}
    for entry in listeners:
        assert entry.port in services or entry.port in workers, entry
        assert entry.address in {HERE, f"::ffff:{HERE}", "::1"}, entry


def test_nobody_serves_metrics(live: Live) -> None:
    for component in {"dashboard", "agent_http", "runtime_env"} & set(live.ports):
        port = live.port(component)
        assert ask(port, "GET", "/metrics").status == 401
        assert ask(port, "GET", "/metrics", headers=live.authorized).status == 404


def test_the_exporters_said_that_they_are_off(live: Live) -> None:
    """The two that Ray cannot switch off were given a port that cannot be bound."""
    environment = live.machine.record()["plan"]["environment"]

    assert environment["RAY_enable_metrics_collection"] == "0"
    for variable in ("DASHBOARD_METRIC_PORT", "AUTOSCALER_METRIC_PORT"):
        assert int(environment[variable]) > 65535
