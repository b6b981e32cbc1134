"""What is trusted is ours: checks of owner, mode, kind, and of what lies above.

A file is used only when it is no link, belongs to us, and nobody else can open it; a directory
only when nobody else can swap it or one above it.

It does not protect from root, nor from another process of the same user.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from secure_ray.base.errors import FailedError
from secure_ray.base.file_errors import not_what_it_should_be, os_failure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH
_OTHERS_MAY_ANYTHING = stat.S_IRWXG | stat.S_IRWXO
_MOST_LINKS = 40  # Linux: path_resolution(7)


def require_private_directory(path: Path) -> None:
    """Check that `path` is a directory of ours with mode 0700, reached through safe ones.

    Raises:
        FailedError: it is not.
    """
    require_ours(path, _lstat(path), stat.S_ISDIR, "a directory")
    require_safe_ancestors(path)


def require_private_file(path: Path) -> None:
    """Check that `path` is a regular file of ours that nobody else can open, and no link.

    Raises:
        FailedError: it is not.
    """
    require_ours(path, _lstat(path), stat.S_ISREG, "a regular file")


def require_private_socket(path: Path) -> None:
    """Check that `path` is a Unix socket of ours that nobody else can connect to, and no link.

    Raises:
        FailedError: it is not.
    """
    require_ours(path, _lstat(path), stat.S_ISSOCK, "a socket")


def require_own_directory(path: Path) -> None:
    """Check that `path` is a directory of ours and no link, whatever its mode.

    For what lies in a private directory and is opened to others by somebody else's program.

    Raises:
        FailedError: it is not.
    """
    found = _lstat(path)
    _require_kind(path, found.st_mode, stat.S_ISDIR, "a directory")
    _require_owner(path, found)


def require_ours(
    path: Path, found: os.stat_result, is_kind: Callable[[int], bool], kind: str
) -> None:
    """Check what a path or an open file was found to be.

    Args:
        path: Where it was found, for the message.
        found: What `lstat` or `fstat` says.
        is_kind: `stat.S_ISDIR`, `stat.S_ISREG` or `stat.S_ISSOCK`.
        kind: The same in words, for the message.

    Raises:
        FailedError: it is something else, not ours, or open to others.
    """
    _require_kind(path, found.st_mode, is_kind, kind)
    _require_owner(path, found)
    if found.st_mode & _OTHERS_MAY_ANYTHING:
        raise FailedError(
            "SR-FILE-002",
            f"{path} is open to others (mode {stat.S_IMODE(found.st_mode):04o})",
            fix=f"if nobody else has touched it: chmod go-rwx {path}",
        )


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
                raise os_failure("read", path, OSError(errno.ELOOP, os.strerror(errno.ELOOP)))
            target = step.readlink()
            here = Path("/") if target.is_absolute() else here
            todo += reversed([name for name in target.parts if name != "/"])
        else:
            here = step


def _lstat(path: Path) -> os.stat_result:
    try:
        return path.lstat()
    except OSError as error:
        raise os_failure("read", path, error) from None


def _require_kind(path: Path, mode: int, is_kind: Callable[[int], bool], kind: str) -> None:
    if not is_kind(mode):
        what = "a symbolic link" if stat.S_ISLNK(mode) else "something else"
        raise not_what_it_should_be(path, kind, what)


def _require_owner(path: Path, found: os.stat_result) -> None:
    if found.st_uid != os.geteuid():
        raise FailedError(
            "SR-FILE-002",
            f"{path} belongs to uid {found.st_uid}, not to you (uid {os.geteuid()})",
            fix="run as its owner, or choose another directory with SECURE_RAY_HOME",
        )
