"""Where this node is in its cluster, and what it listens on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from secure_ray.policy.addresses import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Iterable

HEAD_NAME = "head"
# The orders of a head to a worker. The first three hold its Ray back once it has ended; that of
# `renew_order` says which leaf is to be replaced, so it is obeyed once, however long it stands.
DRAIN = "drain"  # by a person: finish the work, and get no more
HOLD = "hold"  # the same, for as long as a rotation needs it
HALT = "halt"  # end Ray now
_RENEW = "renew:"  # get a new leaf in place of the one with that serial number
_HOLDING = frozenset({DRAIN, HOLD, HALT})


def renew_order(serial: str) -> str:
    """The order to get a new leaf in place of the one with that serial number."""
    return f"{_RENEW}{serial}"


def is_of_rotation(order: str) -> bool:
    """Whether a rotation has given this order, not a person."""
    return order in {HOLD, HALT} or order.startswith(_RENEW)


def is_held_back(orders: Iterable[str]) -> bool:
    """Whether a worker with these orders is not to start Ray."""
    return not _HOLDING.isdisjoint(orders)


@dataclass(frozen=True)
class Place:
    """One node's place.

    Attributes:
        name: The node's name; the head decides it.
        address: What its listeners are bound to.
        head: The head's address; its own on the head.
    """

    name: str
    address: str
    head: str

    @property
    def is_head(self) -> bool:
        """Whether this is the head."""
        return self.name == HEAD_NAME

    @property
    def is_private(self) -> bool:
        """Whether other hosts can reach it, so that they can be part of the cluster."""
        return self.address != LOOPBACK

    @property
    def start(self) -> str:
        """The words after `secure-ray` that start this node again, where it was."""
        if not self.is_head:
            return "up"
        return f"up --head --bind {self.address}" if self.is_private else "up --head"

    def __str__(self) -> str:
        if not self.is_private:
            return self.address
        if self.is_head:
            return f"head at {self.address}"
        return f"worker {self.name} at {self.address}, of the head at {self.head}"


def head_at(address: str) -> Place:
    """The place of a head that listens on `address`."""
    return Place(HEAD_NAME, address, address)


LOCAL = head_at(LOOPBACK)
