"""Nodes in the register: who joined, who was revoked, how they are."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Mapping

    from secure_ray.node.messages import Heartbeat


_SELECT = "SELECT *, (SELECT max(expires) FROM leaves WHERE node = nodes.id) AS expires FROM nodes"


@dataclass(frozen=True)
class Member:
    """A node that joined.

    Attributes:
        id: The head's name for it, never given twice.
        name: The name that people use.
        address: Where it joined from.
        joined: When.
        revoked: When it was revoked; None while it is welcome.
        orders: What it is to do.
        seen: When its last heartbeat came; None before the first.
        state: What that heartbeat said.
        certificate_expires: When the last of its leaves ends.
    """

    id: str
    name: str
    address: str
    joined: datetime
    revoked: datetime | None
    orders: tuple[str, ...]
    seen: datetime | None
    state: Mapping[str, object]
    certificate_expires: datetime | None

    @property
    def clock_ahead(self) -> timedelta | None:
        """By how much its clock was ahead of the head's at its last heartbeat."""
        said = _moment(self.state.get("clock"))
        return None if said is None or self.seen is None else said - self.seen

    @property
    def certificate_in_use(self) -> datetime | None:
        """When the certificate ends that it says it uses; before the first heartbeat, its last."""
        return _moment(self.state.get("expires")) or self.certificate_expires


def list_members(database: sqlite3.Connection) -> tuple[Member, ...]:
    """All, the revoked ones included, by name."""
    rows = database.execute(f"{_SELECT} ORDER BY name, joined").fetchall()
    return tuple(map(_member, rows))


def find_member(database: sqlite3.Connection, id_: str) -> Member | None:
    """The node with that id."""
    row = database.execute(f"{_SELECT} WHERE id = ?", (id_,)).fetchone()
    return None if row is None else _member(row)


def serials(database: sqlite3.Connection) -> dict[str, str]:
    """The ids of nodes by the serial numbers of their leaves."""
    return dict(database.execute("SELECT serial, node FROM leaves").fetchall())


def holder_of(database: sqlite3.Connection, name: str) -> tuple[str, str, bytes] | None:
    """Id, address and key of the node that has `name` and was not revoked."""
    row = database.execute(
        "SELECT id, address, key FROM nodes WHERE name = ? AND revoked IS NULL", (name,)
    ).fetchone()
    return None if row is None else tuple(row)


def nodes_of_key(database: sqlite3.Connection, key: bytes) -> tuple[Member, ...]:
    """The nodes that joined with `key`, the revoked ones included, oldest first."""
    rows = database.execute(f"{_SELECT} WHERE key = ? ORDER BY joined", (key,)).fetchall()
    return tuple(map(_member, rows))


def holder_of_address(database: sqlite3.Connection, address: str, *, but: bytes) -> str:
    """Name of a node at `address` with another key than `but` that was not revoked; else ""."""
    row = database.execute(
        "SELECT name FROM nodes WHERE address = ? AND key != ? AND revoked IS NULL", (address, but)
    ).fetchone()
    return "" if row is None else str(row[0])


def add_member(
    database: sqlite3.Connection, *, id_: str, name: str, address: str, key: bytes, now: datetime
) -> None:
    """Record a node, or that the one of this id has joined again."""
    database.execute(
        "INSERT INTO nodes (id, name, address, key, joined) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (id) DO UPDATE SET address = excluded.address, joined = excluded.joined",
        (id_, name, address, key, now.timestamp()),
    )


def add_leaf(database: sqlite3.Connection, *, serial: str, node: str, expires: datetime) -> None:
    """Record that the leaf with that serial number is the node's."""
    database.execute("INSERT INTO leaves VALUES (?, ?, ?)", (serial, node, expires.timestamp()))


def keep_newest_leaves(database: sqlite3.Connection, node: str, count: int, *, shown: str) -> None:
    """Forget all leaves of the node but the one `shown` and the `count` that were issued last."""
    database.execute(
        "DELETE FROM leaves WHERE node = ? AND serial != ? AND rowid NOT IN"
        " (SELECT rowid FROM leaves WHERE node = ? ORDER BY rowid DESC LIMIT ?)",
        (node, shown, node, count),
    )


def revoke_member(database: sqlite3.Connection, name: str, now: datetime) -> Member | None:
    """Refuse the node called `name` from now on; None when no such node is welcome.

    With it goes every node of its key, and the join tokens that it has used end: it knows them.
    """
    holder = holder_of(database, name)
    if holder is None:
        return None
    id_, _, key = holder
    moment = now.timestamp()
    database.execute(
        "UPDATE nodes SET revoked = ? WHERE key = ? AND revoked IS NULL", (moment, key)
    )
    database.execute(
        "UPDATE tokens SET revoked = ? WHERE revoked IS NULL AND id IN"
        " (SELECT token FROM spendings JOIN nodes ON nodes.id = node WHERE nodes.key = ?)",
        (moment, key),
    )
    return find_member(database, id_)


def give_orders(database: sqlite3.Connection, id_: str, orders: Iterable[str]) -> None:
    """What the node is told with its next heartbeat, in place of earlier orders."""
    database.execute("UPDATE nodes SET orders = ? WHERE id = ?", (json.dumps([*orders]), id_))


def record_heartbeats(
    database: sqlite3.Connection, beats: Mapping[str, tuple[Heartbeat, datetime]]
) -> None:
    """Keep the last heartbeats, by node id."""
    from secure_ray.node.messages import encode

    database.executemany(
        "UPDATE nodes SET seen = ?, state = ? WHERE id = ?",
        [(seen.timestamp(), encode(beat).decode(), id_) for id_, (beat, seen) in beats.items()],
    )


def _member(row: sqlite3.Row) -> Member:
    return Member(
        id=row["id"],
        name=row["name"],
        address=row["address"],
        joined=_time(row["joined"]),
        revoked=None if row["revoked"] is None else _time(row["revoked"]),
        orders=tuple(json.loads(row["orders"])),
        seen=None if row["seen"] is None else _time(row["seen"]),
        state=json.loads(row["state"]) if row["state"] else {},
        certificate_expires=None if row["expires"] is None else _time(row["expires"]),
    )


def _moment(text: object) -> datetime | None:
    # Python 3.10 reads no "Z".
    return datetime.fromisoformat(text.replace("Z", "+00:00")) if isinstance(text, str) else None


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, timezone.utc)
