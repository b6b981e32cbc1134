"""What happens when a part of a running cluster dies."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

import psutil
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.clusters import Machine

pytestmark = pytest.mark.ray


def until(holds: Callable[[], bool], what: str, *, seconds: float = 60) -> None:
    """Wait for an outside event that nothing announces."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.1)


def named(machine: Machine, name: str) -> psutil.Process:
    return next(
        process
        for process in machine.processes()
        if name == process.name() or any(name in word for word in process.cmdline())
    )


def test_killed_supervisor_takes_ray_with_it(machine: Machine) -> None:
    machine.up("--num-cpus", "1")
    supervisor = psutil.Process(machine.record()["supervisor"]["pid"])

    supervisor.kill()

    # The kernel kills Ray and what Ray started with it, so nothing is left to clean up.
    until(lambda: machine.processes() == [], "Ray ended with its supervisor")
    status = machine.status()
    assert status["state"] == "died"
    assert "killed" in status["reason"]


def test_next_up_cleans_up_and_says_what_it_found(machine: Machine) -> None:
    machine.up("--num-cpus", "1")
    record = machine.record()
    # A stopped `ray start` cannot react to its parent's death: the worst case of a leftover.
    os.kill(record["ray"]["pid"], signal.SIGSTOP)
    psutil.Process(record["supervisor"]["pid"]).kill()
    until(lambda: machine.status()["state"] == "died", "the supervisor is gone")
    assert machine.processes()

    result = machine.run("up", "--head", "--num-cpus", "1")

    assert result.returncode == 0, result.stderr
    assert "left behind by a supervisor that was killed" in result.stderr
    assert machine.status()["state"] == "running"
    assert not psutil.pid_exists(record["ray"]["pid"]) or (
        psutil.Process(record["ray"]["pid"]).create_time() != record["ray"]["started"]
    )


def test_down_after_a_crash_stops_what_is_left(machine: Machine) -> None:
    machine.up("--num-cpus", "1")
    record = machine.record()
    os.kill(record["ray"]["pid"], signal.SIGSTOP)
    psutil.Process(record["supervisor"]["pid"]).kill()
    until(lambda: machine.status()["state"] == "died", "the supervisor is gone")

    result = machine.run("down")

    assert result.returncode == 0
    assert "left behind" in result.stderr
    assert machine.processes() == []


def test_dead_raylet_is_told_and_nothing_is_restarted(machine: Machine) -> None:
    machine.up("--num-cpus", "1")
    supervisor = psutil.Process(machine.record()["supervisor"]["pid"])

    named(machine, "raylet").kill()
    supervisor.wait(timeout=60)

    status = machine.run("status")
    assert status.returncode == 1
    assert "failed" in status.stdout
    assert "raylet" in status.stdout
    assert machine.processes() == []
    log = (machine.cluster_directory() / "supervisor.log").read_text()
    assert "SR-RAY-012" in log


def test_dead_raylet_ends_the_foreground_with_its_own_exit_code(machine: Machine) -> None:
    process = machine.start("up", "--head", "--block", "--num-cpus", "1")
    until(lambda: machine.status()["state"] == "running", "running")

    named(machine, "raylet").kill()
    _, messages = process.communicate(timeout=60)

    assert process.returncode == 5
    assert "SR-RAY-012" in messages


def test_dashboard_ended_by_sigterm_degrades_the_cluster(machine: Machine) -> None:
    machine.up("--num-cpus", "1")

    named(machine, "dashboard.py").terminate()

    # Ray itself counts this as wanted and says nothing.
    until(lambda: machine.status()["state"] == "degraded", "degraded")
    result = machine.run("status")
    assert result.returncode == 1
    assert "dashboard" in result.stdout


def test_sigterm_to_the_supervisor_stops_all_in_order(machine: Machine) -> None:
    machine.up("--num-cpus", "1")
    supervisor = psutil.Process(machine.record()["supervisor"]["pid"])

    supervisor.terminate()
    supervisor.wait(timeout=60)

    assert machine.processes() == []
    assert machine.status()["state"] == "stopped"


@pytest.mark.parametrize("environment", ["None", "{}"], ids=["inherited", "emptied"])
def test_down_catches_processes_that_ray_does_not_know(machine: Machine, environment: str) -> None:
    machine.up("--num-cpus", "1")
    # A detached actor outlives its driver; Ray itself ends the children of a worker that ends.
    started = machine.driver(
        "import ray, subprocess; ray.init(namespace='test')\n"
        "@ray.remote\n"
        "class Leaver:\n"
        "    def leave(self):\n"
        "        started = subprocess.Popen(\n"
        f"            ['sleep', '600'], start_new_session=True, env={environment})\n"
        "        return started.pid\n"
        "leaver = Leaver.options(lifetime='detached', name='leaver').remote()\n"
        "print(ray.get(leaver.leave.remote()))"
    )
    sleeper = psutil.Process(int(started.stdout.splitlines()[-1]))

    machine.run("down")

    assert not sleeper.is_running() or sleeper.status() == psutil.STATUS_ZOMBIE


def test_down_leaves_drivers_alone(machine: Machine) -> None:
    machine.up("--num-cpus", "1")
    driver = machine.start(
        "run", "--", "python3", "-c", "print('ready', flush=True); import time; time.sleep(600)"
    )
    assert driver.stdout is not None
    driver.stdout.readline()
    try:
        machine.run("down")
        assert driver.poll() is None
    finally:
        driver.kill()
        driver.communicate()
