"""The door of a running head: made of its launch plan."""

from __future__ import annotations

import platform
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING

from secure_ray.base.plain import plain_json
from secure_ray.gateway.nodes.door import NodeDoor
from secure_ray.gateway.nodes.enrolment import HeadFacts
from secure_ray.gateway.nodes.members import list_members
from secure_ray.gateway.nodes.register import find_register, open_register
from secure_ray.node.identity import pki_paths
from secure_ray.pki.token import read_token

if TYPE_CHECKING:
    import logging
    from collections.abc import AsyncIterator, Callable

    from secure_ray.base.clock import Clock
    from secure_ray.node.plan import LaunchPlan


@asynccontextmanager
async def open_door(
    plan: LaunchPlan, *, epoch: Callable[[], str], log: logging.Logger, clock: Clock
) -> AsyncIterator[None]:
    """Let nodes join the cluster of `plan`, as long as this lasts.

    Args:
        plan: What is started.
        epoch: Tells which session the control store knows.
        log: Where it is told.
        clock: The time.

    Raises:
        FailedError: the register cannot be opened.
        OSError: the port cannot be had.
    """
    door = NodeDoor(
        head_facts(plan, epoch), open_register(plan.paths.directory), log=log, clock=clock
    )
    await door.start(plan.place.address, plan.ports.port("nodes"))
    try:
        yield
    finally:
        await door.stop()


def head_facts(plan: LaunchPlan, epoch: Callable[[], str] = str) -> HeadFacts:
    """What the door of this head tells and issues."""
    return HeadFacts(
        cluster=plan.paths.name,
        cluster_id=plan.cluster_id,
        address=plan.place.address,
        ports=plain_json(plan.ports),
        versions={
            "ray": plan.versions["ray"],
            "python": platform.python_version(),
            "secure-ray": version("secure-ray"),
        },
        pki=pki_paths(plan.paths, plan.pki),
        leaf_life=plan.pki.leaf,
        token=lambda: read_token(plan.paths.token),
        epoch=epoch,
    )


def members(plan: LaunchPlan) -> tuple[str, ...]:
    """The addresses of the nodes that joined the head of `plan` and were not revoked.

    Raises:
        FailedError: the register cannot be read.
    """
    register = find_register(plan.paths.directory)
    if register is None:
        return ()
    with register.reading() as database:
        found = list_members(database)
    return tuple(sorted({member.address for member in found if member.revoked is None}))
