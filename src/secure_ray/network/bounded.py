"""Listening sockets that hold a bounded number of connections, counted from the first packet on.

asyncio tells a protocol of a connection after the TLS handshake only, so whoever never shakes hands
would hold descriptors that nobody counts. Here a connection counts from accept to close.
"""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from secure_ray.base.descriptors import descriptor_limit
from secure_ray.policy.rate_limit import network_of, source_of

# What a connection counts as: of all, of its source, and a stranger's of two more.
Counted = tuple[tuple[str, str], ...]
_MOST = 4096
_BACKLOG = 128
# Of all descriptors an eighth; a stream of the relay takes two. Of those a source has an eighth,
# and strangers have three quarters together: no source keeps another out, nor strangers the nodes.
_SHARE = 8
_FEWEST = 8
Know = Callable[[str], bool]


def nobody(_address: str) -> bool:
    """Knows no address."""
    return False


@dataclass
class Bounds:
    """How many connections there may be, and how many there are.

    Attributes:
        total: At most as many together.
        source: At most as many of one source.
        strangers: At most as many of all that are not known; of those one IPv6 network has half,
            since each of its hosts can have any number of addresses.
        near: The address that is listened at, for `source_of`.
        know: Whether an address is one of those that were let in before.
        open: Those that there are, by source and by network.
    """

    total: int
    source: int
    strangers: int
    near: str = ""
    know: Know = nobody
    open: Counter[tuple[str, str]] = field(default_factory=Counter)

    @classmethod
    def by_descriptors(cls, near: str = "", know: Know = nobody) -> Bounds:
        """What this process can bear."""
        total = max(min(_MOST, descriptor_limit() // _SHARE), _FEWEST)
        return cls(total, max(total // _SHARE, _FEWEST // 2), total - total // 4, near, know)

    def admit(self, address: str) -> Counted | None:
        """Count one more connection from `address`; what it counts as, or None: one too many."""
        known = self.know(address)
        source = source_of(address, self.near)
        counted: Counted = (("all", ""), ("source", source))
        if not known:
            counted += (("strangers", ""), ("network", network_of(address)))
        most = {
            "all": self.total,
            "source": self.source,
            "strangers": self.strangers,
            "network": self.strangers // 2,
        }
        if any(self.open[entry] >= most[entry[0]] for entry in counted):
            return None
        self.open.update(counted)
        return counted

    def forget(self, counted: Counted) -> None:
        """Count one less of what `admit` has counted."""
        self.open.subtract(counted)
        for entry in counted:
            if self.open[entry] <= 0:
                del self.open[entry]


class _Connection(socket.socket):
    """A connection that is taken off the count when it is closed."""

    def __init__(self, plain: socket.socket, counted: Counted, bounds: Bounds) -> None:
        super().__init__(plain.family, plain.type, plain.proto, fileno=plain.detach())
        self._entry: tuple[Counted, Bounds] | None = (counted, bounds)

    def close(self) -> None:
        super().close()
        if self._entry is not None:
            counted, bounds = self._entry
            self._entry = None
            bounds.forget(counted)


class BoundedSocket(socket.socket):
    """A listening TCP socket that closes at once what is over its bounds."""

    def __init__(self, plain: socket.socket, bounds: Bounds | None = None) -> None:
        super().__init__(plain.family, plain.type, plain.proto, fileno=plain.detach())
        self.settimeout(0)
        self._bounds = bounds or Bounds.by_descriptors(near=self.getsockname()[0])

    def accept(self) -> tuple[socket.socket, Any]:
        """The next connection.

        Raises:
            BlockingIOError: there is none.
            ConnectionAbortedError: there was one too many; a server goes on with the next.
            OSError: it cannot be had, as when there are no descriptors left.
        """
        plain, address = super().accept()
        counted = self._bounds.admit(address[0])
        if counted is None:
            plain.close()
            raise ConnectionAbortedError
        return _Connection(plain, counted, self._bounds), address


def listen(host: str, port: int, bounds: Bounds | None = None) -> BoundedSocket:
    """Listen at one address.

    Raises:
        OSError: it cannot be had.
    """
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, address = found[0]
    plain = socket.socket(family, kind, protocol)
    try:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            plain.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        plain.bind(address)
        plain.listen(_BACKLOG)
    except OSError:
        plain.close()
        raise
    return BoundedSocket(plain, bounds)
