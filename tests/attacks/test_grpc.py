"""Every gRPC server against every kind of client.

Who has no certificate of this cluster is turned away in the handshake, who has no token at the
first call.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from importlib import metadata
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import NameOID

from secure_ray.base.clock import utc_now
from secure_ray.base.secrets import Secret
from secure_ray.network.grpc_probe import (
    Call,
    Identity,
    Outcome,
    ProbeResult,
    probe_grpc,
    tls_client,
)
from secure_ray.pki.credentials import make_foreign_pair
from secure_ray.pki.keys import key_to_pem, new_key
from secure_ray.pki.profiles import Owner, Signer, leaf_certificate
from secure_ray.pki.trust import certificates_to_pem
from support.live import HERE, Live

if TYPE_CHECKING:
    import ssl
    from pathlib import Path

    from attacks.conftest import Work

pytestmark = pytest.mark.ray

RAY = tuple(int(part) for part in metadata.version("ray").split(".")[:2])
OK, UNIMPLEMENTED, UNAUTHENTICATED = 0, 12, 16

# One call of each server that changes nothing (Ray 2.52.1 to 2.60.0, core/generated/*_pb2.py).
CALLS = {
    "gcs": "/ray.rpc.NodeInfoGcsService/CheckAlive",
    "node_manager": "/ray.rpc.NodeManagerService/GetSystemConfig",
    "object_manager": "/ray.rpc.ObjectManagerService/Pull",
    "agent_grpc": "/ray.rpc.ReporterService/HealthCheck",
    "driver": "/ray.rpc.CoreWorkerService/NumPendingTasks",
    "actor": "/ray.rpc.CoreWorkerService/NumPendingTasks",
}
IN_CPP = tuple(name for name in CALLS if name != "agent_grpc")
TOKENS = ("none", "wrong", "right")
STRANGERS = ("plaintext", "no certificate", "foreign CA", "expired")


@dataclass(frozen=True)
class Clients:
    """A client of each kind, and where each server is."""

    contexts: dict[str, ssl.SSLContext | None]
    ports: dict[str, int]
    token: Secret

    def call(self, server: str, client: str, token: str, method: str | None = None) -> ProbeResult:
        shown = {"none": None, "wrong": Secret("0" * 64), "right": self.token}[token]
        call = Call(method or CALLS[server], shown)
        context = self.contexts[client]
        return probe_grpc(HERE, self.ports[server], client=context, timeout=10, call=call)


def issue_leaf(live: Live, directory: Path, *, age: timedelta = timedelta(0)) -> Identity:
    """A leaf of the cluster's own issuing CA that lives for ten minutes, as good as the real one."""
    pki = live.directory / "pki"
    issuing = x509.load_pem_x509_certificate(
        (pki / "authority" / "current" / "issuing.crt").read_bytes()
    )
    signing_key = load_pem_private_key(
        (pki / "authority" / "current" / "issuing.key").read_bytes(), None
    )
    organization = issuing.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)[0].value
    key = new_key()
    leaf = leaf_certificate(
        Owner(str(organization), live.machine.identity()["id"]),
        key.public_key(),
        issuer=Signer(issuing, signing_key),  # type: ignore[arg-type]  # it is an EC key
        sans=(HERE, "::1", "localhost"),
        now=utc_now() - age,
        life=timedelta(minutes=10),
    )
    identity = Identity(directory / "leaf.crt", directory / "leaf.key")
    identity.certificate.write_bytes(certificates_to_pem(leaf, issuing))
    identity.key.write_bytes(key_to_pem(key))
    return identity


@pytest.fixture(scope="module")
def clients(live: Live, work: Work, tmp_path_factory: pytest.TempPathFactory) -> Clients:
    def directory() -> Path:
        path = tmp_path_factory.mktemp("client")
        path.chmod(0o700)
        return path

    authority = live.certificates / "ca.crt"
    own = Identity(live.certificates / "node.crt", live.certificates / "node.key")
    foreign = Identity(*make_foreign_pair(directory(), now=utc_now()))
    fresh = issue_leaf(live, directory())
    expired = issue_leaf(live, directory(), age=timedelta(minutes=11))
    return Clients(
        contexts={
            "plaintext": None,
            "no certificate": tls_client(identity=None, authority=authority),
            "foreign CA": tls_client(identity=foreign, authority=authority),
            "expired": tls_client(identity=expired, authority=authority),
            "fresh": tls_client(identity=fresh, authority=authority),
            "own": tls_client(identity=own, authority=authority),
        },
        ports=live.ports | work.ports,
        token=live.token,
    )


@pytest.mark.parametrize("token", TOKENS)
@pytest.mark.parametrize("client", STRANGERS)
@pytest.mark.parametrize("server", CALLS)
def test_stranger_is_turned_away(clients: Clients, server: str, client: str, token: str) -> None:
    result = clients.call(server, client, token)

    assert result.outcome is Outcome.REFUSED, result
    assert result.status is None


@pytest.mark.parametrize("server", CALLS)
@pytest.mark.parametrize("client", ["own", "fresh"])
def test_certificate_alone_opens_nothing(clients: Clients, server: str, client: str) -> None:
    """`fresh` is `expired` but for its life: so it is the life that `expired` is refused for."""
    for token, status in (("none", UNAUTHENTICATED), ("wrong", UNAUTHENTICATED), ("right", OK)):
        assert clients.call(server, client, token).status == status


# What gRPC's C++ servers bring along. They look for no token: Ray's check is in its own methods.
BUILT_IN = (
    "/grpc.health.v1.Health/Check",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    "/grpc.channelz.v1.Channelz/GetServers",
)


@pytest.mark.parametrize("method", BUILT_IN, ids=lambda method: method.split("/")[1])
@pytest.mark.parametrize("server", CALLS)
@pytest.mark.parametrize("client", STRANGERS)
def test_stranger_reaches_no_built_in_service(
    clients: Clients, client: str, server: str, method: str
) -> None:
    assert clients.call(server, client, "none", method).outcome is Outcome.REFUSED


@pytest.mark.xfail(
    strict=RAY >= (2, 60),  # in older ones, some ask for it
    reason="Ray's C++ servers register gRPC's health, reflection and channelz services, which ask "
    "for no token (2.60.0, src/ray/rpc/grpc_server.cc); only mutual TLS keeps others from them",
)
@pytest.mark.parametrize("method", BUILT_IN, ids=lambda method: method.split("/")[1])
@pytest.mark.parametrize("server", IN_CPP)
def test_built_in_service_asks_for_the_token(clients: Clients, server: str, method: str) -> None:
    assert clients.call(server, "own", "none", method).status != OK


@pytest.mark.parametrize("method", BUILT_IN, ids=lambda method: method.split("/")[1])
def test_agent_has_no_built_in_service(clients: Clients, method: str) -> None:
    assert clients.call("agent_grpc", "own", "none", method).status == UNIMPLEMENTED
