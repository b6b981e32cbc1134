"""What is done to Ray inside the user's process, with a stand-in for Ray."""

from __future__ import annotations

import os
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from secure_ray.base.errors import FailedError
from secure_ray.node import ray_process

WANTED = {"RAY_AUTH_MODE": "token", "RAY_TEST_NEW": "1"}


class Raylet(ModuleType):
    """Ray's compiled part as far as it is used: keeps what it read when it was imported."""

    def __init__(self, *, reads_again: bool = True) -> None:
        super().__init__("ray._raylet")
        self.calls: list[str] = []
        self.mode = "disabled"
        self.reads_again = reads_again
        self.AuthenticationMode = SimpleNamespace(TOKEN="token")
        self.Config = SimpleNamespace(initialize=self._initialize)
        self.AuthenticationTokenLoader = SimpleNamespace(
            instance=lambda: SimpleNamespace(reset_cache=lambda: self.calls.append("reset_cache"))
        )
        self.get_authentication_mode = lambda: self.mode

    def _initialize(self, text: str) -> None:
        self.calls.append(f"initialize({text!r})")
        if self.reads_again:
            self.mode = os.environ["RAY_AUTH_MODE"]


@pytest.fixture(autouse=True)
def variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.delenv("RAY_TEST_NEW", raising=False)
    for name in [name for name in sys.modules if name.partition(".")[0] == "ray"]:
        monkeypatch.delitem(sys.modules, name)


@pytest.fixture
def constants() -> Any:
    return SimpleNamespace(ENABLE_RAY_CLUSTER=True)


@pytest.fixture
def imported(monkeypatch: pytest.MonkeyPatch, constants: Any) -> Raylet:
    """`ray` has been imported before."""
    raylet = Raylet()
    ray, private = ModuleType("ray"), ModuleType("ray._private")
    private.ray_constants = constants  # type: ignore[attr-defined]  # a stand-in
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setitem(sys.modules, "ray._private", private)
    monkeypatch.setitem(sys.modules, "ray._raylet", raylet)
    return raylet


def test_environment_is_set_and_restored() -> None:
    restore = ray_process.harden(WANTED)
    assert WANTED.items() <= os.environ.items()

    restore()
    assert os.environ["RAY_AUTH_MODE"] == "disabled"
    assert "RAY_TEST_NEW" not in os.environ


def test_variables_are_dropped_and_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "of the caller")
    monkeypatch.delenv("RAY_BRAND_NEW", raising=False)

    restore = ray_process.harden(WANTED, {"RAY_AUTH_TOKEN", "RAY_BRAND_NEW", "RAY_AUTH_MODE"})
    assert "RAY_AUTH_TOKEN" not in os.environ
    # What is both dropped and set is set.
    assert os.environ["RAY_AUTH_MODE"] == "token"

    restore()
    assert os.environ["RAY_AUTH_TOKEN"] == "of the caller"
    assert os.environ["RAY_AUTH_MODE"] == "disabled"
    assert "RAY_BRAND_NEW" not in os.environ


def test_dropped_variables_are_gone_before_ray_reads_again(
    imported: Raylet, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bool] = []
    imported.Config.initialize = lambda _text: seen.append("RAY_AUTH_TOKEN" in os.environ)
    imported.mode = "token"
    monkeypatch.setenv("RAY_AUTH_TOKEN", "of the caller")

    ray_process.harden(WANTED, {"RAY_AUTH_TOKEN"})()

    assert seen == [False]


@pytest.mark.parametrize("on_loopback", [True, False])
def test_ray_that_was_imported_before_reads_again(
    imported: Raylet, constants: Any, *, on_loopback: bool
) -> None:
    loopback = {ray_process.LOOPBACK_VARIABLE: "0"} if on_loopback else {}
    constants.ENABLE_RAY_CLUSTER = None

    ray_process.harden(WANTED | loopback)()

    assert imported.calls == ["initialize('')", "reset_cache"]
    assert imported.mode == "token"
    assert constants.ENABLE_RAY_CLUSTER is not on_loopback


def test_ray_that_does_not_take_it_is_refused_and_nothing_stays(imported: Raylet) -> None:
    imported.reads_again = False

    with pytest.raises(FailedError) as caught:
        ray_process.harden(WANTED)

    assert caught.value.code == "SR-RAY-021"
    assert os.environ["RAY_AUTH_MODE"] == "disabled"
    assert "RAY_TEST_NEW" not in os.environ


@pytest.mark.parametrize(
    "missing",
    [
        "Config",
        "AuthenticationMode",
        "AuthenticationTokenLoader",
        "get_authentication_mode",
        "Config.initialize",
        "AuthenticationMode.TOKEN",
    ],
)
def test_ray_that_lacks_a_name_is_refused_before_anything_changes(
    imported: Raylet, missing: str
) -> None:
    owner, _, name = missing.rpartition(".")
    delattr(getattr(imported, owner) if owner else imported, name)

    for act in (ray_process.require_hardenable, lambda: ray_process.harden(WANTED)):
        with pytest.raises(FailedError) as caught:
            act()
        assert caught.value.code == "SR-RAY-022"

    assert imported.calls == []
    assert os.environ["RAY_AUTH_MODE"] == "disabled"


def test_ray_without_the_constant_is_refused(imported: Raylet, constants: Any) -> None:
    del constants.ENABLE_RAY_CLUSTER

    with pytest.raises(FailedError) as caught:
        ray_process.harden(WANTED)

    assert caught.value.code == "SR-RAY-022"
    assert imported.calls == []


def test_ray_that_was_not_imported_can_be_hardened() -> None:
    ray_process.require_hardenable()
    assert "ray" not in sys.modules


@pytest.mark.parametrize(
    ("ray", "expected"),
    [
        (None, False),
        (SimpleNamespace(is_initialized=lambda: False), False),
        (SimpleNamespace(is_initialized=lambda: True), True),
    ],
    ids=["not imported", "not initialised", "initialised"],
)
def test_whether_ray_is_initialised(
    monkeypatch: pytest.MonkeyPatch, ray: Any, *, expected: bool
) -> None:
    if ray is not None:
        monkeypatch.setitem(sys.modules, "ray", ray)

    assert ray_process.is_initialized() == expected


def shutdown_of(monkeypatch: pytest.MonkeyPatch, calls: list[str], *, fails: bool = False) -> Any:
    def shutdown(*arguments: Any, **options: Any) -> None:
        """Ray's own words."""
        calls.append(f"ray {arguments} {options}")
        if fails:
            raise RuntimeError

    ray = SimpleNamespace(shutdown=shutdown)
    monkeypatch.setitem(sys.modules, "ray", ray)
    return ray


def test_what_follows_a_shutdown_is_done_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    ray = shutdown_of(monkeypatch, calls)
    original = ray.shutdown
    ray_process.after_shutdown(lambda: calls.append("after"))
    assert ray.shutdown.__doc__ == "Ray's own words."

    ray.shutdown(True, _exiting_interpreter=True)  # noqa: FBT003  # as Ray calls it

    assert calls == ["ray (True,) {'_exiting_interpreter': True}", "after"]
    assert ray.shutdown is original
    ray.shutdown()
    assert calls[2:] == ["ray () {}"]


def test_two_things_follow_a_shutdown_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    ray = shutdown_of(monkeypatch, calls)
    ray_process.after_shutdown(lambda: calls.append("first"))
    ray_process.after_shutdown(lambda: calls.append("second"))

    ray.shutdown()

    assert calls == ["ray () {}", "first", "second"]


def test_what_follows_is_done_when_the_shutdown_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    ray = shutdown_of(monkeypatch, calls, fails=True)
    ray_process.after_shutdown(lambda: calls.append("after"))

    with pytest.raises(RuntimeError):
        ray.shutdown()

    assert calls[1:] == ["after"]


@pytest.mark.usefixtures("imported")
def test_import_that_is_done_is_waited_for() -> None:
    ray_process.begin_import()()


def test_failed_import_is_told_where_it_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)  # which import refuses
    wait = ray_process.begin_import()

    with pytest.raises(ImportError):
        wait()


def test_shutdown_that_went_past_ours_is_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    """As after `from ray import shutdown`, which keeps Ray's own."""
    calls: list[str] = []
    ray = shutdown_of(monkeypatch, calls)
    original = ray.shutdown
    ray_process.after_shutdown(lambda: calls.append("environment"))
    ray_process.after_shutdown(lambda: calls.append("cluster"))

    original()
    ray_process.finish_shutdown()

    assert calls[0] == "ray () {}"
    assert sorted(calls[1:]) == ["cluster", "environment"]
    assert ray.shutdown is original
    ray_process.finish_shutdown()
    assert len(calls) == 3


def test_nothing_is_to_be_finished_without_ray() -> None:
    ray_process.finish_shutdown()
    assert "ray" not in sys.modules
