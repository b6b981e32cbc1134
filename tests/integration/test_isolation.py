"""Another user of the same host: what they can read, write, connect to and see of a cluster."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from secure_ray.network.listeners import unix_sockets_of
from support.live import Live

if TYPE_CHECKING:
    from support.clusters import Machine

pytestmark = [pytest.mark.ray, pytest.mark.root]

NOBODY = 65534
INTRUDER = Path(__file__).parents[1] / "support" / "intruder.py"
HTTP = ("dashboard", "agent_http", "runtime_env")
GRPC = ("gcs", "node_manager", "object_manager", "agent_grpc")
PUBLIC = ("/", "/api/authentication_mode", "/api/gcs_healthz")
CLOSED = ("/api/jobs/", "/api/job_agent/jobs/", "/logs/", "/nodes", "/get_runtime_envs_info")


def tree(*directories: Path) -> list[str]:
    """Every directory and file below, but for the sockets, and the directories themselves."""
    found = [str(directory) for directory in directories]
    for directory in directories:
        for at, below, files in os.walk(directory):
            found += [f"{at}/{name}" for name in (*below, *files)]
    return [path for path in found if not Path(path).is_socket()]


def files_in_use(pids: list[int]) -> set[str]:
    """What the cluster's processes have open, wherever it lies."""
    return {entry.path for pid in pids for entry in psutil.Process(pid).open_files()}


@pytest.fixture(scope="module")
def order(running: Machine) -> dict[str, Any]:
    """Everything of the cluster that somebody could try."""
    live = Live.of(running)
    pids = live.pids()
    listeners = {entry.port for entry in live.listeners()}
    http = [live.ports[name] for name in HTTP if name in live.ports]
    passphrase = (running.state / "passphrases" / "default").read_text().strip()
    return {
        "paths": sorted({*tree(running.state, live.run_directory), *files_in_use(pids)}),
        "sockets": [name for name in unix_sockets_of(pids) if name.startswith("/")],
        "http": [(port, path) for port in http for path in (*PUBLIC, *CLOSED)],
        "grpc": sorted(listeners - set(http)),
        "pids": pids,
        "secrets": [live.token.reveal(), passphrase],
    }


def try_as(uid: int, order: dict[str, Any]) -> dict[str, Any]:
    result = subprocess.run(
        [sys.executable, str(INTRUDER), str(uid)],
        input=json.dumps(order),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    worked: dict[str, Any] = json.loads(result.stdout)
    return worked


@pytest.fixture(scope="module")
def nobody(order: dict[str, Any]) -> dict[str, Any]:
    return try_as(NOBODY, order)


def test_the_owner_can_do_it_all(order: dict[str, Any]) -> None:
    """So the order names what is really there, and the attempts are good ones."""
    owner = try_as(os.geteuid(), order)

    # Temporary files and idle workers come and go.
    assert len(owner["read"]) > 0.9 * len(order["paths"])
    assert len(owner["written"]) > 0.9 * len(order["paths"])
    assert owner["connected"] == order["sockets"]
    assert len(order["sockets"]) >= 3
    assert len(owner["signalled"]) > 0.8 * len(order["pids"])
    assert len(owner["seen"]) > 3 * len(order["pids"])


def test_reads_and_writes_nothing(order: dict[str, Any], nobody: dict[str, Any]) -> None:
    assert len(order["paths"]) > 100
    assert nobody["read"] == []
    assert nobody["written"] == []


def test_connects_to_no_socket(nobody: dict[str, Any]) -> None:
    assert nobody["connected"] == []


def test_is_let_in_at_no_grpc_port(order: dict[str, Any], nobody: dict[str, Any]) -> None:
    assert len(order["grpc"]) >= len(GRPC)
    assert nobody["let in"] == []


def test_http_gives_nothing_but_what_is_public(
    running: Machine, order: dict[str, Any], nobody: dict[str, Any]
) -> None:
    dashboard = Live.of(running).ports["dashboard"]
    allowed = {f"{dashboard} {path} 200" for path in PUBLIC}

    assert set(nobody["answers"]) - allowed == {
        f"{port} {path} 401"
        for port, path in order["http"]
        if (port, path) not in {(dashboard, public) for public in PUBLIC}
    }


def test_sees_no_secret_and_no_process_from_inside(nobody: dict[str, Any]) -> None:
    assert nobody["secrets"] == []
    assert nobody["seen"] == []
    assert nobody["signalled"] == []
