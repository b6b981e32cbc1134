"""Private files and directories: made, read, written, replaced, removed.

Whatever is there already is checked before it is used (`base.ownership`). Writing is all or
nothing: temporary file, fsync, rename, fsync of the directory.
"""

from __future__ import annotations

import os
import secrets
import shutil
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

from secure_ray.base.errors import FailedError
from secure_ray.base.file_errors import not_what_it_should_be, os_failure
from secure_ray.base.ownership import require_ours, require_private_directory

if TYPE_CHECKING:
    from pathlib import Path

PRIVATE_DIRECTORY = 0o700
PRIVATE_FILE = 0o600


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
        raise os_failure("make", path, error) from None
    require_private_directory(path)


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
        raise os_failure("read", path, error) from None
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
        raise os_failure("read", path, error) from None
    try:
        # Before it becomes a file object: that refuses a directory with an error of its own.
        require_ours(path, os.fstat(descriptor), stat.S_ISREG, "a regular file")
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
        raise os_failure("write", path, error) from None
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
        raise os_failure("write", link, error) from None
    finally:
        _remove_leftover(temporary)


def remove_tree(path: Path) -> None:
    """Remove a directory of ours and all in it; links inside are removed, not followed.

    Raises:
        FailedError: `path` is a link, or something in it cannot be removed.
    """
    if path.is_symlink():
        raise not_what_it_should_be(path, "a directory", "a symbolic link")
    try:
        shutil.rmtree(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise os_failure("remove", path, error) from None


def free_bytes(path: Path) -> int:
    """Bytes that we may still write on the file system of `path` or of its nearest ancestor."""
    while not os.path.exists(path):  # noqa: PTH110  # Path.exists raises where we may not look
        path = path.parent
    return shutil.disk_usage(path).free


def _remove_leftover(temporary: Path) -> None:
    # The reason why it is left over is on its way up already; on a read-only file system or in a
    # directory that is none, removing fails too, and must not take that reason's place.
    with suppress(OSError):
        temporary.unlink()
