"""New certificates for a cluster of three nodes that goes on working, by the command that does it.

A program retries what is cut off and counts what fails; an actor on a worker keeps its state.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from support.fabric import fabric
from support.live import until
from support.private import HEAD, PrivateCluster, private_cluster

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.ray, pytest.mark.root, pytest.mark.timeout(900)]

_ROTATE = ("rotate-certs", "--drain-timeout", "20s", "--accept-head-restart")
# On the head, whose Ray restarts last: what is cut off then is begun again by whoever runs this.
_WORK = """
import json, os, sys, time
import ray

ray.init(log_to_driver=False)
done = sys.argv[1]

@ray.remote(num_cpus=0.1, max_retries=-1)
def square(number):
    time.sleep(0.2)
    return number * number

@ray.remote(num_cpus=0.1, max_retries=-1)
def total(*parts):
    return sum(parts)

number = sum(1 for _ in open(done)) if os.path.exists(done) else 0
while not os.path.exists(done + ".end"):
    number += 1
    parts = [square.remote(number + step) for step in range(4)]
    try:
        got = ray.get(total.remote(*parts), timeout=40)
    except ray.exceptions.RayTaskError as error:
        got = repr(error)
    except Exception:
        os._exit(1)  # the head's Ray is gone: these are asked for again
    wanted = sum((number + step) ** 2 for step in range(4))
    with open(done, "a") as file:
        file.write(json.dumps({"number": number, "right": got == wanted, "got": str(got)}) + chr(10))
"""


@dataclass
class Workload:
    """What runs all the time; begun again when its connection to Ray is cut off."""

    record: Path
    cluster: PrivateCluster
    process: subprocess.Popen[str] | None = None

    def begin(self) -> None:
        self.process = self.cluster.head.start(
            "run",
            "--",
            sys.executable,
            "-c",
            _WORK,
            str(self.record),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def rounds(self) -> list[dict[str, Any]]:
        lines = self.record.read_text().splitlines() if self.record.exists() else []
        return [json.loads(line) for line in lines]

    def until_goes_on(self) -> None:
        """Until more was done than now; begins it again if it was cut off."""
        before = len(self.rounds())

        def more() -> bool:
            if self.process is None or self.process.poll() is not None:
                self.begin()
            return len(self.rounds()) > before + 1

        until(more, "the work goes on", seconds=90)

    def end(self) -> None:
        self.record.with_name(f"{self.record.name}.end").touch()
        if self.process is not None:
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:  # it hangs on a Ray that is gone
                self.process.kill()


@pytest.fixture(scope="module")
def cluster() -> Iterator[PrivateCluster]:
    settings = '[network]\nfirewall = "off"\n'
    with (
        fabric((HEAD, "w1", "w2")) as network,
        private_cluster(network, ("w1", "w2"), settings=settings) as made,
    ):
        yield made


@pytest.fixture
def workload(cluster: PrivateCluster, tmp_path: Path) -> Iterator[Workload]:
    work = Workload(cluster.directory / f"work-{tmp_path.name}", cluster)
    work.begin()
    work.until_goes_on()
    yield work
    work.end()


def certificates(cluster: PrivateCluster) -> dict[str, dict[str, Any]]:
    """`certs check`, by node."""
    told = json.loads(cluster.head.run("certs", "check", "--json").stdout)
    return {node["name"]: node for node in told["nodes"]}


def ports(cluster: PrivateCluster) -> dict[str, set[str]]:
    """The issuing CAs that the ports of each node show, by `certs show`."""
    told = json.loads(cluster.head.run("certs", "show", "--json").stdout)
    return {name: {port["issuer"] for port in ports} for name, ports in told["ports"].items()}


def rotate(cluster: PrivateCluster, *options: str) -> None:
    result = cluster.head.run(*_ROTATE, *options, timeout=600)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("options", [(), ("--ca", "issuing"), ("--ca", "root")], ids="-".join)
def test_rotation_loses_no_work(
    cluster: PrivateCluster, workload: Workload, options: tuple[str, ...]
) -> None:
    before, cas = certificates(cluster), ports(cluster)

    rotate(cluster, *options)
    workload.until_goes_on()

    after, new_cas = certificates(cluster), ports(cluster)
    assert {node["status"] for node in after.values()} == {"ok"}
    for name in (HEAD, "w1", "w2"):
        assert after[name]["disk_serial"] != before[name]["disk_serial"]
        assert (cas[name] == new_cas[name]) is (options == ())
        assert len(new_cas[name]) == 1
    rounds = workload.rounds()
    assert [one for one in rounds if not one["right"]] == []
    assert [one["number"] for one in rounds] == list(range(1, len(rounds) + 1))
    assert set(cluster.ray_nodes().values()) >= {"ALIVE"}
