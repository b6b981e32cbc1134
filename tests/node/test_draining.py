"""Work is taken away from a node: by the head, and by the node that hears of it."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

import pytest

from secure_ray.base.errors import FailedError, IncompleteError
from secure_ray.node import draining
from secure_ray.node.draining import OwnDrain, drain
from secure_ray.node.ray_nodes import RayNode
from support.live import until
from support.plans import WORKER, private_plan

if TYPE_CHECKING:
    from pathlib import Path

    from secure_ray.node.plan import LaunchPlan


class FakeRay:
    """Ray's control store; the node leaves it after it was asked for `stays` times."""

    def __init__(self, address: str, *, stays: int = 2, known: bool = True) -> None:
        self.address = address
        self.stays = stays
        self.known = known
        self.drained: list[str] = []
        self.failure: FailedError | None = None

    def nodes(self, _environment: object) -> tuple[RayNode, ...]:
        if self.failure:
            raise self.failure
        if self.drained:
            self.stays -= 1
        alive = self.known and self.stays >= 0
        return (RayNode("other", "10.0.0.99", True, False), RayNode("it", self.address, alive, False))  # fmt: skip # noqa: FBT003

    def drain(self, _environment: object, node: str, _reason: str) -> None:
        self.drained.append(node)


@pytest.fixture
def plan(home: Path) -> LaunchPlan:
    return private_plan(home, place=WORKER)


@pytest.fixture
def ray(plan: LaunchPlan, monkeypatch: pytest.MonkeyPatch) -> FakeRay:
    fake = FakeRay(plan.place.address)
    monkeypatch.setattr(draining, "list_ray_nodes", fake.nodes)
    monkeypatch.setattr(draining, "drain_ray_node", fake.drain)
    return fake


def drained(plan: LaunchPlan, *, seconds: float = 60.0) -> bool:
    return drain(plan, plan.place.address, reason="test", seconds=seconds, sleep=lambda _: None)


def test_it_is_waited_for_the_node_to_leave(plan: LaunchPlan, ray: FakeRay) -> None:
    assert drained(plan)
    assert ray.drained == ["it"]
    assert ray.stays < 0


def test_node_that_ray_does_not_have(plan: LaunchPlan, ray: FakeRay) -> None:
    ray.known = False

    assert not drained(plan)
    assert ray.drained == []


def test_node_that_keeps_its_work_stays_drained(plan: LaunchPlan, ray: FakeRay) -> None:
    ray.stays = 10**9
    with pytest.raises(IncompleteError, match="SR-RAY-031"):
        drained(plan, seconds=0)

    assert ray.drained == ["it"]


def test_ray_that_does_not_answer_leaves_the_order_standing(plan: LaunchPlan, ray: FakeRay) -> None:
    ray.failure = FailedError("SR-RAY-030", "no answer", fix="")

    with pytest.raises(IncompleteError, match="SR-RAY-032"):
        drained(plan)


def test_node_follows_the_order_once_and_only_the_order(plan: LaunchPlan, ray: FakeRay) -> None:
    own = OwnDrain(plan, logging.getLogger("test"))
    own.follow(())
    own.follow(("other",))
    assert own._thread is None

    own.follow(("drain",))
    until(lambda: ray.drained == ["it"], "Ray is asked", seconds=10)
    until(lambda: own._done, "it is noted", seconds=10)
    own.follow(("drain",))

    assert ray.drained == ["it"]


def test_node_asks_again_when_ray_did_not_answer(
    plan: LaunchPlan, ray: FakeRay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(draining, "_AGAIN_SECONDS", 0.0)
    ray.failure = FailedError("SR-RAY-030", "no answer", fix="")
    own = OwnDrain(plan, logging.getLogger("test"))
    own.follow(("drain",))
    assert own._thread is not None
    own._thread.join(10)
    ray.failure = None

    deadline = time.monotonic() + 10
    while not ray.drained and time.monotonic() < deadline:
        own.follow(("drain",))

    assert ray.drained == ["it"]
