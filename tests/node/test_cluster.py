"""A cluster's record, its lock, and the short directory for its sockets."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from secure_ray.base.errors import FailedError, IncompleteError
from secure_ray.node import cluster as module
from secure_ray.node.cluster import (
    Cluster,
    changing,
    ensure_cluster,
    read_cluster,
    write_cluster,
)
from secure_ray.node.paths import ClusterPaths

if TYPE_CHECKING:
    from collections.abc import Iterator

STRANGER = 12345


@pytest.fixture
def short(home: Path) -> ClusterPaths:
    return ClusterPaths(home, "a")


@pytest.fixture
def long(home: Path) -> Iterator[ClusterPaths]:
    """A cluster in a state directory too deep for sockets."""
    paths = ClusterPaths(home / ("x" * 60), "a")
    yield paths
    cluster = json.loads(paths.identity.read_text()) if paths.identity.exists() else {}
    shutil.rmtree(cluster.get("run", home), ignore_errors=True)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_directories_are_made_for_us_alone(short: ClusterPaths) -> None:
    old = os.umask(0)
    try:
        cluster = ensure_cluster(short)
    finally:
        os.umask(old)

    for path in (short.directory, short.directory.parent, short.passphrase.parent):
        assert mode(path) == 0o700
    assert mode(Path(cluster.run)) == 0o700
    assert mode(short.identity) == 0o600


def test_id_is_random_and_stays(short: ClusterPaths) -> None:
    cluster = ensure_cluster(short)

    assert re.fullmatch(r"[0-9a-f]{16}", cluster.id)
    assert ensure_cluster(short) == cluster
    assert ensure_cluster(ClusterPaths(short.home, "b")).id != cluster.id


def test_base_of_the_last_start_stays(short: ClusterPaths) -> None:
    cluster = ensure_cluster(short)
    write_cluster(short, Cluster(cluster.name, cluster.id, cluster.run, base=11264))

    assert ensure_cluster(short).base == 11264


def test_run_directory_is_inside_while_sockets_fit(short: ClusterPaths) -> None:
    assert ensure_cluster(short).run == str(short.directory / "run")


def test_run_directory_is_random_and_short_when_they_do_not(
    long: ClusterPaths, short_parent: Path
) -> None:
    run = ensure_cluster(long).run

    assert re.fullmatch(rf"{short_parent}/sr-[0-9a-f]{{8}}", run)
    assert mode(Path(run)) == 0o700
    assert ensure_cluster(long).run == run


def test_run_directory_that_a_cleaner_removed_is_replaced(long: ClusterPaths) -> None:
    first = ensure_cluster(long)
    Path(first.run).rmdir()

    second = ensure_cluster(long)

    assert second.run != first.run
    assert second.id == first.id
    assert mode(Path(second.run)) == 0o700
    assert read_cluster(long) == second


@pytest.mark.parametrize("planted", ["link", "link to nothing", "open", "file"])
def test_run_directory_that_somebody_planted_is_refused(
    long: ClusterPaths, home: Path, planted: str
) -> None:
    run = Path(ensure_cluster(long).run)
    run.rmdir()
    target = home / "target"
    if planted == "link":
        target.mkdir(mode=0o700)
    if planted.startswith("link"):
        run.symlink_to(target)
    elif planted == "open":
        run.mkdir()
        run.chmod(0o755)
    else:
        run.touch(mode=0o700)

    try:
        with pytest.raises(FailedError) as caught:
            ensure_cluster(long)
    finally:
        if not run.is_dir() or run.is_symlink():
            run.unlink()

    assert caught.value.code in {"SR-FILE-001", "SR-FILE-002"}
    assert not target.exists() or list(target.iterdir()) == []


@pytest.mark.root
@pytest.mark.parametrize("theirs", ["directory", "link to ours", "file"])
def test_name_that_somebody_else_has_taken_is_left_to_them(
    long: ClusterPaths, home: Path, theirs: str
) -> None:
    """As after a restart of the host, which empties /tmp."""
    first = ensure_cluster(long)
    run, target = Path(first.run), home / "target"
    run.rmdir()
    target.mkdir(mode=0o700)
    if theirs == "directory":
        run.mkdir(mode=0o700)
        (run / "file").touch()
    elif theirs == "file":
        run.touch()
    else:
        run.symlink_to(target)
    os.chown(run, STRANGER, STRANGER, follow_symlinks=False)
    before = run.lstat()

    second = ensure_cluster(long)

    assert second.run != first.run
    assert second.id == first.id
    assert mode(Path(second.run)) == 0o700
    assert read_cluster(long) == ensure_cluster(long) == second
    assert run.lstat() == before
    assert theirs != "directory" or (run / "file").exists()
    assert list(target.iterdir()) == []


def test_name_in_tmp_that_is_there_already_is_not_taken(
    long: ClusterPaths, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SHORT_PARENT", home)
    monkeypatch.setattr(secrets, "token_hex", lambda count: "ab" * count)
    (home / "sr-abababab").mkdir(mode=0o700)

    with pytest.raises(FailedError) as caught:
        ensure_cluster(long)

    assert caught.value.code == "SR-STATE-002"


@pytest.mark.parametrize("directory", ["home", "clusters", "passphrases", "cluster", "run"])
@pytest.mark.parametrize("planted", ["link", "open"])
def test_planted_directory_is_refused(home: Path, directory: str, planted: str) -> None:
    paths = ClusterPaths(home / "s" if directory == "home" else home, "a")
    place = {
        "home": paths.home,
        "clusters": paths.directory.parent,
        "passphrases": paths.passphrase.parent,
        "cluster": paths.directory,
        "run": paths.directory / "run",
    }[directory]
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    for made in place.parents:
        if made.is_relative_to(home):
            made.chmod(0o700)
    target = home / "target"
    target.mkdir(mode=0o700)
    if planted == "link":
        place.symlink_to(target)
    else:
        place.mkdir()
        place.chmod(0o770)

    with pytest.raises(FailedError) as caught:
        ensure_cluster(paths)

    assert caught.value.code in {"SR-FILE-001", "SR-FILE-002"}
    assert list(target.iterdir()) == []


def test_no_record_is_no_cluster(short: ClusterPaths) -> None:
    assert read_cluster(short) is None


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", '{"name": "a"}', '{"name": "a", "id": "b", "run": 3}', "\x00" * 20],
    ids=repr,
)
def test_damaged_record_says_how_to_go_on(short: ClusterPaths, text: str) -> None:
    ensure_cluster(short)
    short.identity.write_text(text)

    with pytest.raises(FailedError) as caught:
        read_cluster(short)

    assert caught.value.code == "SR-STATE-001"
    assert caught.value.fix == "secure-ray reset --cluster a"


def test_record_that_is_a_link_is_refused(short: ClusterPaths, home: Path) -> None:
    ensure_cluster(short)
    short.identity.rename(home / "elsewhere")
    short.identity.symlink_to(home / "elsewhere")

    with pytest.raises(FailedError) as caught:
        ensure_cluster(short)

    assert caught.value.code == "SR-FILE-001"


def test_one_command_changes_a_cluster_at_a_time(short: ClusterPaths) -> None:
    ensure_cluster(short)
    with changing(short):
        with pytest.raises(IncompleteError) as caught, changing(short, wait=0):
            pass
        other = ClusterPaths(short.home, "b")
        ensure_cluster(other)
        with changing(other, wait=0):
            pass

    assert caught.value.code == "SR-STATE-003"
    with changing(short, wait=0):
        pass
