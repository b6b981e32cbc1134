"""Carries plain HTTP of Ray between nodes inside mutual TLS.

Ray's dashboard and node agents speak plain HTTP, cluster token included, so on every node they
listen on loopback only. When one must reach another node's, its connection ends at a loopback port
of the supervisor here, which carries it to the relay of that node:

    Ray -> 127.0.0.1 -> [Forwarder] == mutual TLS ==> [Relay] -> 127.0.0.1 -> Ray

The stream begins with one line that names the service; the answer is one line too.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final
from urllib.parse import urlsplit

from secure_ray.network.bounded import Bounds, Know, listen, nobody
from secure_ray.policy.addresses import LOOPBACK, parse_address

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Awaitable, Callable, Mapping, Sequence

GREETING = b"SRR1 "
_ACCEPTED = b"ok\n"
_LINE_BYTES = 64
_HEAD_BYTES = 64 << 10
_CHUNK = 64 << 10
_OPEN_SECONDS = 10.0
_CLOSE_SECONDS = 1.0


class NoWayError(Exception):
    """A stream could not be carried to where it wants to go; says why."""


@dataclass(frozen=True)
class Stream:
    """Both ends of one connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def close(self) -> None:
        """Close it, whatever state it is in."""
        self.writer.close()
        with contextlib.suppress(OSError, asyncio.TimeoutError):
            await asyncio.wait_for(self.writer.wait_closed(), _CLOSE_SECONDS)
        self.writer.transport.abort()


@final
class StreamServer:
    """A server that ends its streams when it ends.

    From Python 3.12 on `asyncio.Server.wait_closed` waits for every connection, however long the
    other side keeps it.
    """

    def __init__(self, serve: Callable[[Stream], Awaitable[None]]) -> None:
        self._serve = serve
        self._open: dict[asyncio.Task[None], Stream] = {}
        self._server: asyncio.Server | None = None

    async def start(self, listener: socket.socket, **options: Any) -> StreamServer:
        """Serve the connections of `listener`; `options` are those of `asyncio.start_server`."""
        self._server = await asyncio.start_server(self._take, sock=listener, **options)
        return self

    async def __aenter__(self) -> StreamServer:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()
        await self.wait_closed()

    @property
    def sockets(self) -> Sequence[Any]:
        """Those it listens at."""
        return self._server.sockets if self._server is not None else ()

    def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        stream = Stream(reader, writer)
        task = asyncio.ensure_future(self._run(stream))
        self._open[task] = stream
        task.add_done_callback(self._open.pop)

    async def _run(self, stream: Stream) -> None:
        try:
            await self._serve(stream)
        finally:
            await stream.close()

    def close(self) -> None:
        """Take no more connections, and end those that there are."""
        if self._server is not None:
            self._server.close()
        for task, stream in self._open.items():
            stream.writer.transport.abort()
            task.cancel()

    async def wait_closed(self) -> None:
        """Wait for the end of the streams, a few seconds at most."""
        if self._open:
            await asyncio.wait(list(self._open), timeout=2 * _CLOSE_SECONDS)
        if self._server is not None:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._server.wait_closed(), _CLOSE_SECONDS)


async def serve_relay(
    host: str,
    port: int,
    *,
    context: ssl.SSLContext,
    services: Mapping[str, int],
    welcome: Callable[[Mapping[str, Any]], bool],
    know: Know = nobody,
) -> StreamServer:
    """Let the other nodes reach services of this one.

    Args:
        host: The node's address.
        port: The relay's port.
        context: Must require a client certificate of the cluster.
        services: The loopback port of each service by name.
        welcome: Whether the holder of a certificate (as `getpeercert` shows it) may come in.
        know: Whether an address is a node's, for which there is room whatever strangers do.

    Raises:
        ValueError: `context` lets clients without a certificate in.
        OSError: the port cannot be bound.
    """
    import ssl

    if context.verify_mode is not ssl.CERT_REQUIRED:
        raise ValueError("a relay without mutual TLS is open to everybody")

    async def serve(outside: Stream) -> None:
        # Whatever goes wrong, the other side sees the end of the stream.
        with contextlib.suppress(OSError, NoWayError, asyncio.TimeoutError):
            if not welcome(outside.writer.get_extra_info("peercert") or {}):
                return
            inside = await _accept(outside, services)
            await _join(outside, inside)

    return await StreamServer(serve).start(
        listen(host, port, Bounds.by_descriptors(host, know)),
        ssl=context,
        ssl_handshake_timeout=_OPEN_SECONDS,
    )


async def serve_forwarder(
    port: int, destination: Callable[[bytes], Awaitable[Stream]]
) -> StreamServer:
    """Take connections at a loopback port and carry each to where its request wants to go.

    Args:
        port: The loopback port.
        destination: Given the head of the first HTTP request, opens the stream to its place.

    Raises:
        OSError: the port cannot be bound.
    """

    async def serve(inside: Stream) -> None:
        try:
            head = await asyncio.wait_for(inside.reader.readuntil(b"\r\n\r\n"), _OPEN_SECONDS)
            outside = await destination(head)
            outside.writer.write(head)
            await _join(inside, outside)
        except NoWayError as error:
            inside.writer.write(_bad_gateway(str(error)))
        except (OSError, EOFError, asyncio.LimitOverrunError, asyncio.TimeoutError):
            return

    return await StreamServer(serve).start(listen(LOOPBACK, port, _own()), limit=_HEAD_BYTES)


async def open_service(host: str, port: int, service: str, *, context: ssl.SSLContext) -> Stream:
    """A stream to `service` of the node at `host`, whose certificate must bear that address.

    Raises:
        NoWayError: it cannot be reached, is not who it should be, or does not offer the service.
    """
    try:
        opening = asyncio.open_connection(host, port, ssl=context, server_hostname=host)
        stream = Stream(*await asyncio.wait_for(opening, _OPEN_SECONDS))
    except (OSError, ValueError, asyncio.TimeoutError) as error:  # ValueError: no name of a host
        raise _unreachable(host, port, error) from None
    try:
        stream.writer.write(GREETING + service.encode() + b"\n")
        answer = await asyncio.wait_for(stream.reader.readuntil(b"\n"), _OPEN_SECONDS)
    except (OSError, EOFError, asyncio.LimitOverrunError, asyncio.TimeoutError) as error:
        await stream.close()
        raise _unreachable(host, port, error) from None
    if answer != _ACCEPTED:
        await stream.close()
        raise NoWayError(f"the node at {host} does not offer {service}")
    return stream


def addresses_of(shown: Mapping[str, Any]) -> frozenset[str]:
    """The addresses that a certificate is for."""
    names = shown.get("subjectAltName", ())
    found = (parse_address(name) for kind, name in names if kind == "IP Address")
    return frozenset(str(one) for one in found if one is not None)


def _own() -> Bounds:
    """Everything on loopback is one source."""
    bounds = Bounds.by_descriptors()
    return Bounds(bounds.total, bounds.total, bounds.total, know=lambda _address: True)


def _unreachable(host: str, port: int, error: Exception) -> NoWayError:
    reason = str(error) or type(error).__name__
    return NoWayError(f"the relay of {host}:{port} cannot be reached: {reason}")


def wanted_host(head: bytes) -> str:
    """The address in the Host header of a request's head (RFC 9112 section 3.2).

    Raises:
        NoWayError: there is none, or more than one.
    """
    lines = head.split(b"\r\n")[1:]
    hosts = [line[5:].strip() for line in lines if line[:5].lower() == b"host:"]
    if len(hosts) != 1:
        raise NoWayError("the request names no single host")
    try:
        found = urlsplit(f"//{hosts[0].decode('ascii')}").hostname
    except ValueError:
        found = None
    if not found:
        raise NoWayError("the request's host is no address")
    return found


async def _accept(outside: Stream, services: Mapping[str, int]) -> Stream:
    try:
        line = await asyncio.wait_for(outside.reader.readline(), _OPEN_SECONDS)
    except ValueError:  # no end of line within the reader's limit
        raise NoWayError("the first line is too long") from None
    service = line.removeprefix(GREETING).strip().decode(errors="replace")
    if not line.startswith(GREETING) or len(line) > _LINE_BYTES or service not in services:
        outside.writer.write(b"no\n")
        await outside.writer.drain()
        raise NoWayError(service)
    inside = Stream(*await asyncio.open_connection(LOOPBACK, services[service]))
    outside.writer.write(_ACCEPTED)
    return inside


async def _join(one: Stream, other: Stream) -> None:
    """Carry bytes both ways until both sides have ended, or one has gone."""
    ways = [
        asyncio.ensure_future(_carry(one.reader, other.writer)),
        asyncio.ensure_future(_carry(other.reader, one.writer)),
    ]
    try:
        await asyncio.gather(*ways)
    finally:
        for way in ways:
            way.cancel()
        await other.close()


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(_CHUNK):
        writer.write(chunk)
        await writer.drain()
    # TLS cannot be half closed: the end of one way is then the end of both.
    if writer.can_write_eof():
        writer.write_eof()
    else:
        writer.close()


def _bad_gateway(reason: str) -> bytes:
    body = f"secure-ray: {reason}\n".encode()
    return (
        b"HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/plain; charset=utf-8\r\n"
        b"Connection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    )
