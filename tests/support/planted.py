"""What somebody else may have put where a file of ours should be."""

import os
import stat
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from secure_ray.base.errors import FailedError

SOMEBODY = 65534  # nobody
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="gives a file to somebody else")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def fails(code: str, *words: str) -> AbstractContextManager[object]:
    return pytest.raises(FailedError, match=".*".join([code, *words]))


def raiser(number: int) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


def make_link(path: Path) -> None:
    path.with_name("target").write_bytes(b"planted")
    path.with_name("target").chmod(0o600)
    path.symlink_to("target")


def make_readable(path: Path) -> None:
    path.touch()
    path.chmod(0o640)


def make_directory(path: Path) -> None:
    path.mkdir(mode=0o700)


def make_pipe(path: Path) -> None:
    os.mkfifo(path, 0o600)
