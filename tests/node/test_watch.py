"""What the supervisor notices, with real processes."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import psutil
import pytest

from secure_ray.node.watch import CoreProcesses, Every, reap_orphans, why_ray_ended

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SLEEP = "import time; print('ready', flush=True); time.sleep(600)"
# Starts what it is told, says so, and ends each child for which it reads a line.
PARENT = """
import subprocess, sys
children = [subprocess.Popen(command.split('|'), stdout=subprocess.PIPE) for command in sys.argv[1:]]
for child in children:
    child.stdout.readline()
print('ready', flush=True)
for line in sys.stdin:
    child = children.pop(0)
    child.kill()
    if line == 'reap\\n':
        child.wait()
    print('ended', flush=True)
for child in children:
    child.kill()
"""


@pytest.fixture
def held() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def parent(held: ExitStack, *commands: str) -> subprocess.Popen[str]:
    process = held.enter_context(
        subprocess.Popen(
            [sys.executable, "-c", PARENT, *commands],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def end_one(process: subprocess.Popen[str], how: str) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{how}\n")
    process.stdin.flush()
    assert process.stdout.readline() == "ended\n"


@pytest.mark.parametrize("how", ["reap", "zombie"])
def test_child_that_ended_is_told_once_by_the_name_of_its_script(
    held: ExitStack, tmp_path: Path, how: str
) -> None:
    script = tmp_path / "dashboard.py"
    script.write_text(SLEEP)
    process = parent(held, f"{sys.executable}|-u|{script}|--host=x", f"{sys.executable}|-c|{SLEEP}")
    core = CoreProcesses.below(process.pid)
    first = next(pid for pid, name in core.known.items() if name.startswith("dashboard"))

    assert core.newly_lost() == []
    end_one(process, how)
    if how == "zombie":
        _wait_until_dead(first)

    assert core.newly_lost() == [f"dashboard (pid {first})"]
    assert core.newly_lost() == []


def test_program_is_called_by_its_own_name(held: ExitStack, tmp_path: Path) -> None:
    raylet = tmp_path / "raylet"
    shutil.copy("/bin/cat", raylet)
    with subprocess.Popen([raylet], stdin=subprocess.PIPE) as child:
        held.callback(child.kill)
        core = CoreProcesses.below(os.getpid())

        assert core.known[child.pid] == f"raylet (pid {child.pid})"


def test_parent_that_has_just_ended_has_no_children() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()

    assert CoreProcesses.below(process.pid).known == {}


def test_orphans_are_reaped_and_the_one_that_is_awaited_is_kept() -> None:
    children = [subprocess.Popen([sys.executable, "-c", ""]) for _ in range(2)]
    for child in children:
        _wait_until_dead(child.pid)
    kept, orphan = children

    reap_orphans(keep=kept.pid)

    assert psutil.Process(kept.pid).status() == psutil.STATUS_ZOMBIE
    assert not psutil.pid_exists(orphan.pid)
    orphan.wait()
    assert kept.wait() == 0


def _wait_until_dead(pid: int) -> None:
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT) if _is_ours(pid) else None
    while psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        os.sched_yield()


def _is_ours(pid: int) -> bool:
    return psutil.Process(pid).ppid() == os.getpid()


@contextmanager
def no_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_without_descriptors_the_look_comes_later(held: ExitStack) -> None:
    process = parent(held, f"{sys.executable}|-c|{SLEEP}")
    with no_descriptors():
        reap_orphans(keep=0)
        core = CoreProcesses.below(process.pid)
        assert core.newly_lost() == []
    assert core.known == {}

    assert core.newly_lost() == []
    assert len(core.known) == 1
    with no_descriptors():
        assert core.newly_lost() == []  # nobody has ended
    end_one(process, "reap")
    assert len(core.newly_lost()) == 1


@pytest.mark.parametrize(
    ("log", "returncode", "expected"),
    [
        (None, 1, "ray start ended with exit code 1"),
        (None, -9, "ray start was ended by signal 9"),
        ("", 1, "ray start ended with exit code 1"),
        ("nothing of use", 1, "ray start ended with exit code 1"),
        (
            "Some Ray subprocesses exited unexpectedly:\n  raylet [exit code=-9]\n  gcs [exit code=1]\n",
            1,
            "raylet [exit code=-9]",
        ),
        ("raylet [Exit Code=1] \ufffd", 1, "raylet [Exit Code=1] \ufffd"),
    ],
    ids=["no log", "signal", "empty", "says nothing", "two", "no text"],
)
def test_reason_is_what_ray_wrote_else_its_exit_code(
    tmp_path: Path, log: str | None, returncode: int, expected: str
) -> None:
    logs = tmp_path / "session_latest" / "logs"
    logs.mkdir(parents=True)
    if log is not None:
        (logs / "ray_process_exit.log").write_bytes(log.encode().replace(b"\xef\xbf\xbd", b"\xff"))

    assert why_ray_ended(tmp_path, returncode) == expected


def test_every_so_often(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    every = Every(10)

    due = {}
    for now in (1000.0, 1009.9, 1010.0, 1010.1, 1019.9, 1050.0, 1059.9, 1060.0):
        due[now] = every.due()

    assert [when for when, is_due in due.items() if is_due] == [1010.0, 1050.0, 1060.0]
