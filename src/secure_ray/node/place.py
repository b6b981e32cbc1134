"""Where this node is in its cluster, and what it listens on."""

from __future__ import annotations

from dataclasses import dataclass

from secure_ray.policy.addresses import LOOPBACK

HEAD_NAME = "head"
# The order of a head that its worker finish its work and get no more.
DRAIN = "drain"


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
