"""Files and directories that nobody else can read, plant or swap.

Whatever is trusted is checked first: it is ours, it is not a link, nobody else can write to it or
to a directory above it. Writing is all or nothing: temporary file, fsync, rename, fsync of the
directory.

It does not protect from root, nor from another process of the same user.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import shutil
import stat
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from secure_ray.base.errors import FailedError, SecureRayError

if TYPE_CHECKING:
    from collections.abc import Iterator

PRIVATE_DIRECTORY = 0o700
PRIVATE_FILE = 0o600
_OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH
_OTHERS_MAY_ANYTHING = stat.S_IRWXG | stat.S_IRWXO
_MOST_LINKS = 40  # Linux: path_resolution(7)


def make_private_directory(path: Path) -> None:
    """Make `path` (and what is missing above it) with mode 0700, or check the one that is there.

    Raises:
        FailedError: `path` is a link, not a directory, not ours, open to others, or cannot be made.
    """
    missing = [place for place in (path, *path.parents) if not os.path.lexists(place)]
    try:
        for place in reversed(missing):
            # One by one: mkdir(parents=True) gives `mode` to the last only, the rest get what the
            # umask leaves.
            place.mkdir(mode=PRIVATE_DIRECTORY, exist_ok=True)
    except OSError as error:
        raise _os_failure("make", path, error) from None
    require_private_directory(path)


def require_private_directory(path: Path) -> None:
    """Check that `path` is a directory of ours with mode 0700, reached through safe ones.

    Raises:
        FailedError: it is not.
    """
    _require_ours(path, _lstat(path), stat.S_ISDIR, "a directory")
    require_safe_ancestors(path)


def require_private_file(path: Path) -> None:
    """Check that `path` is a regular file of ours that nobody else can open, and no link.

    Raises:
        FailedError: it is not.
    """
    _require_ours(path, _lstat(path), stat.S_ISREG, "a regular file")


def require_private_socket(path: Path) -> None:
    """Check that `path` is a Unix socket of ours that nobody else can connect to, and no link.

    Raises:
        FailedError: it is not.
    """
    _require_ours(path, _lstat(path), stat.S_ISSOCK, "a socket")


def require_own_directory(path: Path) -> None:
    """Check that `path` is a directory of ours and no link, whatever its mode.

    For what lies in a private directory and is opened to others by somebody else's program.

    Raises:
        FailedError: it is not.
    """
    found = _lstat(path)
    _require_kind(path, found.st_mode, stat.S_ISDIR, "a directory")
    _require_owner(path, found)


def require_safe_ancestors(path: Path) -> None:
    """Check that nobody else can swap a directory above `path` (as `sshd` does: StrictModes).

    An ancestor must belong to root or to us, and may be writable by others only with the sticky
    bit (`/tmp`). A link among them must belong to root or to us as well, and so must every
    directory on the way to where it points.

    Raises:
        FailedError: one of them does not hold.
    """
    for ancestor in _passed_on_the_way(path.absolute().parent):
        found = _lstat(ancestor)
        if found.st_uid not in {0, os.geteuid()}:
            raise FailedError(
                "SR-FILE-003",
                f"{ancestor} belongs to uid {found.st_uid}, who could swap what lies in it",
                fix="choose another SECURE_RAY_HOME, in a directory of yours",
            )
        open_to_others = found.st_mode & _OTHERS_MAY_WRITE and not found.st_mode & stat.S_ISVTX
        if open_to_others and not stat.S_ISLNK(found.st_mode):
            raise FailedError(
                "SR-FILE-003",
                f"{ancestor} is writable by others (mode {stat.S_IMODE(found.st_mode):04o})",
                fix=f"chmod go-w {ancestor}",
            )


def is_there(path: Path) -> bool:
    """Whether something, a dangling link included, is at `path`.

    Raises:
        FailedError: we may not look.
    """
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise _os_failure("read", path, error) from None
    return True


def read_private(path: Path, *, max_bytes: int = 1 << 20) -> bytes:
    """The content of a file of ours with mode 0600; a link is not followed.

    Raises:
        FailedError: missing, a link, not ours, open to others, or larger than `max_bytes`.
    """
    # Without O_NONBLOCK a named pipe in its place would hold us for ever.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        raise _os_failure("read", path, error) from None
    try:
        # Before it becomes a file object: that refuses a directory with an error of its own.
        _require_ours(path, os.fstat(descriptor), stat.S_ISREG, "a regular file")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            content = file.read(max_bytes + 1)
    finally:
        os.close(descriptor)
    if len(content) > max_bytes:
        raise FailedError(
            "SR-FILE-005", f"{path} is larger than {max_bytes} bytes", fix="remove it and try again"
        )
    return content


def write_private(path: Path, content: bytes) -> None:
    """Write `path` with mode 0600, all or nothing, durable when it returns.

    Raises:
        FailedError: it could not be written; what was there before is unchanged.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(temporary, flags, PRIVATE_FILE)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        temporary.replace(path)
        sync_directory(path.parent)
    except OSError as error:
        raise _os_failure("write", path, error) from None
    finally:
        _remove_leftover(temporary)


def sync_directory(path: Path) -> None:
    """Make renames inside `path` durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_link(link: Path, target: str) -> None:
    """Point the symbolic link `link` at `target`, atomically and durably."""
    temporary = link.with_name(f".{link.name}.{secrets.token_hex(6)}")
    try:
        temporary.symlink_to(target)
        temporary.replace(link)
        sync_directory(link.parent)
    except OSError as error:
        raise _os_failure("write", link, error) from None
    finally:
        _remove_leftover(temporary)


def remove_tree(path: Path) -> None:
    """Remove a directory of ours and all in it; links inside are removed, not followed.

    Raises:
        FailedError: `path` is a link, or something in it cannot be removed.
    """
    if path.is_symlink():
        raise _not_what_it_should_be(path, "a directory", "a symbolic link")
    try:
        shutil.rmtree(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise _os_failure("remove", path, error) from None


def free_bytes(path: Path) -> int:
    """Bytes that we may still write on the file system of `path` or of its nearest ancestor."""
    while not os.path.exists(path):  # noqa: PTH110  # Path.exists raises where we may not look
        path = path.parent
    return shutil.disk_usage(path).free


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
        raise _os_failure("lock", path, error) from None
    try:
        _require_ours(path, os.fstat(descriptor), stat.S_ISREG, "a regular file")
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


def _passed_on_the_way(path: Path) -> Iterator[Path]:
    """Every directory and link that the kernel passes on its way to `path`, `path` included.

    Raises:
        FailedError: there are more links on the way than the kernel follows.
    """
    here = Path("/")
    yield here
    todo = list(reversed(path.parts[1:]))
    links = 0
    while todo:
        part = todo.pop()
        if part == "..":
            here = here.parent
            continue
        step = here / part
        yield step
        if step.is_symlink():
            links += 1
            if links > _MOST_LINKS:
                raise _os_failure("read", path, OSError(errno.ELOOP, os.strerror(errno.ELOOP)))
            target = step.readlink()
            here = Path("/") if target.is_absolute() else here
            todo += reversed([name for name in target.parts if name != "/"])
        else:
            here = step


def _remove_leftover(temporary: Path) -> None:
    # The reason why it is left over is on its way up already; on a read-only file system or in a
    # directory that is none, removing fails too, and must not take that reason's place.
    with suppress(OSError):
        temporary.unlink()


def _lstat(path: Path) -> os.stat_result:
    try:
        return path.lstat()
    except OSError as error:
        raise _os_failure("read", path, error) from None


def _require_ours(path: Path, found: os.stat_result, is_kind: object, kind: str) -> None:
    _require_kind(path, found.st_mode, is_kind, kind)
    _require_owner(path, found)
    if found.st_mode & _OTHERS_MAY_ANYTHING:
        raise FailedError(
            "SR-FILE-002",
            f"{path} is open to others (mode {stat.S_IMODE(found.st_mode):04o})",
            fix=f"if nobody else has touched it: chmod go-rwx {path}",
        )


def _require_kind(path: Path, mode: int, is_kind: object, kind: str) -> None:
    assert callable(is_kind)  # noqa: S101  # stat.S_ISDIR, stat.S_ISREG or stat.S_ISSOCK
    if not is_kind(mode):
        what = "a symbolic link" if stat.S_ISLNK(mode) else "something else"
        raise _not_what_it_should_be(path, kind, what)


def _require_owner(path: Path, found: os.stat_result) -> None:
    if found.st_uid != os.geteuid():
        raise FailedError(
            "SR-FILE-002",
            f"{path} belongs to uid {found.st_uid}, not to you (uid {os.geteuid()})",
            fix="run as its owner, or choose another directory with SECURE_RAY_HOME",
        )


def _not_what_it_should_be(path: Path, kind: str, what: str) -> FailedError:
    return FailedError(
        "SR-FILE-001",
        f"{path} should be {kind} but is {what}",
        fix=f"find out who made it (ls -ld {path}), then remove it",
    )


def _os_failure(verb: str, path: Path, error: OSError) -> SecureRayError:
    fixes = {
        errno.ENOSPC: ("SR-FILE-006", f"free some space on the file system of {path}"),
        errno.EDQUOT: ("SR-FILE-006", f"free some of your quota on the file system of {path}"),
        errno.EROFS: ("SR-FILE-004", "set SECURE_RAY_HOME to a directory that can be written"),
        errno.EACCES: ("SR-FILE-004", "set SECURE_RAY_HOME to a directory of yours"),
        errno.EPERM: ("SR-FILE-004", "set SECURE_RAY_HOME to a directory of yours"),
        errno.ELOOP: ("SR-FILE-001", f"find out who made the link {path}, then remove it"),
    }
    code, fix = fixes.get(error.errno or 0, ("SR-FILE-004", f"look at {path.parent}"))
    return FailedError(code, f"cannot {verb} {path}: {error.strerror}", fix=fix)
