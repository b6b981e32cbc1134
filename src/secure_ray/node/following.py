"""A worker follows its head: starts with it, ends when it begins anew, waits while it is away."""

from __future__ import annotations

from typing import TYPE_CHECKING

from secure_ray.base.errors import FailedError, RejectedError
from secure_ray.node.leaf_keeping import fetch_token
from secure_ray.node.place import DRAIN, HALT, is_held_back

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime

    from secure_ray.base.clock import Clock
    from secure_ray.node.heartbeat import HeartbeatLoop
    from secure_ray.node.plan import LaunchPlan

_LOOK_SECONDS = 1.0
_DRAINED = "drained by the head"
_HELD_BACK = "held back by the head, for a rotation"
# A node that starts looks for its head for 20 seconds.
_REACH_LOOKS, _REACH_SECONDS = 400, 0.05


class Following:
    """What a worker's supervisor has to do with the head.

    Args:
        heartbeats: The line to the head.
        head: The head's address.
        pause: Waits so many seconds, or until somebody asks to stop; whether somebody has.
        clock: The time.
    """

    def __init__(
        self,
        heartbeats: HeartbeatLoop,
        *,
        head: str,
        pause: Callable[[float], Awaitable[bool]],
        clock: Clock,
    ) -> None:
        self._heartbeats = heartbeats
        self._head = head
        self._pause = pause
        self._clock = clock
        self._epoch = ""

    @property
    def orders(self) -> tuple[str, ...]:
        """What the head wants this node to do."""
        return self._heartbeats.orders

    @property
    def held_back(self) -> bool:
        """Whether the head wants no Ray here for now."""
        return is_held_back(self.orders)

    def hurry(self) -> None:
        """Tell the head at once: something has changed."""
        self._heartbeats.hurry()

    def begin_life(self) -> None:
        """Ray starts: with the session that the head has now."""
        self._epoch = self._heartbeats.epoch

    async def take_token(self, plan: LaunchPlan) -> None:
        """Take over the cluster token that the head has now, before Ray starts.

        Raises:
            SecureRayError: the head does not answer.
            OSError: this node's leaf cannot be shown to it.
        """
        await fetch_token(plan, self._heartbeats)

    def require_same_head(self) -> str:
        """Raise when this node is not wanted any more; else why its Ray has to end, or "".

        Raises:
            RejectedError: the head has revoked this node.
        """
        self._require_member()
        told = self._heartbeats.epoch
        self._epoch = self._epoch or told
        # A head whose Ray starts just now says nothing; one that has kept its store says the same
        # as before, and then this node's Ray goes on.
        if told not in {"", self._epoch}:
            # The raylet would go on looking for the old one for a minute.
            return "its head has started anew"
        return "its head has ordered its end" if HALT in self.orders else ""

    async def until_reached(self) -> None:
        """Wait for the head's first word: without it, Ray would look for it for two minutes.

        Raises:
            FailedError: there is none.
            RejectedError: the head has revoked this node.
        """
        for _ in range(_REACH_LOOKS):
            self._require_member()
            if self._heartbeats.reached.is_set() or await self._pause(_REACH_SECONDS):
                return
        raise FailedError(
            "SR-JOIN-050",
            f"the head {self._head} does not answer: {self._heartbeats.trouble}",
            fix="secure-ray status on the head shows whether it is up; then run this again",
        )

    async def until_wanted(
        self, *, expires: Callable[[], datetime], on_held_back: Callable[[str], Awaitable[None]]
    ) -> None:
        """Wait until the head's Ray runs and wants this node, or somebody asks to stop.

        Args:
            expires: When this node's leaf does; it may be renewed meanwhile.
            on_held_back: Told once why, when the head wants no Ray here for now.

        Raises:
            FailedError: the leaf has expired meanwhile.
            RejectedError: the head has revoked this node.
        """
        heartbeats = self._heartbeats
        heartbeats.ask_again()  # it may have given orders since
        told = False
        while True:
            self._require_member()
            self._require_valid(expires())
            wanted = not self.held_back
            if heartbeats.reached.is_set() and heartbeats.epoch and wanted:
                return
            if not wanted and not told:
                told = True
                by_hand = DRAIN in self.orders
                await on_held_back(_DRAINED if by_hand else _HELD_BACK)
            if await self._pause(_LOOK_SECONDS):
                return

    def _require_member(self) -> None:
        if self._heartbeats.revoked.is_set():
            raise RejectedError(
                "SR-JOIN-046",
                "the head has revoked this node, so its Ray was stopped",
                fix="secure-ray reset here; then join with a new token, from "
                "secure-ray join-token create on the head",
            )

    def _require_valid(self, expires: datetime) -> None:
        if self._clock() >= expires:
            raise FailedError(
                "SR-JOIN-045",
                "this node's certificate has expired",
                fix="on the head: secure-ray join-token create; then join again from here",
            )
