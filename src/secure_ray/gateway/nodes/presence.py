"""Who is a node by its certificate, and what nodes say of themselves: quick, for heartbeats.

A thousand nodes ask every ten seconds. So what the register says is read at most once a second
for all of them (a revocation holds within that second), and heartbeats are written together.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from secure_ray.gateway.nodes.members import list_members, record_heartbeats, serials
from secure_ray.node.messages import NodeEntry, encode_entries
from secure_ray.policy.addresses import canonical

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from datetime import datetime
    from typing import Any

    from msgspec import Raw

    from secure_ray.gateway.nodes.members import Member
    from secure_ray.gateway.nodes.register import Register
    from secure_ray.node.messages import Heartbeat

_FRESH = 1.0  # seconds


@dataclass(frozen=True)
class Roster:
    """What the register said.

    Attributes:
        members: Nodes by the serial numbers of their leaves, the revoked ones included.
        entries: The list that every node is given, as JSON.
        addresses: Of the nodes that are welcome.
        read: When.
    """

    members: Mapping[str, Member]
    entries: Raw
    addresses: frozenset[str]
    read: float


class Presence:
    """The roster, and the heartbeats that are not written yet.

    Args:
        register: Where both are kept.
        head: The head itself, first in the list of nodes.
        in_thread: Runs a function that blocks.
    """

    def __init__(
        self,
        register: Register,
        head: NodeEntry,
        in_thread: Callable[..., Awaitable[Any]],
    ) -> None:
        self._register = register
        self._head = head
        self._in_thread = in_thread
        self._reading = asyncio.Lock()
        self._roster: Roster | None = None
        self._outdated = False
        self._beats: dict[str, tuple[Heartbeat, datetime]] = {}

    async def roster(self, now: float) -> Roster:
        """What the register says, a second old at most."""
        async with self._reading:
            if self._roster is None or self._outdated or now - self._roster.read > _FRESH:
                self._outdated = False
                self._roster = await self._in_thread(self._read, now)
            return self._roster

    def expect_news(self) -> None:
        """Have the register read before the next answer: a node has a new leaf."""
        self._outdated = True

    def is_at(self, address: str) -> bool:
        """Whether a node that was not revoked is at `address`, by the last roster."""
        return self._roster is not None and canonical(address) in self._roster.addresses

    def beat(self, member: Member, heartbeat: Heartbeat, now: datetime) -> None:
        """Note a heartbeat, to be written with the next ones."""
        self._beats[member.id] = (heartbeat, now)

    async def write(self) -> None:
        """Write what was noted.

        Raises:
            FailedError: it cannot be written; newer heartbeats will come.
        """
        if self._beats:
            beats, self._beats = self._beats, {}
            await self._in_thread(self._write, beats)

    def _read(self, now: float) -> Roster:
        with self._register.reading() as database:
            members = {member.id: member for member in list_members(database)}
            by_serial = serials(database)
        welcome = [
            NodeEntry(member.name, member.address, "worker")
            for member in members.values()
            if member.revoked is None
        ]
        return Roster(
            {serial: members[id_] for serial, id_ in by_serial.items()},
            encode_entries([self._head, *welcome]),
            frozenset(canonical(node.address) for node in welcome),
            now,
        )

    def _write(self, beats: Mapping[str, tuple[Heartbeat, datetime]]) -> None:
        with self._register.changing() as database:
            record_heartbeats(database, beats)
