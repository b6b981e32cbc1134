"""Processes are named for ever, found by their mark, and stopped whatever they do."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import psutil
import pytest

from secure_ray.base.processes import (
    ProcessIdentity,
    descendants,
    describe,
    marked,
    stop_all,
    titled_in_session,
)

MARK = "SECURE_RAY_TEST_MARK"
SLEEP = "import time; print('ready', flush=True); time.sleep(600)"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + SLEEP
PARENT = (
    "import subprocess, sys; "
    f'child = subprocess.Popen([sys.executable, "-c", {SLEEP!r}]); child.wait()'
)


@contextmanager
def running(code: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """A Python process that has said that it is ready."""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, env={**os.environ, **environment}
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            yield process
        finally:
            stop_all([*descendants(process.pid)], grace=0)
            process.kill()


def test_an_identity_finds_its_process() -> None:
    found = ProcessIdentity.of(os.getpid()).process()

    assert found is not None
    assert found.pid == os.getpid()


def test_an_identity_of_a_process_that_ended_finds_nothing() -> None:
    with running(SLEEP) as process:
        identity = ProcessIdentity.of(process.pid)
        process.kill()
        process.wait()

        assert identity.process() is None


def test_an_identity_of_a_zombie_finds_nothing() -> None:
    with running(SLEEP) as process:
        identity = ProcessIdentity.of(process.pid)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)

        assert psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE
        assert identity.process() is None


def test_a_process_id_that_is_used_again_is_another_process() -> None:
    mine = ProcessIdentity.of(os.getpid())

    assert replace(mine, started=mine.started - 5).process() is None


@pytest.mark.skipif(sys.platform != "linux", reason="the boot's id is Linux's")
def test_the_same_id_and_second_after_a_reboot_is_another_process() -> None:
    mine = ProcessIdentity.of(os.getpid())

    assert replace(mine, boot="8f0b5a0e-another-boot").process() is None


def test_an_identity_holds_when_the_clock_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that is set moves the boot and with it every start that psutil tells."""
    mine = ProcessIdentity.of(os.getpid())
    boot, created = psutil.boot_time(), psutil.Process().create_time()
    monkeypatch.setattr(psutil, "boot_time", lambda: boot - 3600)
    monkeypatch.setattr(psutil.Process, "create_time", lambda _: created - 3600)

    assert mine.process() is not None


def test_marked_finds_by_name_and_value() -> None:
    value = f"cluster-{os.getpid()}"
    with running(SLEEP, **{MARK: value}) as ours, running(SLEEP, **{MARK: value + "0"}):
        assert [process.pid for process in marked(MARK, value)] == [ours.pid]


def test_marked_leaves_out_the_one_who_asks() -> None:
    value = f"self-{os.getpid()}"
    ask = (
        "import psutil; from secure_ray.base.processes import marked; "
        f"print(psutil.Process().environ()[{MARK!r}], marked({MARK!r}, {value!r}))"
    )
    environment = {**os.environ, MARK: value, "PYTHONPATH": os.pathsep.join(sys.path)}

    shown = subprocess.check_output([sys.executable, "-c", ask], env=environment, text=True)

    assert shown == f"{value} []\n"


def test_a_mark_reaches_grandchildren_and_descendants_tells_them() -> None:
    value = f"family-{os.getpid()}"
    with running(PARENT, **{MARK: value}) as parent:
        children = descendants(parent.pid)

        assert len(children) == 1
        assert {p.pid for p in marked(MARK, value)} == {parent.pid, children[0].pid}


def test_nobody_descends_from_a_process_that_ended() -> None:
    with running(SLEEP) as process:
        process.kill()
        process.wait()

        assert descendants(process.pid) == []


def test_describe_tells_name_and_id_but_no_argument() -> None:
    with running("private_value = 7; " + SLEEP) as process:
        shown = describe(psutil.Process(process.pid))
        gone = psutil.Process(process.pid)
        process.kill()
        process.wait()

        assert str(process.pid) in shown
        assert "private_value" not in shown
        assert str(process.pid) in describe(gone)


@pytest.mark.parametrize("code", [SLEEP, STUBBORN], ids=["willing", "ignores SIGTERM"])
def test_stop_all_ends_a_process(code: str) -> None:
    with running(code) as process:
        remaining = stop_all([psutil.Process(process.pid)], grace=0.2)

        assert remaining == []
        assert not psutil.pid_exists(process.pid)


def test_stop_all_takes_processes_that_are_gone() -> None:
    with running(SLEEP) as process:
        gone = psutil.Process(process.pid)
        process.kill()
        process.wait()

        assert stop_all([gone], grace=0) == []


def test_stop_all_leaves_the_others_alone() -> None:
    with running(SLEEP) as ours, running(SLEEP) as other:
        stop_all([psutil.Process(ours.pid)], grace=0)

        assert other.poll() is None


ZOMBIE_PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "pass"])
print(child.pid, flush=True)
time.sleep(600)
"""


def test_zombie_that_nobody_takes_away_is_not_waited_for() -> None:
    """As in a container whose first process never looks after orphans."""
    with subprocess.Popen(
        [sys.executable, "-c", ZOMBIE_PARENT], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        zombie = psutil.Process(int(parent.stdout.readline()))
        identity = ProcessIdentity.of(zombie.pid)
        try:
            assert identity.wait(30)
            assert zombie.status() == psutil.STATUS_ZOMBIE
            assert stop_all([zombie], grace=600) == []
        finally:
            parent.kill()


def test_wait_tells_that_a_process_stays() -> None:
    assert not ProcessIdentity.of(os.getpid()).wait(0)


# Overwrites its environment as `setproctitle` does, in a session that a process began which has ended.
TITLED = """
import ctypes, os, re, sys, time
if {overwrites}:
    fields = open("/proc/self/stat").read().rpartition(")")[2].split()
    start, end = int(fields[47]), int(fields[48])
    ctypes.memset(start, 0, (end - start) // 2)
print("ready", os.getppid(), flush=True)
time.sleep(600)
"""
BEGINS = """
import os, subprocess, sys
os.setsid()
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
sys.stdin.read()
"""


@contextmanager
def session(*, overwrites: bool) -> Iterator[tuple[ProcessIdentity, psutil.Process]]:
    """The first process of a session, which has ended, and one that it has left behind."""
    script = TITLED.format(overwrites=overwrites)
    with subprocess.Popen(
        [sys.executable, "-c", BEGINS, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as first:
        assert first.stdout is not None
        leader = ProcessIdentity.of(first.pid)
        left = psutil.Process(int(first.stdout.readline()))
        first.kill()
        first.wait()
    try:
        yield leader, left
    finally:
        left.kill()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_process_that_lost_its_mark_is_found_by_its_session() -> None:
    with session(overwrites=True) as (leader, left):
        assert titled_in_session(leader) == [left]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    "changes",
    [{"boot": "another"}, {"started": 1e9}],
    ids=["before this start of the host", "before the session"],
)
def test_process_of_another_session_of_that_number_is_not(changes: dict[str, Any]) -> None:
    with session(overwrites=True) as (leader, _):
        assert titled_in_session(replace(leader, **changes)) == []


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_session_whose_first_process_lives_and_is_another_is_not() -> None:
    script = TITLED.format(overwrites=True)
    with subprocess.Popen(
        [sys.executable, "-c", BEGINS, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as first:
        assert first.stdout is not None
        left = psutil.Process(int(first.stdout.readline()))
        leader = ProcessIdentity.of(first.pid)
        try:
            assert titled_in_session(leader) == [left]
            assert titled_in_session(replace(leader, started=leader.started - 100)) == []
        finally:
            left.kill()
            first.kill()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_process_that_says_whose_it_is_is_left_to_its_mark() -> None:
    """The number may be another session's by now: a shell of the user, with all below it."""
    with session(overwrites=False) as (leader, _):
        assert titled_in_session(leader) == []
