"""Kills what a test runs, at each step that changes the disk.

After the kill nothing changes any more, so not even the clean-up of a `finally` happens: as after
SIGKILL or a power cut.
"""

from __future__ import annotations

import errno
import os
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from secure_ray.base.errors import FailedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CHANGES = (
    (os, "open"),
    (os, "fsync"),
    (os, "unlink"),
    (os, "rmdir"),
    (Path, "mkdir"),
    (Path, "replace"),
    (Path, "symlink_to"),
    (Path, "unlink"),
)


OPEN = os.open


class Killed(BaseException):
    """Not an `Exception`: nothing may catch it."""


@dataclass
class PowerCut:
    """Lets `steps` changes of the disk happen in this thread, and none after."""

    steps: int
    thread: int = field(default_factory=threading.get_ident)

    def guard(self, act: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any, **options: Any) -> Any:
            if threading.get_ident() != self.thread:
                return act(*arguments, **options)
            if act is OPEN and not arguments[1] & os.O_CREAT:
                return act(*arguments, **options)
            self.steps -= 1
            if self.steps < 0:
                raise Killed
            return act(*arguments, **options)

        return step


@contextmanager
def power_cut_after(steps: int) -> Iterator[None]:
    cut = PowerCut(steps)
    with pytest.MonkeyPatch.context() as patch:
        for owner, name in CHANGES:
            patch.setattr(owner, name, cut.guard(getattr(owner, name)))
        yield


def survives(run: Callable[[], object], steps: int) -> bool:
    """Whether `run` ended before `steps` changes were made."""
    try:
        with power_cut_after(steps):
            run()
    except Killed:
        return False
    return True


GROWS = ((os, "open"), (os, "fdopen"), (os, "fsync"), (Path, "mkdir"), (Path, "symlink_to"))
"""What fails on a full disk; removing and renaming go on."""


@dataclass
class FullDisk(PowerCut):
    """Has room for `steps` steps, in this thread."""

    def guard(self, act: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any, **options: Any) -> Any:
            if threading.get_ident() != self.thread or _only_reads(act, arguments):
                return act(*arguments, **options)
            self.steps -= 1
            if self.steps >= 0:
                return act(*arguments, **options)
            if act is FDOPEN:
                return _full(act(*arguments, **options))
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        return step


FDOPEN = os.fdopen


def _only_reads(act: Callable[..., Any], arguments: tuple[Any, ...]) -> bool:
    if act is FDOPEN:
        return "w" not in str(arguments[1:2])
    return act is OPEN and not arguments[1] & os.O_CREAT


def _full(file: Any) -> Any:
    """`file`, to which nothing more can be written."""

    def write(_: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    return SimpleWriter(file, write)


class SimpleWriter:
    """Closes a file at its end, and writes as it is told."""

    def __init__(self, file: Any, write: Callable[[bytes], int]) -> None:
        self.file, self.write = file, write

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()


@contextmanager
def disk_full_after(steps: int) -> Iterator[None]:
    disk = FullDisk(steps)
    with pytest.MonkeyPatch.context() as patch:
        for owner, name in GROWS:
            patch.setattr(owner, name, disk.guard(getattr(owner, name)))
        yield


def fits(run: Callable[[], object], steps: int) -> bool:
    """Whether `run` ended well with room for `steps` steps; else it failed as it should."""
    try:
        with disk_full_after(steps):
            run()
    except FailedError:
        return False
    return True
