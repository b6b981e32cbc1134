"""TLS of the door, and bounds: how many connections, and how long a stranger may hold one."""

from __future__ import annotations

import asyncio
import ssl
import tempfile
from collections import Counter
from typing import TYPE_CHECKING

from secure_ray.policy.rate_limit import source_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from secure_ray.pki.store import LeafFiles

HANDSHAKE_SECONDS = 10.0
STRANGER_SECONDS = 30.0
_MOST_CONNECTIONS = 4096
_MOST_OF_A_SOURCE = 64


def door_context(files: LeafFiles) -> ssl.SSLContext:
    """The door's TLS: the node's own leaf, and the root with it, which a new node has to see.

    A client may show no certificate; one that it shows must come from the cluster's CA.

    Raises:
        FailedError: a file is not ours alone.
        ValueError: a file holds no certificate.
        OSError: the leaf's certificate and key are no pair (`ssl.SSLError`).
    """
    from secure_ray.pki.enrolment import chain_with_root

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_OPTIONAL
    context.num_tickets = 0  # every connection is judged by the certificate it shows
    context.load_verify_locations(files.authority)
    # OpenSSL takes a chain from a file only; what is in this one is public.
    with tempfile.NamedTemporaryFile(suffix=".pem") as chain:
        chain.write(chain_with_root(files))
        chain.flush()
        context.load_cert_chain(chain.name, files.key)
    return context


class Connections:
    """Counts connections by where they come from, and makes bounded ones."""

    def __init__(self) -> None:
        self._open: Counter[str] = Counter()

    def bounded(self, make: Callable[[], asyncio.Protocol]) -> Callable[[], asyncio.Protocol]:
        """Makes protocols as `make` does, within the bounds."""
        return lambda: _Bounded(make(), self._open)


class _Bounded(asyncio.Protocol):
    """Hands everything on to another protocol, and cuts the connection when it is time.

    A node (it has shown a certificate of the cluster) may keep its connection; a stranger has
    `STRANGER_SECONDS` for all that it wants, however slowly it sends and reads.
    """

    def __init__(self, inner: asyncio.Protocol, open_: Counter[str]) -> None:
        self._inner = inner
        self._open = open_
        self._source = ""
        self._end: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        peer = transport.get_extra_info("peername")
        self._source = source_of(peer[0]) if peer else "?"
        stranger = not transport.get_extra_info("peercert")
        self._open[self._source] += 1
        many = self._open[self._source] > _MOST_OF_A_SOURCE
        if (stranger and many) or self._open.total() > _MOST_CONNECTIONS:
            assert isinstance(transport, asyncio.Transport)  # noqa: S101  # a stream has abort
            transport.abort()
        elif stranger:
            assert isinstance(transport, asyncio.Transport)  # noqa: S101
            loop = asyncio.get_running_loop()
            self._end = loop.call_later(STRANGER_SECONDS, transport.abort)
        self._inner.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._end is not None:
            self._end.cancel()
        self._open[self._source] -= 1
        if not self._open[self._source]:
            del self._open[self._source]
        self._inner.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received()

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()
