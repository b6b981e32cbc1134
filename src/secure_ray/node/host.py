"""What this host has, read from where the kernel says it."""

from __future__ import annotations

import contextlib
import math
import os
import re
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from secure_ray.node.cgroups import cpu_quota, memory_limit, read
from secure_ray.policy.limits import Host

if TYPE_CHECKING:
    from collections.abc import Mapping

_NEEDED_CONTROLLERS = {"cpu", "memory"}


@dataclass(frozen=True)
class Roots:
    """Where the kernel tells of the host."""

    proc: Path = Path("/proc")
    sys: Path = Path("/sys")
    dev: Path = Path("/dev")

    @property
    def cgroup(self) -> Path:
        """Where the control groups are mounted."""
        return self.sys / "fs/cgroup"


_KERNEL = Roots()


def read_host(environ: Mapping[str, str], roots: Roots = _KERNEL) -> Host:
    """CPUs, memory, shared memory and GPUs that this process may use now.

    Args:
        environ: Where CUDA_VISIBLE_DEVICES is looked for.
        roots: Where the kernel tells of the host.
    """
    return Host(
        cpus=_usable_cpus(roots),
        memory=_usable_memory(roots),
        shared_memory=_free_shared_memory(roots),
        gpus=_count_gpus(environ, roots),
        isolation_obstacle=isolation_obstacle(roots),
        cgroup=str(own_cgroup(roots)),
    )


def read_versions() -> dict[str, str]:
    """Versions of Ray and of the packages that carry its traffic, by name; no import of Ray.

    Ray's runtime-env agent brings an aiohttp of its own (Ray 2.60.0,
    `_private/runtime_env/agent/thirdparty_files`), which no package manager sees.
    """
    versions = {}
    for package in ("ray", "aiohttp", "grpcio"):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    if "ray" in versions:
        # One that is not where it was is not one less: the audit then says that it cannot tell.
        versions["aiohttp (vendored by ray)"] = _vendored_aiohttp() or "unknown"
    return versions


def _vendored_aiohttp() -> str:
    try:
        files = metadata.distribution("ray").locate_file("ray")
    except metadata.PackageNotFoundError:
        return ""
    init = Path(str(files)) / "_private/runtime_env/agent/thirdparty_files/aiohttp/__init__.py"
    try:
        found = re.search(r'^__version__ = "([^"]+)"', init.read_text(), re.MULTILINE)
    except OSError:
        return ""
    return found.group(1) if found else ""


def _usable_cpus(roots: Roots) -> int:
    affinity = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    quota = cpu_quota(read(roots.proc / "self/cgroup"), roots.cgroup)
    return max(1, min(affinity, math.ceil(quota))) if math.isfinite(quota) else affinity


def _usable_memory(roots: Roots) -> int:
    import psutil

    limit = memory_limit(read(roots.proc / "self/cgroup"), roots.cgroup)
    return int(min(psutil.virtual_memory().total, limit))


def _free_shared_memory(roots: Roots) -> int | None:
    if sys.platform != "linux":
        return None  # Ray keeps objects in files there
    try:
        stat = os.statvfs(roots.dev / "shm")
    except OSError:
        return None
    return stat.f_bavail * stat.f_frsize


def _count_gpus(environ: Mapping[str, str], roots: Roots) -> int:
    """GPUs of NVIDIA's and AMD's drivers; the others Ray finds by itself."""
    visible = environ.get("CUDA_VISIBLE_DEVICES")
    devices = len(list(roots.dev.glob("nvidia[0-9]*"))) or _count_amd(roots)
    if visible is None:
        return devices
    listed = [word for word in visible.split(",") if word.strip() not in {"", "-1", "NoDevFiles"}]
    return min(devices, len(listed))


def _count_amd(roots: Roots) -> int:
    nodes = (roots.sys / "class/kfd/kfd/topology/nodes").glob("*/gpu_id")
    return sum(1 for node in nodes if read(node) not in {"", "0"})


def own_cgroup(roots: Roots = _KERNEL) -> Path:
    """The control group of this process in version 2; below a mount that shows only a part, that."""
    lines = read(roots.proc / "self/cgroup").splitlines()
    path = next((line[3:] for line in lines if line.startswith("0::")), "/")
    parts = [] if ".." in path.split("/") else path.strip("/").split("/")
    group = roots.cgroup.joinpath(*parts)
    return group if group.is_dir() else roots.cgroup


def isolation_obstacle(roots: Roots = _KERNEL) -> str:
    """Why `ray start --enable-resource-isolation` cannot work in `own_cgroup`; "" when it can.

    Ray needs cgroup version 2 alone, its cpu and memory controllers, and the right to write there
    (Ray 2.60.0, _private/resource_isolation_config.py). It then moves every process of that group
    into one below it (`MoveAllProcesses`, src/ray/common/cgroup2/cgroup_manager.cc): of the host's
    root that cannot work, kernel threads do not move, and of a login's group it must not, for those
    are systemd's (https://systemd.io/CGROUP_DELEGATION). Where it fails raylet aborts and `ray
    start` leaves half of its processes behind, so it is checked before.
    """
    kinds = {
        fields[2]
        for fields in (line.split() for line in read(roots.proc / "mounts").splitlines())
        if len(fields) > 2 and fields[2].startswith("cgroup")  # noqa: PLR2004  # fstab(5) fields
    }
    if kinds != {"cgroup2"}:
        return "the host does not use cgroup version 2 alone"
    group = own_cgroup(roots)
    # cgroups(7): only the root of the hierarchy has none.
    if not (group / "cgroup.events").exists():
        return f"{group} is the host's own control group"
    missing = _NEEDED_CONTROLLERS - set(read(group / "cgroup.controllers").split())
    if missing:
        return f"the cgroup controllers {', '.join(sorted(missing))} are not available"
    if not os.access(group, os.W_OK) or not os.access(group / "cgroup.procs", os.W_OK):
        return f"{group} cannot be written"
    if group != roots.cgroup and not _is_delegated(group):
        return f"{group} is not delegated to Ray (a systemd unit with Delegate=yes has one that is)"
    return ""


def _is_delegated(group: Path) -> bool:
    for name in ("user.delegate", "trusted.delegate"):
        with contextlib.suppress(OSError):
            if os.getxattr(group, name) == b"1":
                return True
    return False
