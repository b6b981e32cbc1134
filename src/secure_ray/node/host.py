"""What this host has, read from where the kernel says it."""

from __future__ import annotations

import math
import os
import re
import sys
from importlib import metadata
from pathlib import Path

from secure_ray.policy.limits import Host

_CGROUP = Path("/sys/fs/cgroup")
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  # where Ray keeps objects on Linux
_NEEDED_CONTROLLERS = {"cpu", "memory"}


def read_host() -> Host:
    """CPUs, memory, shared memory and GPUs that this process may use now."""
    return Host(
        cpus=_usable_cpus(),
        memory=_usable_memory(),
        shared_memory=_free_shared_memory(),
        gpus=_count_gpus(),
        isolation_obstacle=isolation_obstacle(),
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
    vendored = _vendored_aiohttp()
    if vendored:
        versions["aiohttp (vendored by ray)"] = vendored
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


def _usable_cpus() -> int:
    affinity = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    quota = _cpu_quota()
    return max(1, min(affinity, math.ceil(quota))) if math.isfinite(quota) else affinity


def _cpu_quota() -> float:
    for limit, period in (
        ("cpu.max", None),
        ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"),
    ):
        words = _read(_own_cgroup(limit) if period is None else _CGROUP / limit).split()
        if period is not None:
            words += _read(_CGROUP / period).split()
        if len(words) == 2 and words[0].isdigit():  # noqa: PLR2004  # quota and period
            return int(words[0]) / int(words[1])
    return math.inf


def _usable_memory() -> int:
    import psutil

    limits = [psutil.virtual_memory().total]
    for path in (
        _own_cgroup("memory.max"),
        _CGROUP / "memory.max",
        _CGROUP / "memory/memory.limit_in_bytes",
    ):
        text = _read(path)
        if text.isdigit():
            limits.append(int(text))
    return min(limits)


def _own_cgroup(name: str) -> Path:
    """The file `name` of this process's own cgroup (version 2)."""
    for line in _read(Path("/proc/self/cgroup")).splitlines():
        if line.startswith("0::"):
            return _CGROUP / line[3:].lstrip("/") / name
    return _CGROUP / name


def _free_shared_memory() -> int | None:
    if sys.platform != "linux":
        return None
    try:
        stat = os.statvfs(_SHARED_MEMORY)
    except OSError:
        return None
    return stat.f_bavail * stat.f_frsize


def _count_gpus() -> int:
    """GPUs of NVIDIA's and AMD's drivers; the others Ray finds by itself."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    devices = len(list(Path("/dev").glob("nvidia[0-9]*"))) or _count_amd()
    if visible is None:
        return devices
    listed = [word for word in visible.split(",") if word.strip() not in {"", "-1", "NoDevFiles"}]
    return min(devices, len(listed))


def _count_amd() -> int:
    nodes = Path("/sys/class/kfd/kfd/topology/nodes").glob("*/gpu_id")
    return sum(1 for node in nodes if _read(node) not in {"", "0"})


def isolation_obstacle(mounts: str | None = None, group: Path = _CGROUP) -> str:
    """Why `ray start --enable-resource-isolation` cannot work here; "" when it can.

    Ray needs cgroup version 2 alone, its cpu and memory controllers, and the right to write there
    (Ray 2.60.0, _private/resource_isolation_config.py). Without them raylet aborts and `ray start`
    leaves half of its processes behind, so it is checked before.
    """
    if mounts is None:
        mounts = _read(Path("/proc/mounts"))
    kinds = {
        fields[2]
        for fields in (line.split() for line in mounts.splitlines())
        if len(fields) > 2 and fields[2].startswith("cgroup")  # noqa: PLR2004  # fstab(5) fields
    }
    if kinds != {"cgroup2"}:
        return "the host does not use cgroup version 2 alone"
    missing = _NEEDED_CONTROLLERS - set(_read(group / "cgroup.controllers").split())
    if missing:
        return f"the cgroup controllers {', '.join(sorted(missing))} are not available"
    if not os.access(group, os.W_OK) or not os.access(group / "cgroup.procs", os.W_OK):
        return f"{group} cannot be written"
    return ""


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except (OSError, ValueError):
        return ""
