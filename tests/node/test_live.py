"""What a node's ports show: asked for while Ray is up, counted by leaf."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from secure_ray.base.errors import InconclusiveError
from secure_ray.network.listeners import listeners_of
from secure_ray.node import live as module
from secure_ray.node.live import LiveLook, look_live, looking
from secure_ray.pki.dress import Shown, read_worn
from support.fleet import Fleet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def fleet(home: Path) -> Iterator[Fleet]:
    made = Fleet(home, names=())
    yield made
    made.close()


@pytest.fixture
def ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process stands in for those of Ray."""
    processes: Any = (SimpleNamespace(pid=os.getpid()),)
    monkeypatch.setattr(module, "cluster_processes", lambda *_: processes)


@pytest.mark.usefixtures("ours")
def test_every_grpc_port_tells_its_leaf(fleet: Fleet) -> None:
    shown = look_live(fleet.plan, 1)

    assert shown == (read_worn(fleet.head.files).shown,) * len(fleet.head.ports)


@pytest.mark.usefixtures("ours")
def test_what_runs_is_told_not_what_is_on_disk(fleet: Fleet) -> None:
    before = fleet.head.serial()
    from secure_ray.node.identity import renew_head
    from support.fleet import utc_now

    renew_head(fleet.plan, now=utc_now(), fresh=True)

    assert {one.leaf.serial for one in look_live(fleet.plan, 1)} == {before}
    assert fleet.head.serial() != before


@pytest.mark.usefixtures("ours")
def test_ports_that_speak_no_grpc_are_not_asked(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    plain = replace(next(iter(listeners_of((os.getpid(),)))), port=fleet.plan.ports.port("nodes"))
    monkeypatch.setattr(module, "listeners_of", lambda _pids: (plain,))
    monkeypatch.setattr(module, "served_chain", lambda _host, port, **_: asked.append(port))

    assert look_live(fleet.plan, 1) == ()
    assert asked == []


class Ray:
    """Whether it is up, and what its ports show; counts how often they are asked."""

    def __init__(self, *shown: Shown | Exception) -> None:
        self.up = True
        self.shown = list(shown)
        self.looks = 0

    def look(self) -> tuple[Shown, ...]:
        self.looks += 1
        failures = [one for one in self.shown if isinstance(one, Exception)]
        if failures:
            raise failures[0]
        return tuple(one for one in self.shown if isinstance(one, Shown))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PAUSE_SECONDS", 0.0)


def watch(ray: Ray, act: Callable[[LiveLook], Any]) -> None:
    async def go() -> None:
        async with looking(ray.look, lambda: ray.up) as live:
            await act(live)

    asyncio.run(go())


async def until(holds: Callable[[], bool]) -> None:
    async def look() -> None:
        while not holds():  # noqa: ASYNC110  # what is looked at has no event of its own
            await asyncio.sleep(0)

    await asyncio.wait_for(look(), 20)


def leaf(fleet: Fleet, serial: str, days: int) -> Shown:
    shown = read_worn(fleet.head.files).shown
    facts = replace(shown.leaf, serial=serial, not_after=shown.leaf.not_after + timedelta(days))
    return replace(shown, leaf=facts)


def test_ports_are_counted_by_leaf_those_that_end_first_before_the_others(fleet: Fleet) -> None:
    late, soon = leaf(fleet, "aa", 9), leaf(fleet, "bb", 1)

    async def act(live: LiveLook) -> None:
        await until(lambda: bool(live.shown))
        assert live.shown == ((soon.leaf, 1), (late.leaf, 2))

    watch(Ray(late, soon, late), act)


def test_no_more_leaves_are_told_than_a_heartbeat_may_say(fleet: Fleet) -> None:
    many = [leaf(fleet, f"{at:x}", -at) for at in range(20)]

    async def act(live: LiveLook) -> None:
        await until(lambda: bool(live.shown))
        assert [one.serial for one, _ in live.shown] == [f"{at:x}" for at in range(19, 11, -1)]

    watch(Ray(*many), act)


def test_ports_are_asked_only_while_ray_is_up_and_at_once_when_it_is(fleet: Fleet) -> None:
    ray = Ray(leaf(fleet, "aa", 1))

    async def act(live: LiveLook) -> None:
        await until(lambda: bool(live.shown))
        ray.up = False
        await until(lambda: not live.shown)
        assert ray.looks == 1  # half a minute is not over
        ray.shown = [leaf(fleet, "bb", 1)]
        ray.up = True
        await until(lambda: bool(live.shown))
        assert (ray.looks, live.shown[0][0].serial) == (2, "bb")

    watch(ray, act)


@pytest.mark.parametrize("trouble", [InconclusiveError("SR-X", "no", fix="-"), OSError(24, "many")])
def test_ports_that_cannot_be_asked_are_asked_again(
    fleet: Fleet, trouble: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_EVERY_SECONDS", 0.0)
    ray = Ray(trouble)

    async def act(live: LiveLook) -> None:
        await until(lambda: ray.looks > 1)
        assert live.shown == ()
        ray.shown = [leaf(fleet, "aa", 1)]
        await until(lambda: bool(live.shown))

    watch(ray, act)
