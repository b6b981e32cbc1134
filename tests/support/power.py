"""Kills what a test runs, at each step that changes the disk.

After the kill nothing changes any more, so not even the clean-up of a `finally` happens: as after
SIGKILL or a power cut.
"""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

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
