"""A home that cannot be written, is full, or is open to others: one clear error, nothing lost."""

from __future__ import annotations

import os
import subprocess
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from secure_ray.base.clock import utc_now
from support.clusters import Machine
from support.disks import fill, small_disk
from support.states import prepare_state

if TYPE_CHECKING:
    from pathlib import Path

NOBODY = 65534
# Root without its power over files: as any user stands before a directory that denies writing.
ORDINARY = ("setpriv", "--bounding-set=-dac_override,-dac_read_search", "--")
TASK = "import ray; ray.init(); print(ray.get(ray.remote(lambda: 'done').remote()))"
UP = ("up", "--head", "--num-cpus", "1")


def require_one_error(machine: Machine, code: str, *, arguments: tuple[str, ...] = UP) -> str:
    """`up` fails with `code` and exit code 4, says so in one error, and starts nothing."""
    result = machine.run(*arguments)

    assert result.returncode == 4, result.stderr
    errors = [line for line in result.stderr.splitlines() if line.startswith("error")]
    assert len(errors) == 1
    assert code in errors[0]
    assert "fix:" in result.stderr
    assert "Traceback" not in result.stderr
    return result.stderr


@pytest.mark.parametrize("name", ["state", "state/clusters/default", "state/clusters/default/pki"])
def test_directory_that_others_can_read_is_refused(machine: Machine, name: str) -> None:
    prepare_state(machine)
    directory = machine.home / name
    directory.chmod(0o750)

    messages = require_one_error(machine, "SR-FILE-002")

    assert f"chmod go-rwx {directory}" in messages


@pytest.mark.root
@pytest.mark.parametrize(
    "name", ["state", "state/clusters/default", "state/clusters/default/token"]
)
def test_what_belongs_to_another_user_is_refused(machine: Machine, name: str) -> None:
    prepare_state(machine)
    os.chown(machine.home / name, NOBODY, NOBODY)

    messages = require_one_error(machine, "SR-FILE-00")

    assert f"uid {NOBODY}" in messages
    os.chown(machine.home / name, 0, 0)


@pytest.mark.root
def test_home_that_may_not_be_written(home: Path) -> None:
    machine = Machine(home, prefix=ORDINARY)
    home.chmod(0o500)

    require_one_error(machine, "SR-FILE-004")

    home.chmod(0o700)
    assert not machine.state.exists()


@pytest.mark.root
def test_read_only_file_system(machine: Machine) -> None:
    with small_disk(machine.state):
        prepare = ["mount", "-o", "remount,ro", str(machine.state)]
        subprocess.run(prepare, check=True)

        require_one_error(machine, "SR-FILE-004")


@pytest.mark.root
@pytest.mark.ray
def test_full_disk_and_the_run_after(machine: Machine) -> None:
    """The error comes from the limit first, and where that is lowered, from the disk itself."""
    with small_disk(machine.state):
        require_one_error(machine, "SR-FILE-006")
        machine.variables["SECURE_RAY_LIMITS__MIN_FREE_DISK"] = "0"
        filling = fill(machine.state)
        require_one_error(machine, "SR-FILE-006")

        filling.unlink()
        machine.up("--num-cpus", "1")
        assert machine.driver(TASK).stdout.strip() == "done"
        machine.clean()


def content_of(directory: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


@pytest.mark.root
@pytest.mark.ray
def test_full_disk_under_a_cluster_keeps_what_it_has(machine: Machine) -> None:
    """Its leaf is due, so that there are keys to write and an old one to lose."""
    machine.variables["SECURE_RAY_LIMITS__MIN_FREE_DISK"] = "0"
    with small_disk(machine.state):
        prepare_state(machine, now=utc_now() - timedelta(days=60))
        before = content_of(machine.cluster_directory())
        filling = fill(machine.state)

        require_one_error(machine, "SR-FILE-006")

        assert before.items() <= content_of(machine.cluster_directory()).items()
        filling.unlink()
        assert "leaf renewed" in machine.run(*UP).stderr
        assert machine.driver(TASK).stdout.strip() == "done"
        machine.clean()


@pytest.mark.ray
def test_spaces_and_unicode_in_the_path(home: Path) -> None:
    odd = home / "a  home 'ü' 状态 $HOME"
    odd.mkdir(mode=0o700)
    machine = Machine(odd)
    try:
        machine.up("--num-cpus", "1")
        done = machine.driver(TASK)
        down = machine.run("down")
    finally:
        machine.clean()

    assert done.stdout.strip() == "done", done.stderr
    assert down.returncode == 0
    assert machine.processes() == []
