"""Each gRPC port keeps out every client but the cluster's own, by certificate and by token.

A refusal counts only where the cluster's own certificate is let in at the same time: a server that
refuses everybody, or is not there, proves nothing.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from secure_ray.audit.check import Check
from secure_ray.audit.findings import Rule, Severity, Status
from secure_ray.audit.refusals import judge_refusal, tell
from secure_ray.base.secrets import Secret
from secure_ray.network.addresses import plain_address
from secure_ray.network.grpc_probe import (
    Call,
    Identity,
    ProbeResult,
    probe_grpc,
    tls_client,
)
from secure_ray.network.listeners import Kind, listeners_of
from secure_ray.policy.ports import Protocol

if TYPE_CHECKING:
    import ssl

    from secure_ray.audit.findings import Finding
    from secure_ray.audit.target import Target

PLAINTEXT = Rule(
    "SR-AUDIT-010",
    "gRPC refuses a client without TLS",
    Severity.CRITICAL,
    expected="the connection is refused",
    fix="stop the cluster: it runs without RAY_USE_TLS=1",
)
NO_CERTIFICATE = Rule(
    "SR-AUDIT-011",
    "gRPC refuses a client without a certificate",
    Severity.CRITICAL,
    expected="the connection is refused",
    fix="stop the cluster: its TLS is not mutual",
)
FOREIGN = Rule(
    "SR-AUDIT-012",
    "gRPC refuses a certificate of another CA",
    Severity.CRITICAL,
    expected="the connection is refused",
    fix="stop the cluster: it trusts more than its own CA (RAY_TLS_CA_CERT)",
)
TOKEN = Rule(
    "SR-AUDIT-013",
    "gRPC refuses a call without the cluster token",
    Severity.CRITICAL,
    expected="status 16 (UNAUTHENTICATED)",
    fix="stop the cluster: it runs without RAY_AUTH_MODE=token",
)

TIMEOUT = 5.0
# grpc/doc/statuscodes.md
_UNIMPLEMENTED = 12
_UNAUTHENTICATED = 16
_LOADING_SECONDS = 5.0
_PAUSE_SECONDS = 0.1
_THREADS = 8
# One call of each server that changes nothing when it is answered after all (Ray 2.52.1 to 2.60.0,
# core/generated/*_pb2.py). Ray asks for the token only once it knows the method.
_WORKER_CALL = "/ray.rpc.CoreWorkerService/NumPendingTasks"
CALLS = {
    "gcs": "/ray.rpc.NodeInfoGcsService/CheckAlive",
    "node_manager": "/ray.rpc.NodeManagerService/GetSystemConfig",
    "object_manager": "/ray.rpc.ObjectManagerService/Pull",
    "agent_grpc": "/ray.rpc.ReporterService/HealthCheck",
}


@dataclass(frozen=True)
class Door:
    """One gRPC port and a call that its server knows."""

    title: str
    host: str
    port: int
    method: str


@dataclass(frozen=True)
class Knocks:
    """What came of every kind of client at one port."""

    plaintext: ProbeResult
    no_certificate: ProbeResult
    foreign: ProbeResult
    no_token: ProbeResult
    wrong_token: ProbeResult


@dataclass(frozen=True)
class _Clients:
    anonymous: ssl.SSLContext
    foreign: ssl.SSLContext
    own: ssl.SSLContext


def _run(target: Target) -> list[Finding]:
    clients = _Clients(
        anonymous=tls_client(identity=None, authority=None),
        foreign=tls_client(
            identity=Identity(target.foreign_certificate, target.foreign_key), authority=None
        ),
        own=tls_client(
            identity=Identity(target.certificate, target.key), authority=target.authority
        ),
    )
    with ThreadPoolExecutor(_THREADS) as threads:
        planned = _planned_doors(target)
        at_planned = threads.map(lambda door: _knock(door, clients), planned)
        workers = _worker_doors(target)
        at_workers = threads.map(lambda door: _knock(door, clients), workers)
        seen = [*zip(planned, at_planned, strict=True), *zip(workers, at_workers, strict=True)]
    gone = {door.port for door in workers} - {door.port for door in _worker_doors(target)}
    # What one let in before it went, it let in; only its silence proves nothing.
    return [
        finding
        for door, knocks in seen
        for finding in judge(door, knocks)
        if door.port not in gone or finding.status is Status.FAIL
    ]


def judge(door: Door, knocks: Knocks) -> list[Finding]:
    """The findings about one port."""
    where = f"{door.title}, port {door.port}"
    control = knocks.no_token
    return [
        judge_refusal(PLAINTEXT, where, knocks.plaintext, control),
        judge_refusal(NO_CERTIFICATE, where, knocks.no_certificate, control),
        judge_refusal(FOREIGN, where, knocks.foreign, control),
        _judge_status(f"{where}, no token", knocks.no_token),
        _judge_status(f"{where}, wrong token", knocks.wrong_token),
    ]


def _judge_status(where: str, result: ProbeResult) -> Finding:
    if result.status is None:
        return TOKEN.unproven(where, f"the call was not answered: {tell(result)}")
    return TOKEN.judge(
        where, holds=result.status == _UNAUTHENTICATED, actual=f"status {result.status}"
    )


def _knock(door: Door, clients: _Clients) -> Knocks:
    wrong = Secret.random_hex(256)

    def probe(client: ssl.SSLContext | None, call: Call | None = None) -> ProbeResult:
        return probe_grpc(door.host, door.port, client=client, timeout=TIMEOUT, call=call)

    def call(token: Secret | None) -> ProbeResult:
        # The node agent opens its port before it has loaded what it serves, and until then knows
        # no method, so cannot refuse one (Ray 2.52.1, dashboard/agent.py).
        deadline = time.monotonic() + _LOADING_SECONDS
        while True:
            result = probe(clients.own, Call(door.method, token))
            if result.status != _UNIMPLEMENTED or time.monotonic() > deadline:
                return result
            time.sleep(_PAUSE_SECONDS)

    return Knocks(
        plaintext=probe(None),
        no_certificate=probe(clients.anonymous),
        foreign=probe(clients.foreign),
        no_token=call(None),
        wrong_token=call(wrong),
    )


def _planned_doors(target: Target) -> list[Door]:
    return [
        Door(planned.component.title, target.bind, planned.port, CALLS[planned.component.name])
        for planned in target.ports.ports
        if planned.component.protocol is Protocol.GRPC
    ]


def _worker_doors(target: Target) -> list[Door]:
    """The live workers and drivers; they come and go."""
    workers = range(target.ports.first_worker, target.ports.last_worker + 1)
    planned = {entry.port for entry in target.ports.ports}
    live = {
        listener.port: listener
        for listener in listeners_of(target.pids)
        if listener.kind is Kind.TCP and listener.port in workers and listener.port not in planned
    }
    return [
        Door(listener.process, plain_address(listener.address), port, _WORKER_CALL)
        for port, listener in sorted(live.items())
    ]


CHECK = Check("gRPC", (PLAINTEXT, NO_CERTIFICATE, FOREIGN, TOKEN), _run)
