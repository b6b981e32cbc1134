"""What a private node's supervisor runs beside Ray: its relay, and the door or the heartbeat."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from typing import TYPE_CHECKING

from secure_ray.base.clock import utc_now
from secure_ray.base.errors import FailedError

if TYPE_CHECKING:
    import logging
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    from secure_ray.node.heartbeat import HeartbeatLoop
    from secure_ray.node.instance import Instance
    from secure_ray.node.messages import Heartbeat
    from secure_ray.node.plan import LaunchPlan

    OpenDoor = Callable[[LaunchPlan, logging.Logger], AbstractAsyncContextManager[None]]
    Members = Callable[[LaunchPlan], tuple[str, ...]]


@asynccontextmanager
async def beside(
    plan: LaunchPlan,
    *,
    open_door: OpenDoor,
    members: Members,
    now: Callable[[], Instance],
    log: logging.Logger,
) -> AsyncIterator[HeartbeatLoop | None]:
    """Run it as long as this lasts; on a worker, gives the line to its head.

    Args:
        plan: What is started.
        open_door: Opens the door for nodes on a head; the door is made one layer up.
        members: The addresses of those who joined a head, by its register.
        now: How this node is.
        log: Where it is told.
    """
    if not plan.place.is_private:
        yield None
        return
    async with AsyncExitStack() as stack:
        companions = _companions(plan, open_door, members, now, log)
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
async def _companions(
    plan: LaunchPlan,
    open_door: OpenDoor,
    members: Members,
    now: Callable[[], Instance],
    log: logging.Logger,
) -> AsyncIterator[HeartbeatLoop | None]:
    from secure_ray.node.neighbours import keeping_neighbours
    from secure_ray.node.relaying import relaying

    if plan.place.is_head:
        async with (
            open_door(plan, log),
            keeping_neighbours(plan, lambda: members(plan), log=log) as known,
            relaying(plan, known),
        ):
            yield None
    else:
        async with (
            _beating(plan, now, log) as heartbeats,
            keeping_neighbours(plan, lambda: _others(plan, heartbeats), log=log) as known,
            relaying(plan, known),
        ):
            yield heartbeats


def _others(plan: LaunchPlan, heartbeats: HeartbeatLoop) -> tuple[str, ...] | None:
    addresses = {node.address for node in heartbeats.nodes} - {plan.place.address}
    return tuple(sorted(addresses | {plan.place.head})) if heartbeats.nodes else None


@asynccontextmanager
async def _beating(
    plan: LaunchPlan, now: Callable[[], Instance], log: logging.Logger
) -> AsyncIterator[HeartbeatLoop]:
    from secure_ray.node.heartbeat import HeartbeatLoop

    heartbeats = HeartbeatLoop(plan, describe=lambda: _describe(plan, now()), log=log)
    task = asyncio.create_task(heartbeats.run())
    try:
        yield heartbeats
    finally:
        task.cancel()
        await asyncio.wait({task})


def _describe(plan: LaunchPlan, instance: Instance) -> Heartbeat:
    from secure_ray.node.messages import Heartbeat
    from secure_ray.pki.credentials import read_facts

    leaf = read_facts(plan.certificates / "node.crt")
    return Heartbeat(
        phase=instance.phase.value,
        reason=instance.reason[:512],
        sound=instance.sound,
        serial=leaf.serial,
        expires=datetime.fromisoformat(instance.certificate_expires),
        clock=utc_now(),
    )
