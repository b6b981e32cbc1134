"""What would have to move, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from secure_ray.node.ray_nodes import Work
from secure_ray.rotation import risk
from secure_ray.rotation.risk import work_at, work_now
from support.plans import plan_of

if TYPE_CHECKING:
    from pathlib import Path


def work(*kinds: str, address: str = "10.0.0.7") -> list[Work]:
    return [Work(address, kind, "x") for kind in kinds]


@pytest.mark.parametrize(
    ("kinds", "words"),
    [
        ((), ""),
        (("task",), "1 task"),
        (("task", "actor", "task"), "1 actor, 2 tasks"),
        (("driver", "actor", "actor"), "2 actors, 1 driver"),
    ],
)
def test_work_is_counted_by_kind(kinds: tuple[str, ...], words: str) -> None:
    assert work_at(work(*kinds), "10.0.0.7") == words


def test_work_elsewhere_is_not_counted() -> None:
    assert work_at(work("task", address="10.0.0.8"), "10.0.0.7") == ""


def test_one_address_may_be_written_in_several_ways() -> None:
    assert work_at(work("task", address="fd00:0:0::1"), "fd00::1") == "1 task"


def test_ray_is_asked_as_the_clusters_own(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def ask(environment: object) -> tuple[Work, ...]:
        asked.append(environment)
        return ()

    monkeypatch.setattr(risk, "list_work", ask)

    assert work_now(plan_of(home)) == ()
    assert asked[0]["RAY_USE_TLS"] == "1"
