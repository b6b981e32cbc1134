"""Processes, told apart by identity and by a mark in their environment.

A process id alone names nobody: it is used again. A process is named by its id and start time, or
found by a variable that its first parent put into its environment and that its children inherit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True)
class ProcessIdentity:
    """A process for ever: its id and when it started (seconds since the epoch)."""

    pid: int
    started: float

    @classmethod
    def of(cls, pid: int) -> ProcessIdentity:
        """The identity of the process that has `pid` now."""
        return cls(pid, psutil.Process(pid).create_time())

    def process(self) -> psutil.Process | None:
        """The process, or None when it is gone (even if its id is in use again)."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.started) < 1
            alive = process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return None
        return process if same and alive else None


def marked(name: str, value: str) -> list[psutil.Process]:
    """Processes of this user whose environment holds `name=value`, this process left out."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != psutil.Process().pid and process.environ().get(name) == value:
                found.append(process)
        except (psutil.Error, OSError):
            continue  # gone, or of another user
    return found


def descendants(pid: int) -> list[psutil.Process]:
    """All children of `pid`, and theirs."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return []


def describe(process: psutil.Process) -> str:
    """A line for a person: id and name, never the arguments (they may hold something private)."""
    try:
        return f"{process.name()} (pid {process.pid})"
    except psutil.Error:
        return f"pid {process.pid}"


def stop_all(processes: Iterable[psutil.Process], *, grace: float) -> list[psutil.Process]:
    """Ask the processes to end, kill those that have not after `grace` seconds.

    Returns:
        Those that are still there, which only a process stuck in the kernel should be.
    """
    waiting = list(processes)
    for process in waiting:
        _quietly(process.terminate)
    _, alive = psutil.wait_procs(waiting, timeout=grace)
    for process in alive:
        _quietly(process.kill)
    _, alive = psutil.wait_procs(alive, timeout=5)
    return [process for process in alive if _is_running(process)]


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
