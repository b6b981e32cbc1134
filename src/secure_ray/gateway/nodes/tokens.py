"""Join tokens in the register: made, listed, revoked, spent.

A token is spent by a key: the same key may come again until the token expires and is given what it
was given before, so that a lost reply costs nothing. Of the token's secret only a public key is
kept.
"""

from __future__ import annotations

import base64
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from secure_ray.base.errors import UsageError
from secure_ray.base.secrets import Secret
from secure_ray.pki.join_string import SECRET_BITS, JoinString
from secure_ray.policy.admission import LONGEST_TTL, MOST_USES, TokenState, in_words, is_node_name

if TYPE_CHECKING:
    import sqlite3

    from secure_ray.pki.join_string import Endpoint

# An expired token is remembered for this long, so that whoever comes late is told why.
_REMEMBERED = timedelta(days=7)
_SHORTEST_TTL = timedelta(minutes=1)


@dataclass(frozen=True)
class TokenRecord:
    """A join token, without anything secret.

    Attributes:
        state: What decides whether it admits a node.
        public_key: What its proofs are checked with.
        made: When.
        maker: The account that made it.
    """

    state: TokenState
    public_key: bytes
    made: datetime
    maker: str


@dataclass(frozen=True)
class TokenOrder:
    """A token to be made.

    Attributes:
        ttl: How long it lives.
        uses: How many nodes may join with it.
        node: The only node name that may join with it, or "".
        maker: Who asks for it.

    Raises:
        UsageError: a value is out of bounds.
    """

    ttl: timedelta
    uses: int
    node: str
    maker: str

    def __post_init__(self) -> None:
        if not _SHORTEST_TTL <= self.ttl <= LONGEST_TTL:
            raise _out_of_bounds("--ttl", f"1m to {in_words(LONGEST_TTL)}")
        if not 1 <= self.uses <= MOST_USES:
            raise _out_of_bounds("--uses", f"1 to {MOST_USES}")
        if self.node and not is_node_name(self.node):
            raise _out_of_bounds("--node", "up to 63 lower-case letters, digits and hyphens")
        if self.node and self.uses != 1:
            raise _out_of_bounds("--uses with --node", "1, since a name is one node's")


@dataclass(frozen=True)
class Spending:
    """One key's use of a token, and what it was given."""

    node: str
    name: str
    address: str
    chain: str
    roots: str


def make_token(
    database: sqlite3.Connection,
    order: TokenOrder,
    *,
    cluster_id: str,
    pins: tuple[bytes, ...],
    heads: tuple[Endpoint, ...],
    now: datetime,
) -> JoinString:
    """Make a token and record it; the secret is in what is returned and nowhere else."""
    from secure_ray.pki.proof import public_token_key

    _forget(database, now)
    token = base64.b32encode(secrets.token_bytes(5)).decode().lower()
    secret = Secret.random_hex(SECRET_BITS)
    # Whole seconds, as in the string.
    expires = (now + order.ttl).replace(microsecond=0)
    database.execute(
        "INSERT INTO tokens VALUES (?, ?, ?, ?, ?, ?, ?, NULL)",
        (
            token,
            public_token_key(secret, token=token, cluster_id=cluster_id),
            now.timestamp(),
            expires.timestamp(),
            order.uses,
            order.node,
            order.maker,
        ),
    )
    return JoinString(token, cluster_id, pins, secret, expires, heads)


def find_token(database: sqlite3.Connection, token: str) -> TokenRecord | None:
    """The token called `token`, whatever its state."""
    row = database.execute("SELECT * FROM tokens WHERE id = ?", (token,)).fetchone()
    return None if row is None else _record(database, row)


def list_tokens(database: sqlite3.Connection) -> tuple[TokenRecord, ...]:
    """All that are remembered, the oldest first."""
    rows = database.execute("SELECT * FROM tokens ORDER BY made, id").fetchall()
    return tuple(_record(database, row) for row in rows)


def revoke_token(database: sqlite3.Connection, token: str, now: datetime) -> bool:
    """Let nobody join with it any more; False when there is none of that name."""
    changed = database.execute(
        "UPDATE tokens SET revoked = coalesce(revoked, ?) WHERE id = ?", (now.timestamp(), token)
    )
    return changed.rowcount > 0


def find_spending(database: sqlite3.Connection, token: str, key: bytes) -> Spending | None:
    """What `key` was given for the token, if it has used it."""
    row = database.execute(
        "SELECT node, name, address, chain, roots FROM spendings WHERE token = ? AND key = ?",
        (token, key),
    ).fetchone()
    return None if row is None else Spending(*row)


def spend(
    database: sqlite3.Connection, token: str, key: bytes, spending: Spending, now: datetime
) -> None:
    """Record that `key` has used the token, and what it was given."""
    given = (spending.node, spending.name, spending.address, spending.chain, spending.roots)
    database.execute(
        "INSERT INTO spendings VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (token, key, *given, now.timestamp()),
    )


def _record(database: sqlite3.Connection, row: sqlite3.Row) -> TokenRecord:
    spent_by = database.execute(
        "SELECT name, address FROM spendings WHERE token = ? ORDER BY spent", (row["id"],)
    ).fetchall()
    state = TokenState(
        id=row["id"],
        expires=_time(row["expires"]),
        uses=row["uses"],
        node=row["node"],
        revoked=None if row["revoked"] is None else _time(row["revoked"]),
        spent_by=tuple((name, address) for name, address in spent_by),
    )
    return TokenRecord(state, row["public_key"], _time(row["made"]), row["maker"])


def _forget(database: sqlite3.Connection, now: datetime) -> None:
    long_ago = (now - _REMEMBERED).timestamp()
    old = "SELECT id FROM tokens WHERE expires < ?"
    database.execute(f"DELETE FROM spendings WHERE token IN ({old})", (long_ago,))  # noqa: S608
    database.execute("DELETE FROM tokens WHERE expires < ?", (long_ago,))


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, timezone.utc)


def _out_of_bounds(option: str, allowed: str) -> UsageError:
    return UsageError(
        "SR-JOIN-041",
        f"{option} is out of bounds: {allowed}",
        fix="secure-ray join-token create --help",
    )
