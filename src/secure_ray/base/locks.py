"""Locks that end with the process that holds them, however it ends (flock(2))."""

from __future__ import annotations

import fcntl
import os
import stat
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from secure_ray.base.errors import SecureRayError
from secure_ray.base.file_errors import os_failure
from secure_ray.base.files import PRIVATE_FILE, is_there
from secure_ray.base.ownership import require_ours

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def lock_is_free(path: Path) -> bool:
    """Whether nobody holds the lock of `path`. The kernel drops a lock with its holder.

    Raises:
        FailedError: the file is there but cannot be opened, or is not ours.
    """
    if not is_there(path):
        return True
    descriptor = _open_lock(path, os.O_RDONLY)
    try:
        # Shared, so that two who ask at once do not take each other for the holder.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


@contextmanager
def lock(path: Path, *, wait: float) -> Iterator[int]:
    """Hold the exclusive lock of `path`; yields the file descriptor.

    Args:
        path: The lock file, made if missing.
        wait: Seconds to wait for another holder; 0 tries once.

    Raises:
        BlockingIOError: another process held it for `wait` seconds.
        FailedError: the file cannot be made or is not ours.
    """
    descriptor = _acquire(path, deadline=time.monotonic() + wait)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _acquire(path: Path, *, deadline: float) -> int:
    # flock has no timed wait, and an alarm signal is not ours to use inside a library.
    while True:
        descriptor = _open_lock(path, os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_same_file(path, descriptor):
                return descriptor
        except BlockingIOError:
            if time.monotonic() >= deadline:
                os.close(descriptor)
                raise
        # Held by another, or removed by the one who held it (`reset`): then it locks nothing.
        os.close(descriptor)
        time.sleep(0.05)


def _open_lock(path: Path, flags: int) -> int:
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, PRIVATE_FILE)
    except OSError as error:
        raise os_failure("lock", path, error) from None
    try:
        require_ours(path, os.fstat(descriptor), stat.S_ISREG, "a regular file")
    except SecureRayError:
        os.close(descriptor)
        raise
    return descriptor


def _is_same_file(path: Path, descriptor: int) -> bool:
    try:
        there = path.lstat()
    except OSError:
        return False
    here = os.fstat(descriptor)
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)
