"""What a cluster of three nodes keeps when its head restarts, and that `down` ends it."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from secure_ray.node.paths import ClusterPaths
from secure_ray.node.restarting import restart
from support.fabric import fabric
from support.live import until
from support.private import HEAD, SMALL, private_cluster

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.private import PrivateCluster

pytestmark = [pytest.mark.ray, pytest.mark.root]

_BEGIN = """
import json, os, ray
from ray.experimental.internal_kv import _internal_kv_put
from ray.util.placement_group import placement_group
ray.init(log_to_driver=False, namespace="NAME")

@ray.remote(num_cpus=0, resources={"w1": 0.1}, lifetime="detached", name="counter")
class Counter:
    def __init__(self):
        self.count = 0
    def add(self):
        self.count += 1
        return [self.count, os.getpid()]

group = placement_group([{"w1": 0.1}, {"w2": 0.1}], name="group", lifetime="detached")
ray.get(group.ready())
_internal_kv_put(b"NAME", b"value")
counter = Counter.remote()
print("ANSWER", json.dumps(ray.get(counter.add.remote())))
"""
_ASK = """
import json, ray
from ray.experimental.internal_kv import _internal_kv_get
from ray.util import get_placement_group
from ray.util.placement_group import placement_group_table
ray.init(log_to_driver=False, namespace="NAME")
counter = ray.get_actor("counter")
print("ANSWER", json.dumps({
    "counter": ray.get(counter.add.remote(), timeout=60),
    "group": placement_group_table(get_placement_group("group"))["state"],
    "kv": _internal_kv_get(b"NAME").decode(),
    "job": ray.get_runtime_context().get_job_id(),
}))
"""
# Works all the time, on another node than its own, until it is told to end.
_WORK = """
import ray, sys, threading, time
ray.init(log_to_driver=False)

@ray.remote(num_cpus=0, resources={"w2": 0.1}, max_retries=0)
def quick(number):
    return number

@ray.remote(num_cpus=0, resources={"w2": 0.1}, max_retries=0)
def slow():
    time.sleep(12)
    return "slow"

@ray.remote(num_cpus=0, resources={"w2": 0.1}, max_retries=0)
def make():
    return b"x" * (1 << 20)

ended = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
there, here, running = make.remote(), ray.put(b"y" * (1 << 20)), slow.remote()
ray.wait([there])
done = 0
while not ended.wait(0.2):
    assert ray.get(quick.remote(done), timeout=60) == done
    done += 1
    if done == 1:
        print("at work", flush=True)
assert ray.get(running, timeout=60) == "slow"
print("DONE", done, len(ray.get(there)) + len(ray.get(here)), flush=True)
"""


@dataclass
class Work:
    """A driver on w1 whose tasks run on w2."""

    process: subprocess.Popen[str]

    def finish(self) -> list[str]:
        out, err = self.process.communicate(timeout=120)
        assert self.process.returncode == 0, err
        return next(line.split()[1:] for line in out.splitlines() if line.startswith("DONE"))


@pytest.fixture(scope="module")
def trio() -> Iterator[PrivateCluster]:
    with fabric((HEAD, "w1", "w2")) as network, private_cluster(network, ("w1", "w2")) as cluster:
        yield cluster


@pytest.fixture
def name(trio: PrivateCluster, request: pytest.FixtureRequest) -> str:
    """The namespace of a test, in which an actor, a placement group and a value are."""
    name = f"n{abs(hash(request.node.name)) % 10**8}"
    answer_of(trio, HEAD, _BEGIN, name)
    return name


@pytest.fixture
def work(trio: PrivateCluster) -> Iterator[Work]:
    command = ("run", "--", sys.executable, "-c", _WORK)
    process = trio.machine("w1").start(*command, stdin=subprocess.PIPE)
    assert process.stdout is not None
    assert any("at work" in line for line in process.stdout)
    yield Work(process)
    process.kill()
    process.communicate()


def answer_of(cluster: PrivateCluster, node: str, script: str, name: str) -> Any:
    result = cluster.machine(node).driver(script.replace("NAME", name))
    for line in result.stdout.splitlines():
        if line.startswith("ANSWER "):
            return json.loads(line.removeprefix("ANSWER "))
    raise AssertionError(result.stderr)


def raylets(cluster: PrivateCluster) -> list[int]:
    return [
        process.pid
        for worker in ("w1", "w2")
        for process in cluster.machine(worker).processes()
        if process.name() == "raylet"
    ]


def restart_head(cluster: PrivateCluster) -> None:
    supervisor = cluster.head.record()["supervisor"]
    phases: list[str] = []
    instance = restart(
        ClusterPaths(cluster.head.state, "default"), lambda event: phases.append(event["event"])
    )
    assert phases == ["running", "stopping", "starting", "proving", "running"]
    assert instance.sound
    assert cluster.head.record()["supervisor"] == supervisor


def kill_head(cluster: PrivateCluster) -> None:
    """The supervisor, and with it all of the head's Ray; then it is started by hand."""
    cluster.host(HEAD).run("kill", "-KILL", str(cluster.head.record()["supervisor"]["pid"]))
    until(lambda: cluster.head.status()["state"] == "died", "the supervisor is gone")
    result = cluster.head.run("up", "--head", "--bind", "private", *SMALL)
    assert result.returncode == 0, result.stderr
    assert "goes on with what it knew" in result.stderr


@pytest.mark.parametrize("how", [restart_head, kill_head])
def test_work_on_the_workers_goes_on_over_a_restart_of_the_head(
    trio: PrivateCluster, name: str, work: Work, how: Any
) -> None:
    before, alive = answer_of(trio, "w1", _ASK, name), raylets(trio)
    ports = trio.head.record()["plan"]["ports"]

    how(trio)

    after = answer_of(trio, "w2", _ASK, name)
    count, pid = before["counter"]
    assert after["counter"] == [count + 1, pid]
    assert (after["group"], after["kv"]) == ("CREATED", "value")
    assert int(after["job"][:2], 16) > int(before["job"][:2], 16)
    assert len(alive) == 2
    assert raylets(trio) == alive
    assert trio.head.record()["plan"]["ports"] == ports
    assert int(work.finish()[0]) > 10
    assert {node["state"] for node in trio.node_list().values()} == {"running"}
    assert trio.head.run("audit").returncode == 0


def test_down_ends_the_cluster_and_its_workers_begin_anew(trio: PrivateCluster, name: str) -> None:
    alive = raylets(trio)
    store = trio.head.cluster_directory() / "store"
    assert store.is_dir()
    assert trio.head.run("down").returncode == 0
    assert not store.exists()

    trio.head.up("--bind", "private", *SMALL)

    for worker in ("w1", "w2"):
        trio.until_works(worker, seconds=120)
    assert not set(raylets(trio)) & set(alive)
    result = trio.head.driver(_ASK.replace("NAME", name))
    assert result.returncode == 1
    assert "Failed to look up actor" in result.stderr
