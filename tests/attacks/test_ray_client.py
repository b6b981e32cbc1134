"""Ray Client (`ray://`), a second door for code: its server is not started at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psutil
import pytest

from support.live import HERE, Live

if TYPE_CHECKING:
    from support.clusters import Machine

pytestmark = pytest.mark.ray

PROXY_PORT = 10001
# Ray 2.60.0, util/client/server/proxier.py: one server for each client.
SERVER_PORTS = range(23000, 24000)


def test_nothing_listens_for_clients(live: Live) -> None:
    workers = range(
        *(live.machine.record()["plan"]["ports"][k] for k in ("first_worker", "last_worker"))
    )
    ports = {entry.port for entry in live.listeners()} - set(workers)

    assert PROXY_PORT not in ports
    assert ports.isdisjoint(SERVER_PORTS)


def test_no_process_is_its_server(live: Live) -> None:
    command_lines = [psutil.Process(pid).cmdline() for pid in live.pids()]

    assert any("gcs_server" in line[0] for line in command_lines if line)
    assert not any("ray.util.client.server" in word for line in command_lines for word in line)


@pytest.mark.parametrize("port", ["nobody's", "gcs", "agent_grpc"])
def test_client_does_not_get_in(live: Live, running: Machine, port: str) -> None:
    number = live.ports.get(port, PROXY_PORT)
    result = running.driver(
        "import ray, ray.util.client.worker as worker\n"
        "worker.INITIAL_TIMEOUT_SEC = worker.MAX_TIMEOUT_SEC = 0.5\n"
        "try:\n"
        f"    ray.init('ray://{HERE}:{number}')\n"
        "except Exception as error:\n"
        "    print('refused', type(error).__name__)\n"
        "else:\n"
        "    print('connected')\n"
    )

    assert result.stdout.splitlines()[-1].startswith("refused"), result.stderr
