"""A host with a default route, where Ray by itself listens for everybody, and its neighbour."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from support.clusters import Machine
from support.networks import HERE, wire
from support.tampered import up_tampered

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.ray, pytest.mark.root]

LOOPBACK = {"127.0.0.1", "[::ffff:127.0.0.1]", "[::1]"}
_DRIVER = """
import ray, time
ray.init(log_to_driver=False)
ray.get(ray.remote(lambda: 1).remote())
print('ready', flush=True)
time.sleep(600)
"""
_SERVER = """
import socket, sys
server = socket.create_server(('::', 0), family=socket.AF_INET6, dualstack_ipv6=True)
print(server.getsockname()[1], flush=True)
sys.stdin.read()
"""


# As Serve's replicas do, its proxies, and a server for debugging that somebody forgot (Ray 2.60.0,
# serve/_private/replica.py, grpc_util.py, proxy.py); `run` is a driver, not a process of the cluster.
_SERVING = """
import asyncio, socket, time
import ray

def serve():
    import grpc

    server = grpc.server(__import__("concurrent.futures").futures.ThreadPoolExecutor(1))
    ports = [server.add_insecure_port(at) for at in ("[::]:0", "0.0.0.0:0")]
    server.start()
    http = [socket.create_server(("0.0.0.0", 0)), socket.create_server(("::", 0), family=socket.AF_INET6)]
    return [server, http], [*ports, *(one.getsockname()[1] for one in http)]

@ray.remote
class Replica:
    def open(self):
        self.kept, ports = serve()
        return ports

ray.init(log_to_driver=False)
replica = Replica.remote()
kept, ports = serve()
print([*ray.get(replica.open.remote()), *ports], flush=True)
time.sleep(600)
"""


def test_neighbour_does_reach_what_listens_for_all() -> None:
    with (
        wire() as host,
        subprocess.Popen(
            [*host.prefix, sys.executable, "-c", _SERVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as server,
    ):
        assert server.stdout is not None
        port = int(server.stdout.readline())

        assert len(host.knock([port])) == 2
        assert host.knock([port + 1]) == []


def test_everything_listens_on_loopback(home: Path) -> None:
    """With a firewall that swallows what leaves the host, behind which much else only hangs."""
    with wire(names_answered=False) as host:
        machine = Machine(home, prefix=host.prefix)
        try:
            facts = machine.up("--num-cpus", "1")
            driver = machine.start("run", "--", sys.executable, "-c", _DRIVER)
            try:
                assert driver.stdout is not None
                assert driver.stdout.readline() == "ready\n"
                found = host.listening()
                planned = {entry["port"] for entry in facts["ports"]}
                reached = host.knock(sorted(planned | {port for _, port in found}))
            finally:
                driver.kill()
                driver.communicate()
        finally:
            machine.clean()

    assert {address for address, _ in found} <= LOOPBACK
    # The services, the worker and the driver.
    assert len(found) >= len(planned) + 2
    assert reached == []
    # Not Ray's usage statistics, which report even that they are off.
    assert host.asked <= {"metadata.google.internal"}


def test_what_serve_and_programs_open_for_all_is_on_loopback(home: Path) -> None:
    with wire() as host:
        machine = Machine(home, prefix=host.prefix)
        try:
            machine.up("--num-cpus", "1")
            driver = machine.start("run", "--", sys.executable, "-c", _SERVING)
            try:
                assert driver.stdout is not None
                ports = json.loads(driver.stdout.readline())
                found = host.listening()
                reached = host.knock(ports)
            finally:
                driver.kill()
                driver.communicate()
        finally:
            machine.clean()

    assert {address for address, port in found if port in ports} <= LOOPBACK
    assert {port for _, port in found} >= set(ports)
    assert reached == []


def test_proof_stops_a_ray_that_listens_for_all(home: Path) -> None:
    # Without the address in the leaf Ray would not get as far: its processes could not talk.
    changes = {"unset": ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "LD_PRELOAD"], "sans": [HERE]}
    with wire() as host:
        machine = Machine(home, prefix=host.prefix)
        try:
            result = up_tampered(machine, changes)
            left = host.listening()
        finally:
            machine.clean()

    error = json.loads(result.stdout)
    assert result.returncode == error["exit_code"] == 4, result.stderr
    assert error["code"] == "SR-AUDIT-000"
    assert error["cause"].count("SR-AUDIT-001") >= 4
    assert machine.processes() == []
    assert left == []
