"""What the control groups of this process leave to it: CPUs and memory.

A group's limit counts for all groups below it, so those above are asked too and the smallest wins.
Version 1 has a tree for each controller, version 2 has one for all, and both may be mounted at
once (cgroups(7)). In a container the path in /proc may be the host's and not be there: then the
ones above it are asked, up to the mount point, which is the container's own group.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def memory_limit(cgroups: str, mount: Path) -> float:
    """Bytes that this process and those beside it may use; infinite without a limit.

    Args:
        cgroups: The content of /proc/self/cgroup.
        mount: Where the control groups are, /sys/fs/cgroup.
    """
    limits = [
        _number(group / name)
        for group in _groups(cgroups, mount, "memory")
        for name in ("memory.max", "memory.limit_in_bytes")
    ]
    return min(limits, default=math.inf)


def cpu_quota(cgroups: str, mount: Path) -> float:
    """CPUs' worth of time, a fraction perhaps; infinite without a quota. Arguments as above."""
    return min((_quota(group) for group in _groups(cgroups, mount, "cpu")), default=math.inf)


def _groups(cgroups: str, mount: Path, controller: str) -> Iterator[Path]:
    """The directories of the process's groups for `controller`, and of all above them."""
    for line in cgroups.splitlines() or ["0::/"]:
        rest = line.partition(":")[2]
        controllers, _, path = rest.partition(":")
        if not controllers:
            trees = [mount, mount / "unified"]
        elif controller in controllers.split(","):
            trees = [mount / controller, mount / controllers]
        else:
            continue
        # With ".." it begins outside of what is mounted here: the mount point is the nearest.
        parts = [] if ".." in path.split("/") else path.strip("/").split("/")
        for tree in trees:
            yield from (tree.joinpath(*parts[:depth]) for depth in range(len(parts) + 1))


def _quota(group: Path) -> float:
    words = read(group / "cpu.max").split() or [
        read(group / "cpu.cfs_quota_us"),
        read(group / "cpu.cfs_period_us"),
    ]
    if len(words) == 2 and all(word.isdigit() for word in words) and int(words[1]):  # noqa: PLR2004
        return int(words[0]) / int(words[1])
    return math.inf


def _number(path: Path) -> float:
    text = read(path)
    return int(text) if text.isdigit() else math.inf


def read(path: Path) -> str:
    """The file's text without the white space around it; "" where it cannot be read."""
    try:
        return path.read_text().strip()
    except (OSError, ValueError):
        return ""
