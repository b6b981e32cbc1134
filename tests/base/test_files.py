"""What is written is written whole and private; what is read was private."""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from secure_ray.base.errors import FailedError
from secure_ray.base.files import (
    free_bytes,
    is_there,
    make_private_directory,
    read_private,
    remove_tree,
    replace_link,
    write_private,
)
from support.disks import fill, small_disk
from support.planted import (
    SOMEBODY,
    fails,
    make_directory,
    make_link,
    make_pipe,
    make_readable,
    mode,
    needs_root,
    raiser,
)


@pytest.fixture
def careless_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def names_in(directory: Path) -> list[str]:
    return [entry.name for entry in directory.iterdir()]


class TestMakePrivateDirectory:
    @pytest.mark.usefixtures("careless_umask")
    def test_all_that_is_missing_gets_0700_whatever_the_umask(self, place: Path) -> None:
        make_private_directory(place / "a" / "b" / "c")

        assert [mode(place / p) for p in ("a", "a/b", "a/b/c")] == [0o700, 0o700, 0o700]

    def test_one_that_is_there_stays_as_it_is(self, place: Path) -> None:
        (place / "kept").touch()

        make_private_directory(place)

        assert (place / "kept").exists()

    def test_spaces_and_unicode_are_just_names(self, place: Path) -> None:
        make_private_directory(place / "mein Zeug ü" / "鍵")

        write_private(place / "mein Zeug ü" / "鍵" / "a b", b"x")

    def test_a_file_in_its_place_is_refused(self, place: Path) -> None:
        (place / "taken").touch(0o600)

        with fails("SR-FILE-001", "taken should be a directory"):
            make_private_directory(place / "taken")

    def test_a_file_above_it_is_refused(self, place: Path) -> None:
        (place / "taken").touch(0o600)

        with fails("SR-FILE-004", "cannot make"):
            make_private_directory(place / "taken" / "below")

    def test_a_link_in_its_place_is_refused(self, place: Path) -> None:
        (place / "real").mkdir(mode=0o700)
        (place / "link").symlink_to("real")

        with fails("SR-FILE-001", "symbolic link"):
            make_private_directory(place / "link")

    def test_a_dangling_link_above_it_is_not_followed_into_nothing(self, place: Path) -> None:
        (place / "link").symlink_to("nowhere")

        with fails("SR-FILE-004"):
            make_private_directory(place / "link" / "below")
        assert not (place / "nowhere").exists()

    def test_one_that_is_open_to_others_is_refused(self, place: Path) -> None:
        (place / "open").mkdir()
        (place / "open").chmod(0o710)

        with fails("SR-FILE-002", "mode 0710"):
            make_private_directory(place / "open")

    def test_one_below_a_directory_that_others_may_write_to_is_refused(self, place: Path) -> None:
        (place / "open").mkdir()
        (place / "open").chmod(0o777)

        with fails("SR-FILE-003", "open is writable by others"):
            make_private_directory(place / "open" / "mine")

    def test_no_space_is_told_as_that(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Path, "mkdir", raiser(errno.ENOSPC))

        with fails("SR-FILE-006", "No space"):
            make_private_directory(place / "new")


class TestReadPrivate:
    def test_what_was_written_is_read(self, place: Path) -> None:
        write_private(place / "file", b"content")

        assert read_private(place / "file") == b"content"

    @pytest.mark.parametrize(
        ("plant", "code"),
        [
            (make_link, "SR-FILE-001"),
            (make_directory, "SR-FILE-001"),
            (make_pipe, "SR-FILE-001"),
            (make_readable, "SR-FILE-002"),
            (lambda _: None, "SR-FILE-004"),
        ],
        ids=["link", "directory", "pipe", "group may read", "missing"],
    )
    def test_anything_but_a_private_file_is_refused(
        self, place: Path, plant: Callable[[Path], None], code: str
    ) -> None:
        plant(place / "file")

        with fails(code):
            read_private(place / "file")

    @needs_root
    def test_a_file_of_somebody_else_is_refused(self, place: Path) -> None:
        write_private(place / "file", b"planted")
        os.chown(place / "file", SOMEBODY, -1)

        with fails("SR-FILE-002", f"uid {SOMEBODY}"):
            read_private(place / "file")

    def test_a_refusal_leaves_no_descriptor_open(self, place: Path) -> None:
        make_directory(place / "file")
        before = len(list(Path("/dev/fd").iterdir()))

        with fails("SR-FILE-001"):
            read_private(place / "file")
        assert len(list(Path("/dev/fd").iterdir())) == before

    def test_a_file_may_be_as_large_as_the_limit_and_no_larger(self, place: Path) -> None:
        write_private(place / "file", b"1234")

        assert read_private(place / "file", max_bytes=4) == b"1234"
        with fails("SR-FILE-005", "larger than 3 bytes"):
            read_private(place / "file", max_bytes=3)


class TestWritePrivate:
    @pytest.mark.usefixtures("careless_umask")
    def test_a_new_file_has_mode_0600_whatever_the_umask(self, place: Path) -> None:
        write_private(place / "file", b"x")

        assert mode(place / "file") == 0o600

    def test_a_file_that_was_open_to_others_is_replaced_by_a_private_one(self, place: Path) -> None:
        make_readable(place / "file")

        write_private(place / "file", b"x")

        assert mode(place / "file") == 0o600

    def test_a_link_is_replaced_and_what_it_points_at_left_alone(self, place: Path) -> None:
        make_link(place / "file")

        write_private(place / "file", b"ours")

        assert not (place / "file").is_symlink()
        assert (place / "target").read_bytes() == b"planted"

    @pytest.mark.parametrize("step", ["fsync", "replace"])
    @pytest.mark.parametrize(
        ("number", "code"),
        [
            (errno.ENOSPC, "SR-FILE-006"),
            (errno.EDQUOT, "SR-FILE-006"),
            (errno.EROFS, "SR-FILE-004"),
            (errno.EIO, "SR-FILE-004"),
        ],
        ids=["no space", "quota", "read-only", "broken disk"],
    )
    def test_a_failed_write_leaves_what_was_there_and_nothing_else(
        self, place: Path, monkeypatch: pytest.MonkeyPatch, step: str, number: int, code: str
    ) -> None:
        write_private(place / "file", b"before")
        where = Path if step == "replace" else os
        monkeypatch.setattr(where, step, raiser(number))

        with fails(code, "cannot write"):
            write_private(place / "file", b"after")
        assert read_private(place / "file") == b"before"
        assert names_in(place) == ["file"]

    @pytest.mark.root
    def test_a_full_disk_costs_nothing_that_was_there(self, place: Path) -> None:
        disk = place / "disk"
        with small_disk(disk):
            write_private(disk / "file", b"before")
            filling = fill(disk)

            with fails("SR-FILE-006", "No space"):
                write_private(disk / "file", bytes(1 << 16))
            assert read_private(disk / "file") == b"before"
            assert sorted(names_in(disk)) == ["file", filling.name]

            filling.unlink()
            write_private(disk / "file", b"after")
            assert read_private(disk / "file") == b"after"

    def test_when_cleaning_up_fails_too_the_first_failure_is_told(
        self, place: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """On a read-only file system even removing what is not there fails (EROFS)."""
        monkeypatch.setattr(os, "open", raiser(errno.EROFS))
        monkeypatch.setattr(Path, "unlink", raiser(errno.EROFS))

        with fails("SR-FILE-004", "Read-only"):
            write_private(place / "file", b"x")

    def test_a_parent_that_is_no_directory_is_told(self, place: Path) -> None:
        (place / "taken").touch()

        with fails("SR-FILE-004", "Not a directory"):
            write_private(place / "taken" / "file", b"x")

    def test_a_directory_in_its_place_is_told(self, place: Path) -> None:
        make_directory(place / "file")

        with fails("SR-FILE-004"):
            write_private(place / "file", b"x")
        assert names_in(place) == ["file"]

    def test_content_and_name_are_on_the_disk_when_it_returns(
        self, place: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        synced = []
        fsync = os.fsync

        def note(descriptor: int) -> None:
            synced.append(stat.S_IFMT(os.fstat(descriptor).st_mode))
            fsync(descriptor)

        monkeypatch.setattr(os, "fsync", note)

        write_private(place / "file", b"x")

        assert synced == [stat.S_IFREG, stat.S_IFDIR]


class TestReplaceLink:
    def test_a_link_is_made_and_pointed_elsewhere(self, place: Path) -> None:
        replace_link(place / "current", "one")
        replace_link(place / "current", "two")

        assert (place / "current").readlink() == Path("two")
        assert names_in(place) == ["current"]

    def test_a_failure_leaves_the_link_as_it_was(
        self, place: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        replace_link(place / "current", "one")
        monkeypatch.setattr(Path, "replace", raiser(errno.ENOSPC))

        with fails("SR-FILE-006"):
            replace_link(place / "current", "two")
        assert (place / "current").readlink() == Path("one")
        assert names_in(place) == ["current"]


class TestRemoveTree:
    def test_links_inside_are_removed_and_not_followed(self, place: Path) -> None:
        (place / "kept").mkdir()
        (place / "kept" / "file").touch()
        (place / "tree").mkdir()
        (place / "tree" / "link").symlink_to(place / "kept")

        remove_tree(place / "tree")

        assert not (place / "tree").exists()
        assert (place / "kept" / "file").exists()

    def test_one_that_is_gone_is_fine(self, place: Path) -> None:
        remove_tree(place / "gone")

    def test_a_link_in_its_place_is_refused_with_a_reason(self, place: Path) -> None:
        (place / "kept").mkdir()
        (place / "link").symlink_to("kept")

        with fails("SR-FILE-001", "symbolic link"):
            remove_tree(place / "link")
        assert (place / "kept").exists()


class TestFreeBytes:
    def test_a_path_that_is_not_there_yet_is_measured_above(self, place: Path) -> None:
        assert free_bytes(place / "not" / "yet") > 0

    def test_a_path_that_we_may_not_look_into_is_measured_above(
        self, place: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Path, "exists", raiser(errno.EACCES))

        assert free_bytes(place / "hidden" / "file") > 0


def test_is_there_sees_a_dangling_link_and_nothing_else_that_is_gone(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "gone")

    assert is_there(link)
    assert not is_there(tmp_path / "gone")
    assert not is_there(tmp_path / "gone" / "below")


def test_where_we_may_not_look_is_not_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_path: Path) -> os.stat_result:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "lstat", refuse)  # root may look everywhere

    with pytest.raises(FailedError, match="SR-FILE-004"):
        is_there(tmp_path)
