"""What the bind guard is told: the node's address, and which ports belong where."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_LAST_PORT = 65535

NODE_ON_LOOPBACK = "127.0.0.2"
"""Where a listener goes that asks for the node's address with a loopback port (guard.c)."""


@dataclass(frozen=True)
class GuardRules:
    """The rules of one node; guard.c tells what becomes of which call.

    Attributes:
        node: The node's address; a link-local one with its interface (`fe80::1%eth0`).
        loopback_ports: What listens here is for this host alone: plain HTTP and exporters.
        node_ports: What listens here does so on the node's address, yet Ray looks for it on
            loopback: core workers dial their node's agent at 127.0.0.1 (Ray 2.60.0).
        relayed: Ports of other hosts that are reached through a relay, with the port of that relay
            on 127.0.0.1.
    """

    node: str
    loopback_ports: frozenset[int]
    node_ports: frozenset[int]
    relayed: Mapping[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what the guard could not follow.

        Raises:
            ValueError: the address is none or stands for many, a port is out of range, or one is
                both for loopback and for the node.
        """
        address = ipaddress.ip_address(self.node)
        if address.is_unspecified or address.is_multicast:
            msg = f"{self.node} is not the address of one host"
            raise ValueError(msg)
        for port in (*self.loopback_ports, *self.node_ports, *self.relayed, *self.relayed.values()):
            if not 0 < port <= _LAST_PORT:
                msg = f"{port} is not a port"
                raise ValueError(msg)
        if both := self.loopback_ports & self.node_ports:
            msg = f"both on loopback and on the node's address: {_listed(both)}"
            raise ValueError(msg)

    def environment(self) -> dict[str, str]:
        """The variables that tell the guard; all of them, for it refuses every bind without one."""
        address = ipaddress.ip_address(self.node)
        mapped = getattr(address, "ipv4_mapped", None)
        return {
            "SECURE_RAY_GUARD_NODE": str(mapped or address),
            "SECURE_RAY_GUARD_LOOPBACK_PORTS": _listed(self.loopback_ports),
            "SECURE_RAY_GUARD_NODE_PORTS": _listed(self.node_ports),
            "SECURE_RAY_GUARD_RELAYED": ",".join(
                f"{port}:{relay}" for port, relay in sorted(self.relayed.items())
            ),
        }


LOCAL_RULES = GuardRules("127.0.0.1", frozenset(), frozenset())
"""Everything on loopback: a cluster of one host."""


def _listed(ports: Iterable[int]) -> str:
    return ",".join(str(port) for port in sorted(ports))
