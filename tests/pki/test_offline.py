"""The root key off the machine, and back for one run."""

from __future__ import annotations

import stat
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from secure_ray.base.errors import FailedError, UsageError
from secure_ray.base.files import write_private
from secure_ray.pki import offline
from secure_ray.pki.offline import export_root
from secure_ray.pki.root_key import RootKeyError

if TYPE_CHECKING:
    from pathlib import Path

    from pki.conftest import Node

DAY = timedelta(days=1)


def test_the_key_goes_and_the_cluster_lives_on(born: Node, tmp_path: Path) -> None:
    sealed = born.paths.authority.root_key.read_bytes()

    copy = export_root(born.paths, tmp_path / "stick", cluster="default")

    assert not list(born.paths.directory.rglob("root.key"))
    assert copy.key.read_bytes() == sealed
    assert copy.passphrase.read_bytes() == born.paths.passphrase.read_bytes()
    assert stat.S_IMODE((tmp_path / "stick").stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in (copy.key, copy.passphrase)} == {0o600}
    assert born.rotation().old.pin.startswith(copy.key.stem.removeprefix("root-"))
    assert born.ensure(80 * DAY).changes == ("leaf renewed: past half of its life, 10 days left",)


def test_brought_back_for_one_run_it_signs_again(born: Node, tmp_path: Path) -> None:
    copy = export_root(born.paths, tmp_path / "stick", cluster="default")
    with pytest.raises(FailedError, match="SR-PKI-006") as caught:
        born.ensure(366 * DAY)
    where = born.authorities.current.files.root_key
    assert str(where) in caught.value.fix

    write_private(where, copy.key.read_bytes())

    assert born.ensure(366 * DAY).changes[0].startswith("issuing CA renewed")
    assert export_root(born.paths, tmp_path / "stick", cluster="default") == copy
    assert not list(born.paths.directory.rglob("root.key"))


def test_two_roots_keys_do_not_take_each_others_place(born: Node, tmp_path: Path) -> None:
    stick = tmp_path / "stick"
    born.turn("begin_root", "switch_root", "retire_root")
    first = export_root(born.paths, stick, cluster="default")
    born.turn("replace_root")
    second = export_root(born.paths, stick, cluster="default")

    assert first.key != second.key
    assert len(list(stick.iterdir())) == 4


def test_a_copy_that_does_not_open_leaves_the_key_here(
    born: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoiled(path: Path, content: bytes) -> None:
        write_private(path, content[:-40] if path.suffix == ".key" else content)

    monkeypatch.setattr(offline, "write_private", spoiled)

    with pytest.raises(FailedError, match="SR-PKI-019"):
        export_root(born.paths, tmp_path / "stick", cluster="default")
    assert born.paths.authority.root_key.exists()


def test_a_key_that_is_away_or_does_not_open_is_not_exported(born: Node, tmp_path: Path) -> None:
    write_private(born.paths.passphrase, b"another")
    with pytest.raises(RootKeyError, match="SR-PKI-007"):
        export_root(born.paths, tmp_path / "stick", cluster="default")
    born.paths.authority.root_key.unlink()
    with pytest.raises(RootKeyError, match="SR-PKI-006"):
        export_root(born.paths, tmp_path / "stick", cluster="default")
    assert not (tmp_path / "stick").exists()


def test_not_to_where_the_keys_are(born: Node) -> None:
    with pytest.raises(UsageError, match="SR-PKI-019"):
        export_root(born.paths, born.paths.directory / "stick", cluster="default")


def test_not_to_a_directory_that_others_can_read(born: Node, tmp_path: Path) -> None:
    (tmp_path / "stick").mkdir(mode=0o755)

    with pytest.raises(FailedError, match="SR-FILE-002"):
        export_root(born.paths, tmp_path / "stick", cluster="default")
    assert born.paths.authority.root_key.exists()


def test_not_while_the_root_is_rotated(born: Node, tmp_path: Path) -> None:
    born.turn("begin_root")

    with pytest.raises(FailedError, match="SR-PKI-015"):
        export_root(born.paths, tmp_path / "stick", cluster="default")
