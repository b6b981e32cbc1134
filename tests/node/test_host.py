"""What the host has, read from trees as the kernel shows them."""

from __future__ import annotations

import os
import sys
from importlib import metadata
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from secure_ray.node.host import Roots, isolation_obstacle, own_cgroup, read_host, read_versions

if TYPE_CHECKING:
    from pathlib import Path

linux = pytest.mark.skipif(sys.platform != "linux", reason="affinity and /dev/shm are Linux")
V2_ONLY = "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\ntmpfs /tmp tmpfs rw 0 0"
V1_ONLY = "cgroup /sys/fs/cgroup/cpu cgroup rw 0 0"


@pytest.fixture
def roots(tmp_path: Path) -> Roots:
    """A host without limits and without GPUs."""
    roots = Roots(tmp_path / "proc", tmp_path / "sys", tmp_path / "dev")
    write(roots.proc / "self/cgroup", "0::/app")
    write(roots.proc / "mounts", V2_ONLY)
    write(roots.cgroup / "cgroup.controllers", "cpuset cpu io memory pids")
    write(roots.cgroup / "cgroup.procs", "")
    (roots.dev / "shm").mkdir(parents=True)
    return roots


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_memory_is_what_the_group_leaves(roots: Roots) -> None:
    whole = psutil.virtual_memory().total
    assert read_host({}, roots).memory == whole

    write(roots.cgroup / "app/memory.max", str(1 << 30))
    assert read_host({}, roots).memory == 1 << 30

    # Version 1 says "no limit" with a number larger than any memory.
    write(roots.cgroup / "app/memory.max", str((1 << 63) - 4096))
    assert read_host({}, roots).memory == whole


@linux
@pytest.mark.parametrize(
    ("affinity", "quota", "expected"),
    [
        (8, "max 100000", 8),
        (8, "250000 100000", 3),
        (2, "800000 100000", 2),
        (8, "10000 100000", 1),
        (8, "0 100000", 1),
    ],
)
def test_cpus_by_affinity_and_quota(
    roots: Roots, monkeypatch: pytest.MonkeyPatch, affinity: int, quota: str, expected: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(affinity)))
    write(roots.cgroup / "app/cpu.max", quota)

    assert read_host({}, roots).cpus == expected


@linux
def test_shared_memory_is_what_is_free(roots: Roots, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def statvfs(path: Path) -> Any:
        asked.append(path)
        return SimpleNamespace(f_bavail=1024, f_frsize=4096)

    monkeypatch.setattr(os, "statvfs", statvfs)

    assert read_host({}, roots).shared_memory == 1024 * 4096
    assert asked == [roots.dev / "shm"]


@linux
def test_host_without_shared_memory(roots: Roots) -> None:
    (roots.dev / "shm").rmdir()

    assert read_host({}, roots).shared_memory is None


@pytest.mark.parametrize(
    ("nvidia", "visible", "expected"),
    [
        (0, None, 0),
        (4, None, 4),
        (4, "0,1", 2),
        (4, "", 0),
        (4, "-1", 0),
        (4, "NoDevFiles", 0),
        (1, "0,1,2", 1),
        (2, "GPU-1234", 1),
        (0, "0", 0),
    ],
)
def test_gpus_are_those_that_are_there_and_visible(
    roots: Roots, nvidia: int, visible: str | None, expected: int
) -> None:
    for name in ("nvidiactl", "nvidia-uvm", *(f"nvidia{index}" for index in range(nvidia))):
        write(roots.dev / name, "")
    environ = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}

    assert read_host(environ, roots).gpus == expected


def test_amd_gpus_are_nodes_with_a_gpu(roots: Roots) -> None:
    for index, gpu in enumerate(("0", "51234", "51235")):
        write(roots.sys / f"class/kfd/kfd/topology/nodes/{index}/gpu_id", f"{gpu}\n")

    assert read_host({}, roots).gpus == 2


@pytest.mark.parametrize(
    ("mounts", "controllers", "procs", "obstacle"),
    [
        (V2_ONLY, "cpu memory", True, ""),
        (V1_ONLY, "cpu memory", True, "the host does not use cgroup version 2 alone"),
        (
            f"{V2_ONLY}\n{V1_ONLY}",
            "cpu memory",
            True,
            "the host does not use cgroup version 2 alone",
        ),
        ("", "cpu memory", True, "the host does not use cgroup version 2 alone"),
        ("a b", "cpu memory", True, "the host does not use cgroup version 2 alone"),
        (V2_ONLY, "memory", True, "the cgroup controllers cpu are not available"),
        (V2_ONLY, "", True, "the cgroup controllers cpu, memory are not available"),
        (V2_ONLY, "cpu memory", False, "cannot be written"),
    ],
    ids=["fine", "v1", "hybrid", "none", "garbage", "no cpu", "no controllers", "not ours"],
)
def test_obstacles_to_resource_isolation(
    roots: Roots, mounts: str, controllers: str, obstacle: str, *, procs: bool
) -> None:
    write(roots.proc / "mounts", mounts)
    write(roots.proc / "self/cgroup", "0::/")
    write(roots.cgroup / "cgroup.events", "populated 1")
    write(roots.cgroup / "cgroup.controllers", controllers)
    if not procs:
        (roots.cgroup / "cgroup.procs").unlink()

    found = isolation_obstacle(roots)

    assert found.endswith(obstacle)
    assert bool(found) == bool(obstacle)
    assert read_host({}, roots).isolation_obstacle == found


def test_root_of_all_groups_is_not_rays_to_move(roots: Roots) -> None:
    """Kernel threads are there; raylet would abort half-way."""
    write(roots.proc / "self/cgroup", "0::/")
    write(roots.cgroup / "cgroup.controllers", "cpu memory")

    assert "the host's own control group" in isolation_obstacle(roots)


@pytest.mark.parametrize(
    ("delegated", "obstacle"), [(b"1", ""), (b"0", "not delegated"), (None, "not delegated")]
)
def test_group_of_a_unit_has_to_be_delegated(
    roots: Roots, monkeypatch: pytest.MonkeyPatch, delegated: bytes | None, obstacle: str
) -> None:
    """Else Ray would move the shells of a login."""
    group = roots.cgroup / "system.slice/secure-ray.service"
    write(roots.proc / "mounts", V2_ONLY)
    write(roots.proc / "self/cgroup", "0::/system.slice/secure-ray.service\n")
    for name in ("cgroup.events", "cgroup.procs"):
        write(group / name, "")
    write(group / "cgroup.controllers", "cpu memory")

    def getxattr(path: Path, name: str) -> bytes:
        if delegated is None or (path, name) != (group, "user.delegate"):
            raise OSError
        return delegated

    monkeypatch.setattr("os.getxattr", getxattr)

    assert obstacle in isolation_obstacle(roots)
    assert bool(isolation_obstacle(roots)) == bool(obstacle)
    assert own_cgroup(roots) == group


def test_this_host_can_be_read() -> None:
    host = read_host({})

    assert 1 <= host.cpus <= (os.cpu_count() or 1)
    assert 0 < host.memory <= psutil.virtual_memory().total


def test_versions_are_those_that_are_installed() -> None:
    versions = read_versions()

    assert versions["ray"] == metadata.version("ray")
    assert versions["aiohttp"] == metadata.version("aiohttp")
    # What no package manager sees: Ray's own copy.
    assert versions["aiohttp (vendored by ray)"].count(".") == 2


def test_versions_without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    monkeypatch.setattr(metadata, "distribution", missing)

    assert read_versions() == {}


def test_copy_inside_of_ray_that_is_not_found_is_not_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("secure_ray.node.host._vendored_aiohttp", lambda: "")

    assert read_versions()["aiohttp (vendored by ray)"] == "unknown"
