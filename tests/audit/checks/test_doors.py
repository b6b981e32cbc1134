"""The relay and the door of secure-ray itself, as they are and with each protection taken out."""

from __future__ import annotations

import asyncio
import ssl
import threading
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from secure_ray.audit.checks.doors import (
    CHECK,
    FOREIGN,
    NO_CERTIFICATE,
    PLAINTEXT,
    Door,
    Knocks,
    judge,
)
from secure_ray.audit.findings import Status
from secure_ray.audit.target import Target
from secure_ray.network.grpc_probe import Outcome, ProbeResult
from secure_ray.network.relay import StreamServer, serve_relay
from secure_ray.node.place import head_at
from secure_ray.node.relaying import relaying
from secure_ray.pki.credentials import make_foreign_pair
from secure_ray.policy.ports import ALL_COMPONENTS, PlannedPort, PortPlan, Protocol
from support.doors import LOOPBACK, Head, utc_now
from support.loops import settled
from support.plans import free_base, private_plan

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from pathlib import Path

    from secure_ray.audit.findings import Finding

BY_NAME = {component.name: component for component in ALL_COMPONENTS}
HERE = "127.0.0.5"
ALL = {PLAINTEXT.code, NO_CERTIFICATE.code, FOREIGN.code}
REFUSED = ProbeResult(Outcome.REFUSED, "closed by the server")
ACCEPTED = ProbeResult(Outcome.ACCEPTED)
RELAY = Door("relay", LOOPBACK, 1, Protocol.STREAM)
NODES = Door("door for nodes", LOOPBACK, 2, Protocol.HTTPS)


@pytest.fixture
def head(tmp_path: Path) -> Head:
    return Head(tmp_path / "head")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plaintext server waits for more of what it takes for a broken greeting."""
    monkeypatch.setattr("secure_ray.audit.checks.doors.TIMEOUT", 2.0)


def target_of(head: Head, tmp_path: Path, **ports: int) -> Target:
    """A node with these of our listeners."""
    foreign = tmp_path / "foreign"
    foreign.mkdir(mode=0o700)
    certificate, key = make_foreign_pair(foreign, now=utc_now())
    planned = tuple(PlannedPort(BY_NAME[name], port) for name, port in ports.items())
    return Target(
        bind=LOOPBACK,
        pids=(),
        ports=PortPlan(0, planned, 1, 1, private=True),
        certificate=head.pki.leaf.certificate,
        key=head.pki.leaf.key,
        authority=head.pki.leaf.authority,
        foreign_certificate=certificate,
        foreign_key=key,
        token_path=tmp_path,
        private_directories=(),
        ray_parents=(),
    )


def statuses(findings: Any) -> dict[str, set[Status]]:
    found: dict[str, set[Status]] = {}
    for finding in findings:
        found.setdefault(finding.id, set()).add(finding.status)
    return found


def all_are(status: Status) -> dict[str, set[Status]]:
    return {code: {status} for code in ALL}


@contextmanager
def in_thread(
    start: Callable[[], Coroutine[Any, Any, asyncio.AbstractServer | StreamServer]],
) -> Iterator[int]:
    """The server that `start` makes, in a loop of its own; its port."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        server: Any = asyncio.run_coroutine_threadsafe(start(), loop).result(30)
        yield server.sockets[0].getsockname()[1]
        asyncio.run_coroutine_threadsafe(ended(server), loop).result(30)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def ended(server: asyncio.AbstractServer | StreamServer) -> None:
    server.close()
    await settled()


def server_context(head: Head) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(head.pki.leaf.authority)
    context.load_cert_chain(head.pki.leaf.certificate, head.pki.leaf.key)
    return context


@contextmanager
def the_relay(head: Head) -> Iterator[int]:
    context = server_context(head)
    relay = partial(serve_relay, services={}, welcome=lambda _: True)
    with in_thread(lambda: relay(LOOPBACK, 0, context=context)) as port:
        yield port


def test_relay_and_door_as_they_are(head: Head, tmp_path: Path) -> None:
    with head.open(), the_relay(head) as relay:
        findings = list(CHECK.run(target_of(head, tmp_path, relay=relay, nodes=head.port)))

    assert statuses(findings) == all_are(Status.PASS)
    assert len(findings) == 6
    assert [one.actual for one in findings if one.id == NO_CERTIFICATE.code][1] == (
        "refused (HTTP 403)"
    )


def test_relay_of_a_node_as_it_is(tmp_path: Path) -> None:
    """Its context is made in the supervisor's own code."""
    head = Head(tmp_path / "head", names=(HERE,))
    plan = private_plan(tmp_path, place=head_at(HERE), base=free_base(HERE))
    plan.paths.pki.parent.mkdir(parents=True)
    plan.paths.pki.symlink_to(head.pki.directory)

    async def go() -> list[Finding]:
        async with relaying(plan, lambda: frozenset({HERE})):
            target = target_of(head, tmp_path, relay=plan.ports.port("relay"))
            found = await asyncio.to_thread(lambda: list(CHECK.run(replace(target, bind=HERE))))
        await settled()
        return found

    assert statuses(asyncio.run(go())) == all_are(Status.PASS)


@contextmanager
def impostor(context: ssl.SSLContext | None, answer: bytes) -> Iterator[int]:
    """Answers everybody who gets through its TLS."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.read(1)
            writer.write(answer)
            await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    with in_thread(lambda: asyncio.start_server(serve, LOOPBACK, 0, ssl=context)) as port:
        yield port


@pytest.mark.parametrize("name", ["relay", "nodes"])
@pytest.mark.parametrize("out", ["tls", "mutual", "authority"])
def test_each_protection_taken_out(head: Head, tmp_path: Path, name: str, out: str) -> None:
    context: ssl.SSLContext | None = server_context(head)
    assert context is not None
    with ExitStack() as stack:
        if out == "tls":
            context = None
        elif out == "mutual":
            context.verify_mode = ssl.CERT_OPTIONAL
        target = target_of(head, tmp_path, relay=0)
        if out == "authority" and context is not None:
            context.load_verify_locations(target.foreign_certificate)
            # Trusts the stranger's leaf itself.
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        answer = b"HTTP/1.1 200 OK\r\n\r\n" if name == "nodes" else b"ok\n"
        port = stack.enter_context(impostor(context, answer))
        planned = (PlannedPort(BY_NAME[name], port),)
        found = statuses(CHECK.run(replace(target, ports=replace(target.ports, ports=planned))))

    failed = {code for code, told in found.items() if Status.FAIL in told}
    broken = {"tls": PLAINTEXT, "mutual": NO_CERTIFICATE, "authority": FOREIGN}[out]
    assert failed == {broken.code}
    # Where our own leaf is not let in, nothing else is proven.
    others = {Status.ERROR} if out == "tls" else {Status.PASS}
    assert all(found[code] == others for code in ALL - failed)


def test_refusals_prove_nothing_when_the_own_certificate_is_refused(
    head: Head, tmp_path: Path
) -> None:
    with head.open(), the_relay(head) as relay:
        target = target_of(head, tmp_path, relay=relay, nodes=head.port)
        wrong = replace(target, certificate=target.foreign_certificate, key=target.foreign_key)
        found = statuses(CHECK.run(wrong))

    assert {status for told in found.values() for status in told} == {Status.ERROR}


def test_door_that_is_not_there_is_no_pass(head: Head, tmp_path: Path) -> None:
    with the_relay(head) as port:
        pass

    assert statuses(CHECK.run(target_of(head, tmp_path, relay=port))) == (all_are(Status.ERROR))


@pytest.mark.parametrize("outcome", [Outcome.NO_ANSWER, Outcome.DEAD, Outcome.UNTRUSTED])
@pytest.mark.parametrize("client", ["plaintext", "no_certificate", "foreign"])
def test_what_is_no_refusal_is_no_pass(outcome: Outcome, client: str) -> None:
    good = Knocks(REFUSED, REFUSED, REFUSED, ACCEPTED)
    assert [one.status for one in judge(RELAY, good)] == [Status.PASS] * 3

    told = judge(RELAY, replace(good, **{client: ProbeResult(outcome)}))

    assert [one.status for one in told].count(Status.ERROR) == 1


@pytest.mark.parametrize(
    ("door", "status", "expected"),
    [
        (NODES, 403, Status.PASS),
        (NODES, 200, Status.FAIL),
        (NODES, 404, Status.FAIL),
        (NODES, None, Status.FAIL),
        (RELAY, 403, Status.FAIL),
        (RELAY, None, Status.FAIL),
    ],
)
def test_only_the_door_answers_a_stranger_and_only_with_a_refusal(
    door: Door, status: int | None, expected: Status
) -> None:
    stranger = ProbeResult(Outcome.ACCEPTED, status=status)

    told = judge(door, Knocks(REFUSED, stranger, REFUSED, ACCEPTED))

    assert [one.status for one in told] == [Status.PASS, expected, Status.PASS]
