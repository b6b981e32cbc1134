"""One holder at a time, and none of a file that is not ours."""

import fcntl
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from secure_ray.base import locks
from secure_ray.base.errors import FailedError
from secure_ray.base.locks import lock, lock_is_free
from support.planted import make_link, make_readable, mode


class TestLock:
    def test_one_holder_at_a_time(self, place: Path) -> None:
        path = place / "lock"
        with lock(path, wait=0):
            assert not lock_is_free(path)
            with pytest.raises(BlockingIOError), lock(path, wait=0.1):
                pass
        assert lock_is_free(path)
        assert mode(path) == 0o600

    def test_who_waits_gets_it_when_the_holder_lets_go(self, place: Path) -> None:
        path = place / "lock"
        release = threading.Event()
        held = threading.Event()

        def hold() -> None:
            with lock(path, wait=0):
                held.set()
                release.wait()

        holder = threading.Thread(target=hold)
        holder.start()
        held.wait()
        threading.Timer(0.1, release.set).start()
        with lock(path, wait=60):
            assert release.is_set()
        holder.join()

    def test_it_is_let_go_when_the_holder_fails(self, place: Path) -> None:
        with pytest.raises(ZeroDivisionError), lock(place / "lock", wait=0):
            raise ZeroDivisionError
        assert lock_is_free(place / "lock")

    @pytest.mark.parametrize("plant", [make_link, make_readable], ids=["link", "group may read"])
    def test_a_planted_lock_file_is_refused(
        self, place: Path, plant: Callable[[Path], None]
    ) -> None:
        plant(place / "lock")

        with pytest.raises(FailedError), lock(place / "lock", wait=0):
            pass

    def test_who_asks_at_the_same_time_is_not_taken_for_the_holder(self, place: Path) -> None:
        """`status` and `up` may both be looking."""
        with (place / "lock").open("w") as other:
            (place / "lock").chmod(0o600)
            fcntl.flock(other, fcntl.LOCK_SH)

            assert lock_is_free(place / "lock")


class TestRemovedLock:
    """Who opened the file before its holder removed it (`reset`) holds the lock of nothing."""

    @pytest.fixture
    def path(self, place: Path) -> Path:
        return place / "lock"

    @pytest.fixture
    def after_opening(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> Callable[[Callable[[], None]], None]:
        """Has something happen once, between opening the file and locking it."""
        to_do: list[Callable[[], None]] = []
        original = locks._open_lock

        def open_then_act(path: Path, flags: int) -> int:
            descriptor = original(path, flags)
            if to_do:
                to_do.pop()()
            return descriptor

        monkeypatch.setattr(locks, "_open_lock", open_then_act)
        return to_do.append

    def test_the_next_one_holds_a_lock_that_others_see(
        self, path: Path, after_opening: Callable[[Callable[[], None]], None]
    ) -> None:
        after_opening(path.unlink)

        with lock(path, wait=0):
            assert not lock_is_free(path)

    def test_whoever_made_it_again_stays_the_only_holder(
        self, path: Path, after_opening: Callable[[Callable[[], None]], None]
    ) -> None:
        with ExitStack() as other:

            def make_again() -> None:
                path.unlink()
                other.enter_context(lock(path, wait=0))

            after_opening(make_again)

            with pytest.raises(BlockingIOError), lock(path, wait=0):
                pass


def test_missing_lock_is_not_made_where_its_directory_may_be_about_to_go(home: Path) -> None:
    with pytest.raises(FileNotFoundError), lock(home / "lock", wait=0, make=False):
        pass

    assert list(home.iterdir()) == []
