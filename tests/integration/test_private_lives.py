"""What a worker lives through: its head restarts, its network ends, it is killed, it is revoked."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from secure_ray.pki.join_string import Endpoint
from support.fabric import fabric
from support.live import until
from support.private import HEAD, SMALL, PrivateCluster, private_cluster

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.ray, pytest.mark.root]

# So that Ray gives a silent node up in seconds.
_HASTY = (
    '--system-config={"health_check_initial_delay_ms": 1000, "health_check_period_ms": 500,'
    ' "health_check_timeout_ms": 1000, "health_check_failure_threshold": 4}'
)
# So that a raylet gives a silent head up in seconds.
_SETTINGS = '[environment.set]\nRAY_gcs_rpc_server_reconnect_timeout_s = "10"'
_ON_WORKER = """
import ray, sys
ray.init(log_to_driver=False)
where = ray.remote(lambda: ray.util.get_node_ip_address())
print(ray.get(where.options(resources={"w1": 0.1}).remote(), timeout=60))
"""
# A job that drops the guard and opens a door, until it is told to end.
_STRAY = """
import os, ray, sys
ray.init(log_to_driver=False)

@ray.remote(resources={"w1": 0.1}, runtime_env={"env_vars": {"LD_PRELOAD": ""}})
class Opener:
    def open(self):
        import socket
        self.server = socket.create_server(("", 0))
        return self.server.getsockname()[1]

opener = Opener.remote()
print(ray.get(opener.open.remote()), flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def pair() -> Iterator[PrivateCluster]:
    """A head and a worker, with the firewall where it can be had; a test may break them."""
    with (
        fabric((HEAD, "w1", "outsider")) as network,
        private_cluster(network, ("w1",), options=("--", _HASTY), settings=_SETTINGS) as cluster,
    ):
        yield cluster


@pytest.fixture
def whole(pair: PrivateCluster) -> PrivateCluster:
    """The two, with everything in order."""
    pair.until_works("w1")
    return pair


def require_work(cluster: PrivateCluster) -> None:
    result = cluster.head.driver(_ON_WORKER)
    # Ray tells every driver of a raylet that has died, on standard output too.
    assert cluster.host("w1").address in result.stdout.splitlines(), result.stderr


def require_joins_after_failures(cluster: PrivateCluster) -> None:
    """Whatever went wrong before, a good join string lets the host in."""
    nobody = Endpoint(cluster.host(HEAD).address, 9)
    with cluster.swallowing("w1"):
        assert cluster.join_with("w1", cluster.invite()).returncode == 4
    for changes, exit_code in (({"heads": (nobody,)}, 4), ({"pins": (bytes(32),)}, 7)):
        string = cluster.invite_altered(**changes)
        assert cluster.join_with("w1", string).returncode == exit_code
    cluster.join("w1")


def test_worker_returns_after_the_heads_restart(whole: PrivateCluster) -> None:
    ended = whole.head.run("down")
    assert ended.returncode == 0, ended.stderr
    worker = whole.machine("w1")
    supervisor = worker.record()["supervisor"]["pid"]
    until(lambda: worker.status()["state"] == "waiting", "the worker knows that its head is away")
    told = worker.run("status")
    assert told.returncode == 1
    assert "starts again when the head is back" in told.stdout

    whole.head.up("--bind", "private", *SMALL, "--", _HASTY)

    whole.until_works("w1", seconds=120)
    require_work(whole)
    assert worker.record()["supervisor"]["pid"] == supervisor


def test_worker_returns_after_a_network_cut(whole: PrivateCluster) -> None:
    address = whole.host("w1").address
    whole.fabric.cut("w1")
    try:
        until(lambda: whole.ray_nodes()[address] == "DEAD", "Ray gives the worker up")
        whole.until_state("w1", "silent")
    finally:
        whole.fabric.mend("w1")

    whole.until_works("w1", seconds=120)
    require_work(whole)


def test_worker_is_started_again_after_its_supervisor_was_killed(whole: PrivateCluster) -> None:
    worker = whole.machine("w1")
    supervisor = worker.record()["supervisor"]["pid"]
    whole.host("w1").run("kill", "-KILL", str(supervisor))
    until(lambda: worker.status()["state"] == "died", "the supervisor is gone")

    result = worker.run("up", *SMALL, "--resources", '{"w1": 1}')

    assert result.returncode == 0, result.stderr
    whole.until_works("w1")
    require_work(whole)


def test_socket_opened_without_the_guard_is_told(whole: PrivateCluster) -> None:
    worker = whole.machine("w1")
    command = ("run", "--", sys.executable, "-c", _STRAY)
    driver = whole.head.start(*command, stdin=subprocess.PIPE)
    try:
        assert driver.stdout is not None
        # Among what Ray says of raylets that have died.
        port = next(line.strip() for line in driver.stdout if line.strip().isdecimal())
        whole.until_state("w1", "not as planned", seconds=60)
        told = worker.run("status")
    finally:
        driver.communicate()  # ends it

    assert told.returncode == 1
    assert f"0.0.0.0:{port}" in told.stdout
    whole.until_state("w1", "running", seconds=60)
    assert worker.run("status").returncode == 0


def test_firewall_keeps_an_outsider_out(whole: PrivateCluster) -> None:
    """The second layer: somebody on the cluster's own network does not even get a connection."""
    outsider = whole.host("outsider")
    for name in whole.nodes:
        ports = whole.machine(name).status()["ports"]
        relay = next(entry["port"] for entry in ports if entry["component"] == "relay")
        address = whole.host(name).address
        assert outsider.knock([(address, relay)]) == [f"{address} {relay}: timed out"]


def test_revoked_worker_stops_its_ray_and_joins_again(whole: PrivateCluster) -> None:
    worker = whole.machine("w1")
    result = whole.head.run("node", "revoke", "w1")
    assert result.returncode == 0, result.stderr
    assert "does not lock it out of Ray" in result.stderr

    until(lambda: worker.status()["state"] == "failed", "the worker has stopped")

    assert "revoked" in worker.status()["reason"]
    assert worker.processes() == []
    assert whole.host("w1").waiting() == set()
    address = whole.host("w1").address
    until(lambda: whole.ray_nodes()[address] == "DEAD", "Ray has noticed")
    again = worker.run("up", *SMALL)

    assert worker.run("reset", "--yes").returncode == 0
    require_joins_after_failures(whole)
    whole.until_works("w1")
    require_work(whole)
    assert again.returncode == 7, again.stderr
    assert "SR-JOIN-046" in again.stderr
