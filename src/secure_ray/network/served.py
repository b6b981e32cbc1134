"""The certificate that a live port serves now, which is not always the one on disk.

Ray reads its certificate once per process (2.60.0, `_common/tls_utils.py` and gRPC's C core), so
only a handshake tells what a process that runs shows.
"""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from secure_ray.network.grpc_probe import Identity


@dataclass(frozen=True)
class Served:
    """What a port answered.

    Attributes:
        chain: The certificates that it sent, DER, the leaf first; empty when it sent none.
        why: Why there is none.
    """

    chain: tuple[bytes, ...]
    why: str = ""


def served_chain(
    host: str, port: int, *, identity: Identity | None = None, timeout: float = 5.0
) -> Served:
    """The chain that the TLS server at `host` and `port` sends; nothing is sent but a handshake.

    Whether it can be trusted is not asked here: it is for comparing, not for talking.

    Args:
        host: The server's address.
        port: The server's port.
        identity: Shown to the server. One that wants a certificate sends its own first, so none
            is needed to see it; with one, its log stays free of failed handshakes.
        timeout: Seconds for connecting, and for the handshake.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2", "http/1.1"])
    try:
        if identity is not None:
            context.load_cert_chain(identity.certificate, identity.key)
        with (
            socket.create_connection((host, port), timeout) as connection,
            context.wrap_socket(connection, server_hostname=host) as wrapped,
        ):
            return Served(tuple(sent_chain(wrapped)))
    except OSError as error:
        return Served((), str(getattr(error, "reason", None) or error.strerror or error))


def sent_chain(connection: Any) -> list[bytes]:
    """The certificates (DER) that the other end of a TLS connection has sent, the leaf first.

    Args:
        connection: An `ssl.SSLSocket` or `ssl.SSLObject` after its handshake.
    """
    # Public since Python 3.13; before that in the object beneath since 3.10.
    while not hasattr(connection, "get_unverified_chain"):
        connection = connection._sslobj  # noqa: SLF001  # see above
    return [
        found if isinstance(found, bytes) else ssl.PEM_cert_to_DER_cert(found.public_bytes())
        for found in connection.get_unverified_chain() or []
    ]
