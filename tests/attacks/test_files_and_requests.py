"""Making Ray read files for us, fetch addresses for us, or look into processes for us."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from support.live import HERE, Live, ask, ask_raw

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.ray

MISSING, FORBIDDEN = 401, 403
PASSWD = b"root:"
UP = "../" * 8
# Ray 2.56.0, dashboard/modules/reporter/reporter_head.py.
PROFILING_GATED = (2, 56, 0)


@contextmanager
def canary() -> Iterator[tuple[int, list[str]]]:
    """A server that nothing should ask; yields its port and what was asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer((HERE, 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server.server_address[1], asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_canary_sings() -> None:
    with canary() as (port, asked):
        ask(port, "GET", "/here")
    assert asked == ["/here"]


def test_log_proxy_fetches_nothing(live: Live) -> None:
    """CVE-2023-48023."""
    with canary() as (port, asked):
        path = f"/log_proxy?url={quote(f'http://{HERE}:{port}/', safe='')}"
        assert ask(live.port("dashboard"), "GET", path).status == MISSING
        assert ask(live.port("dashboard"), "GET", path, headers=live.authorized).status == 404
    assert asked == []


@pytest.mark.parametrize(
    "target",
    [
        f"/static/js/{UP}etc/passwd",
        f"/static/{UP}etc/passwd",
        f"/static/{'%2e%2e/' * 8}etc/passwd",
        f"/static/{'..%2f' * 8}etc%2fpasswd",
        f"/static/{'%2e%2e%2f' * 8}etc%2fpasswd",
        f"/static/{'..%5c' * 8}etc%5cpasswd",
        f"/static/{'%252e%252e%252f' * 8}etc%252fpasswd",
        "/static//etc/passwd",
        "/static//../../timezone",
        "/static/../timezone",
        "/static/..%2ftimezone",
        "/static/%2e%2e/timezone",
        "/static/../api/jobs/",
        "/static/..%2fapi%2fjobs%2f",
        "/static/..;/api/jobs/",
        "/static/../../../../ray/__init__.py",
        "/static/",
        "/static/js",
    ],
)
def test_static_leads_nowhere_else(live: Live, target: str) -> None:
    """CVE-2023-6020, CVE-2026-32981: the prefix needs no token, so it must not lead out."""
    answer = ask_raw(live.port("dashboard"), target)

    assert answer.status in {400, MISSING, FORBIDDEN, 404}
    assert PASSWD not in answer.body
    assert b"offset" not in answer.body
    assert b"submission_id" not in answer.body


@pytest.mark.parametrize("filename", [f"{UP}etc/passwd", "/etc/passwd", f"worker/{UP}etc/passwd"])
@pytest.mark.parametrize("door", ["file", "stream"])
def test_logs_api_reads_logs_only(live: Live, door: str, filename: str) -> None:
    """CVE-2023-6021."""
    path = f"/api/v0/logs/{door}?node_id={live.node_id}&filename={quote(filename, safe='')}&lines=9"

    assert ask(live.port("dashboard"), "GET", path).status == MISSING
    assert PASSWD not in ask(live.port("dashboard"), "GET", path, headers=live.authorized).body


def test_logs_api_does_read_logs(live: Live) -> None:
    live.port("agent_http")  # which reads them
    path = f"/api/v0/logs/file?node_id={live.node_id}&filename=gcs_server.out&lines=9"

    answer = ask(live.port("dashboard"), "GET", path, headers=live.authorized)

    assert answer.status == 200
    assert answer.body


@pytest.mark.parametrize("pattern", ["../*", "/etc/*", f"{UP}etc/pass*"])
def test_logs_api_lists_logs_only(live: Live, pattern: str) -> None:
    path = f"/api/v0/logs?node_id={live.node_id}&glob={quote(pattern, safe='')}"

    assert ask(live.port("dashboard"), "GET", path).status == MISSING
    body = ask(live.port("dashboard"), "GET", path, headers=live.authorized).body
    if live.ray_version < (2, 60, 0) and b"passwd" in body:
        pytest.xfail("Ray 2.56.0 lists names outside of the logs to whoever has the token")
    assert b"passwd" not in body
    assert b"prom_metrics_service_discovery" not in body


@pytest.mark.parametrize(
    "target",
    [
        f"/logs/{UP}etc/passwd",
        f"/logs/{'..%2f' * 8}etc%2fpasswd",
        f"/logs/{'%2e%2e/' * 8}etc/passwd",
    ],
)
def test_agents_logs_lead_nowhere_else(live: Live, target: str) -> None:
    assert ask_raw(live.port("agent_http"), target).status == MISSING
    answer = ask_raw(live.port("agent_http"), target, headers=live.authorized)
    assert answer.status in {FORBIDDEN, 404}
    assert PASSWD not in answer.body


@pytest.fixture
def planted_log(live: Live, tmp_path: Path) -> Iterator[str]:
    """A link in the log directory to a file elsewhere, as a job could make it."""
    live.port("agent_http")  # which reads the logs
    secret = tmp_path / "elsewhere"
    secret.write_text("not a log")
    link = live.run_directory / "ray" / "session_latest" / "logs" / "planted.log"
    link.symlink_to(secret)
    yield link.name
    link.unlink()


def test_agent_follows_no_link_out_of_the_logs(live: Live, planted_log: str) -> None:
    target = f"/logs/{planted_log}"

    assert ask_raw(live.port("agent_http"), target, headers=live.authorized).status == 404


@pytest.mark.xfail(
    strict=True,
    reason="Ray's log service follows links that a job planted (2.60.0, dashboard/modules/log/"
    "log_agent.py _resolve_filename); it reads with the rights that the job has already",
)
def test_logs_api_follows_no_link_out_of_the_logs(live: Live, planted_log: str) -> None:
    path = f"/api/v0/logs/file?node_id={live.node_id}&filename={planted_log}&lines=9"

    answer = ask(live.port("dashboard"), "GET", path, headers=live.authorized)

    assert b"not a log" not in answer.body


@pytest.mark.parametrize(
    "path",
    [
        "/worker/traceback?pid={pid}&ip=127.0.0.1&native=0",
        "/worker/cpu_profile?pid={pid}&ip=127.0.0.1&duration=1&native=0&format={command}",
        "/worker/gpu_profile?pid={pid}&ip=127.0.0.1&num_iterations=1",
        "/worker/jax_profile?pid={pid}&ip=127.0.0.1",
        "/task/traceback?task_id=0&attempt_number=0&node_id={node}",
        "/task/cpu_profile?task_id=0&attempt_number=0&node_id={node}&format={command}",
        "/memory_profile?pid={pid}&ip=127.0.0.1&duration=1&format={command}",
    ],
    ids=lambda path: path.partition("?")[0],
)
def test_profiling_is_off(live: Live, marker: Path, path: str) -> None:
    """CVE-2023-6019 ran `format` in a shell; profiling at all attaches to any process of ours."""
    command = quote(f"`touch {marker}`", safe="")
    filled = path.format(pid=os.getpid(), node=live.node_id, command=command)

    assert ask(live.port("dashboard"), "GET", filled).status == MISSING
    answer = ask(live.port("dashboard"), "GET", filled, headers=live.authorized)
    if b"Not Found" not in answer.body:  # a Ray that has not got this one yet
        assert answer.status == FORBIDDEN or live.ray_version < PROFILING_GATED
        assert answer.status != 200
    assert not marker.exists()
