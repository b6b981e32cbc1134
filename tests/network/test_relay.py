"""The relay between nodes, over real TLS on loopback."""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secure_ray.network.bounded import Bounds
from secure_ray.network.relay import (
    NoWayError,
    Stream,
    StreamServer,
    open_service,
    serve_forwarder,
    serve_relay,
    wanted_host,
)
from support.servers import Pki, make_pki

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

HERE = "127.0.0.1"
HEAD = b"GET /logs HTTP/1.1\r\nHost: 127.0.0.1:10245\r\n\r\n"


def anybody(_certificate: object) -> bool:
    return True


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    return make_pki(tmp_path)


def server_context(pki: Pki) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki.certificate, pki.key)
    context.load_verify_locations(pki.authority)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(pki: Pki, *, identity: str = "own") -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=pki.authority)
    if identity == "own":
        context.load_cert_chain(pki.certificate, pki.key)
    if identity == "foreign":
        context.load_cert_chain(pki.foreign_certificate, pki.foreign_key)
    return context


def port_of(server: asyncio.AbstractServer | StreamServer) -> int:
    assert isinstance(server, asyncio.Server | StreamServer)
    port: int = server.sockets[0].getsockname()[1]
    return port


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind((HERE, 0))
        port: int = probe.getsockname()[1]
        return port


@asynccontextmanager
async def echo() -> AsyncIterator[int]:
    """A service that answers what it is sent, in capitals, and ends at the end."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1 << 16):
                writer.write(data.upper())
        finally:
            writer.close()

    server = await asyncio.start_server(answer, HERE, 0)
    async with server:
        yield port_of(server)


@asynccontextmanager
async def relay(pki: Pki, **services: int) -> AsyncIterator[int]:
    server = await serve_relay(
        HERE, 0, context=server_context(pki), services=services, welcome=anybody
    )
    async with server:
        yield port_of(server)


def test_carries_a_stream_both_ways(pki: Pki) -> None:
    async def go() -> bytes:
        async with echo() as service, relay(pki, agent_http=service) as port:
            stream = await open_service(HERE, port, "agent_http", context=client_context(pki))
            stream.writer.write(b"x" * 1_000_000)
            answer = await stream.reader.readexactly(1_000_000)
            await stream.close()
            return answer

    assert asyncio.run(go()) == b"X" * 1_000_000


@pytest.mark.parametrize("identity", ["none", "foreign"])
def test_nobody_without_a_certificate_of_the_cluster(pki: Pki, identity: str) -> None:
    async def go() -> None:
        async with echo() as service, relay(pki, agent_http=service) as port:
            context = client_context(pki, identity=identity)
            await open_service(HERE, port, "agent_http", context=context)

    with pytest.raises(NoWayError, match="cannot be reached"):
        asyncio.run(go())


def test_a_relay_open_to_everybody_is_not_started(pki: Pki) -> None:
    context = server_context(pki)
    context.verify_mode = ssl.CERT_OPTIONAL

    with pytest.raises(ValueError, match="open to everybody"):
        asyncio.run(serve_relay(HERE, 0, context=context, services={}, welcome=anybody))


def test_a_relay_of_another_cluster_is_not_believed(pki: Pki, tmp_path: Path) -> None:
    elsewhere = tmp_path / "other"
    elsewhere.mkdir()
    other = make_pki(elsewhere)

    async def go() -> None:
        async with echo() as service, relay(other, agent_http=service) as port:
            await open_service(HERE, port, "agent_http", context=client_context(pki))

    with pytest.raises(NoWayError, match="certificate verify failed"):
        asyncio.run(go())


def test_a_node_must_bear_the_address_it_is_called_by(pki: Pki) -> None:
    async def go() -> None:
        context = server_context(pki)
        server = await serve_relay("127.0.0.3", 0, context=context, services={}, welcome=anybody)
        async with server:
            await open_service("127.0.0.3", port_of(server), "x", context=client_context(pki))

    with pytest.raises(NoWayError, match="IP address mismatch"):
        asyncio.run(go())


@pytest.mark.parametrize("service", ["dashboard", "", "agent_http " + "x" * 100])
def test_only_offered_services(pki: Pki, service: str) -> None:
    async def go() -> None:
        async with echo() as port_inside, relay(pki, agent_http=port_inside) as port:
            await open_service(HERE, port, service, context=client_context(pki))

    with pytest.raises(NoWayError, match="does not offer"):
        asyncio.run(go())


def test_service_that_is_down_ends_the_stream(pki: Pki) -> None:
    async def go() -> None:
        async with relay(pki, agent_http=closed_port()) as port:
            await open_service(HERE, port, "agent_http", context=client_context(pki))

    with pytest.raises(NoWayError, match="cannot be reached"):
        asyncio.run(go())


async def ask(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(HERE, port)
    writer.write(request)
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    return answer


def test_request_goes_where_its_host_says(pki: Pki) -> None:
    async def go() -> bytes:
        async with echo() as service, relay(pki, agent_http=service) as port:
            context = client_context(pki)

            async def destination(head: bytes) -> Stream:
                return await open_service(wanted_host(head), port, "agent_http", context=context)

            forwarder = await serve_forwarder(0, destination)
            async with forwarder:
                reader, writer = await asyncio.open_connection(HERE, port_of(forwarder))
                writer.write(HEAD)
                answer = await reader.readexactly(len(HEAD))
                writer.close()
                return answer

    assert asyncio.run(go()) == HEAD.upper()


def test_what_cannot_be_carried_is_told_in_http() -> None:
    async def destination(_head: bytes) -> Stream:
        raise NoWayError("the node is gone")

    async def go() -> bytes:
        async with await serve_forwarder(0, destination) as forwarder:
            return await ask(port_of(forwarder), HEAD)

    answer = asyncio.run(go())
    assert answer.startswith(b"HTTP/1.1 502 ")
    assert answer.endswith(b"the node is gone\n")


@pytest.mark.parametrize("request_", [b"", b"no request", b"x" * 200_000])
def test_what_is_no_request_is_dropped(request_: bytes) -> None:
    async def destination(_head: bytes) -> Stream:
        raise AssertionError

    async def go() -> bytes:
        async with await serve_forwarder(0, destination) as forwarder:
            try:
                return await ask(port_of(forwarder), request_)
            except ConnectionError:
                return b""

    assert asyncio.run(go()) == b""


@pytest.mark.parametrize(
    ("value", "host"),
    [
        (b"10.0.0.7:10245", "10.0.0.7"),
        (b"10.0.0.7", "10.0.0.7"),
        (b"[fd00::7]:10245", "fd00::7"),
        (b"Node-7:1", "node-7"),
    ],
)
def test_wanted_host(value: bytes, host: str) -> None:
    assert wanted_host(b"GET / HTTP/1.1\r\nAccept: */*\r\nhOsT:  " + value + b"\r\n\r\n") == host


@pytest.mark.parametrize(
    "lines", [b"", b"Host:\r\n", b"Host: [\r\n", b"Host: a\r\nHost: b\r\n", b"Host: \xff\r\n"]
)
def test_no_single_host(lines: bytes) -> None:
    with pytest.raises(NoWayError):
        wanted_host(b"GET / HTTP/1.1\r\n" + lines + b"\r\n")


@pytest.mark.parametrize("host", [".a", "a" * 70, "a..b"])
def test_host_that_no_name_can_be(pki: Pki, host: str) -> None:
    with pytest.raises(NoWayError, match="cannot be reached"):
        asyncio.run(open_service(host, 1, "agent_http", context=client_context(pki)))


def test_first_line_without_end_ends_the_stream(pki: Pki) -> None:
    troubles: list[str] = []

    async def go() -> bytes:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _loop, trouble: troubles.append(str(trouble)))
        async with relay(pki) as port:
            reader, writer = await asyncio.open_connection(HERE, port, ssl=client_context(pki))
            writer.write(b"x" * 200_000)
            with suppress(ConnectionError):
                return await reader.read()
            return b""

    assert asyncio.run(go()) == b""
    assert troubles == []


def test_end_does_not_wait_for_open_streams(pki: Pki) -> None:
    """From Python 3.12 on a server waits for its connections."""

    async def go() -> bytes:
        async with echo() as service:
            async with relay(pki, agent_http=service) as port:
                context = client_context(pki)
                stream = await open_service(HERE, port, "agent_http", context=context)
                stream.writer.write(b"x")
                await stream.reader.readexactly(1)
            ended = await stream.reader.read()  # the relay has gone, its stream with it
            await stream.close()
            return ended

    async def within_reason() -> bytes:
        return await asyncio.wait_for(go(), 30)

    assert asyncio.run(within_reason()) == b""


def test_end_of_a_forwarder_ends_its_streams() -> None:
    async def go() -> bytes:
        async with echo() as service:

            async def destination(_head: bytes) -> Stream:
                return Stream(*await asyncio.open_connection(HERE, service))

            async with await serve_forwarder(0, destination) as forwarder:
                reader, writer = await asyncio.open_connection(HERE, port_of(forwarder))
                writer.write(HEAD)
                await reader.readexactly(len(HEAD))
            with suppress(ConnectionError):
                assert await reader.read() == b""
            writer.close()
            return b""

    async def within_reason() -> bytes:
        return await asyncio.wait_for(go(), 30)

    assert asyncio.run(within_reason()) == b""


def test_relay_counts_who_never_shakes_hands(pki: Pki, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Bounds, "by_descriptors", lambda *_: Bounds(9, 2, 9))

    async def go() -> bytes:
        async with relay(pki) as port:
            held = [await asyncio.open_connection(HERE, port) for _ in range(2)]
            reader, writer = await asyncio.open_connection(HERE, port)
            with suppress(ConnectionError):
                assert await asyncio.wait_for(reader.read(), 5) == b""
            for _, one in [*held, (reader, writer)]:
                one.close()
            return b""

    assert asyncio.run(go()) == b""


@given(st.binary())
def test_any_head_is_understood_or_refused(head: bytes) -> None:
    with suppress(NoWayError):
        assert wanted_host(head)
