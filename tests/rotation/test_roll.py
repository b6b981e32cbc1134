"""One node is moved to what lies on its disk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from secure_ray.base.errors import FailedError, IncompleteError
from secure_ray.gateway.nodes.members import revoke_member
from secure_ray.node.place import DRAIN, HALT, HOLD, renew_order
from secure_ray.rotation import roll
from secure_ray.rotation.nodes import find_worker
from secure_ray.rotation.roll import is_settled
from support.fleet import Fleet, Worker, utc_now

if TYPE_CHECKING:
    from secure_ray.rotation.nodes import NodeFacts


def facts(fleet: Fleet, worker: Worker) -> NodeFacts:
    found = find_worker(fleet.plan, worker.id, now=utc_now())
    assert found is not None
    return found


@pytest.fixture
def worker(fleet: Fleet) -> Worker:
    return fleet.workers[0]


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits gives up at the first look."""
    monkeypatch.setattr(roll, "_RENEW_SECONDS", -1.0)
    monkeypatch.setattr(roll, "_END_SECONDS", -1e6)


def test_worker_renews_and_goes_on_with_what_it_has(fleet: Fleet, worker: Worker) -> None:
    before = worker.serial()

    renewed = fleet.roller().renew(facts(fleet, worker))

    assert renewed.disk is not None
    assert renewed.disk.serial == worker.serial() != before
    assert {port.serial for port in renewed.ports} == {before}
    assert renewed.restart_due
    assert worker.starts == 1
    assert fleet.orders() == [(), ()]


def test_worker_is_held_emptied_halted_and_freed_in_that_order(
    fleet: Fleet, worker: Worker
) -> None:
    worker.renew(fleet)
    fleet.turn()

    after = fleet.roller().restart(facts(fleet, worker))

    assert is_settled(after)
    assert after.state == "running"
    assert worker.starts == 2
    assert worker.obeyed[-2:] == [(HOLD, HALT), ()]
    assert fleet.drained == [worker.address]


def test_worker_is_held_before_its_work_moves(
    fleet: Fleet, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else its supervisor would start Ray again as soon as that is empty."""
    seen: list[Any] = []
    monkeypatch.setattr(roll, "drain", lambda *_given, **_more: seen.append(fleet.orders()[0]))

    fleet.roller().restart(facts(fleet, worker))

    assert seen == [(HOLD,)]


@pytest.mark.parametrize(
    "trouble", [IncompleteError("SR-RAY-031", "busy", fix="-"), FailedError("SR-X", "no", fix="-")]
)
def test_work_that_does_not_end_in_time_is_ended_and_told(
    fleet: Fleet, worker: Worker, monkeypatch: pytest.MonkeyPatch, trouble: Exception
) -> None:
    given: list[float] = []

    def drain(*_given: object, seconds: float, **_more: object) -> None:
        given.append(seconds)
        raise trouble

    monkeypatch.setattr(roll, "drain", drain)

    fleet.roller(drain_seconds=7.0).restart(facts(fleet, worker))

    assert given == [7.0]
    assert worker.starts == 2
    assert "w1: its work did not end in time, so it is ended" in fleet.told


@pytest.mark.parametrize("act", ["renew", "restart"])
def test_orders_of_a_person_stay(fleet: Fleet, worker: Worker, act: str) -> None:
    fleet.order(worker, "something newer", HOLD, renew_order("ab"), DRAIN)

    getattr(fleet.roller(), act)(facts(fleet, worker))

    assert fleet.orders()[0] == ("something newer", DRAIN)


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize(
    ("act", "why"), [("renew", "has no new certificate"), ("restart", "does not end its Ray")]
)
def test_worker_that_does_not_obey_is_told_and_not_held_any_longer(
    fleet: Fleet, worker: Worker, act: str, why: str
) -> None:
    worker.deaf = True

    with pytest.raises(IncompleteError, match="SR-ROT-002") as caught:
        getattr(fleet.roller(), act)(facts(fleet, worker))

    assert f"w1 {why}" in caught.value.cause
    assert "it is running, on disk" in caught.value.cause
    assert "rotate-certs --resume" in caught.value.fix
    assert fleet.orders()[0] == ()


def test_worker_whose_ray_does_not_come_back(
    fleet: Fleet, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = worker.end

    def end() -> None:
        ended()
        worker.deaf = True
        monkeypatch.setattr(roll, "_END_SECONDS", -1e6)

    monkeypatch.setattr(worker, "end", end)

    with pytest.raises(IncompleteError, match="does not run with its new certificate") as caught:
        fleet.roller().restart(facts(fleet, worker))

    assert "raylet: Connection refused" in caught.value.cause
    worker.deaf = False
    monkeypatch.undo()
    fleet.turn()
    assert worker.runs  # it is not held


@pytest.mark.parametrize("act", ["renew", "restart"])
def test_worker_that_is_revoked_meanwhile(fleet: Fleet, worker: Worker, act: str) -> None:
    before = facts(fleet, worker)
    with fleet.register.changing() as database:
        revoke_member(database, "w1", utc_now())

    with pytest.raises(IncompleteError, match="SR-ROT-002: w1 was revoked meanwhile"):
        getattr(fleet.roller(), act)(before)


def test_worker_that_is_interrupted_is_not_held_any_longer(
    fleet: Fleet, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def drain(*_given: object, **_more: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(roll, "drain", drain)

    with pytest.raises(KeyboardInterrupt):
        fleet.roller().restart(facts(fleet, worker))

    assert fleet.orders()[0] == ()
    assert worker.starts == 1
