"""Starting and stopping `ray start`, with a script in its place."""

from __future__ import annotations

import asyncio
import os
import secrets
import subprocess
import sys
from typing import TYPE_CHECKING

import psutil
import pytest

from secure_ray.base.processes import ProcessIdentity
from secure_ray.node import start_ray as module
from secure_ray.node.environment import INSTANCE_VARIABLE
from secure_ray.node.start_ray import cluster_processes, start_ray, stop_leftovers
from support.plans import SOURCE, make_directories, plan_of, with_command

if TYPE_CHECKING:
    from pathlib import Path

    from secure_ray.node.plan import LaunchPlan

linux = pytest.mark.skipif(sys.platform != "linux", reason="asks the kernel of Linux")
SLEEP = "import time; print('ready', flush=True); time.sleep(600)"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + SLEEP
SHOW = "import os, json; print(json.dumps([dict(os.environ), os.getcwd(), os.getsid(0) == os.getpid()]))"
# Starts a plan's command, tells its process id, waits.
STARTER = """
import asyncio, sys
from secure_ray.node.plan import LaunchPlan
from secure_ray.node.start_ray import start_ray
async def main():
    ray = await start_ray(LaunchPlan.from_json(sys.stdin.read()))
    await ray.stdout.readline()
    print(ray.pid, flush=True)
    await ray.wait()
asyncio.run(main())
"""


@pytest.fixture
def plan(home: Path) -> LaunchPlan:
    return make_directories(plan_of(home, cluster_id=secrets.token_hex(8)))


def sleeper(**environment: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-c", SLEEP], stdout=subprocess.PIPE, env=environment
    )
    assert process.stdout is not None
    process.stdout.readline()
    return process


def end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.communicate()


def test_ray_gets_exactly_the_plan(plan: LaunchPlan, monkeypatch: pytest.MonkeyPatch) -> None:
    import json

    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")

    async def output() -> bytes:
        ray = await start_ray(with_command(plan, SHOW))
        return (await ray.communicate())[0]

    environment, directory, leads_session = json.loads(asyncio.run(output()))

    # Python itself adds this one in the C locale (PEP 538).
    environment.pop("LC_CTYPE", None)
    assert environment == plan.environment
    assert directory == str(plan.working_directory)
    assert leads_session


@linux
def test_ray_ends_with_the_process_that_started_it(plan: LaunchPlan) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", STARTER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={"PYTHONPATH": str(SOURCE)},
        text=True,
    ) as starter:
        assert starter.stdin is not None
        assert starter.stdout is not None
        starter.stdin.write(with_command(plan, SLEEP).to_json())
        starter.stdin.close()
        ray = ProcessIdentity.of(int(starter.stdout.readline())).process()
        assert ray is not None

        starter.kill()

    psutil.wait_procs([ray], timeout=30)
    assert not ray.is_running() or ray.status() == psutil.STATUS_ZOMBIE


def test_processes_are_found_by_mark_and_by_descent(plan: LaunchPlan) -> None:
    marked = sleeper(**{INSTANCE_VARIABLE: plan.cluster_id})
    unmarked = sleeper()
    try:
        by_mark = {process.pid for process in cluster_processes(plan.cluster_id, None)}
        both = {process.pid for process in cluster_processes(plan.cluster_id, os.getpid())}
    finally:
        end(marked)
        end(unmarked)

    assert by_mark == {marked.pid}
    assert both >= {marked.pid, unmarked.pid}


def test_leftovers_are_stopped_named_and_nothing_else() -> None:
    mark = secrets.token_hex(8)
    marked, other = sleeper(**{INSTANCE_VARIABLE: mark}), sleeper(**{INSTANCE_VARIABLE: mark + "0"})
    try:
        told = stop_leftovers(mark, None)

        assert len(told) == 1
        assert f"(pid {marked.pid})" in told[0]
        assert not psutil.pid_exists(marked.pid)
        assert other.poll() is None
    finally:
        end(marked)
        end(other)


def test_nothing_left_over_is_nothing_to_tell() -> None:
    assert stop_leftovers("no such mark", None) == []


def test_what_cannot_be_killed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    mark = secrets.token_hex(8)
    monkeypatch.setattr(module, "stop_all", lambda processes, **_: list(processes))
    process = sleeper(**{INSTANCE_VARIABLE: mark})
    try:
        assert stop_leftovers(mark, None)[0].endswith(": could not be killed")
    finally:
        end(process)


@pytest.mark.parametrize(
    ("script", "expected"), [(SLEEP, -15), (STUBBORN, -9)], ids=["willing", "stubborn"]
)
def test_stop_asks_first_and_kills_what_does_not_listen(
    plan: LaunchPlan, monkeypatch: pytest.MonkeyPatch, script: str, expected: int
) -> None:
    monkeypatch.setattr(module, "_STOP_GRACE", 0.2 if script == STUBBORN else 30)
    monkeypatch.setattr(module, "descendants", lambda _pid: [])  # those of the test run

    async def run() -> int | None:
        ray = await start_ray(with_command(plan, script))
        assert ray.stdout is not None
        await ray.stdout.readline()
        assert await module.stop_ray(ray, plan.cluster_id, os.getpid()) == []
        return ray.returncode

    assert asyncio.run(run()) == expected


@pytest.mark.timeout(60)
def test_stop_does_not_wait_for_whoever_holds_the_output(
    plan: LaunchPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_STOP_GRACE", 3600)
    monkeypatch.setattr(module, "descendants", lambda _pid: [])
    script = (
        "import subprocess, sys; child = subprocess.Popen([sys.executable, '-c', "
        f"{SLEEP!r}], start_new_session=True); child.wait()"
    )

    async def run() -> list[str]:
        ray = await start_ray(with_command(plan, script))
        assert ray.stdout is not None
        await ray.stdout.readline()
        told = await module.stop_ray(ray, plan.cluster_id, os.getpid())
        await ray.communicate()
        return told

    assert len(asyncio.run(run())) == 1


def test_stop_of_what_has_ended_looks_for_leftovers(
    plan: LaunchPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "descendants", lambda _pid: [])
    leaves = (
        "import subprocess, sys; child = subprocess.Popen([sys.executable, '-c', "
        f"{SLEEP!r}], stdout=subprocess.PIPE, start_new_session=True); child.stdout.readline(); "
        "import os; os._exit(1)"
    )

    async def run() -> list[str]:
        ray = await start_ray(with_command(plan, leaves))
        await module.until_ended(ray)
        told = await module.stop_ray(ray, plan.cluster_id, os.getpid())
        await ray.communicate()  # nobody holds its output any more
        return told

    assert len(asyncio.run(run())) == 1
