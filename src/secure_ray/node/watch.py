"""What the supervisor looks at every second."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from pathlib import Path


@dataclass
class CoreProcesses:
    """The processes that `ray start` itself started: GCS, raylet, dashboard, monitors.

    Ray's own `--block` counts an end by SIGTERM as wanted and says nothing (Ray 2.60.0,
    scripts/scripts.py), so they are watched here too.
    """

    known: dict[int, str] = field(default_factory=dict)
    _unseen_parent: int | None = None

    @classmethod
    def below(cls, ray_pid: int) -> CoreProcesses:
        """The children that `ray start` has now; none when it has just ended."""
        core = cls(_unseen_parent=ray_pid)
        core._look()
        return core

    def _look(self) -> None:
        """Take down the children; a look that fails (no descriptors left) comes again later."""
        if self._unseen_parent is None:
            return
        try:
            children = psutil.Process(self._unseen_parent).children()
            self.known = {child.pid: _title(child) for child in children}
        except psutil.Error:
            pass
        except OSError:
            return
        self._unseen_parent = None

    def newly_lost(self) -> list[str]:
        """Names of those that ended since the last call."""
        self._look()
        lost = [pid for pid in self.known if not _lives(pid)]
        return [self.known.pop(pid) for pid in lost]


def _title(process: psutil.Process) -> str:
    """`gcs_server`, `raylet`, or the name of the script that Python runs."""
    try:
        name = process.name()
        if name.startswith("python"):
            scripts = [word for word in process.cmdline() if word.endswith(".py")]
            name = os.path.basename(scripts[0]).removesuffix(".py") if scripts else name  # noqa: PTH119
    except psutil.Error:
        name = "a process"
    return f"{name} (pid {process.pid})"


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
    except OSError:  # no descriptors left: whoever cannot look knows of no end
        return True


def reap_orphans(*, keep: int) -> None:
    """Take the exit status of ended orphans that became our children; `keep` is left alone."""
    try:
        children = psutil.Process().children()
    except (psutil.Error, OSError):  # no descriptors left: they wait for the next time
        return
    for child in children:
        try:
            if child.pid != keep and child.status() == psutil.STATUS_ZOMBIE:
                os.waitpid(child.pid, os.WNOHANG)
        except (psutil.Error, OSError):
            continue


def why_ray_ended(ray_directory: Path, returncode: int) -> str:
    """What `ray start --block` wrote about the process that ended, else its exit code."""
    log = ray_directory / "session_latest" / "logs" / "ray_process_exit.log"
    try:
        lines = [line.strip() for line in log.read_text(errors="replace").splitlines()]
    except OSError:
        lines = []
    telling = [line for line in lines if "exit code" in line.lower()]
    if telling:
        return telling[0]
    if returncode < 0:
        return f"ray start was ended by signal {-returncode}"
    return f"ray start ended with exit code {returncode}"


class Every:
    """Says when it is time again.

    Args:
        seconds: How far apart; the first time comes after as long.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._next = time.monotonic() + seconds

    def due(self) -> bool:
        """Whether it is time; then not again for a while."""
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + self._seconds
        return True
