"""Where the secrets must not stand: process lists, environments, logs; and what guards the rest."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from secure_ray.network.listeners import unix_sockets_of

if TYPE_CHECKING:
    from attacks.conftest import Job, Work
    from support.live import Live

pytestmark = pytest.mark.ray


def started_with(pid: int) -> bytes:
    """The arguments and the environment of a process, as the kernel shows them."""
    entry = Path(f"/proc/{pid}")
    return (entry / "cmdline").read_bytes() + b"\0" + (entry / "environ").read_bytes()


def holders_of(secret: str) -> list[int]:
    """The processes of this host that were started with `secret`, as far as we may look."""
    found = []
    for process in psutil.process_iter():
        try:
            if secret.encode() in started_with(process.pid):
                found.append(process.pid)
        except OSError:
            continue  # gone, or of another user
    return found


def secrets_of(live: Live) -> dict[str, str]:
    """Each secret of the cluster as text that would stand out."""
    key_lines = (live.certificates / "node.key").read_text().splitlines()
    passphrase = live.machine.state / "passphrases" / "default"
    return {
        "token": live.token.reveal(),
        "key": key_lines[1],
        "passphrase": passphrase.read_text().strip(),
    }


def test_search_finds_what_is_there() -> None:
    # The variable of Ray's that every job would inherit.
    environment = {"RAY_AUTH_TOKEN": "planted-in-the-environment"}
    command = [sys.executable, "-c", "input()", "planted-in-the-arguments"]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE) as process:
        assert process.pid in holders_of("planted-in-the-environment")
        assert process.pid in holders_of("planted-in-the-arguments")


@pytest.mark.parametrize("name", ["token", "key", "passphrase"])
def test_no_process_was_started_with_it(live: Live, work: Work, job: Job, name: str) -> None:
    tree = {*live.pids(), *work.pids.values(), job.pid}
    assert all(psutil.pid_exists(pid) for pid in (*work.pids.values(), job.pid))

    assert holders_of(secrets_of(live)[name]) == []
    # Idle workers come and go; those that do the work stay.
    assert set(holders_of("RAY_AUTH_TOKEN=")).isdisjoint(tree)
    for pid in (*work.pids.values(), job.pid):
        assert b"\0RAY_AUTH_TOKEN=" not in started_with(pid)


@pytest.mark.parametrize("name", ["token", "key", "passphrase"])
def test_it_stands_in_no_log(live: Live, job: Job, name: str) -> None:
    """All that was written below the run directory and the log of the supervisor."""
    assert job.pid
    secret = secrets_of(live)[name].encode()
    files = [Path(at) / file for at, _, files in os.walk(live.run_directory) for file in files]
    files += live.directory.glob("supervisor.log*")
    regular = [path for path in files if stat.S_ISREG(path.lstat().st_mode)]

    assert any(path.name == "raylet.out" for path in regular)
    assert [str(path) for path in regular if secret in path.read_bytes()] == []


def test_job_sees_the_tokens_path_and_not_the_token(live: Live, job: Job) -> None:
    environment = psutil.Process(job.pid).environ()

    assert environment["RAY_AUTH_MODE"] == "token"
    assert environment["RAY_AUTH_TOKEN_PATH"] == str(live.directory / "token")
    assert live.token.reveal() not in environment.values()


def test_session_tree_has_a_private_parent(live: Live) -> None:
    """Ray makes its own directories 0777 (2.60.0, _common/utils.py): only a parent helps."""
    parent = live.run_directory.lstat()

    assert stat.S_IMODE(parent.st_mode) == 0o700
    assert stat.S_ISDIR(parent.st_mode)
    assert parent.st_uid == os.geteuid()


def test_sockets_lie_below_it(live: Live) -> None:
    ours = unix_sockets_of(live.pids())

    assert any(path.endswith("/sockets/raylet") for path in ours)
    assert [path for path in ours if not path.startswith(f"{live.run_directory}/")] == []


def test_state_is_open_to_nobody_else(live: Live) -> None:
    for at, directories, files in os.walk(live.machine.state):
        for name in (*directories, *files):
            found = (Path(at) / name).lstat()
            assert found.st_uid == os.geteuid()
            assert stat.S_ISLNK(found.st_mode) or not found.st_mode & 0o077, f"{at}/{name}"
