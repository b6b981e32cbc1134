"""Listening sockets that hold a bounded number of connections, counted from the first packet on.

asyncio tells a protocol of a connection after the TLS handshake only, so whoever never shakes hands
would hold descriptors that nobody counts. Here a connection counts from accept to close.
"""

from __future__ import annotations

import socket
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from secure_ray.base.descriptors import descriptor_limit
from secure_ray.policy.rate_limit import source_of

_MOST = 4096
_BACKLOG = 128
# Of all descriptors an eighth; a stream of the relay takes two. Of those a source has an eighth,
# so that one source keeps no other out.
_SHARE = 8
_FEWEST = 8


@dataclass
class Bounds:
    """How many connections there may be, and how many there are.

    Attributes:
        total: At most as many together.
        source: At most as many of one source.
        open: Those that there are, by source.
    """

    total: int
    source: int
    open: Counter[str] = field(default_factory=Counter)

    @classmethod
    def by_descriptors(cls) -> Bounds:
        """What this process can bear."""
        total = max(min(_MOST, descriptor_limit() // _SHARE), _FEWEST)
        return cls(total, max(total // _SHARE, _FEWEST // 2))

    def admit(self, source: str) -> bool:
        """Count one more connection of `source`, unless that is one too many."""
        if self.open[source] >= self.source or self.open.total() >= self.total:
            return False
        self.open[source] += 1
        return True

    def forget(self, source: str) -> None:
        """Count one less."""
        self.open[source] -= 1
        if self.open[source] <= 0:
            del self.open[source]


class _Counted(socket.socket):
    """A connection that is taken off the count when it is closed."""

    def __init__(self, plain: socket.socket, source: str, bounds: Bounds) -> None:
        super().__init__(plain.family, plain.type, plain.proto, fileno=plain.detach())
        self._entry: tuple[str, Bounds] | None = (source, bounds)

    def close(self) -> None:
        super().close()
        if self._entry is not None:
            source, bounds = self._entry
            self._entry = None
            bounds.forget(source)


class BoundedSocket(socket.socket):
    """A listening TCP socket that closes at once what is over its bounds."""

    def __init__(self, plain: socket.socket, bounds: Bounds | None = None) -> None:
        super().__init__(plain.family, plain.type, plain.proto, fileno=plain.detach())
        self.settimeout(0)
        self._bounds = bounds or Bounds.by_descriptors()

    def accept(self) -> tuple[socket.socket, Any]:
        """The next connection.

        Raises:
            BlockingIOError: there is none.
            ConnectionAbortedError: there was one too many; a server goes on with the next.
            OSError: it cannot be had, as when there are no descriptors left.
        """
        plain, address = super().accept()
        source = source_of(address[0])
        if not self._bounds.admit(source):
            plain.close()
            raise ConnectionAbortedError
        return _Counted(plain, source, self._bounds), address


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
