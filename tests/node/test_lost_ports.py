"""What a part of Ray leaves free when it ends."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from pathlib import Path

import pytest

from secure_ray.node.lost_ports import hold_lost_ports
from support.plans import plan_of

PLAN = plan_of(Path("/state"))
PORT = PLAN.ports.port("dashboard")


def test_port_of_what_ended_is_nobody_elses_and_takes_no_token() -> None:
    """Another user's listener would be sent the token by the next `ray job`."""

    async def act() -> bytes:
        async with contextlib.AsyncExitStack() as held:
            assert PORT in await hold_lost_ports(PLAN, held)
            with pytest.raises(OSError, match="in use"):  # asks with SO_REUSEADDR
                socket.create_server(("127.0.0.1", PORT))
            reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
            said = await reader.read()
            writer.close()
            return said

    assert asyncio.run(act()) == b""
    with socket.create_server(("127.0.0.1", PORT)):
        pass  # let go with the cluster


def test_port_that_is_held_is_left_alone() -> None:
    async def act() -> list[int]:
        async with contextlib.AsyncExitStack() as held:
            return await hold_lost_ports(PLAN, held)

    with socket.create_server(("127.0.0.1", PORT)):
        assert PORT not in asyncio.run(act())
