"""Limits of control groups, in trees as the kernel shows them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secure_ray.node.cgroups import cpu_quota, memory_limit

if TYPE_CHECKING:
    from pathlib import Path

    Tree = dict[str, str]

V2 = "0::/user.slice/app"
V1 = "4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n1:name=systemd:/docker/abc\n"


def plant(mount: Path, tree: Tree) -> Path:
    for name, text in tree.items():
        path = mount / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    return mount


@pytest.mark.parametrize(
    ("cgroups", "tree", "expected"),
    [
        (V2, {"user.slice/app/memory.max": "1000"}, 1000),
        (V2, {"user.slice/memory.max": "900", "user.slice/app/memory.max": "max"}, 900),
        (V2, {"user.slice/memory.max": "900", "user.slice/app/memory.max": "1000"}, 900),
        (V2, {"user.slice/memory.max": "900", "user.slice/app/memory.max": "800"}, 800),
        (V2, {"memory.max": "700"}, 700),
        (V2, {"user.slice/app/memory.max": "max"}, math.inf),
        (V2, {"user.slice/other/memory.max": "1"}, math.inf),
        (V2, {"user.slice/app/memory.max": "no number"}, math.inf),
        (V2, {}, math.inf),
        ("0::/", {"memory.max": "700"}, 700),
        ("0::/../..", {"memory.max": "700", "../memory.max": "1"}, 700),
        ("0::/gone/abc", {"memory.max": "700"}, 700),
        (V1, {"memory/docker/abc/memory.limit_in_bytes": "1000"}, 1000),
        (V1, {"memory/docker/memory.limit_in_bytes": "900"}, 900),
        # A container that sees its own group as the root, and the host's path in /proc.
        (V1, {"memory/memory.limit_in_bytes": "800"}, 800),
        (V1, {"docker/abc/memory.max": "1"}, math.inf),
        # Hybrid: version 2 without controllers beside version 1.
        (V1 + "0::/x", {"memory/docker/abc/memory.limit_in_bytes": "5", "unified/x/y": ""}, 5),
        ("", {"memory.max": "700"}, 700),
        ("garbage", {"memory.max": "700"}, 700),
    ],
)
def test_smallest_memory_limit_wins(
    tmp_path: Path, cgroups: str, tree: Tree, expected: float
) -> None:
    assert memory_limit(cgroups, plant(tmp_path / "cgroup", tree)) == expected


@pytest.mark.parametrize(
    ("cgroups", "tree", "expected"),
    [
        (V2, {"user.slice/app/cpu.max": "150000 100000"}, 1.5),
        (V2, {"user.slice/app/cpu.max": "max 100000", "user.slice/cpu.max": "50000 100000"}, 0.5),
        (V2, {"user.slice/app/cpu.max": "400000 100000", "cpu.max": "200000 100000"}, 2),
        (V2, {"user.slice/app/cpu.max": "max 100000"}, math.inf),
        (V2, {"user.slice/app/cpu.max": "100000"}, math.inf),
        (V2, {"user.slice/app/cpu.max": "100000 0"}, math.inf),
        (
            V1,
            {
                "cpu/docker/abc/cpu.cfs_quota_us": "300000",
                "cpu/docker/abc/cpu.cfs_period_us": "100000",
            },
            3,
        ),
        (
            V1,
            {
                "cpu,cpuacct/docker/cpu.cfs_quota_us": "50000",
                "cpu,cpuacct/docker/cpu.cfs_period_us": "100000",
            },
            0.5,
        ),
        (V1, {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, math.inf),
        (V1, {"cpu/cpu.cfs_quota_us": "100000"}, math.inf),
        ("", {}, math.inf),
    ],
)
def test_smallest_quota_wins(tmp_path: Path, cgroups: str, tree: Tree, expected: float) -> None:
    assert cpu_quota(cgroups, plant(tmp_path / "cgroup", tree)) == expected


@given(st.text(alphabet="0:/.abmemorycpu,\n"))
def test_no_text_in_proc_leads_out_of_the_mount_or_fails(cgroups: str) -> None:
    from pathlib import Path

    assert memory_limit(cgroups, Path("/nowhere")) == math.inf
    assert cpu_quota(cgroups, Path("/nowhere")) == math.inf
