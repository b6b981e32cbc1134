"""A worker is drained, by its head and by itself: its work ends, and nothing new comes."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from secure_ray.gateway.nodes.members import give_orders
from secure_ray.gateway.nodes.register import find_register
from support.fabric import fabric
from support.live import until
from support.private import HEAD, SMALL, PrivateCluster, private_cluster

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.ray, pytest.mark.root]

# A task that runs until it is told to end, and then one that nobody has a place for.
_WORKS = """
import ray, sys
ray.init(log_to_driver=False)

@ray.remote(resources={"w1": 0.1})
class Working:
    def here(self):
        return ray.util.get_node_ip_address()

working = Working.remote()
print(ray.get(working.here.remote(), timeout=60), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def pair() -> Iterator[PrivateCluster]:
    with fabric((HEAD, "w1")) as network, private_cluster(network, ("w1",)) as cluster:
        cluster.until_works("w1")
        yield cluster


def working(cluster: PrivateCluster) -> subprocess.Popen[str]:
    """A driver with an actor on the worker, until its input ends."""
    command = ("run", "--", sys.executable, "-c", _WORKS)
    driver = cluster.head.start(*command, stdin=subprocess.PIPE)
    assert driver.stdout is not None
    address = cluster.host("w1").address
    assert any(line.strip() == address for line in driver.stdout)
    return driver


def test_worker_is_drained_and_gets_work_again(pair: PrivateCluster) -> None:
    worker = pair.machine("w1")
    driver = working(pair)
    try:
        waited = pair.head.run("node", "drain", "w1", "--timeout", "3s")
        state = pair.node_list()["w1"]["state"]
        still = driver.poll() is None
    finally:
        driver.communicate()
    assert (waited.returncode, state, still) == (5, "draining", True), waited.stderr
    assert "SR-RAY-031" in waited.stderr

    ended = pair.head.run("node", "drain", "w1", "--timeout", "2m")
    assert ended.returncode == 0, ended.stderr
    pair.until_state("w1", "drained")
    assert pair.ray_nodes()[pair.host("w1").address] == "DEAD"
    again = pair.head.run("node", "drain", "w1")
    assert (again.returncode, "does not have node w1 now" in again.stderr) == (0, True)

    # The order holds over a restart of the worker.
    assert worker.run("down").returncode == 0
    waits = worker.run("up", *SMALL, "--resources", '{"w1": 1}')
    assert waits.returncode == 5, waits.stderr
    assert "drained by the head" in waits.stderr
    assert worker.status()["state"] == "waiting"

    assert pair.head.run("node", "drain", "w1", "--undo").returncode == 0
    pair.until_works("w1")
    driver = working(pair)
    driver.communicate()

    # The same from its own side, and to the end.
    down = worker.run("down", "--drain", "--timeout", "2m")
    assert down.returncode == 0, down.stderr
    assert worker.processes() == []
    assert worker.run("up", *SMALL, "--resources", '{"w1": 1}').returncode == 0
    pair.until_works("w1")


def test_order_that_ray_did_not_hear_is_followed_by_the_node(pair: PrivateCluster) -> None:
    """The head could not ask Ray for it, for Ray did not have the node then."""
    register = find_register(pair.head.state / "clusters" / "default")
    assert register is not None
    node = pair.node_list()["w1"]["id"]
    with register.changing() as database:
        give_orders(database, node, ["drain"])

    pair.until_state("w1", "drained")
    until(lambda: pair.ray_nodes()[pair.host("w1").address] == "DEAD", "Ray has let it go")
