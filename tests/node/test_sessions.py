"""Ray's session directories: how many are kept, and what is taken out of the next life's way."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from secure_ray.node.paths import RunPaths
from secure_ray.node.sessions import forget_old_sessions, make_way, session_name

if TYPE_CHECKING:
    from pathlib import Path

NAME = "session_2026-11-22_10-00-00_000000_1"


@pytest.fixture
def run(home: Path) -> RunPaths:
    run = RunPaths(home)
    for directory in ("sockets", "logs"):
        (run.ray / NAME / directory).mkdir(parents=True)
    (run.ray / "session_latest").symlink_to(run.ray / NAME)
    return run


def test_session_is_the_one_that_ray_made_last(run: RunPaths) -> None:
    assert session_name(run) == NAME


def test_no_session_before_the_first_start(home: Path) -> None:
    assert session_name(RunPaths(home)) == ""


def test_next_life_finds_neither_sockets_nor_the_last_end_nor_an_address(run: RunPaths) -> None:
    latest = run.ray / "session_latest"
    with socket.socket(socket.AF_UNIX) as leftover:
        leftover.bind(str(latest / "sockets" / "raylet"))
    (latest / "sockets" / "notes").touch()
    for name in ("ray_process_exit.log", "raylet.out"):
        (latest / "logs" / name).touch()
    (run.ray / "ray_current_cluster").write_text("127.0.0.1:10240")

    make_way(run)

    assert [entry.name for entry in (latest / "sockets").iterdir()] == ["notes"]
    assert [entry.name for entry in (latest / "logs").iterdir()] == ["raylet.out"]
    assert not (run.ray / "ray_current_cluster").exists()


def test_nothing_is_in_the_way_of_the_first_start(home: Path) -> None:
    make_way(RunPaths(home))


def test_sessions_are_forgotten_but_for_the_last_three(run: RunPaths) -> None:
    for day in range(23, 28):
        (run.ray / f"session_2026-11-{day}_10-00-00_000000_1").mkdir()

    forget_old_sessions(run)

    kept = sorted(entry.name for entry in run.ray.glob("session_2*"))
    assert kept == [f"session_2026-11-{day}_10-00-00_000000_1" for day in (25, 26, 27)]
