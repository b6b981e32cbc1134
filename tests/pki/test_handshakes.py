"""What the files are for: real handshakes, checked as strictly as OpenSSL can."""

from __future__ import annotations

import socket
import ssl
import threading
from concurrent import futures
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pytest

from secure_ray.pki.credentials import LeafFiles, make_ephemeral_credentials, make_foreign_pair

if TYPE_CHECKING:
    from pathlib import Path

    from pki.conftest import Node

grpc = pytest.importorskip("grpc")

HELLO = b"hello"


def now() -> datetime:
    return datetime.now(timezone.utc)


@pytest.fixture
def current(node: Node) -> Node:
    """Made now: TLS looks at the clock of the machine."""
    node = replace(node, birth=now())
    node.ensure()
    return node


@pytest.fixture
def ours(current: Node) -> LeafFiles:
    return current.paths.leaf


@pytest.fixture
def foreign(tmp_path: Path, ours: LeafFiles) -> LeafFiles:
    """A client of a foreign CA that trusts ours."""
    certificate, key = make_foreign_pair(tmp_path / "foreign", now=now())
    return LeafFiles(certificate, key, ours.authority)


@pytest.fixture
def stranger(tmp_path: Path) -> LeafFiles:
    """A whole other cluster."""
    life = timedelta(hours=1)
    made = make_ephemeral_credentials(
        tmp_path / "stranger", sans=("127.0.0.1", "localhost"), now=now(), lifetime=life
    )
    return made.files


def context(files: LeafFiles, *, server: bool, shows: bool = True) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    made.verify_flags |= ssl.VERIFY_X509_STRICT
    made.verify_mode = ssl.CERT_REQUIRED
    made.load_verify_locations(files.authority)
    if shows:
        made.load_cert_chain(files.certificate, files.key)
    return made


def talk(
    server: LeafFiles, client: LeafFiles, *, name: str = "127.0.0.1", shows: bool = True
) -> bytes:
    """A mutual TLS connection on loopback; what the client read over it.

    A server's refusal of the client's certificate comes after the client's handshake (TLS 1.3,
    RFC 8446 section 4.4.2.4): only what is read over it tells.
    """
    accepting = context(server, server=True)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection, suppress(OSError):
                connection.settimeout(30)
                with accepting.wrap_socket(connection, server_side=True) as secure:
                    secure.sendall(HELLO)
                    secure.recv(1)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            with (
                socket.create_connection(listener.getsockname(), timeout=30) as plain,
                context(client, server=False, shows=shows).wrap_socket(
                    plain, server_hostname=name
                ) as secure,
            ):
                return secure.recv(len(HELLO))
        finally:
            thread.join()


@pytest.mark.parametrize("name", ["127.0.0.1", "::1", "localhost"])
def test_two_nodes_of_one_cluster_talk(ours: LeafFiles, name: str) -> None:
    assert talk(ours, ours, name=name) == HELLO


def test_ephemeral_credentials_talk(stranger: LeafFiles) -> None:
    assert talk(stranger, stranger) == HELLO


def test_a_node_answers_to_its_own_names_only(ours: LeafFiles) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="IP address mismatch"):
        talk(ours, ours, name="10.0.0.5")


def test_a_client_without_a_certificate_is_refused(ours: LeafFiles) -> None:
    with pytest.raises((ssl.SSLError, ConnectionError)):
        talk(ours, ours, shows=False)


def test_a_client_of_a_foreign_ca_is_refused(ours: LeafFiles, foreign: LeafFiles) -> None:
    with pytest.raises((ssl.SSLError, ConnectionError)):
        talk(ours, foreign)


def test_a_server_of_another_cluster_is_refused(ours: LeafFiles, stranger: LeafFiles) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        talk(stranger, ours)


def test_leaves_of_two_issuing_cas_of_one_root_talk(current: Node) -> None:
    before = LeafFiles.within(current.paths.current.resolve())
    current.paths.authority.issuing_key.unlink()

    renewed = current.ensure()

    assert len(renewed.changes) == 2
    after = LeafFiles.within(current.paths.current.resolve())
    assert talk(before, after) == talk(after, before) == HELLO


def test_a_leaf_cannot_issue(current: Node, tmp_path: Path) -> None:
    """Whoever has a node's key still cannot make certificates that a node accepts."""
    from secure_ray.base.files import make_private_directory
    from secure_ray.pki.keys import key_from_pem, key_to_pem, new_key
    from secure_ray.pki.profiles import Owner, Signer, leaf_certificate
    from secure_ray.pki.trust import certificates_to_pem

    x509 = pytest.importorskip("cryptography.x509")
    ours = current.paths.leaf
    chain = x509.load_pem_x509_certificates(ours.certificate.read_bytes())
    thief = Signer(chain[0], key_from_pem(ours.key.read_bytes()))
    key = new_key()
    forged = leaf_certificate(
        Owner("default", "x"),
        key.public_key(),
        issuer=thief,
        sans=("127.0.0.1",),
        now=now(),
        life=timedelta(hours=1),
    )
    files = LeafFiles.within(tmp_path / "forged")
    make_private_directory(tmp_path / "forged")
    files.write(
        certificate=certificates_to_pem(forged, *chain),
        key=key_to_pem(key),
        authority=ours.authority.read_bytes(),
    )

    with pytest.raises(ssl.SSLCertVerificationError, match="invalid CA certificate"):
        talk(files, ours)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        talk(ours, files)


class TestGrpc:
    """The library that Ray speaks with, set up as Ray sets it up (2.60.0, ray/_common/tls_utils.py)."""

    @staticmethod
    def call(server: LeafFiles, client: LeafFiles, *, shows: bool = True) -> bytes:
        key, chain, root = (
            p.read_bytes() for p in (server.key, server.certificate, server.authority)
        )
        handler = grpc.unary_unary_rpc_method_handler(lambda request, _: request)
        with futures.ThreadPoolExecutor(1) as pool:
            listener = grpc.server(pool)
            listener.add_generic_rpc_handlers(
                [grpc.method_handlers_generic_handler("test.Echo", {"Say": handler})]
            )
            port = listener.add_secure_port(
                "127.0.0.1:0",
                grpc.ssl_server_credentials([(key, chain)], root, require_client_auth=True),
            )
            listener.start()
            shown = (
                (client.key.read_bytes(), client.certificate.read_bytes()) if shows else (None,) * 2
            )
            credentials = grpc.ssl_channel_credentials(client.authority.read_bytes(), *shown)
            try:
                with grpc.secure_channel(f"127.0.0.1:{port}", credentials) as channel:
                    answer: bytes = channel.unary_unary("/test.Echo/Say")(HELLO, timeout=30)
                    return answer
            finally:
                listener.stop(None).wait()

    def test_two_nodes_of_one_cluster_talk(self, ours: LeafFiles) -> None:
        assert self.call(ours, ours) == HELLO

    def test_leaves_of_two_issuing_cas_of_one_root_talk(self, current: Node) -> None:
        before = LeafFiles.within(current.paths.current.resolve())
        current.paths.authority.issuing_key.unlink()
        current.ensure()
        after = LeafFiles.within(current.paths.current.resolve())

        assert self.call(before, after) == self.call(after, before) == HELLO

    def test_a_client_without_a_certificate_is_refused(self, ours: LeafFiles) -> None:
        with pytest.raises(grpc.RpcError) as caught:
            self.call(ours, ours, shows=False)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE

    def test_a_client_of_a_foreign_ca_is_refused(self, ours: LeafFiles, foreign: LeafFiles) -> None:
        with pytest.raises(grpc.RpcError) as caught:
            self.call(ours, foreign)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE

    @pytest.mark.parametrize("end", ["server", "client"])
    def test_a_leaf_without_its_issuing_ca_is_not_enough(
        self, ours: LeafFiles, tmp_path: Path, end: str
    ) -> None:
        """Why the certificate's file holds both."""
        first, mark, _ = ours.certificate.read_bytes().partition(b"-----END CERTIFICATE-----\n")
        (tmp_path / "alone.crt").write_bytes(first + mark)
        alone = replace(ours, certificate=tmp_path / "alone.crt")

        with pytest.raises(grpc.RpcError):
            self.call(*((alone, ours) if end == "server" else (ours, alone)))
