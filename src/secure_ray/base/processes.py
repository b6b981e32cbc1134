"""Processes, told apart by identity and by a mark in their environment.

A process id alone names nobody: it is used again. A process is named by its id and start time, or
found by a variable that its first parent put into its environment and that its children inherit.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterable

_PAUSE = 0.02
_KILL_SECONDS = 5.0
_START_TOLERANCE = 0.1  # seconds; the kernel counts in hundredths, the rest is for rounding


@dataclass(frozen=True)
class ProcessIdentity:
    """A process for ever.

    The time of day is no part of it: when the clock is set, every process seems to have started
    at another time.

    Attributes:
        pid: Its id.
        started: Seconds from the start of the machine to that of the process.
        boot: Which start of the machine; empty where the system does not say.
    """

    pid: int
    started: float
    boot: str = ""

    @classmethod
    def of(cls, pid: int) -> ProcessIdentity:
        """The identity of the process that has `pid` now.

        Raises:
            psutil.NoSuchProcess: there is none.
        """
        return cls(pid, _seconds_after_boot(pid), _boot_id())

    def process(self) -> psutil.Process | None:
        """The process, or None when it is gone (even if its id is in use again)."""
        try:
            process = psutil.Process(self.pid)
            same = abs(_seconds_after_boot(self.pid) - self.started) < _START_TOLERANCE
            alive = process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return None
        return process if same and alive and self.boot == _boot_id() else None

    def wait(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds for its end; whether it has ended.

        A zombie has: in a container nobody may ever take its exit status.
        """
        deadline = time.monotonic() + timeout
        while self.process() is not None:
            if time.monotonic() > deadline:
                return False
            time.sleep(_PAUSE)
        return True


def marked(name: str, value: str) -> list[psutil.Process]:
    """Processes of this user whose environment holds `name=value`, this process left out.

    One that overwrote its environment with its title (`setproctitle`) is not found: Ray's agents
    do that at some starts and not at others.
    """
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and _has_variable(process, name, value):
                found.append(process)
        except (psutil.Error, OSError):
            continue  # gone, or of another user
    return found


def titled_in_session(leader: ProcessIdentity) -> list[psutil.Process]:
    """Processes of the session that `leader` began, whose title has overwritten some environment.

    They complete what `marked` finds; `leader` itself may have ended. As long as one of them lives,
    the kernel gives the session's number to no other process (Linux, kernel/pid.c `__change_pid`);
    afterwards it may, so nothing is taken for a member whose environment is whole: without the mark
    in it, it is somebody else's.
    """
    now = leader.process()
    if leader.boot != _boot_id() or (now is None and psutil.pid_exists(leader.pid)):
        return []
    found = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == leader.pid and _lost_environment(process, leader):
                found.append(process)
        except (psutil.Error, OSError):
            continue  # gone, or of another user
    return found


def _lost_environment(process: psutil.Process, leader: ProcessIdentity) -> bool:
    if sys.platform != "linux" or process.pid == os.getpid():
        return False
    raw = Path(f"/proc/{process.pid}/environ").read_bytes()
    began = _seconds_after_boot(process.pid)
    # A title is padded with zeros, and no entry of a whole environment is empty.
    return b"\0\0" in raw and began >= leader.started - _START_TOLERANCE


def _has_variable(process: psutil.Process, name: str, value: str) -> bool:
    if sys.platform != "linux":
        return bool(process.environ().get(name) == value)
    # psutil stops at the first empty entry, and a process title may have left some in front.
    raw = Path(f"/proc/{process.pid}/environ").read_bytes()
    return f"{name}={value}".encode() in raw.split(b"\0")


def descendants(pid: int) -> list[psutil.Process]:
    """All children of `pid`, and theirs."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return []


def describe(process: psutil.Process) -> str:
    """A line for a person: id and name, never the arguments (they may hold something private)."""
    try:
        name = plain_text(process.name())
    except psutil.Error:
        return f"pid {process.pid}"
    return f"{name} (pid {process.pid})"


def plain_text(text: str) -> str:
    """`text` as it can be written anywhere: a process may give itself a name that is no text."""
    return text.encode(errors="replace").decode()


def stop_all(processes: Iterable[psutil.Process], *, grace: float) -> list[psutil.Process]:
    """Ask the processes to end, kill those that have not after `grace` seconds.

    Returns:
        Those that are still there, which only a process stuck in the kernel should be.
    """
    waiting = list(processes)
    for process in waiting:
        _quietly(process.terminate)
    alive = _running_after(grace, waiting)
    for process in alive:
        _quietly(process.kill)
    return _running_after(_KILL_SECONDS, alive)


def _running_after(seconds: float, processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that still run after that time, or at once an empty list when none does any more."""
    deadline = time.monotonic() + seconds
    running = processes
    while True:
        # Takes the exit status of those that are our children; it alone would wait for a zombie
        # whose own parent never does.
        _, running = psutil.wait_procs(running, timeout=_PAUSE)
        running = [process for process in running if _is_running(process)]
        if not running or time.monotonic() > deadline:
            return running


def _seconds_after_boot(pid: int) -> float:
    booted = psutil.boot_time()  # asked first: older psutil computes with the last answer
    return psutil.Process(pid).create_time() - booted


def _boot_id() -> str:
    # random(4): made anew at every start of the kernel.
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _is_running(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _quietly(act: object) -> None:
    assert callable(act)  # noqa: S101  # terminate or kill
    try:
        act()
    except psutil.Error:
        return
