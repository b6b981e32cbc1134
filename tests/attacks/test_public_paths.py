"""Which paths answer without the token: these, and nothing else of Ray's routes."""

from __future__ import annotations

import json

import pytest

from support.live import Live, ask, ask_raw

pytestmark = pytest.mark.ray

MISSING = 401

# Ray 2.60.0, dashboard/http_server_head.py and http_server_agent.py: what the token check lets by.
PUBLIC = {
    "dashboard": (
        "/",
        "/favicon.ico",
        "/static/",
        "/api/authentication_mode",
        "/api/gcs_healthz",
        "/api/healthz",
        "/-/healthz",
        "/api/local_raylet_healthz",
    ),
    "agent_http": ("/api/healthz", "/api/local_raylet_healthz"),
    "runtime_env": (),
}

CLOSED = {
    "dashboard": (
        "/timezone",
        "/usage_stats_enabled",
        "/cluster_id",
        "/api/version",
        "/api/ray/version",
        "/api/v0/cluster_metadata",
        "/api/v0/runtime_env_redaction",
        "/api/profiling_enabled",
        "/api/grafana_health",
        "/api/prometheus_health",
        "/api/cluster_status",
        "/api/component_activities",
        "/api/jobs/",
        "/api/jobs/allowed",
        "/api/jobs/allowed/logs",
        "/api/jobs/allowed/logs/tail",
        "/api/v0/jobs",
        "/api/packages/gcs/_ray_pkg_0123456789abcdef.zip",
        "/nodes",
        "/nodes?view=summary",
        "/nodes/0",
        "/logical/actors",
        "/logical/actors/0",
        "/events",
        "/api/v0/cluster_events",
        "/api/v0/platform_events",
        "/api/v0/actors",
        "/api/v0/nodes",
        "/api/v0/placement_groups",
        "/api/v0/workers",
        "/api/v0/tasks",
        "/api/v0/objects",
        "/api/v0/runtime_envs",
        "/api/v0/tasks/summarize",
        "/api/v0/actors/summarize",
        "/api/v0/objects/summarize",
        "/api/v0/tasks/timeline",
        "/api/v0/logs",
        "/api/v0/logs/file",
        "/api/v0/logs/stream",
        "/task/traceback",
        "/task/cpu_profile",
        "/worker/traceback",
        "/worker/cpu_profile",
        "/worker/gpu_profile",
        "/worker/jax_profile",
        "/memory_profile",
        "/api/serve/applications/",
        "/api/data/datasets/0",
        "/api/train/v2/runs",
        "/api/train/v2/runs/v1",
        "/api/prometheus/sd",
        "/test/dump",
        "/api/v0/delay/0",
        "/log_proxy",
        "/metrics",
        "/no/such/path",
        "/static",
        "/api/authentication_mode/",
        "/api/healthz/",
    ),
    "agent_http": (
        "/",
        "/api/job_agent/jobs/allowed/logs",
        "/api/job_agent/jobs/allowed/logs/tail",
        "/logs",
        "/logs/",
        "/logs/raylet.out",
        "/metrics",
        "/api/gcs_healthz",
        "/api/authentication_mode",
        "/static/",
        "/no/such/path",
    ),
    "runtime_env": ("/", "/get_runtime_envs_info", "/metrics", "/api/healthz", "/no/such/path"),
}


def _pairs(table: dict[str, tuple[str, ...]]) -> list[tuple[str, str]]:
    return [(component, path) for component, paths in table.items() for path in paths]


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
@pytest.mark.parametrize(("component", "path"), _pairs(CLOSED))
def test_asks_for_the_token(live: Live, component: str, path: str, method: str) -> None:
    assert ask(live.port(component), method, path).status == MISSING


@pytest.mark.parametrize(
    "target",
    [
        "//timezone",
        "/./timezone",
        "/%74imezone",
        "/timezone#/static/",
        "/favicon.ico/../timezone",
        "/api/authentication_mode/../../timezone",
        "http://localhost/timezone",
    ],
)
def test_other_spellings_ask_for_it_too(live: Live, target: str) -> None:
    assert ask_raw(live.port("dashboard"), target).status == MISSING


@pytest.mark.parametrize(("component", "path"), _pairs(PUBLIC))
def test_public_paths_tell_nothing_of_the_cluster(live: Live, component: str, path: str) -> None:
    answer = ask(live.port(component), "GET", path)

    assert answer.status in {200, 403, 404}
    told = answer.body.decode(errors="replace")
    for private in (
        live.token.reveal(),
        live.node_id,
        str(live.run_directory),
        str(live.directory),
    ):
        assert private not in told


def test_what_the_public_paths_say(live: Live) -> None:
    """Word for word, so that a Ray that says more is noticed."""
    said = {
        path: ask(live.port("dashboard"), "GET", path).body.decode()
        for path in ("/api/authentication_mode", "/api/gcs_healthz")
    }
    said |= {
        f"agent {path}": ask(live.port("agent_http"), "GET", path).body.decode()
        for path in PUBLIC["agent_http"]
    }

    assert json.loads(said.pop("/api/authentication_mode")) == {"authentication_mode": "token"}
    words = {word for text in said.values() for word in text.replace(":", " ").split()}
    assert words <= {"success", "raylet", "gcs"}
