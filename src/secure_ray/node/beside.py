"""What a supervisor runs beside Ray.

A head keeps its certificates fresh; in private mode each node has a relay, a head the door, and a
worker its heartbeat and its leaf.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from secure_ray.base.clock import utc_now
from secure_ray.base.errors import FailedError
from secure_ray.node.identity import renew_head
from secure_ray.node.instance import Phase
from secure_ray.node.leaf_keeping import keeping_leaf, keeping_own_leaf
from secure_ray.pki.store import LeafFiles

if TYPE_CHECKING:
    import logging
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    from secure_ray.node.heartbeat import HeartbeatLoop
    from secure_ray.node.instance import Instance
    from secure_ray.node.live import LiveLook
    from secure_ray.node.messages import Heartbeat
    from secure_ray.node.plan import LaunchPlan

    Epoch = Callable[[], str]
    OpenDoor = Callable[[LaunchPlan, Epoch, logging.Logger], AbstractAsyncContextManager[None]]
    Members = Callable[[LaunchPlan], tuple[str, ...]]


@asynccontextmanager
async def beside(
    plan: LaunchPlan,
    *,
    open_door: OpenDoor,
    members: Members,
    now: Callable[[], Instance],
    epoch: Epoch,
    log: logging.Logger,
) -> AsyncIterator[HeartbeatLoop | None]:
    """Run it as long as this lasts; on a worker, gives the line to its head.

    Args:
        plan: What is started.
        open_door: Opens the door for nodes on a head; the door is made one layer up.
        members: The addresses of those who joined a head, by its register.
        now: How this node is.
        epoch: Which session a head's control store knows, for its workers.
        log: Where it is told.
    """
    companions: AbstractAsyncContextManager[HeartbeatLoop | None]
    async with AsyncExitStack() as stack:
        if plan.place.is_head and not plan.ephemeral:
            await stack.enter_async_context(keeping_own_leaf(plan, _renew_head, log))
        if not plan.place.is_private:
            yield None
            return
        if plan.place.is_head:
            door = open_door(plan, epoch, log)
            companions = _beside_head(plan, door, members, log)
        else:
            companions = _beside_worker(plan, now, log)
        try:
            heartbeats = await stack.enter_async_context(companions)
        except OSError as error:
            raise FailedError(
                "SR-NET-014",
                f"the relay or the door of {plan.place.address} cannot be opened: "
                f"{error.strerror or error}",
                fix="see whether the address is still this host's (ip address) and its ports are "
                "free (secure-ray status); then run it again",
            ) from None
        yield heartbeats


@asynccontextmanager
async def _beside_head(
    plan: LaunchPlan,
    door: AbstractAsyncContextManager[None],
    members: Members,
    log: logging.Logger,
) -> AsyncIterator[None]:
    from secure_ray.node.neighbours import keeping_neighbours
    from secure_ray.node.relaying import relaying

    async with (
        door,
        keeping_neighbours(plan, lambda: members(plan), log=log) as known,
        relaying(plan, known),
    ):
        yield None


@asynccontextmanager
async def _beside_worker(
    plan: LaunchPlan, now: Callable[[], Instance], log: logging.Logger
) -> AsyncIterator[HeartbeatLoop]:
    from secure_ray.node.neighbours import keeping_neighbours
    from secure_ray.node.relaying import relaying

    async with (
        _beating(plan, now, log) as heartbeats,
        keeping_leaf(plan, heartbeats, clock=utc_now, log=log),
        keeping_neighbours(plan, lambda: _others(plan, heartbeats), log=log) as known,
        relaying(plan, known),
    ):
        yield heartbeats


def _renew_head(plan: LaunchPlan) -> tuple[str, ...]:
    return renew_head(plan, now=utc_now())


def _others(plan: LaunchPlan, heartbeats: HeartbeatLoop) -> tuple[str, ...] | None:
    addresses = {node.address for node in heartbeats.nodes} - {plan.place.address}
    return tuple(sorted(addresses | {plan.place.head})) if heartbeats.nodes else None


@asynccontextmanager
async def _beating(
    plan: LaunchPlan, now: Callable[[], Instance], log: logging.Logger
) -> AsyncIterator[HeartbeatLoop]:
    from secure_ray.node.heartbeat import HeartbeatLoop
    from secure_ray.node.live import look_live, looking

    supervisor = now().supervisor.pid
    async with looking(
        lambda: look_live(plan, supervisor), lambda: now().phase in {Phase.RUNNING, Phase.DEGRADED}
    ) as live:
        heartbeats = HeartbeatLoop(plan, describe=lambda: _describe(plan, now(), live), log=log)
        task = asyncio.create_task(heartbeats.run())
        try:
            yield heartbeats
        finally:
            task.cancel()
            await asyncio.wait({task})


def _describe(plan: LaunchPlan, instance: Instance, live: LiveLook) -> Heartbeat:
    from secure_ray.node.messages import Heartbeat, LiveLeaf
    from secure_ray.pki.dress import read_worn

    worn = read_worn(LeafFiles.within(plan.certificates))
    leaf = worn.shown.leaf
    return Heartbeat(
        phase=instance.phase.value,
        reason=instance.reason[:512],
        sound=instance.sound,
        serial=leaf.serial,
        expires=leaf.not_after,
        clock=utc_now(),
        issuer=worn.shown.issuer,
        trusts=worn.trusted,
        live=tuple(LiveLeaf(shown.serial, shown.not_after, ports) for shown, ports in live.shown),
    )
