"""A node's leaf stays fresh, over a real door: when it is due, when the head says so, or not yet."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from secure_ray.base.errors import FailedError, RejectedError, SecureRayError
from secure_ray.base.files import write_private
from secure_ray.base.secrets import Secret
from secure_ray.gateway.nodes.members import give_orders, list_members, revoke_member, serials
from secure_ray.node import leaf_keeping as module
from secure_ray.node.door_client import connected, node_context
from secure_ray.node.joining import Newcomer, join_cluster
from secure_ray.node.leaf_keeping import (
    fetch_token,
    is_due,
    keeping_leaf,
    keeping_own_leaf,
    renew_leaf,
)
from secure_ray.node.messages import Leaf
from secure_ray.node.place import HOLD, Place, renew_order
from secure_ray.pki.facts import read_facts
from secure_ray.pki.join_string import Endpoint
from secure_ray.pki.store import LeafFiles, PkiPaths
from secure_ray.pki.token import read_token
from support.doors import CLUSTER_TOKEN, LOOPBACK, VERSIONS, Clock, Head, utc_now
from support.loops import settled
from support.plans import private_plan

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from pathlib import Path

    from secure_ray.node.door_client import DoorClient
    from secure_ray.node.heartbeat import HeartbeatLoop
    from secure_ray.node.plan import LaunchPlan
    from secure_ray.pki.facts import CertificateFacts

PLACE = Place("w1", LOOPBACK, LOOPBACK)
LOG = logging.getLogger("test-leaf-keeping")
DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LOOK_SECONDS", 0.0)
    monkeypatch.setattr(module, "_FAILED_SECONDS", 0.0)
    monkeypatch.setattr(module, "_LONGEST_WAIT", timedelta(0))


@pytest.fixture
def head(tmp_path: Path) -> Head:
    return Head(tmp_path / "head")


class Line:
    """A worker's line to its head, without the heartbeats: what they would have brought."""

    def __init__(self, plan: LaunchPlan) -> None:
        self.plan = plan
        self.orders: tuple[str, ...] = ()
        self.reached = asyncio.Event()
        self.reached.set()
        self.hurried = 0
        self.asked: list[str] = []
        self.lose: list[str] = []  # answers that do not come through

    def hurry(self) -> None:
        self.hurried += 1

    @asynccontextmanager
    async def client(self) -> AsyncIterator[DoorClient]:
        door = Endpoint(LOOPBACK, self.plan.head_ports.port("nodes"))
        files = LeafFiles.within(self.plan.certificates)
        async with connected(door, node_context(files)) as client:
            renew = client.renew

            async def asked(request: str) -> Leaf:
                self.asked.append(request)
                leaf = await renew(request)
                if self.lose:
                    raise FailedError("SR-JOIN-030", self.lose.pop(), fix="-")
                return leaf

            client.renew = asked  # type: ignore[method-assign]
            yield client

    @property
    def heartbeats(self) -> HeartbeatLoop:
        line: Any = self
        return line  # type: ignore[no-any-return]


def joined(head: Head, home: Path) -> LaunchPlan:
    """The plan of a worker that has joined the open door of `head`."""
    plan = private_plan(home, place=PLACE, base=head.port - 10)
    plan.paths.directory.mkdir(parents=True, mode=0o700)
    pki = PkiPaths(plan.paths.pki, plan.paths.passphrase)
    join_cluster(head.invite(), Newcomer("w1", VERSIONS, pki), clock=utc_now)
    write_private(plan.paths.token, CLUSTER_TOKEN.encode())
    return plan


def leaf_of(plan: LaunchPlan) -> CertificateFacts:
    return read_facts(LeafFiles.within(plan.certificates).certificate)


async def until(holds: Callable[[], bool]) -> None:
    async def look() -> None:
        while not holds():  # noqa: ASYNC110  # what is looked at has no event of its own
            await asyncio.sleep(0.005)

    await asyncio.wait_for(look(), 20)


async def turns(count: int = 50) -> None:
    """Long enough for the keeper, which never waits here, to look many times."""
    for _ in range(count):
        await asyncio.sleep(0)


def run(work: Coroutine[Any, Any, None]) -> None:
    async def go() -> None:
        await work
        await settled()

    asyncio.run(go())


# When it is due.


@pytest.mark.parametrize(
    ("used", "due"),
    [(0.0, False), (0.49, False), (0.51, True), (1.0, True), (9.0, True)],
)
def test_leaf_is_due_at_half_of_its_life(head: Head, used: float, *, due: bool) -> None:
    leaf = read_facts(head.pki.leaf.certificate)

    assert is_due(leaf, leaf.not_before + (leaf.not_after - leaf.not_before) * used) == due


def test_leaf_is_renewed_at_half_of_its_life_and_not_before(head: Head, home: Path) -> None:
    """By the clock on the wall: a host that slept or whose clock was set is late by one look."""

    async def work(plan: LaunchPlan, clock: Clock) -> None:
        line, before = Line(plan), leaf_of(plan).serial
        async with keeping_leaf(plan, line.heartbeats, clock=clock, log=LOG):
            await turns()
            assert line.asked == []
            clock.ahead = head.clock.ahead = 46 * DAY
            await until(lambda: line.hurried == 1)
            after = leaf_of(plan)
            assert after.serial != before
            await turns()
            assert leaf_of(plan) == after
        assert len(line.asked) == 1

    with head.open():
        run(work(joined(head, home), Clock()))


# When the head says so.


def test_order_is_obeyed_once_however_long_it_stands(head: Head, home: Path) -> None:
    async def work(plan: LaunchPlan) -> None:
        line, first = Line(plan), leaf_of(plan)
        async with keeping_leaf(plan, line.heartbeats, clock=utc_now, log=LOG):
            line.orders = (renew_order(first.serial), HOLD)
            await until(lambda: line.hurried == 1)
            second = leaf_of(plan)
            await turns()
            assert leaf_of(plan) == second
            line.orders = (renew_order(second.serial),)
            await until(lambda: line.hurried == 2)
            third = leaf_of(plan)
        assert len({first.serial, second.serial, third.serial}) == 3
        assert len(line.asked) == 2

    with head.open():
        run(work(joined(head, home)))


def test_order_for_a_leaf_that_is_gone_is_none(head: Head, home: Path) -> None:
    """It was given to a node that has renewed by itself meanwhile, or was started again."""

    async def work(plan: LaunchPlan) -> None:
        line = Line(plan)
        line.orders = (renew_order("ab"), renew_order(""), HOLD)
        async with keeping_leaf(plan, line.heartbeats, clock=utc_now, log=LOG):
            await turns()
        assert line.asked == []

    with head.open():
        run(work(joined(head, home)))


def test_head_that_is_away_is_not_asked(head: Head, home: Path) -> None:
    async def work(plan: LaunchPlan) -> None:
        line = Line(plan)
        line.reached.clear()
        line.orders = (renew_order(leaf_of(plan).serial),)
        async with keeping_leaf(plan, line.heartbeats, clock=utc_now, log=LOG):
            await turns()
            assert line.asked == []
            line.reached.set()
            await until(lambda: line.hurried == 1)

    with head.open():
        run(work(joined(head, home)))


# When it goes wrong.


def test_answer_that_was_lost_is_asked_for_again_for_the_same_key(
    head: Head, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def work(plan: LaunchPlan) -> None:
        line = Line(plan)
        line.lose = ["the line is cut"] * 3
        line.orders = (renew_order(leaf_of(plan).serial),)
        async with keeping_leaf(plan, line.heartbeats, clock=utc_now, log=LOG):
            await until(lambda: line.hurried == 1)
        assert len(line.asked) == 4
        assert len({key_of(request) for request in line.asked}) == 1

    caplog.set_level(logging.INFO, LOG.name)
    with head.open():
        run(work(joined(head, home)))

    told = [record.getMessage() for record in caplog.records if record.name == LOG.name]
    assert told[0] == "the certificate is not renewed: the line is cut"  # and that once
    assert [text.split(":")[0] for text in told[1:]] == ["the certificate is renewed"]


def key_of(request: str) -> object:
    from secure_ray.pki.keys import key_digest
    from secure_ray.pki.proof import read_request

    return key_digest(read_request(request.encode()).key)


@pytest.mark.parametrize("how", ["refused", "nonsense", "another's"])
def test_renewal_that_fails_leaves_the_pair_in_use(
    head: Head, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr("secure_ray.gateway.nodes.presence._FRESH", 0.0)
    other = Head(tmp_path / "other").pki.leaf

    async def work(plan: LaunchPlan) -> None:
        files = LeafFiles.within(plan.certificates)
        before = [path.read_bytes() for path in (files.certificate, files.key, files.authority)]
        line: Any = Line(plan)
        if how == "refused":
            with head.register.changing() as database:
                revoke_member(database, "w1", utc_now())
        else:
            text = "hello" if how == "nonsense" else other.certificate.read_text()
            line.client = answering(Leaf(text, other.authority.read_text()))
        kind: type[SecureRayError] = RejectedError if how == "refused" else FailedError
        with pytest.raises(kind, match="SR-JOIN-023" if how == "refused" else "SR-JOIN-035"):
            await renew_leaf(plan, line, clock=utc_now)
        assert before == [
            path.read_bytes() for path in (files.certificate, files.key, files.authority)
        ]

    with head.open():
        run(work(joined(head, home)))


def answering(leaf: Leaf) -> Callable[[], Any]:
    """A head that answers every request with this."""

    async def renew(_request: str) -> Leaf:
        return leaf

    @asynccontextmanager
    async def client() -> AsyncIterator[Any]:
        yield SimpleNamespace(renew=renew)

    return client


def test_leaf_that_cannot_be_read_for_once_ends_nothing(
    head: Head, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def work(plan: LaunchPlan) -> None:
        line = Line(plan)
        certificate = LeafFiles.within(plan.certificates).certificate.resolve()
        line.orders = (renew_order(leaf_of(plan).serial),)
        hidden = certificate.rename(certificate.with_name("hidden"))
        async with keeping_leaf(plan, line.heartbeats, clock=utc_now, log=LOG):
            await until(lambda: bool(caplog.records))
            hidden.rename(certificate)
            await until(lambda: line.hurried == 1)

    with head.open():
        run(work(joined(head, home)))


def test_worker_that_can_keep_nothing_stays_known_and_recovers(
    head: Head, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk: each try makes the head issue another leaf."""
    from secure_ray.pki import enrolment

    real, full = enrolment.keep_renewal, [True]

    def keep(*given: Any, **more: Any) -> CertificateFacts:
        if full[0]:
            raise FailedError("SR-FS-001", "no space left on device", fix="-")
        return real(*given, **more)

    async def work(plan: LaunchPlan) -> None:
        line = Line(plan)
        line.orders = (renew_order(leaf_of(plan).serial),)
        async with keeping_leaf(plan, line.heartbeats, clock=utc_now, log=LOG):
            await until(lambda: len(line.asked) > 8)
            full[0] = False
            await until(lambda: line.hurried == 1)

    monkeypatch.setattr(enrolment, "keep_renewal", keep)
    with head.open():
        run(work(joined(head, home)))
        with head.register.reading() as database:
            assert len(serials(database)) <= 5


# A head's own.


def test_head_asks_each_time_whether_something_is_due_and_tells_what_was_made(
    head: Head, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, LOG.name)
    outcomes: list[tuple[str, ...] | Exception] = [
        (),
        ("node certificate made",),
        FailedError("SR-FS-001", "disk full", fix="-"),
        FailedError("SR-FS-001", "disk full", fix="-"),
        OSError(5, "broken"),
        (),
        FailedError("SR-FS-001", "disk full", fix="-"),
        (),
    ]

    def renew(_plan: LaunchPlan) -> tuple[str, ...]:
        outcome = outcomes.pop(0) if outcomes else ()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def work(plan: LaunchPlan) -> None:
        async with keeping_own_leaf(plan, renew, LOG):
            await until(lambda: not outcomes)

    with head.open():
        run(work(joined(head, home)))

    told = [record.getMessage() for record in caplog.records if record.name == LOG.name]
    why = "the certificate is not renewed: "
    assert told == ["node certificate made", f"{why}disk full", f"{why}broken", f"{why}disk full"]


def test_head_whose_leaf_is_gone_still_asks(head: Head, home: Path) -> None:
    asked: list[int] = []

    def renew(_plan: LaunchPlan) -> tuple[str, ...]:
        asked.append(1)
        return ()

    async def work(plan: LaunchPlan) -> None:
        LeafFiles.within(plan.certificates).certificate.unlink()
        async with keeping_own_leaf(plan, renew, LOG):
            await until(lambda: len(asked) > 2)

    with head.open():
        run(work(joined(head, home)))


@pytest.mark.parametrize(
    ("life", "often"),
    [(90 * DAY, False), (timedelta(minutes=20), False), (timedelta(minutes=1), True)],
)
def test_leaf_of_a_minute_is_looked_at_more_often(
    head: Head, home: Path, monkeypatch: pytest.MonkeyPatch, life: timedelta, *, often: bool
) -> None:
    monkeypatch.setattr(module, "_LONGEST_WAIT", timedelta(seconds=30))
    head.facts = replace(head.facts, leaf_life=life)
    with head.open():
        plan = joined(head, home)

    assert (module._pause(plan) < timedelta(seconds=30)) == often
    assert module._pause(plan) < life / 2


# The token.


def test_token_is_taken_over_when_it_is_another_one(head: Head, home: Path) -> None:
    async def work(plan: LaunchPlan, *, changed: bool) -> None:
        assert await fetch_token(plan, Line(plan).heartbeats) == changed

    new = "f" * 64
    with head.open():
        plan = joined(head, home)
        run(work(plan, changed=False))
    head.facts = replace(head.facts, token=lambda: Secret(new))
    with head.open():
        run(work(plan, changed=True))
        run(work(plan, changed=False))

    assert read_token(plan.paths.token) == Secret(new)
    assert plan.paths.token.stat().st_mode & 0o777 == 0o600


def test_token_of_a_head_that_does_not_answer_or_refuses_stays(
    head: Head, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("secure_ray.gateway.nodes.presence._FRESH", 0.0)

    async def work(plan: LaunchPlan, kind: type[SecureRayError]) -> None:
        with pytest.raises(kind):
            await fetch_token(plan, Line(plan).heartbeats)

    with head.open():
        plan = joined(head, home)
    run(work(plan, FailedError))
    with head.register.changing() as database:
        (member,) = list_members(database)
        give_orders(database, member.id, ())
        revoke_member(database, "w1", utc_now())
    with head.open():
        run(work(plan, RejectedError))

    assert read_token(plan.paths.token) == Secret(CLUSTER_TOKEN)
