"""Something planted where secure-ray or Ray keeps its files: it is refused, and never followed.

Nobody else can write below the private directories; what is there wrongly comes from a mistake, a
restored backup, or a time when the directories were open.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from secure_ray.base.clock import utc_now
from secure_ray.base.errors import FailedError
from secure_ray.cli.main import main
from support.states import prepare_state

if TYPE_CHECKING:
    from support.clusters import Machine

CLUSTER = "state/clusters/default"
DIRECTORIES = (
    "state",
    "state/clusters",
    "state/passphrases",
    CLUSTER,
    f"{CLUSTER}/pki",
    f"{CLUSTER}/pki/node",
    f"{CLUSTER}/spill",
    "RUN",
    "RUN/ray",
    "RUN/tmp",
)
FILES = (
    "state/passphrases/default",
    f"{CLUSTER}/cluster.json",
    f"{CLUSTER}/instance.json",
    f"{CLUSTER}/lock",
    f"{CLUSTER}/supervisor.lock",
    f"{CLUSTER}/supervisor.log",
    f"{CLUSTER}/token",
    f"{CLUSTER}/pki/lock",
    f"{CLUSTER}/pki/authority/a0001/root.crt",
    f"{CLUSTER}/pki/authority/a0001/issuing.crt",
    f"{CLUSTER}/pki/authority/a0001/issuing.key",
    f"{CLUSTER}/pki/node/current",
    "RUN/control.sock",
)


def located(machine: Machine, name: str) -> Path:
    """The path `name`; RUN stands for the recorded run directory."""
    if name.startswith("RUN"):
        return Path(machine.identity()["run"] + name.removeprefix("RUN"))
    return machine.home / name


def picture(path: Path) -> list[tuple[str, int, bytes]]:
    """All that is at and below `path`: names, modes and contents."""
    found = [path, *sorted(path.rglob("*"))] if path.is_dir() else [path]
    return [(str(entry), stat.S_IMODE(entry.lstat().st_mode), _content(entry)) for entry in found]


def _content(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() and not path.is_symlink() else b""


def plant_link(path: Path, victim: Path) -> None:
    """A link at `path` to `victim`, which gets what was at `path` before."""
    if path.exists():
        path.rename(victim)
    elif path.name in {"ray", "tmp", "spill"}:
        victim.mkdir(mode=0o750)
        # What Ray and secure-ray would clean up, open or write to.
        for number in range(5):
            (victim / f"session_2020-01-0{number}").mkdir(mode=0o750)
    else:
        victim.write_bytes(b"not yours")
        victim.chmod(0o640)
    path.symlink_to(victim)


Up = Callable[[], tuple[int, str]]


@pytest.fixture
def up(machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Up:
    """`up --head` in this process; gives the exit code and the messages."""
    for name in set(os.environ) - set(machine.environment()):
        monkeypatch.delenv(name)
    for name, value in machine.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(machine.home)

    def run() -> tuple[int, str]:
        return main(["up", "--head", "--num-cpus", "1"]), capsys.readouterr().err

    return run


@pytest.mark.parametrize("name", [*DIRECTORIES, *FILES])
def test_link_is_refused_and_not_followed(machine: Machine, up: Up, name: str) -> None:
    prepare_state(machine)
    path, victim = located(machine, name), machine.home / "victim"
    plant_link(path, victim)
    before = picture(victim)

    code, messages = up()

    assert code == 4, messages
    assert str(path) in messages
    assert "fix:" in messages
    assert picture(victim) == before
    assert path.is_symlink()


@pytest.mark.parametrize("name", FILES)
def test_directory_in_place_of_a_file_is_refused(machine: Machine, up: Up, name: str) -> None:
    prepare_state(machine)
    path = located(machine, name)
    if os.path.lexists(path):
        path.rename(machine.home / "was")
    path.mkdir(mode=0o700)

    code, messages = up()

    assert code == 4, messages
    assert str(path) in messages
    assert "fix:" in messages


def test_linked_root_key_is_not_opened_when_it_is_needed(machine: Machine) -> None:
    """On other days it may well lie on a stick: then nobody reads it."""
    prepare_state(machine)
    key, stick = (
        machine.cluster_directory() / "pki" / "authority" / "a0001" / "root.key",
        machine.home / "stick",
    )
    key.rename(stick)
    key.symlink_to(stick)

    with pytest.raises(FailedError) as error:
        prepare_state(machine, now=utc_now() + timedelta(days=400))

    assert error.value.code == "SR-FILE-001"
    assert str(key) in error.value.cause
