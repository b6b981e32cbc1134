"""What is trusted is ours alone, and nobody else can swap it."""

import os
from pathlib import Path

import pytest

from secure_ray.base.files import make_private_directory
from secure_ray.base.ownership import require_private_directory, require_safe_ancestors
from support.planted import SOMEBODY, fails, needs_root


class TestSafeAncestors:
    def test_a_sticky_directory_open_to_all_is_safe(self, place: Path) -> None:
        shared = place / "tmp"
        shared.mkdir()
        shared.chmod(0o1777)

        make_private_directory(shared / "mine")

    @pytest.mark.parametrize("bits", [0o777, 0o770, 0o702], ids=oct)
    def test_one_that_others_may_write_to_is_not(self, place: Path, bits: int) -> None:
        (place / "open" / "mine").mkdir(parents=True, mode=0o700)
        (place / "open").chmod(bits)

        with fails("SR-FILE-003", "writable by others"):
            require_safe_ancestors(place / "open" / "mine")

    @needs_root
    def test_one_of_somebody_else_is_not(self, place: Path) -> None:
        (place / "theirs" / "mine").mkdir(parents=True, mode=0o700)
        os.chown(place / "theirs", SOMEBODY, -1)

        with fails("SR-FILE-003", f"uid {SOMEBODY}"):
            require_safe_ancestors(place / "theirs" / "mine")

    def test_a_link_of_ours_to_a_safe_place_is_safe(self, place: Path) -> None:
        (place / "real" / "mine").mkdir(parents=True, mode=0o700)
        (place / "link").symlink_to(place / "real")

        require_safe_ancestors(place / "link" / "mine")

    @needs_root
    def test_a_link_of_somebody_else_is_not(self, place: Path) -> None:
        (place / "real" / "mine").mkdir(parents=True, mode=0o700)
        (place / "link").symlink_to("real")
        os.chown(place / "link", SOMEBODY, -1, follow_symlinks=False)

        with fails("SR-FILE-003", f"uid {SOMEBODY}"):
            require_safe_ancestors(place / "link" / "mine")

    @pytest.mark.parametrize("relative", [True, False], ids=["relative", "absolute"])
    def test_a_link_of_ours_into_an_open_directory_is_not(
        self, place: Path, *, relative: bool
    ) -> None:
        """Somebody else could swap what the link points at."""
        (place / "open" / "target" / "mine").mkdir(parents=True, mode=0o700)
        (place / "open").chmod(0o777)
        target = Path("x/../open/target") if relative else place / "open" / "target"
        (place / "x").mkdir()
        (place / "link").symlink_to(target)

        with fails("SR-FILE-003", "open is writable by others"):
            require_safe_ancestors(place / "link" / "mine")

    def test_links_in_a_circle_end_in_an_error(self, place: Path) -> None:
        (place / "a").symlink_to("b")
        (place / "b").symlink_to("a")

        with fails("SR-FILE-001"):
            require_safe_ancestors(place / "a" / "mine")


class TestRequirePrivateDirectory:
    @needs_root
    def test_one_of_somebody_else_is_refused(self, place: Path) -> None:
        (place / "theirs").mkdir(mode=0o700)
        os.chown(place / "theirs", SOMEBODY, -1)

        with fails("SR-FILE-002", f"belongs to uid {SOMEBODY}"):
            require_private_directory(place / "theirs")

    def test_one_that_is_missing_is_refused(self, place: Path) -> None:
        with fails("SR-FILE-004"):
            require_private_directory(place / "missing")
