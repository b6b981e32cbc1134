"""What secure-ray itself opens to other nodes in private mode keeps out who does not belong there.

The relay lets nobody in without a certificate of the cluster. The door for nodes must be found by a
node that has none yet; all it may do is join. As with gRPC, a refusal counts only where the
cluster's own certificate is let in at the same time.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from secure_ray.audit.check import Check
from secure_ray.audit.findings import Rule, Severity
from secure_ray.audit.refusals import judge_refusal
from secure_ray.network.grpc_probe import Identity, Outcome, ProbeResult, knock, tls_client
from secure_ray.network.relay import GREETING
from secure_ray.policy.ports import Protocol

if TYPE_CHECKING:
    import socket
    import ssl

    from secure_ray.audit.findings import Finding
    from secure_ray.audit.target import Target

PLAINTEXT = Rule(
    "SR-AUDIT-014",
    "relay and door for nodes refuse a client without TLS",
    Severity.CRITICAL,
    expected="the connection is refused",
    fix="stop the cluster: something else has the port",
)
NO_CERTIFICATE = Rule(
    "SR-AUDIT-015",
    "without a certificate nobody gets through the relay, or does more at the door than join",
    Severity.CRITICAL,
    expected="the connection is refused; HTTP 403 from the door",
    fix="stop the cluster: its relay or its door lets strangers in",
)
FOREIGN = Rule(
    "SR-AUDIT-016",
    "relay and door for nodes refuse a certificate of another CA",
    Severity.CRITICAL,
    expected="the connection is refused",
    fix="stop the cluster: its relay or its door trusts more than its own CA",
)

TIMEOUT = 5.0
_FORBIDDEN = 403
# A service that no node offers, and the list that only nodes are given.
_GREETINGS = {
    Protocol.STREAM: GREETING + b"nothing\n",
    Protocol.HTTPS: b"GET /v1/nodes HTTP/1.1\r\nHost: head\r\nConnection: close\r\n\r\n",
}


@dataclass(frozen=True)
class Door:
    """One listener of ours."""

    title: str
    host: str
    port: int
    protocol: Protocol

    def __str__(self) -> str:
        return f"{self.title}, port {self.port}"


@dataclass(frozen=True)
class Knocks:
    """What came of every kind of client at one door; `status` is that of HTTP."""

    plaintext: ProbeResult
    no_certificate: ProbeResult
    foreign: ProbeResult
    own: ProbeResult


def _run(target: Target) -> list[Finding]:
    doors = [
        Door(planned.component.title, target.bind, planned.port, planned.component.protocol)
        for planned in target.ports.ports
        if planned.component.protocol in _GREETINGS
    ]
    with ThreadPoolExecutor(max(1, len(doors))) as threads:
        knocks = list(threads.map(lambda door: _knock(door, target), doors))
    return [
        finding for door, knock in zip(doors, knocks, strict=True) for finding in judge(door, knock)
    ]


def judge(door: Door, knocks: Knocks) -> list[Finding]:
    """The findings about one door."""
    where, stranger = str(door), knocks.no_certificate
    if door.protocol is Protocol.HTTPS and stranger.status == _FORBIDDEN:
        stranger = ProbeResult(Outcome.REFUSED, f"HTTP {_FORBIDDEN}")
    return [
        judge_refusal(PLAINTEXT, where, knocks.plaintext, knocks.own),
        judge_refusal(NO_CERTIFICATE, where, stranger, knocks.own),
        judge_refusal(FOREIGN, where, knocks.foreign, knocks.own),
    ]


def _knock(door: Door, target: Target) -> Knocks:
    greeting = _GREETINGS[door.protocol]

    def as_client(client: ssl.SSLContext | None) -> ProbeResult:
        return knock(door.host, door.port, greeting, _read, client=client, timeout=TIMEOUT)

    foreign = Identity(target.foreign_certificate, target.foreign_key)
    own = Identity(target.certificate, target.key)
    return Knocks(
        plaintext=as_client(None),
        no_certificate=as_client(tls_client(identity=None, authority=None)),
        foreign=as_client(tls_client(identity=foreign, authority=None)),
        own=as_client(tls_client(identity=own, authority=target.authority)),
    )


def _read(_connection: socket.socket, answer: bytes) -> ProbeResult:
    words = answer[:16].split()
    http = len(words) > 1 and words[0].startswith(b"HTTP/") and words[1].isdigit()
    return ProbeResult(Outcome.ACCEPTED, status=int(words[1]) if http else None)


CHECK = Check("relay and door", (PLAINTEXT, NO_CERTIFICATE, FOREIGN), _run)
