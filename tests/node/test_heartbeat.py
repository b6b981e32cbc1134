"""A worker's word to its head, over real TLS: heard, lost, found again, refused for good."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from secure_ray.gateway.nodes.members import find_member, give_orders, list_members, revoke_member
from secure_ray.node import heartbeat as module
from secure_ray.node.heartbeat import HeartbeatLoop
from secure_ray.node.joining import Newcomer, join_cluster
from secure_ray.node.messages import Heartbeat
from secure_ray.node.place import Place
from secure_ray.pki.store import PkiPaths
from support.doors import LOOPBACK, VERSIONS, Head, utc_now
from support.loops import settled
from support.plans import private_plan

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from secure_ray.node.plan import LaunchPlan

PLACE = Place("w1", LOOPBACK, LOOPBACK)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_EVERY_SECONDS", 0.05)
    monkeypatch.setattr(module, "_LOST_SECONDS", 0.05)
    monkeypatch.setattr("secure_ray.gateway.nodes.presence._FRESH", 0)


@pytest.fixture
def head(tmp_path: Path) -> Head:
    return Head(tmp_path / "head")


def joined(head: Head, home: Path) -> LaunchPlan:
    """The plan of a worker that has joined the open door of `head`."""
    # The door's port is the eleventh of the block.
    plan = private_plan(home, place=PLACE, base=head.port - 10)
    plan.paths.directory.mkdir(parents=True, mode=0o700)
    pki = PkiPaths(plan.paths.pki, plan.paths.passphrase)
    join_cluster(head.invite(), Newcomer("w1", VERSIONS, pki), clock=utc_now)
    return plan


def beat() -> Heartbeat:
    return Heartbeat(
        phase="running", reason="", sound=True, serial="1", expires=utc_now(), clock=utc_now()
    )


@asynccontextmanager
async def beating(
    plan: LaunchPlan, describe: Callable[[], Heartbeat] = beat
) -> AsyncIterator[HeartbeatLoop]:
    loop = HeartbeatLoop(plan, describe=describe, log=logging.getLogger("test-heartbeat"))
    task = asyncio.create_task(loop.run())
    try:
        yield loop
        assert not task.done() or task.exception() is None
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await settled()


async def until(holds: Callable[[], bool]) -> None:
    """Wait for what the loop hears; it beats all the time."""

    async def look() -> None:
        while not holds():  # noqa: ASYNC110  # what it hears has no event of its own
            await asyncio.sleep(0.01)

    await asyncio.wait_for(look(), 20)


async def heard(event: asyncio.Event) -> None:
    await asyncio.wait_for(event.wait(), 20)


def test_head_hears_how_the_worker_is_and_says_who_is_there(head: Head, home: Path) -> None:
    async def go() -> HeartbeatLoop:
        async with beating(plan) as loop:
            await heard(loop.reached)
            return loop

    with head.open():
        plan = joined(head, home)
        loop = asyncio.run(go())

    assert [(node.name, node.role) for node in loop.nodes] == [("head", "head"), ("w1", "worker")]
    assert loop.orders == ()
    assert not loop.revoked.is_set()
    with head.register.changing() as database:
        (member,) = list_members(database)
    assert member.state["phase"] == "running"


def test_orders_are_heard(head: Head, home: Path) -> None:
    def order(*words: str) -> None:
        with head.register.changing() as database:
            (member,) = list_members(database)
            give_orders(database, member.id, words)
            assert find_member(database, member.id) is not None

    async def go() -> None:
        async with beating(plan) as loop:
            await heard(loop.reached)
            order("drain")
            await until(lambda: loop.orders == ("drain",))
            order()
            await until(lambda: loop.orders == ())

    with head.open():
        plan = joined(head, home)
        asyncio.run(go())


def test_revoked_worker_asks_no_more(head: Head, home: Path) -> None:
    async def go() -> None:
        loop = HeartbeatLoop(plan, describe=beat, log=logging.getLogger("test-heartbeat"))
        task = asyncio.create_task(loop.run())
        await heard(loop.reached)
        with head.register.changing() as database:
            assert revoke_member(database, "w1", utc_now())
        await asyncio.wait_for(task, 20)  # ends by itself
        await settled()
        assert loop.revoked.is_set()
        assert not loop.reached.is_set()

    with head.open():
        plan = joined(head, home)
        asyncio.run(go())


def test_worker_that_the_head_does_not_know_is_not_revoked(head: Head, home: Path) -> None:
    """A register that was lost must not end what runs."""

    async def go() -> None:
        async with beating(plan) as loop:
            await until(lambda: bool(loop.trouble))
            assert not loop.revoked.is_set()
            assert not loop.reached.is_set()

    with head.open():
        plan = joined(head, home)
        with head.register.changing() as database:
            database.execute("DELETE FROM leaves")
        asyncio.run(go())


def test_head_that_goes_and_comes_back_is_found_again(
    head: Head, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "test-heartbeat")

    async def go() -> None:
        async with beating(plan) as loop:
            await heard(loop.reached)
            await asyncio.to_thread(first.__exit__, None, None, None)
            await until(lambda: not loop.reached.is_set())
            assert not loop.revoked.is_set()
            assert loop.nodes  # what was known is known still
            with head.open():
                await heard(loop.reached)

    first = head.open()
    first.__enter__()
    plan = joined(head, home)
    asyncio.run(go())

    told = [record.getMessage() for record in caplog.records]
    assert told[0] == told[-1] == f"the head answers at {LOOPBACK}:{head.port}"
    lost = [text for text in told if text.startswith("no heartbeat reaches the head")]
    assert lost
    assert len(lost) == len(set(lost))  # each reason once


def test_head_is_taken_for_away_until_it_answers_once_more(head: Head, home: Path) -> None:
    async def go() -> None:
        async with beating(plan) as loop:
            await heard(loop.reached)
            loop.ask_again()
            assert not loop.reached.is_set()
            await heard(loop.reached)

    with head.open():
        plan = joined(head, home)
        asyncio.run(go())


def test_change_is_told_at_once(head: Head, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_EVERY_SECONDS", 3600)
    told: list[int] = []

    def describe() -> Heartbeat:
        told.append(len(told))
        return beat()

    async def go() -> None:
        async with beating(plan, describe) as loop:
            await heard(loop.reached)
            assert told == [0]
            loop.hurry()
            await until(lambda: told == [0, 1])

    with head.open():
        plan = joined(head, home)
        asyncio.run(go())


def test_leaf_that_cannot_be_used_is_told_and_tried_again(head: Head, home: Path) -> None:
    async def go() -> None:
        async with beating(plan) as loop:
            await until(lambda: bool(loop.trouble))
            assert not loop.reached.is_set()
            hidden.rename(key)
            await heard(loop.reached)

    with head.open():
        plan = joined(head, home)
        key = (plan.certificates / "node.key").resolve()
        hidden = key.rename(key.with_name("hidden"))
        asyncio.run(go())


def test_impostor_hears_nothing(head: Head, home: Path, tmp_path: Path) -> None:
    """Another cluster's head at the same address and port."""
    with head.open():
        plan = joined(head, home)
    other = Head(tmp_path / "other", port=head.port)

    async def go() -> None:
        async with beating(plan) as loop:
            await until(lambda: "cannot prove that it is the head" in loop.trouble)
            assert not loop.reached.is_set()

    with other.open():
        asyncio.run(go())
