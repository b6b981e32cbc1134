from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from secure_ray.network.listeners import listeners_of
from support.live import Live, ask, wait_for_word

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.clusters import Machine

_DRIVER = """
import json, os, ray, sys
ray.init(log_to_driver=False)
@ray.remote(num_cpus=0)
class Actor:
    def pid(self):
        return os.getpid()
actor = Actor.remote()
print(json.dumps({"driver": os.getpid(), "actor": ray.get(actor.pid.remote())}), flush=True)
sys.stdin.read()
"""


@dataclass(frozen=True)
class Work:
    """A driver and its actor, at work as long as the tests run.

    Attributes:
        pids: Of the driver and the actor.
        ports: Their gRPC servers.
    """

    pids: dict[str, int]
    ports: dict[str, int]


@pytest.fixture(scope="session")
def live(running: Machine) -> Live:
    return Live.of(running)


@pytest.fixture(scope="session")
def work(running: Machine) -> Iterator[Work]:
    command = running.command(["run", "--", sys.executable, "-c", _DRIVER])
    with subprocess.Popen(
        command,
        env=running.environment(),
        cwd=running.home,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        pids = json.loads(process.stdout.readline())
        ports = {
            name: next(entry.port for entry in listeners_of([pid])) for name, pid in pids.items()
        }
        yield Work(pids, ports)
        # Its standard input ends here, and with that the driver.


@dataclass(frozen=True)
class Job:
    """A job that was submitted with the cluster's token, and runs.

    Attributes:
        id: Its submission id.
        pid: The shell that runs its entry point.
    """

    id: str
    pid: int


@pytest.fixture(scope="session")
def job(live: Live) -> Iterator[Job]:
    """What the attacks try, done by somebody who may: so that their failure says something."""
    live.port("agent_http")  # which runs the jobs
    door, pipe = live.port("dashboard"), live.machine.home / "job.pipe"
    os.mkfifo(pipe)
    # For reading and writing: opening it for reading alone would wait for the writer.
    descriptor = os.open(pipe, os.O_RDWR)
    entrypoint = f"echo $$ > {shlex.quote(str(pipe))} && exec sleep infinity"
    order = json.dumps({"entrypoint": entrypoint, "submission_id": "allowed"}).encode()
    try:
        assert ask(door, "POST", "/api/jobs/", headers=live.authorized, body=order).status == 200
        yield Job("allowed", int(wait_for_word(descriptor)))
    finally:
        os.close(descriptor)
        ask(door, "POST", "/api/jobs/allowed/stop", headers=live.authorized)


@pytest.fixture
def marker(live: Live, request: pytest.FixtureRequest) -> Path:
    """A file that appears only if an attack runs a command."""
    return live.machine.home / f"pwned-{abs(hash(request.node.nodeid))}"
