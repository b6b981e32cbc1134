"""A worker and its head; the whole of it, with a supervisor, is in test_supervisor."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from secure_ray.base.errors import RejectedError
from secure_ray.node.following import Following
from support.plans import NOW


def following(*epochs: str) -> tuple[Following, list[str]]:
    """A worker whose head tells these sessions one after the other, and why its Ray has to end."""
    line: Any = SimpleNamespace(epoch=epochs[0], revoked=asyncio.Event(), orders=())

    async def pause(_seconds: float) -> bool:
        return False

    made = Following(line, head="10.77.0.1", pause=pause, clock=lambda: NOW)
    made.begin_life()
    told = []
    for epoch in epochs:
        line.epoch = epoch
        told.append(made.require_same_head())
    return made, told


@pytest.mark.parametrize(
    ("epochs", "ends"),
    [
        (("a", "a", "a"), False),
        (("a", "", "a"), False),
        (("", "a", "a"), False),
        (("", "", ""), False),
        (("a", "b"), True),
        (("a", "", "b"), True),
        (("", "a", "b"), True),
    ],
)
def test_ray_ends_when_the_head_knows_another_session(
    epochs: tuple[str, ...], *, ends: bool
) -> None:
    _, told = following(*epochs)

    assert [bool(why) for why in told] == [False] * (len(epochs) - 1) + [ends]


def test_ray_ends_when_the_node_is_not_wanted_any_more() -> None:
    made, _ = following("a")
    made._heartbeats.revoked.set()

    with pytest.raises(RejectedError, match="SR-JOIN-046"):
        made.require_same_head()
