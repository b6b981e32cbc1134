"""Two users of one host, each with a cluster: they run side by side and do not meet."""

from __future__ import annotations

import os
import shutil
import stat
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from support.clusters import Machine

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.ray, pytest.mark.root]

NOBODY = 65534
AS_NOBODY = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--")
PYTHON = Path(sys.base_prefix).resolve()
# Python may lie below a directory that only this user enters (pyenv in /root): in a mount namespace
# of its own the other user gets an open one in its place, with nothing but Python in it.
OPENED = """
umask 022
mount --bind "$1" "$2" && mount -t tmpfs -o mode=755 none "$3" && mkdir -p "$1" &&
mount --bind "$2" "$1" && shift 3 && exec "$@"
"""
ADD = """
import ray
ray.init(log_to_driver=False)
@ray.remote
def who():
    import os
    return os.geteuid()
print(ray.get(who.remote()), ray.get_runtime_context().gcs_address)
"""


def as_nobody(spare: Path) -> tuple[str, ...]:
    """What to put before a command; `spare` is an empty directory."""
    closed = [place for place in PYTHON.parents if not place.stat().st_mode & stat.S_IXOTH]
    if not closed:
        return AS_NOBODY
    places = (str(PYTHON), str(spare), str(closed[-1]))
    return ("unshare", "--mount", "sh", "-c", OPENED, "sh", *places, *AS_NOBODY)


@pytest.fixture(scope="module")
def other() -> Iterator[Machine]:
    """Another user's machine, with a running cluster."""
    directory = Path(tempfile.mkdtemp(prefix="srt-"))
    (directory / "python").mkdir()
    machine = Machine(directory, prefix=as_nobody(directory / "python"))
    for path in (directory, *directory.iterdir()):
        os.chown(path, NOBODY, NOBODY)
    try:
        machine.up("--num-cpus", "1", "--object-store-memory", "100MiB")
        yield machine
    finally:
        machine.clean()
        shutil.rmtree(directory, ignore_errors=True)


def ports(facts: dict[str, Any]) -> set[int]:
    """Every port that a cluster has, those for its workers included."""
    first, _, last = facts["worker_ports"].partition("-")
    return {entry["port"] for entry in facts["ports"]} | set(range(int(first), int(last) + 1))


def test_both_run_and_share_nothing(running: Machine, other: Machine) -> None:
    theirs, ours = other.status(), running.status()

    assert theirs["state"] == ours["state"] == "running"
    assert ports(theirs).isdisjoint(ports(ours))
    assert {process.uids().real for process in other.processes()} == {NOBODY}
    assert {process.uids().real for process in running.processes()} == {os.geteuid()}
    for secret in ("token", "pki/node/current/ca.crt"):
        own = (running.cluster_directory() / secret).read_bytes()
        assert (other.cluster_directory() / secret).read_bytes() != own
    assert other.identity()["run"] != running.identity()["run"]


def test_each_program_reaches_the_cluster_of_its_user(running: Machine, other: Machine) -> None:
    for machine, uid in ((other, NOBODY), (running, os.geteuid())):
        result = machine.driver(ADD)
        gcs = next(one["port"] for one in machine.status()["ports"] if one["component"] == "gcs")

        assert result.stdout.splitlines()[-1] == f"{uid} 127.0.0.1:{gcs}", result.stderr


def test_both_are_proven_while_the_other_runs(running: Machine, other: Machine) -> None:
    for machine in (other, running):
        lines = machine.run("audit").stdout.splitlines()
        # Versions and overrides (050, 060) are the affair of the matrix.
        off = [line for line in lines if line.startswith(("fail", "error"))]

        assert [line for line in off if "SR-AUDIT-050" not in line and "060" not in line] == []
        assert sum(line.startswith("pass") for line in lines) >= 15


def test_neither_user_takes_the_others_cluster_for_theirs(running: Machine, other: Machine) -> None:
    result = other.run("status", environment={"SECURE_RAY_HOME": str(running.state)})

    assert result.returncode == 4
    assert "SR-FILE-" in result.stderr


def test_down_and_up_of_one_leaves_the_other_as_it_is(running: Machine, other: Machine) -> None:
    before = {process.pid for process in running.processes()}

    assert other.run("down").returncode == 0
    assert other.processes() == []
    other.up("--num-cpus", "1", "--object-store-memory", "100MiB")

    core = {running.record()["supervisor"]["pid"], running.record()["ray"]["pid"]}
    assert core <= before & {process.pid for process in running.processes()}
    assert running.status()["state"] == "running"
