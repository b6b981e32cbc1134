"""Clusters of one program: dead ones are removed, living and young ones are left alone."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from secure_ray.base.errors import FailedError
from secure_ray.base.locks import lock
from secure_ray.node.cluster import ensure_cluster
from secure_ray.node.ephemeral import Ephemeral

if TYPE_CHECKING:
    from pathlib import Path


def make(home: Path) -> Ephemeral:
    """One whose files are there."""
    ephemeral = Ephemeral.make({"SECURE_RAY_HOME": str(home)})
    with ephemeral.starting():
        ensure_cluster(ephemeral.paths)
    return ephemeral


def test_each_has_a_directory_of_its_own(home: Path) -> None:
    first, second = make(home), make(home)

    assert first.paths.home != second.paths.home
    assert first.paths.home.parent == home / "ephemeral"
    assert stat.S_IMODE((home / "ephemeral").stat().st_mode) == 0o700


def test_end_removes_its_files_and_nothing_else(home: Path) -> None:
    first, second = make(home), make(home)
    run = ensure_cluster(first.paths).run_paths.directory

    first.end()

    assert not first.paths.home.exists()
    assert not run.exists()
    assert second.paths.directory.is_dir()


def test_second_end_does_nothing(home: Path) -> None:
    ephemeral = make(home)
    ephemeral.end()
    ephemeral.paths.home.mkdir()

    ephemeral.end()

    assert ephemeral.paths.home.is_dir()


def test_forked_child_does_not_end_what_its_parent_uses(home: Path) -> None:
    """`multiprocessing` and `os.fork` copy the parent's exit handlers and its Ephemeral."""
    ephemeral = make(home)

    child = os.fork()
    if child == 0:
        try:
            ephemeral.end()
        finally:
            os._exit(0)
    os.waitpid(child, 0)

    assert ephemeral.paths.directory.is_dir()
    ephemeral.end()
    assert not ephemeral.paths.home.exists()


def test_what_a_killed_program_left_behind_is_removed(home: Path) -> None:
    dead = make(home)
    run = ensure_cluster(dead.paths).run_paths.directory
    dead.paths.supervisor_lock.touch(mode=0o600)

    make(home)

    assert not dead.paths.home.exists()
    assert not run.exists()


def test_what_lives_is_left_alone(home: Path) -> None:
    alive = make(home)
    with lock(alive.paths.supervisor_lock, wait=0):
        make(home)

        assert alive.paths.directory.is_dir()


def test_what_is_being_made_is_left_alone(home: Path) -> None:
    """Its supervisor, and with it the lock, comes last."""
    young = make(home)

    make(home)

    assert young.paths.directory.is_dir()


def test_what_its_own_program_is_removing_is_left_to_it(home: Path) -> None:
    """Its supervisor has gone, its files are going: pytest-xdist starts and ends many at once."""
    ending = make(home)
    ending.paths.supervisor_lock.touch(mode=0o600)

    with lock(ending.paths.lock, wait=0):
        make(home)

        assert ending.paths.directory.is_dir()


def test_what_is_being_started_is_left_alone_though_its_supervisor_has_no_lock_yet(
    home: Path,
) -> None:
    """There is a moment between making the file of the supervisor's lock and locking it."""
    starting = Ephemeral.make({"SECURE_RAY_HOME": str(home)})
    with starting.starting():
        ensure_cluster(starting.paths)
        starting.paths.supervisor_lock.touch(mode=0o600)

        make(home)

        assert starting.paths.directory.is_dir()


def test_many_programs_come_and_go_at_once(home: Path) -> None:
    def program(_number: int) -> None:
        for _ in range(20):
            one = Ephemeral.make({"SECURE_RAY_HOME": str(home)})
            with one.starting():
                ensure_cluster(one.paths)
                one.paths.supervisor_lock.touch(mode=0o600)
            one.end()

    with ThreadPoolExecutor(4) as programs:
        assert len(list(programs.map(program, range(4)))) == 4

    assert list((home / "ephemeral").iterdir()) == []


def test_one_that_was_never_finished_is_removed_when_it_is_old(home: Path) -> None:
    unfinished = make(home).paths.home
    unfinished.mkdir(exist_ok=True)
    os.utime(unfinished, (0, 0))

    make(home)

    assert not unfinished.exists()


@pytest.mark.parametrize("planted", ["link", "open"])
def test_planted_directory_is_refused(home: Path, planted: str) -> None:
    place, target = home / "ephemeral", home / "target"
    target.mkdir(mode=0o700)
    if planted == "link":
        place.symlink_to(target)
    else:
        place.mkdir()
        place.chmod(0o777)

    with pytest.raises(FailedError):
        make(home)

    assert list(target.iterdir()) == []
