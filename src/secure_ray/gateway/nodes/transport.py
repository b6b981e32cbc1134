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
_MOST_OF_A_SOURCE = 64


def door_context(files: LeafFiles) -> ssl.SSLContext:
    """The door's TLS: the node's own leaf, and the root with it, which a new node has to see.

    A client may show no certificate; one that it shows must come from the cluster's CA.

    Raises:
        FailedError: a file is not ours alone.
        ValueError: a file holds no certificate.
        OSError: the leaf's certificate and key are no pair (`ssl.SSLError`).
    """
    from secure_ray.pki.trust import chain_with_root

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
    """Counts strangers by where they come from, and makes connections that are bounded.

    Args:
        near: The door's own address, for `source_of`.
    """

    def __init__(self, near: str) -> None:
        self._near = near
        self._strangers: Counter[str] = Counter()

    def bounded(self, make: Callable[[], asyncio.Protocol]) -> Callable[[], asyncio.Protocol]:
        """Makes protocols as `make` does, within the bounds."""
        return lambda: _Bounded(make(), self._strangers, self._near)


class _Bounded(asyncio.Protocol):
    """Hands everything on to another protocol, and cuts the connection when it is time.

    A node (it has shown a certificate of the cluster) may keep its connection and is not counted;
    a stranger has `STRANGER_SECONDS` for all that it wants, however slowly it sends and reads.
    """

    def __init__(self, inner: asyncio.Protocol, strangers: Counter[str], near: str) -> None:
        self._inner = inner
        self._strangers = strangers
        self._near = near
        self._source = ""
        self._end: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if not transport.get_extra_info("peercert"):
            assert isinstance(transport, asyncio.Transport)  # noqa: S101  # a stream has abort
            peer = transport.get_extra_info("peername")
            self._source = source_of(peer[0], self._near) if peer else "?"
            self._strangers[self._source] += 1
            if self._strangers[self._source] > _MOST_OF_A_SOURCE:
                transport.abort()
            loop = asyncio.get_running_loop()
            self._end = loop.call_later(STRANGER_SECONDS, transport.abort)
        self._inner.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._end is not None:
            self._end.cancel()
            self._strangers[self._source] -= 1
            if not self._strangers[self._source]:
                del self._strangers[self._source]
        self._inner.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received()

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()
