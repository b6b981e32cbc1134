"""Requests that a web page makes a user's browser send (CVE-2025-62593, CVE-2026-27482).

They carry the right token here: a browser adds the dashboard's cookie by itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from support.live import Live, ask

pytestmark = pytest.mark.ray

MISSING, FORBIDDEN, NOT_ALLOWED = 401, 403, 405

# Any of these makes a request a browser's (Ray 2.60.0, dashboard/optional_utils.py).
HEADERS = (
    {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64)"},
    {"Referer": "http://attacker.example/"},
    {"Origin": "http://attacker.example"},
    {"Sec-Fetch-Mode": "cors"},
    {"Sec-Fetch-Dest": "empty"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-origin"},
    {"Sec-Fetch-User": "?1"},
    {"Access-Control-Request-Method": "POST"},
    {"Access-Control-Request-Headers": "content-type"},
)


@dataclass(frozen=True)
class Door:
    component: str
    method: str
    path: str
    status: int
    since: tuple[int, ...] = (2, 52, 1)

    def __str__(self) -> str:
        return f"{self.component} {self.method} {self.path}"


DOORS = (
    Door("dashboard", "POST", "/api/jobs/", NOT_ALLOWED),
    Door("dashboard", "PUT", "/api/packages/gcs/_ray_pkg_00.zip", NOT_ALLOWED),
    Door("dashboard", "PUT", "/api/serve/applications/", NOT_ALLOWED),
    Door("dashboard", "PATCH", "/api/jobs/", NOT_ALLOWED),
    Door("dashboard", "DELETE", "/api/serve/applications/", NOT_ALLOWED, since=(2, 54, 0)),
    Door("dashboard", "DELETE", "/api/jobs/none", NOT_ALLOWED, since=(2, 54, 0)),
    Door("agent_http", "POST", "/api/job_agent/jobs/", FORBIDDEN),
    Door("agent_http", "DELETE", "/api/job_agent/jobs/none", FORBIDDEN),
    Door("agent_http", "GET", "/logs/", FORBIDDEN),
)


@pytest.mark.parametrize("header", HEADERS, ids=str)
@pytest.mark.parametrize("door", DOORS, ids=str)
def test_browser_is_refused(live: Live, door: Door, header: dict[str, str]) -> None:
    if live.ray_version < door.since:
        pytest.xfail(f"Ray refuses this since {'.'.join(map(str, door.since))} (CVE-2026-27482)")
    port = live.port(door.component)

    with_token = ask(port, door.method, door.path, headers=live.authorized | header, body=b"{}")
    without = ask(port, door.method, door.path, headers=header, body=b"{}")

    assert with_token.status == door.status
    assert without.status == MISSING


@pytest.mark.xfail(
    strict=True,
    reason="Ray's runtime-env agent has no browser check (2.60.0, _private/runtime_env/agent/"
    "main.py); a page on another port of this host would be sent the cookie",
)
def test_browser_is_refused_at_the_runtime_env_agent(live: Live) -> None:
    header = {"Origin": "http://127.0.0.1:8000", **live.authorized}

    answer = ask(live.port("runtime_env"), "POST", "/get_runtime_envs_info", headers=header)

    assert answer.status in {FORBIDDEN, NOT_ALLOWED}


@pytest.mark.parametrize(
    "headers",
    [
        {
            "Host": "attacker.example:8265",
            "Origin": "http://attacker.example:8265",
            "Sec-Fetch-Site": "same-origin",
            "User-Agent": "Other",
        },
        {"Sec-Fetch-Site": "cross-site"},
    ],
    ids=["rebinding", "probe"],
)
def test_rebinding_posts_nothing(live: Live, headers: dict[str, str]) -> None:
    """CVE-2025-62593: the first fix looked at the user agent alone, which `fetch` may set."""
    port = live.port("dashboard")

    assert ask(port, "POST", "/api/jobs/", headers=headers, body=b"{}").status == MISSING
    answer = ask(port, "POST", "/api/jobs/", headers=headers | live.authorized, body=b"{}")
    assert answer.status == NOT_ALLOWED


def test_rebinding_reads_nothing(live: Live) -> None:
    """A page under another name gets no cookie of 127.0.0.1, so it has no token to show."""
    headers = {"Host": "attacker.example", "User-Agent": "Mozilla/5.0"}

    assert ask(live.port("dashboard"), "GET", "/api/jobs/", headers=headers).status == MISSING


def test_no_site_is_let_in_by_cors(live: Live) -> None:
    preflight = {"Origin": "http://attacker.example", "Access-Control-Request-Method": "POST"}

    for component in {"dashboard", "agent_http", "runtime_env"} & set(live.ports):
        assert (
            ask(live.port(component), "OPTIONS", "/api/jobs/", headers=preflight).status == MISSING
        )
