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
    try:
        descriptor = _open_lock(path, os.O_RDONLY)
    except FileNotFoundError:  # removed since
        return True
    try:
        # Shared, so that two who ask at once do not take each other for the holder.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


@contextmanager
def lock(path: Path, *, wait: float, make: bool = True) -> Iterator[int]:
    """Hold the exclusive lock of `path`; yields the file descriptor.

    Args:
        path: The lock file.
        wait: Seconds to wait for another holder; 0 tries once.
        make: Whether to make it if missing. Who removes it with a directory must not find it anew.

    Raises:
        BlockingIOError: another process held it for `wait` seconds.
        FileNotFoundError: it is missing, and not to be made.
        FailedError: the file cannot be made or is not ours.
    """
    descriptor = _acquire(path, deadline=time.monotonic() + wait, make=make)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _acquire(path: Path, *, deadline: float, make: bool) -> int:
    flags = os.O_RDWR | (os.O_CREAT if make else 0)
    # flock has no timed wait, and an alarm signal is not ours to use inside a library.
    while True:
        descriptor = _open_lock(path, flags)
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
        if isinstance(error, FileNotFoundError) and not flags & os.O_CREAT:
            raise
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
