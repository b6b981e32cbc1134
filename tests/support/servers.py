"""Real servers on loopback that behave as Ray's do, or leave one protection out."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import grpc  # type: ignore[import-untyped]
import trustme

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CLUSTER_TOKEN = "0123456789abcdef" * 4


@dataclass(frozen=True)
class Pki:
    """A cluster's own CA and leaf, and a leaf of another CA with the same names."""

    authority: Path
    certificate: Path
    key: Path
    foreign_certificate: Path
    foreign_key: Path


def make_pki(directory: Path) -> Pki:
    own, foreign = trustme.CA(), trustme.CA()
    pki = Pki(*(directory / f"{name}.pem" for name in ("ca", "leaf", "key", "fleaf", "fkey")))
    own.cert_pem.write_to_path(pki.authority)
    for ca, certificate, key in (
        (own, pki.certificate, pki.key),
        (foreign, pki.foreign_certificate, pki.foreign_key),
    ):
        leaf = ca.issue_cert("127.0.0.1", "localhost")
        leaf.cert_chain_pems[0].write_to_path(certificate)
        leaf.private_key_pem.write_to_path(key)
    for path in directory.iterdir():
        path.chmod(0o600)
    return pki


class Tls(Enum):
    MUTUAL = "mutual"
    SERVER_ONLY = "no client certificate asked for"
    NONE = "plaintext"


class _Methods(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Every method is there; like Ray's, it looks for the token when it is called.

    The first `loading` calls come before it knows any method.
    """

    def __init__(self, token: str | None, loading: int) -> None:
        self._token = token
        self._loading = loading

    def service(self, _details: object) -> object:
        if self._loading > 0:
            self._loading -= 1
            return None
        return grpc.unary_unary_rpc_method_handler(self._answer)

    def _answer(self, _request: bytes, context: Any) -> bytes:
        sent = dict(context.invocation_metadata()).get("authorization")
        if self._token is not None and sent != f"Bearer {self._token}":
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "InvalidAuthToken")
        return b""


@contextmanager
def grpc_server(
    pki: Pki, *, tls: Tls = Tls.MUTUAL, token: str | None = CLUSTER_TOKEN, loading: int = 0
) -> Iterator[int]:
    """Yields the port."""
    server = grpc.server(ThreadPoolExecutor(2), options=(("grpc.so_reuseport", 0),))
    server.add_generic_rpc_handlers((_Methods(token, loading),))
    if tls is Tls.NONE:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        credentials = grpc.ssl_server_credentials(
            [(pki.key.read_bytes(), pki.certificate.read_bytes())],
            root_certificates=pki.authority.read_bytes() if tls is Tls.MUTUAL else None,
            require_client_auth=tls is Tls.MUTUAL,
        )
        port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    try:
        yield port
    finally:
        server.stop(grace=None).wait()


@contextmanager
def http_server(token: str | None = CLUSTER_TOKEN) -> Iterator[int]:
    """Answers as Ray's token middleware does; with `token` None it lets everybody in."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            sent = self.headers.get("Authorization")
            if token is None or sent == f"Bearer {token}":
                status = 302 if self.path == "/redirect" else 200
            else:
                status = 401 if sent is None else 403
            self.send_response(status)
            self.send_header("Location", "/elsewhere")
            self.end_headers()
            self.wfile.write(b"x" * 1000)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
