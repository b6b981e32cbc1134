"""A worker and its head; the whole of it, with a supervisor, is in test_supervisor."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from secure_ray.base.errors import FailedError, RejectedError
from secure_ray.node.following import Following
from secure_ray.node.place import DRAIN, HALT, HOLD, renew_order
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


@pytest.mark.parametrize(
    ("orders", "ends"),
    [
        ((), False),
        ((DRAIN,), False),
        ((HOLD,), False),
        ((renew_order("ab"),), False),
        ((HALT,), True),
        ((HOLD, HALT), True),
    ],
    ids=str,
)
def test_ray_ends_when_the_head_orders_it_and_not_before(
    orders: tuple[str, ...], *, ends: bool
) -> None:
    """To be held back is to start no more; what runs is drained in its time."""
    made, _ = following("a")
    line: Any = made._heartbeats
    line.orders = orders

    assert made.require_same_head() == ("its head has ordered its end" if ends else "")


class Waiting:
    """A worker that waits for its head: each pause brings the next word of it.

    Args:
        words: Orders that the head gives, one after the other; None: somebody asks to stop.
        lives: How many pauses the worker's leaf lasts.
    """

    def __init__(self, *words: tuple[str, ...] | None, lives: int = 99) -> None:
        self.words = [*words]
        self.lives = lives
        self.told: list[str] = []
        line: Any = SimpleNamespace(
            epoch="a", revoked=asyncio.Event(), reached=asyncio.Event(), orders=self.words.pop(0)
        )
        line.ask_again = line.reached.set  # it answers at once
        self.line = line
        self.following = Following(
            self.line,
            head="10.77.0.1",
            pause=self._pause,
            clock=lambda: NOW,
        )

    async def _pause(self, _seconds: float) -> bool:
        self.lives -= 1
        word = self.words.pop(0)
        if word is not None:
            self.line.orders = word
        return word is None

    async def _told(self, why: str) -> None:
        self.told.append(why)

    def wait(self) -> None:
        asyncio.run(
            self.following.until_wanted(
                expires=lambda: NOW + timedelta(seconds=self.lives), on_held_back=self._told
            )
        )


@pytest.mark.parametrize("order", [DRAIN, HOLD, HALT])
def test_ray_does_not_start_while_the_head_holds_it_back(order: str) -> None:
    waiting = Waiting((order,), (order,), (order,), ())

    waiting.wait()

    assert waiting.words == []
    by_hand = order == DRAIN
    why = "drained by the head" if by_hand else "held back by the head, for a rotation"
    assert waiting.told == [why]  # once


def test_worker_that_is_wanted_does_not_wait() -> None:
    waiting = Waiting((renew_order("ab"),))

    waiting.wait()

    assert waiting.told == []


def test_somebody_who_asks_to_stop_is_heard_by_one_that_is_held_back() -> None:
    waiting = Waiting((HOLD,), None)

    waiting.wait()

    assert waiting.words == []


def test_leaf_that_ends_while_the_node_is_held_back_is_told() -> None:
    with pytest.raises(FailedError, match="SR-JOIN-045"):
        Waiting(*[(HOLD,)] * 9, lives=3).wait()


def test_node_that_is_revoked_while_it_is_held_back_goes() -> None:
    waiting = Waiting((HOLD,), (HOLD,))
    waiting.line.revoked.set()

    with pytest.raises(RejectedError, match="SR-JOIN-046"):
        waiting.wait()
