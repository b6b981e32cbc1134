from __future__ import annotations

import os
import socket
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from secure_ray.audit.checks.files import CHECK, CONTENT, DIRECTORY, SECRET_FILE, SESSION, SOCKET
from secure_ray.audit.findings import Status

if TYPE_CHECKING:
    from pathlib import Path

    from secure_ray.audit.findings import Rule
    from secure_ray.audit.target import Target


def _failures(target: Target) -> list[tuple[str, str]]:
    return [(f.id, f.where) for f in CHECK.run(target) if f.status is not Status.PASS]


def _failed(rule: Rule, where: Path | str) -> list[tuple[str, str]]:
    return [(rule.code, str(where))]


def test_hardened_cluster(target: Target) -> None:
    assert _failures(target) == []


def test_state_directory_open_to_others(target: Target) -> None:
    target.private_directories[0].chmod(0o750)
    assert _failures(target) == _failed(DIRECTORY, target.private_directories[0])


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o602])
def test_file_open_to_others(target: Target, mode: int) -> None:
    path = target.private_directories[0] / "pki" / "leaf.pem"
    path.parent.mkdir(mode=0o700)
    path.touch()
    path.chmod(mode)
    assert _failures(target) == _failed(CONTENT, path)


def test_nested_directories_are_walked_once(target: Target) -> None:
    state = target.private_directories[0]
    inner = state / "pki"
    inner.mkdir(mode=0o700)
    (inner / "leaf.pem").touch(mode=0o644)
    nested = replace(target, private_directories=(state, inner))
    assert _failures(nested) == _failed(CONTENT, inner / "leaf.pem")


def test_directory_open_to_others_inside(target: Target) -> None:
    path = target.private_directories[0] / "pki"
    path.mkdir()
    path.chmod(0o755)
    assert _failures(target) == _failed(CONTENT, path)


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="gives a file away")
def test_file_of_somebody_else(target: Target) -> None:
    path = target.private_directories[0] / "planted"
    path.touch(mode=0o600)
    os.chown(path, 65534, 65534)
    assert _failures(target) == _failed(CONTENT, path)


def test_link_inside_is_fine_and_one_that_leads_out_is_not(target: Target) -> None:
    state = target.private_directories[0]
    (state / "1").mkdir(mode=0o700)
    (state / "current").symlink_to("1")
    assert _failures(target) == []
    (state / "out").symlink_to("/etc/passwd")
    assert _failures(target) == _failed(CONTENT, state / "out")


def test_directory_that_cannot_be_read_is_an_error(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("secure_ray.audit.checks.files._walk", refuse)
    errors = [finding.id for finding in CHECK.run(target) if finding.status is Status.ERROR]
    assert errors == [CONTENT.code]


def test_token_open_to_others(target: Target) -> None:
    target.token_path.chmod(0o640)
    assert sorted(_failures(target)) == sorted(
        _failed(SECRET_FILE, target.token_path) + _failed(CONTENT, target.token_path)
    )


def test_token_behind_a_link(target: Target, tmp_path: Path) -> None:
    elsewhere = tmp_path / "token"
    target.token_path.replace(elsewhere)
    target.token_path.symlink_to(elsewhere)
    assert (SECRET_FILE.code, str(target.token_path)) in _failures(target)


def test_session_parent_open_to_others(target: Target) -> None:
    target.ray_parents[0].chmod(0o777)
    assert _failures(target) == _failed(SESSION, target.ray_parents[0])


def test_session_parent_behind_a_link(target: Target) -> None:
    elsewhere = target.ray_parents[0].with_name("elsewhere")
    target.ray_parents[0].rename(elsewhere)
    target.ray_parents[0].symlink_to(elsewhere)
    assert (SESSION.code, str(target.ray_parents[0])) in _failures(target)


def test_what_ray_opens_below_the_session_parent_is_its_parents_affair(target: Target) -> None:
    below = target.ray_parents[0] / "session_latest"
    below.mkdir()
    below.chmod(0o777)
    assert _failures(target) == []


def test_socket_outside(target: Target, home: Path) -> None:
    with socket.socket(socket.AF_UNIX) as outside:
        outside.bind(str(home / "plasma_store"))
        assert _failures(target) == _failed(SOCKET, home / "plasma_store")


def test_abstract_socket(target: Target) -> None:
    with socket.socket(socket.AF_UNIX) as abstract:
        abstract.bind(f"\0secure-ray-{os.getpid()}")
        assert _failures(target) == _failed(SOCKET, f"@secure-ray-{os.getpid()}")


def test_relative_name_says_nothing_of_the_place(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Relative to whose directory? Here it would seem to lie in ours."""
    monkeypatch.chdir(target.ray_parents[0])
    with socket.socket(socket.AF_UNIX) as odd:
        odd.bind("agent")
        assert _failures(target) == _failed(SOCKET, "agent")
