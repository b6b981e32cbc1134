"""Moves one node to what lies on its disk: its work goes elsewhere, its Ray ends and starts again.

What has been done shows in certificates and ports alone; killed at any moment, the next run looks
at those and goes on.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from secure_ray.base.errors import FailedError, IncompleteError
from secure_ray.gateway.nodes.members import find_member, give_orders
from secure_ray.gateway.nodes.register import open_register
from secure_ray.node.draining import drain
from secure_ray.node.place import HALT, HOLD, is_of_rotation, renew_order
from secure_ray.rotation.nodes import find_worker

if TYPE_CHECKING:
    from collections.abc import Callable

    from secure_ray.base.clock import Clock
    from secure_ray.node.plan import LaunchPlan
    from secure_ray.rotation.nodes import NodeFacts

_LOOK_SECONDS = 1.0
_RENEW_SECONDS = 60.0
_END_SECONDS = 90.0
_AGAIN = "secure-ray rotate-certs --resume"


@dataclass(frozen=True)
class Roller:
    """Rolls workers of one cluster; see `renew` and `restart`.

    Attributes:
        plan: The head's, which runs.
        clock: The time.
        drain_seconds: How long a node's work may take to end by itself.
        show: Told what is waited for.
        sleep: Waits.
    """

    plan: LaunchPlan
    clock: Clock
    drain_seconds: float
    show: Callable[[str], None] = lambda _text: None
    sleep: Callable[[float], None] = time.sleep

    def renew(self, node: NodeFacts) -> NodeFacts:
        """Have a worker get a new leaf; returns it with that on its disk.

        Raises:
            IncompleteError: it did not, within a minute.
        """
        before = node.disk.serial if node.disk else ""
        self._order(node, renew_order(before))
        self.show(f"{node.name}: a new certificate")
        try:
            return self._until(
                node,
                lambda now: now.disk is not None and now.disk.serial != before,
                f"{node.name} has no new certificate",
                _RENEW_SECONDS,
            )
        finally:
            self._order(node)

    def restart(self, node: NodeFacts) -> NodeFacts:
        """Empty a worker, and have its Ray start again with what lies on its disk.

        Work that does not end in time is ended: Ray retries tasks and restarts actors elsewhere, as
        far as they allow it.

        Raises:
            IncompleteError: its Ray did not end, or did not come back as it should be.
        """
        self._order(node, HOLD)
        try:
            self._empty(node)
        finally:
            self._order(node)
        self.show(f"{node.name}: Ray starts")
        return self._until(
            node,
            lambda now: (now.state == "running" or now.rests) and is_settled(now),
            f"{node.name} does not run with its new certificate",
            self.plan.timeout + _END_SECONDS,
        )

    def _empty(self, node: NodeFacts) -> None:
        try:
            drain(
                self.plan,
                node.address,
                reason="secure-ray rotate-certs",
                seconds=self.drain_seconds,
                show=lambda text: self.show(f"{node.name}: {text}"),
                sleep=self.sleep,
            )
        except (IncompleteError, FailedError):
            self.show(f"{node.name}: its work did not end in time, so it is ended")
        self._order(node, HOLD, HALT)
        self._until(
            node,
            lambda now: now.state == "waiting",
            f"{node.name} does not end its Ray",
            _END_SECONDS,
        )

    def _order(self, node: NodeFacts, *orders: str) -> None:
        """Give these orders in place of our earlier ones; those of a person stay."""
        with open_register(self.plan.paths.directory).changing() as database:
            member = find_member(database, node.id)
            theirs = [one for one in member.orders if not is_of_rotation(one)] if member else []
            give_orders(database, node.id, (*theirs, *orders))

    def _until(
        self, node: NodeFacts, holds: Callable[[NodeFacts], bool], why: str, seconds: float
    ) -> NodeFacts:
        deadline = time.monotonic() + seconds
        while True:
            now = find_worker(self.plan, node.id, now=self.clock())
            if now is None:
                raise IncompleteError(
                    "SR-ROT-002", f"{node.name} was revoked meanwhile", fix=_AGAIN
                )
            if holds(now):
                return now
            if time.monotonic() >= deadline:
                raise IncompleteError(
                    "SR-ROT-002",
                    f"{why} after {seconds:g} s: {_told(now)}",
                    fix=f"secure-ray status on {node.name}; then {_AGAIN}",
                )
            self.sleep(_LOOK_SECONDS)


def is_settled(node: NodeFacts) -> bool:
    """Whether each of the node's services shows the leaf that lies on its disk.

    One that rests shows none, and starts with that leaf when it is wanted again.
    """
    if node.disk is None:
        return False
    shown = {node.disk.serial, ""} if node.rests else {node.disk.serial}
    return all(port.serial in shown for port in node.ports)


def _told(node: NodeFacts) -> str:
    others = [f"{port.title}: {port.why or port.serial[:8]}" for port in node.ports]
    disk = node.disk.serial[:8] if node.disk else "unknown"
    return f"it is {node.state}, on disk {disk}, at its ports {', '.join(others)}"
