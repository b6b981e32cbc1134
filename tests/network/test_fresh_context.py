"""A server that follows its files at each handshake, over real TLS."""

from __future__ import annotations

import socket
import ssl
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
import trustme

from secure_ray.base.errors import FailedError
from secure_ray.network.fresh_context import FreshContext

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HERE = "127.0.0.1"


@dataclass
class Files:
    """What a server wears; `number` is another one whenever that has changed."""

    directory: Path
    number: int = 0
    failures: list[Exception] = field(default_factory=list)
    trouble: Exception | None = None

    def wear(self, server: trustme.CA, *trusted: trustme.CA) -> None:
        self.wear_half(server)
        leaf = server.issue_cert(HERE)
        leaf.cert_chain_pems[0].write_to_path(self.directory / "crt")
        leaf.private_key_pem.write_to_path(self.directory / "key")
        pem = b"".join(one.cert_pem.bytes() for one in trusted)
        (self.directory / "ca").write_bytes(pem)
        self.number += 1

    def wear_half(self, server: trustme.CA) -> None:
        """Another certificate, and still the key of the one before."""
        server.issue_cert(HERE).cert_chain_pems[0].write_to_path(self.directory / "crt")
        self.number += 1

    def context(self) -> ssl.SSLContext:
        if self.trouble is not None:
            raise self.trouble
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.verify_mode = ssl.CERT_REQUIRED
        made.load_verify_locations(self.directory / "ca")
        made.load_cert_chain(self.directory / "crt", self.directory / "key")
        return made

    def fresh(self) -> FreshContext:
        return FreshContext(self.context, lambda: self.number, failed=self.failures.append)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


@pytest.fixture(scope="module")
def authorities() -> tuple[trustme.CA, trustme.CA]:
    return trustme.CA(), trustme.CA()


@contextmanager
def serving(context: ssl.SSLContext) -> Iterator[int]:
    """A server that says `yes` to whom it lets in."""
    with socket.create_server((HERE, 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                connection.settimeout(10)
                with (
                    suppress(OSError),
                    connection,
                    context.wrap_socket(connection, server_side=True) as tls,
                ):
                    tls.sendall(b"yes")

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def enters(port: int, *, server: trustme.CA, client: trustme.CA, name: str | None = HERE) -> bool:
    """Whether a client of one CA is let in by a server that has to be of the other."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = name is not None
    server.configure_trust(context)
    client.issue_cert("client").configure_cert(context)
    plain = socket.create_connection((HERE, port), timeout=10)
    try:
        with context.wrap_socket(plain, server_hostname=name) as tls:
            return tls.recv(3) == b"yes"
    except (ssl.SSLError, ConnectionError):
        return False


@pytest.mark.parametrize("name", [HERE, None], ids=["named", "unnamed"])
def test_certificate_and_trust_are_those_of_the_files_at_each_handshake(
    files: Files, authorities: tuple[trustme.CA, trustme.CA], name: str | None
) -> None:
    """An authority that was retired is not trusted any more, which a mere reload would not do."""
    old, new = authorities
    files.wear(old, old)
    with serving(files.fresh().context) as port:
        assert enters(port, server=old, client=old, name=name)
        files.wear(new, new)
        assert enters(port, server=new, client=new, name=name)
        assert not enters(port, server=new, client=old, name=name)
        assert not enters(port, server=old, client=new, name=name)

    assert files.failures == []


def test_half_of_a_pair_keeps_the_old_one_until_the_other_half_comes(
    files: Files, authorities: tuple[trustme.CA, trustme.CA]
) -> None:
    old, new = authorities
    files.wear(old, old)
    with serving(files.fresh().context) as port:
        files.wear_half(new)
        assert enters(port, server=old, client=old)
        assert [type(error) for error in files.failures] == [ssl.SSLError]
        files.wear(new, new)
        assert enters(port, server=new, client=new)


@pytest.mark.parametrize(
    "trouble",
    [FileNotFoundError("gone"), ValueError("no PEM"), FailedError("SR-FS-001", "open", fix="-")],
    ids=lambda error: type(error).__name__,
)
def test_trouble_with_the_files_ends_no_handshake(
    files: Files, authorities: tuple[trustme.CA, trustme.CA], trouble: Exception
) -> None:
    old, new = authorities
    files.wear(old, old)
    with serving(files.fresh().context) as port:
        files.wear(new, new)
        files.trouble = trouble
        assert enters(port, server=old, client=old)
        files.trouble = None
        assert enters(port, server=new, client=new)

    assert files.failures == [trouble]


def test_whether_anything_has_changed_is_told(
    files: Files, authorities: tuple[trustme.CA, trustme.CA]
) -> None:
    old, new = authorities
    files.wear(old, old)
    fresh = files.fresh()
    assert not fresh.refresh()
    files.wear(new, new)

    assert (fresh.refresh(), fresh.refresh()) == (True, False)
    files.wear_half(old)
    assert (fresh.refresh(), fresh.refresh()) == (False, False)
    assert len(files.failures) == 2


def test_context_that_asks_for_no_certificate_is_refused() -> None:
    with pytest.raises(ValueError, match="asks for no certificate"):
        FreshContext(lambda: ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), lambda: 0)


def test_files_that_cannot_be_used_at_the_start_are_told(files: Files) -> None:
    with pytest.raises(OSError, match="No such file"):
        files.fresh()
