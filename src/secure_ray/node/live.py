"""Which certificates the running processes of this node show: by handshake, not by file."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from secure_ray.base.errors import InconclusiveError
from secure_ray.network.grpc_probe import Identity
from secure_ray.network.listeners import Kind, listeners_of
from secure_ray.network.served import served_chain
from secure_ray.node.start_ray import cluster_processes
from secure_ray.pki.dress import read_shown
from secure_ray.policy.ports import Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from secure_ray.network.listeners import Listener
    from secure_ray.node.plan import LaunchPlan
    from secure_ray.pki.dress import Shown
    from secure_ray.pki.facts import CertificateFacts

_TIMEOUT = 3.0
_EVERY_SECONDS = 30.0
_PAUSE_SECONDS = 0.5
_MOST_TOLD = 8


class LiveLook:
    """What the node's ports showed when they were last looked at; see `looking`.

    Attributes:
        shown: How many ports show which leaf, those that end first before the others.
    """

    def __init__(self) -> None:
        self.shown: tuple[tuple[CertificateFacts, int], ...] = ()

    async def run(self, look: Callable[[], tuple[Shown, ...]], is_up: Callable[[], bool]) -> None:
        """Look once Ray is up, and every half minute from then on."""
        due = 0.0
        while True:
            now = asyncio.get_running_loop().time()
            if not is_up():
                self.shown, due = (), 0.0
            elif now >= due:
                due = now + _EVERY_SECONDS
                await self._look(look)
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _look(self, look: Callable[[], tuple[Shown, ...]]) -> None:
        try:
            found = await asyncio.to_thread(look)
        except (InconclusiveError, OSError):
            found = ()
        count = Counter(one.leaf for one in found)
        first = sorted(count.items(), key=lambda item: item[0].not_after)
        self.shown = tuple(first[:_MOST_TOLD])


@asynccontextmanager
async def looking(
    look: Callable[[], tuple[Shown, ...]], is_up: Callable[[], bool]
) -> AsyncIterator[LiveLook]:
    """Look what the node's ports show, as long as this lasts.

    Args:
        look: `look_live` for this node; runs in a thread.
        is_up: Whether Ray runs; while it does not, nothing is shown.
    """
    live = LiveLook()
    task = asyncio.create_task(live.run(look, is_up))
    try:
        yield live
    finally:
        task.cancel()
        await asyncio.wait({task})


def look_live(plan: LaunchPlan, supervisor: int) -> tuple[Shown, ...]:
    """What each gRPC port of this node's Ray shows, workers and drivers of the cluster included.

    Args:
        plan: What runs.
        supervisor: The pid of the process above it all.

    Raises:
        InconclusiveError: the sockets of a process cannot be read.
    """
    processes = cluster_processes(plan.cluster_id, supervisor)
    found = listeners_of(tuple(process.pid for process in processes))
    identity = Identity(plan.certificates / "node.crt", plan.certificates / "node.key")
    shown = (
        read_shown(served_chain(one.address, one.port, identity=identity, timeout=_TIMEOUT).chain)
        for one in _speaking_grpc(plan, found)
    )
    return tuple(one for one in shown if one is not None)


def _speaking_grpc(plan: LaunchPlan, found: Iterable[Listener]) -> list[Listener]:
    other = {
        planned.port
        for planned in plan.ports.ports
        if planned.component.protocol is not Protocol.GRPC
    }
    return [one for one in found if one.kind is Kind.TCP and one.port not in other]
