from __future__ import annotations

import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from secure_ray.base.secrets import Secret
from secure_ray.network.grpc_probe import (
    Call,
    Identity,
    Outcome,
    ProbeResult,
    probe_grpc,
    tls_client,
)
from support.servers import CLUSTER_TOKEN, Pki, Tls, grpc_server, make_pki

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

METHOD = "/ray.rpc.NodeInfoGcsService/CheckAlive"


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return make_pki(tmp_path_factory.mktemp("pki"))


def _probe(port: int, identity: Identity | None, authority: Path | None = None) -> Outcome:
    client = tls_client(identity=identity, authority=authority)
    return probe_grpc("127.0.0.1", port, client=client, timeout=10).outcome


def _own(pki: Pki) -> Identity:
    return Identity(pki.certificate, pki.key)


def _foreign(pki: Pki) -> Identity:
    return Identity(pki.foreign_certificate, pki.foreign_key)


def test_mutual_tls_lets_in_its_own_alone(pki: Pki) -> None:
    with grpc_server(pki) as port:
        assert _probe(port, _own(pki), pki.authority) is Outcome.ACCEPTED
        assert _probe(port, None) is Outcome.REFUSED
        assert _probe(port, _foreign(pki)) is Outcome.REFUSED
        assert probe_grpc("127.0.0.1", port, client=None, timeout=10).outcome is Outcome.REFUSED


def test_server_without_client_authentication_is_seen(pki: Pki) -> None:
    with grpc_server(pki, tls=Tls.SERVER_ONLY) as port:
        assert _probe(port, None) is Outcome.ACCEPTED
        assert _probe(port, _foreign(pki)) is Outcome.ACCEPTED


def test_plaintext_server_is_seen(pki: Pki) -> None:
    with grpc_server(pki, tls=Tls.NONE) as port:
        assert probe_grpc("127.0.0.1", port, client=None, timeout=10).outcome is Outcome.ACCEPTED


def test_server_of_another_authority_is_not_trusted(pki: Pki, tmp_path: Path) -> None:
    other = make_pki(tmp_path)
    with grpc_server(pki) as port:
        assert _probe(port, _own(pki), other.authority) is Outcome.UNTRUSTED


@pytest.mark.parametrize(
    ("token", "status"),
    [(None, 16), ("wrong", 16), (CLUSTER_TOKEN, 0)],
    ids=["none", "wrong", "right"],
)
def test_status_of_a_call(pki: Pki, token: str | None, status: int) -> None:
    call = Call(METHOD, None if token is None else Secret(token))
    client = tls_client(identity=_own(pki), authority=pki.authority)
    with grpc_server(pki) as port:
        result = probe_grpc("127.0.0.1", port, client=client, timeout=10, call=call)
    assert result == ProbeResult(Outcome.ACCEPTED, status=status)


def test_nobody_there() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        result = probe_grpc("127.0.0.1", held.getsockname()[1], client=None, timeout=10)
    assert result.outcome is Outcome.DEAD


def test_silent_server_is_no_refusal() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        result = probe_grpc("127.0.0.1", server.getsockname()[1], client=None, timeout=0.05)
    assert result == ProbeResult(Outcome.NO_ANSWER, "timed out")


def test_trouble_on_our_side_is_no_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Out of file descriptors, for instance: the server has said nothing."""

    def fail(*_: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(socket, "create_connection", fail)
    result = probe_grpc("127.0.0.1", 1, client=None, timeout=1)
    assert result == ProbeResult(Outcome.NO_ANSWER, "too many open files")


def test_tls_alert_in_clear_is_a_refusal() -> None:
    with _answering(b"\x15\x03\x01\x00\x02\x02\x46") as port:
        result = probe_grpc("127.0.0.1", port, client=None, timeout=10)
    assert result == ProbeResult(Outcome.REFUSED, "TLS alert")


def test_any_other_answer_in_clear_counts_as_let_in() -> None:
    with _answering(b"HTTP/1.1 400 Bad Request\r\n\r\n") as port:
        result = probe_grpc("127.0.0.1", port, client=None, timeout=10)
    assert result.outcome is Outcome.ACCEPTED


@contextmanager
def _answering(answer: bytes) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        thread.join()
