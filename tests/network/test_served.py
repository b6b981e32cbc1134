"""What a live port serves, read by a handshake alone."""

from __future__ import annotations

import socket
import ssl
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from secure_ray.network.grpc_probe import Identity
from secure_ray.network.served import Served, served_chain
from support.servers import Pki, Tls, grpc_server, make_pki

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HERE = "127.0.0.1"


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return make_pki(tmp_path_factory.mktemp("pki"))


def der(path: Path) -> bytes:
    return ssl.PEM_cert_to_DER_cert(path.read_text())


@pytest.mark.parametrize("shows", [True, False], ids=["with a certificate", "without"])
@pytest.mark.parametrize("tls", [Tls.MUTUAL, Tls.SERVER_ONLY])
def test_leaf_of_a_real_grpc_server(pki: Pki, tls: Tls, *, shows: bool) -> None:
    """Even of one that refuses the client, for it speaks first."""
    identity = Identity(pki.certificate, pki.key) if shows else None
    with grpc_server(pki, tls=tls) as port:
        assert served_chain(HERE, port, identity=identity).chain[0] == der(pki.certificate)


def test_chain_is_as_it_was_sent_whoever_signed_it(pki: Pki, tmp_path: Path) -> None:
    """The leaf first; that it does not lead to an authority of ours is no matter."""
    both = tmp_path / "chain.pem"
    both.write_bytes(pki.foreign_certificate.read_bytes() + pki.authority.read_bytes())
    with _tls_server(both, pki.foreign_key) as port:
        served = served_chain(HERE, port)

    assert served == Served((der(pki.foreign_certificate), der(pki.authority)))


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_either_version_of_tls(pki: Pki, version: ssl.TLSVersion) -> None:
    with _tls_server(pki.certificate, pki.key, version) as port:
        assert served_chain(HERE, port).chain == (der(pki.certificate),)


def test_nobody_there() -> None:
    with socket.socket() as held:
        held.bind((HERE, 0))
        served = served_chain(HERE, held.getsockname()[1])

    assert served == Served((), "Connection refused")


def test_server_that_says_nothing() -> None:
    with socket.create_server((HERE, 0)) as server:
        served = served_chain(HERE, server.getsockname()[1], timeout=0.05)

    assert served.chain == ()
    assert "timed out" in served.why


def test_server_in_clear(pki: Pki) -> None:
    with grpc_server(pki, tls=Tls.NONE) as port:
        served = served_chain(HERE, port, timeout=5)

    assert served.chain == ()
    assert served.why


def test_leaf_that_cannot_be_shown_is_told(pki: Pki, tmp_path: Path) -> None:
    served = served_chain(HERE, 1, identity=Identity(pki.certificate, tmp_path / "gone"))

    assert served == Served((), "No such file or directory")


@contextmanager
def _tls_server(
    chain: Path, key: Path, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
) -> Iterator[int]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = context.maximum_version = version
    context.load_cert_chain(chain, key)
    with socket.create_server((HERE, 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            connection.settimeout(10)
            with (
                suppress(OSError),
                connection,
                context.wrap_socket(connection, server_side=True) as tls,
            ):
                tls.recv(1)

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        thread.join()
