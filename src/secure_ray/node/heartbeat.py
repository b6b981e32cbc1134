"""A worker's word to its head, every few seconds: how it is; and what it hears back."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from secure_ray.base.errors import RejectedError, SecureRayError
from secure_ray.node.door_client import DoorClient, connected, node_context
from secure_ray.pki.join_string import Endpoint
from secure_ray.pki.store import LeafFiles

if TYPE_CHECKING:
    import logging
    from collections.abc import AsyncIterator, Callable

    from secure_ray.node.messages import Heartbeat, NodeEntry, Orders
    from secure_ray.node.plan import LaunchPlan

_EVERY_SECONDS = 10.0
_ORDERED_SECONDS = 2.0  # with orders to obey, the next ones come soon
_LOST_SECONDS = 2.0
REVOKED = "SR-JOIN-023"


class HeartbeatLoop:
    """Tells the head how this node is.

    Args:
        plan: Where the head's door is, and the leaf to show there.
        describe: How this node is now.
        log: Told when the head is lost and found again.

    Attributes:
        reached: Set while the head answers.
        revoked: Set once the head says that this node is not wanted any more.
        orders: The head's last orders.
        nodes: Who is in the cluster, by the head's last word.
        trouble: Why the head does not answer; "" while it does, or before it was asked.
        epoch: Which session the head's control store knows; "" while its Ray does not run, and
            until the head has told.
    """

    def __init__(
        self, plan: LaunchPlan, *, describe: Callable[[], Heartbeat], log: logging.Logger
    ) -> None:
        self._door = Endpoint(plan.place.head, plan.head_ports.port("nodes"))
        self._files = LeafFiles.within(plan.certificates)
        self._describe = describe
        self._log = log
        self.trouble = ""
        self._due = asyncio.Event()
        self.reached = asyncio.Event()
        self.revoked = asyncio.Event()
        self.orders: tuple[str, ...] = ()
        self.nodes: tuple[NodeEntry, ...] = ()
        self.epoch = ""

    def hurry(self) -> None:
        """Send the next heartbeat now: something has changed."""
        self._due.set()

    def ask_again(self) -> None:
        """Take the head for away until it has answered once more."""
        self.reached.clear()
        self.hurry()

    async def run(self) -> None:
        """Until it is cancelled, or the head says that this node was revoked."""
        while not self.revoked.is_set():
            try:
                # A connection of its own while it lasts; made anew, it shows a renewed leaf.
                async with connected(self._door, node_context(self._files)) as client:
                    await self._beat_on(client)
            except RejectedError as error:
                self._lose(error.cause)
                if error.code == REVOKED:
                    self.revoked.set()
                    return
            except SecureRayError as error:
                self._lose(error.cause)
            except OSError as error:
                self._lose(f"this node's certificate cannot be used ({error.strerror or error})")
            except Exception as error:  # noqa: BLE001  # revocations and drains come this way only
                self._lose(f"a bug of secure-ray ({type(error).__name__})")
            await self._until_due(_LOST_SECONDS)

    async def _beat_on(self, client: DoorClient) -> None:
        while True:
            self._hear(await client.heartbeat(self._describe()))
            await self._until_due(_ORDERED_SECONDS if self.orders else _EVERY_SECONDS)

    async def _until_due(self, seconds: float) -> None:
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._due.wait(), seconds)
        self._due.clear()

    def _hear(self, answer: Orders) -> None:
        if self.trouble or not self.nodes:
            self._log.info("the head answers at %s", self._door)
        self.trouble = ""
        self.orders, self.nodes, self.epoch = answer.orders, answer.nodes, answer.epoch
        self.reached.set()

    @asynccontextmanager
    async def client(self) -> AsyncIterator[DoorClient]:
        """A connection of its own to the head's door.

        Raises:
            FailedError: a file of this node's leaf is not ours alone.
            OSError: the leaf cannot be used.
        """
        async with connected(self._door, node_context(self._files)) as client:
            yield client

    def _lose(self, why: str) -> None:
        self.reached.clear()
        if why != self.trouble:
            self._log.warning("no heartbeat reaches the head: %s", why)
        self.trouble = why
