"""Knocks on a gRPC port as one kind of client and tells what the server did.

It speaks just enough TLS and HTTP/2 (RFC 9113) to be answered, without grpcio, whose channels
retry and hide why. In TLS 1.3 the handshake of a rejected client still ends well on its side: the
server judges the certificate afterwards (RFC 8446 section 4.4.2.4). So nothing counts as accepted
before a byte of the server's HTTP/2 SETTINGS has been read.
"""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from secure_ray.network import http2

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from secure_ray.base.secrets import Secret

_TLS_ALERT = b"\x15\x03"  # content type and major version of a TLS record, RFC 8446 section 5.1


class Outcome(Enum):
    """What the server did with the client."""

    ACCEPTED = "accepted"  # it answered in HTTP/2
    REFUSED = "refused"  # alert, end of stream or reset
    UNTRUSTED = "untrusted"  # its certificate is not of our authority, or not for this address
    NO_ANSWER = "no answer"  # nothing within the timeout, or it could not be asked
    DEAD = "dead"  # nobody listens there


@dataclass(frozen=True)
class Identity:
    """A certificate (with its chain) and its private key, in PEM files."""

    certificate: Path
    key: Path


@dataclass(frozen=True)
class ProbeResult:
    """What came of a probe.

    Attributes:
        outcome: What the server did.
        detail: The system's or OpenSSL's word for it, or "".
        status: The gRPC status of the call, None when none was made or read.
    """

    outcome: Outcome
    detail: str = ""
    status: int | None = None


@dataclass(frozen=True)
class Call:
    """A call with an empty message.

    Attributes:
        method: Its path, for example `/ray.rpc.NodeInfoGcsService/CheckAlive`.
        token: The bearer token to send, or None for none.
    """

    method: str
    token: Secret | None = None


def tls_client(*, identity: Identity | None, authority: Path | None) -> ssl.SSLContext:
    """A TLS client that shows `identity`, or no certificate.

    With `authority` it accepts only a server whose certificate is of that CA and for the address;
    without, any server: what the server thinks of the client is the question then.

    Raises:
        OSError: a file is missing or holds no certificate or key (`ssl.SSLError`).
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    if authority is None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        context.load_verify_locations(authority)
    if identity is not None:
        context.load_cert_chain(identity.certificate, identity.key)
    return context


def probe_grpc(
    host: str,
    port: int,
    *,
    client: ssl.SSLContext | None,
    timeout: float,
    call: Call | None = None,
) -> ProbeResult:
    """Connect as `client`, or in clear when it is None, and see whether the server answers.

    Args:
        host: The server's address.
        port: The server's port.
        client: From `tls_client`; it can serve many probes at once.
        timeout: Seconds for each step: connecting, the handshake, each read.
        call: A call to make once accepted; its status is in the result.
    """
    greeting = http2.GREETING
    if call is not None:
        greeting += http2.request(call.method, host=host, token=call.token)

    def read(connection: socket.socket, answer: bytes) -> ProbeResult:
        status = None if call is None else http2.read_status(connection, answer)
        return ProbeResult(Outcome.ACCEPTED, status=status)

    return knock(host, port, greeting, read, client=client, timeout=timeout)


def knock(
    host: str,
    port: int,
    greeting: bytes,
    read: Callable[[socket.socket, bytes], ProbeResult],
    *,
    client: ssl.SSLContext | None,
    timeout: float,
) -> ProbeResult:
    """Connect as `client`, or in clear when it is None, greet, and see whether the server answers.

    Args:
        host: The server's address.
        port: The server's port.
        greeting: What is sent first.
        read: Given the connection and the first bytes of an answer, tells what they mean.
        client: From `tls_client`; it can serve many probes at once.
        timeout: Seconds for each step: connecting, the handshake, each read.
    """
    try:
        with socket.create_connection((host, port), timeout) as connection:
            if client is None:
                return _greet(connection, greeting, read)
            with client.wrap_socket(connection, server_hostname=host) as wrapped:
                return _greet(wrapped, greeting, read)
    except ConnectionRefusedError as error:
        return ProbeResult(Outcome.DEAD, _words(error))
    except ssl.SSLCertVerificationError as error:
        return ProbeResult(Outcome.UNTRUSTED, error.verify_message)
    except (ssl.SSLError, ConnectionResetError, BrokenPipeError) as error:
        return ProbeResult(Outcome.REFUSED, _words(error))
    except OSError as error:  # a timeout, or something on our side: no word of the server's
        return ProbeResult(Outcome.NO_ANSWER, _words(error))


def _greet(
    connection: socket.socket,
    greeting: bytes,
    read: Callable[[socket.socket, bytes], ProbeResult],
) -> ProbeResult:
    connection.sendall(greeting)
    answer = connection.recv(65536)
    if not answer:
        return ProbeResult(Outcome.REFUSED, "closed by the server")
    # A server that wants TLS may say so in a record of its own, in clear.
    if not isinstance(connection, ssl.SSLSocket) and answer.startswith(_TLS_ALERT):
        return ProbeResult(Outcome.REFUSED, "TLS alert")
    return read(connection, answer)


def _words(error: OSError) -> str:
    reason = error.reason if isinstance(error, ssl.SSLError) else error.strerror
    return str(reason or error).replace("_", " ").lower()
