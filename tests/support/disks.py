"""Small file systems that a test can fill; they need root."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def small_disk(at: Path) -> Iterator[None]:
    """A file system of 4 MiB."""
    at.mkdir(mode=0o700)
    words = "size=4m,mode=0700"
    subprocess.run(["mount", "-t", "tmpfs", "-o", words, "srt", at], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", at], check=True)


def fill(file_system: Path) -> Path:
    """Take the last byte of `file_system`; returns the file to remove again."""
    filling = file_system / "filling"
    with filling.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(1 << 12))
    filling.chmod(0o600)
    return filling
