"""The errors of files and directories: what was found instead, and what the system refused."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from secure_ray.base.errors import FailedError

if TYPE_CHECKING:
    from pathlib import Path


def not_what_it_should_be(path: Path, kind: str, what: str) -> FailedError:
    """There is `what` at `path` where there should be `kind`."""
    return FailedError(
        "SR-FILE-001",
        f"{path} should be {kind} but is {what}",
        fix=f"find out who made it (ls -ld {path}), then remove it",
    )


def os_failure(verb: str, path: Path, error: OSError) -> FailedError:
    """The system refused to `verb` (read, write, lock) `path`."""
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
