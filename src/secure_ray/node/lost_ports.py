"""Keeps the HTTP ports of a part of Ray that has ended from whoever else is on this host.

Clients of the cluster send its token to these ports, in plain HTTP. Were one free, any user could
listen there and be told.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING

from secure_ray.policy.addresses import LOOPBACK
from secure_ray.policy.ports import Protocol

if TYPE_CHECKING:
    from secure_ray.node.plan import LaunchPlan


async def hold_lost_ports(plan: LaunchPlan, held: contextlib.AsyncExitStack) -> list[int]:
    """Listen on each HTTP port of Ray where nobody listens, and hang up on whoever comes.

    A socket that is bound alone would not do: where a connection of the one that ended has not run
    out yet it needs SO_REUSEADDR, and another with that may then listen beside it.

    Args:
        plan: What was started.
        held: Lets the ports go.

    Returns:
        The ports that were taken.
    """
    taken = []
    for expected in plan.ports.expected(plan.place.address):
        component = expected.planned.component
        if component.protocol is not Protocol.HTTP or component.ours:
            continue
        for address in {LOOPBACK, *expected.addresses}:
            with contextlib.suppress(OSError):  # it has not ended, or somebody was quicker
                await _hold(address, expected.port, held)
                taken.append(expected.port)
    return sorted(set(taken))


async def _hold(address: str, port: int, held: contextlib.AsyncExitStack) -> None:
    server = await asyncio.start_server(
        lambda _reader, writer: writer.close(),
        address,
        port,
        family=socket.AF_INET6 if ":" in address else socket.AF_INET,
        reuse_address=True,
    )
    held.callback(server.close)
