"""Generations of the leaf: swapped in one rename, the one before kept, the rest removed."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import pytest

from secure_ray.base.errors import FailedError
from secure_ray.pki.store import (
    PkiPaths,
    add_generation,
    current_generation,
    prepare,
    sweep_leaves,
    sweep_passphrase,
)

if TYPE_CHECKING:
    from pathlib import Path

LEFTOVER = "0123456789ab"


@pytest.fixture
def paths(tmp_path: Path) -> PkiPaths:
    made = PkiPaths(tmp_path / "pki", tmp_path / "passphrases" / "default")
    prepare(made)
    return made


def add(paths: PkiPaths, content: bytes = b"x") -> None:
    add_generation(paths, certificate=content, key=content, authority=content)


def names(directory: Path) -> set[str]:
    return {entry.name for entry in directory.iterdir()}


def test_the_passphrase_may_not_lie_beside_the_key_that_it_opens(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="outside"):
        PkiPaths(tmp_path, tmp_path / "passphrase")


def test_directories_are_0700_and_files_0600(paths: PkiPaths) -> None:
    add(paths)

    for path in [paths.directory, *paths.directory.rglob("*")]:
        if not path.is_symlink():
            expected = 0o700 if path.is_dir() else 0o600
            assert stat.S_IMODE(path.stat().st_mode) == expected, path


def test_a_new_generation_becomes_the_current_one(paths: PkiPaths) -> None:
    add(paths, b"one")
    add(paths, b"two")

    assert str(paths.current.readlink()) == "g0002"
    assert paths.leaf.key.read_bytes() == b"two"
    assert current_generation(paths) == paths.node / "g0002"


def test_the_one_before_stays_and_older_ones_go(paths: PkiPaths) -> None:
    for _ in range(4):
        add(paths)
        sweep_leaves(paths)

    assert names(paths.node) == {"g0003", "g0004", "current"}


def test_a_generation_that_was_never_used_goes_and_not_the_one_in_use_before(
    paths: PkiPaths,
) -> None:
    """A run killed after it made g0002, before it swapped: Ray still runs with g0001."""
    add(paths)
    (paths.node / "g0002").mkdir(mode=0o700)

    sweep_leaves(paths)
    add(paths)
    sweep_leaves(paths)

    assert names(paths.node) == {"g0001", "g0002", "current"}
    assert str(paths.current.readlink()) == "g0002"


def test_numbers_go_on_after_9999(paths: PkiPaths) -> None:
    (paths.node / "g9999").mkdir(mode=0o700)
    paths.current.symlink_to("g9999")

    add(paths)

    assert str(paths.current.readlink()) == "g10000"


def test_a_link_to_nothing_means_no_generation_and_its_number_is_not_used_again(
    paths: PkiPaths,
) -> None:
    paths.current.symlink_to("g0007")

    assert current_generation(paths) is None
    add(paths)
    assert str(paths.current.readlink()) == "g0008"


@pytest.mark.parametrize(
    "target", ["../../elsewhere", "/etc", "g0001/..", "g1", "G0001", ".", "g0001\n"]
)
def test_a_link_to_anything_but_a_generation_beside_it_is_refused(
    paths: PkiPaths, target: str
) -> None:
    paths.current.symlink_to(target)

    for act in (current_generation, sweep_leaves, add):
        with pytest.raises(FailedError, match="SR-PKI-008"):
            act(paths)
    assert str(paths.current.readlink()) == target


def test_a_directory_in_the_place_of_the_link_is_refused(paths: PkiPaths) -> None:
    paths.current.mkdir(mode=0o700)

    with pytest.raises(FailedError, match="SR-PKI-008"):
        current_generation(paths)


def test_a_generation_that_is_a_link_is_refused(paths: PkiPaths, tmp_path: Path) -> None:
    (tmp_path / "planted").mkdir(mode=0o700)
    (paths.node / "g0001").symlink_to(tmp_path / "planted")
    paths.current.symlink_to("g0001")

    with pytest.raises(FailedError, match="SR-FILE-001"):
        current_generation(paths)


def test_what_killed_writes_left_goes_and_nothing_else(paths: PkiPaths) -> None:
    left = [
        paths.directory / f".renewal.key.{LEFTOVER}",
        paths.directory / f".join.key.{LEFTOVER}",
        paths.passphrase.with_name(f".default.{LEFTOVER}"),
        paths.node / f".current.{LEFTOVER}",
    ]
    others = [
        paths.directory / ".join.key.backup",
        paths.directory / f".notes.{LEFTOVER}",
        paths.passphrase.with_name(f".other.{LEFTOVER}"),
        paths.passphrase.with_name("default"),
        paths.node / "notes",
    ]
    for path in [*left, *others]:
        path.touch(0o600)
    (paths.node / f".g0007.{LEFTOVER}").mkdir(mode=0o700)

    sweep_leaves(paths)
    sweep_passphrase(paths)

    assert not any(path.exists() for path in left)
    assert not (paths.node / f".g0007.{LEFTOVER}").exists()
    assert all(path.exists() for path in others)
