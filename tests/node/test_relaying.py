"""Two nodes carry each other's plain HTTP, over real TLS; each at an address of its own."""

from __future__ import annotations

import asyncio
import http.client
import shutil
import socket
import ssl
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from secure_ray.network.bounded import Bounds, nobody
from secure_ray.network.relay import NoWayError, open_service
from secure_ray.node.place import Place, head_at
from secure_ray.node.relaying import _client, _server, relaying
from secure_ray.pki.enrolment import issue, keep, pending_key
from secure_ray.pki.proof import read_request
from secure_ray.pki.store import LeafFiles, PkiPaths
from secure_ray.pki.trust import read_pins
from support.doors import CLUSTER_ID, Head, utc_now
from support.loops import settled
from support.plans import free_base, private_plan

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from secure_ray.node.plan import LaunchPlan

HERE = "127.0.0.1"
HEAD, WORKER = "127.0.0.5", "127.0.0.6"


@dataclass
class Pair:
    """A head and a worker on one host.

    They share 127.0.0.1, so the worker has ports of its own there; its relay has the head's number.
    """

    head: LaunchPlan
    worker: LaunchPlan
    authority: Head | None = None


def leaf_for(head: Head, plan: LaunchPlan, address: str) -> None:
    """A leaf of the head's CA for the node of `plan`."""
    pki = PkiPaths(plan.paths.pki, plan.paths.passphrase)
    plan.paths.directory.mkdir(parents=True, mode=0o700, exist_ok=True)
    request, _ = pending_key(pki)
    issued = issue(
        head.pki,
        read_request(request).key,
        cluster="default",
        cluster_id=CLUSTER_ID,
        names=(address, "w1"),
        now=utc_now(),
        life=timedelta(days=1),
    )
    pins = read_pins(head.pki.leaf.authority)
    keep(pki, chain=issued.chain, roots=issued.roots, pins=pins, now=utc_now())


def make_pair(tmp_path: Path, *, names: str = WORKER) -> Pair:
    """`names` is the address in the worker's leaf."""
    authority = Head(tmp_path / "head", names=(HEAD,))
    base = free_base(HEAD)
    head = private_plan(tmp_path / "h", place=head_at(HEAD), base=base)
    head.paths.directory.mkdir(parents=True, mode=0o700)
    head.paths.pki.symlink_to(authority.pki.directory)
    own = private_plan(tmp_path / "w", place=Place("w1", WORKER, HEAD), base=base + 1024)
    ports = tuple(
        replace(planned, port=base + planned.component.offset)
        if planned.component.name == "relay"
        else planned
        for planned in own.ports.ports
    )
    worker = replace(own, ports=replace(own.ports, ports=ports), head_ports=head.ports)
    leaf_for(authority, worker, names)
    return Pair(head, worker, authority)


def renew(pair: Pair) -> None:
    """Another leaf for the worker."""
    assert pair.authority is not None
    leaf_for(pair.authority, pair.worker, WORKER)


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return make_pair(tmp_path)


@asynccontextmanager
async def service(port: int, name: str, seen: list[bytes] | None = None) -> AsyncIterator[None]:
    """A service of Ray's on loopback, which tells its name to whoever asks."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if seen is not None:
            seen.append(head)
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + name.encode())
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, HERE, port):
        yield


async def ask(port: int, host: str = HERE, **headers: str) -> tuple[int, str]:
    """GET / at a loopback port here, as for `host`: status and body."""

    def get() -> tuple[int, str]:
        connection = http.client.HTTPConnection(HERE, port, timeout=30)
        try:
            connection.request("GET", "/", headers={"Host": host} | headers)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    return await asyncio.to_thread(get)


def NODES() -> frozenset[str]:  # noqa: N802  # a constant that is asked for
    return frozenset({HEAD, WORKER})


def run(pair: Pair, act: Any, known: Callable[[], frozenset[str]] = NODES) -> Any:
    async def go() -> Any:
        async with relaying(pair.head, known), relaying(pair.worker, known):
            found = await act()
        await settled()
        return found

    return asyncio.run(go())


def test_worker_reaches_the_heads_dashboard(pair: Pair) -> None:
    """`ray job` and `ray list` on a worker: whatever host they ask for."""
    seen: list[bytes] = []

    async def act() -> tuple[int, str]:
        async with service(pair.head.ports.port("dashboard"), "dashboard", seen):
            return await ask(
                pair.worker.ports.port("dashboard"), Authorization="Bearer cluster-token"
            )

    assert run(pair, act) == (200, "dashboard")
    assert b"Bearer cluster-token" in seen[0]


@pytest.mark.parametrize("way", ["head to worker", "worker to head"])
def test_either_node_reaches_the_others_agent(pair: Pair, way: str) -> None:
    near, far, host = (
        (pair.head, pair.worker, WORKER)
        if way == "head to worker"
        else (pair.worker, pair.head, HEAD)
    )

    async def act() -> tuple[int, str]:
        async with service(far.ports.port("agent_http"), "agent"):
            return await ask(near.ports.port("relay_agent"), f"{host}:{1}")

    assert run(pair, act) == (200, "agent")


def test_head_has_no_way_to_a_dashboard_for_it_is_its_own(pair: Pair) -> None:
    async def act() -> None:
        with pytest.raises(ConnectionRefusedError):
            await ask(pair.head.ports.port("dashboard"))

    run(pair, act)


@pytest.mark.parametrize("name", ["dashboard", "runtime_env", "gcs", "relay", ""])
def test_worker_offers_its_agent_alone(pair: Pair, name: str) -> None:
    async def act() -> None:
        context = _client(LeafFiles.within(pair.head.certificates))
        port = pair.worker.ports.port("relay")
        with pytest.raises(NoWayError, match="does not offer"):
            await open_service(WORKER, port, name, context=context)

    run(pair, act)


def test_node_with_the_leaf_of_another_address_hears_nothing(tmp_path: Path) -> None:
    """A worker that is not where its leaf says must not be handed the cluster token."""
    pair = make_pair(tmp_path, names="127.0.0.7")
    seen: list[bytes] = []

    async def act() -> tuple[int, str]:
        async with service(pair.worker.ports.port("agent_http"), "agent", seen):
            return await ask(pair.head.ports.port("relay_agent"), WORKER)

    status, body = run(pair, act)

    assert status == 502
    assert f"the relay of {WORKER}" in body
    assert seen == []


def test_node_that_was_revoked_reaches_nothing(pair: Pair) -> None:
    """Its certificate is the cluster's, and good for as long as it lasts."""
    seen: list[bytes] = []

    async def act() -> tuple[int, str]:
        async with service(pair.head.ports.port("dashboard"), "dashboard", seen):
            return await ask(pair.worker.ports.port("dashboard"))

    status, body = run(pair, act, lambda: frozenset({HEAD}))

    assert (status, seen) == (502, [])
    assert f"the relay of {HEAD}" in body


def test_node_that_is_gone_is_told(pair: Pair) -> None:
    async def go() -> tuple[int, str]:
        async with relaying(pair.head, NODES):
            found = await ask(pair.head.ports.port("relay_agent"), WORKER)
        await settled()
        return found

    status, body = asyncio.run(go())

    assert status == 502
    assert f"the relay of {WORKER}" in body


def test_renewed_leaf_is_shown_from_then_on(pair: Pair, tmp_path: Path) -> None:
    """The way out is made anew each time; here its leaf becomes one that the head does not take."""
    (tmp_path / "other").mkdir(mode=0o700)
    other = make_pair(tmp_path / "other")

    async def act() -> list[int]:
        async with service(pair.head.ports.port("dashboard"), "dashboard"):
            port = pair.worker.ports.port("dashboard")
            before, _ = await ask(port)
            shutil.rmtree(pair.worker.paths.pki)
            shutil.copytree(other.worker.paths.pki, pair.worker.paths.pki, symlinks=True)
            after, _ = await ask(port)
            return [before, after]

    assert run(pair, act) == [200, 502]


def test_relay_shows_a_renewed_leaf(pair: Pair) -> None:
    files = LeafFiles.within(pair.worker.certificates)
    port = pair.worker.ports.port("relay")

    def shown() -> bytes:
        with (
            socket.create_connection((WORKER, port), timeout=30) as plain,
            _client(files).wrap_socket(plain, server_hostname=WORKER) as client,
        ):
            return client.getpeercert(binary_form=True) or b""

    async def act() -> None:
        before = await asyncio.to_thread(shown)
        renew(pair)
        while await asyncio.to_thread(shown) == before:
            pass  # for ever, were it loaded once

    async def within_reason() -> None:
        await asyncio.wait_for(act(), 30)

    run(pair, within_reason)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        (HERE, 200),
        ("localhost:8265", 200),
        ("[::1]:8265", 200),
        (f"{HEAD}:8265", 200),
        ("evil.example", 502),
        ("10.0.0.9:8265", 502),
    ],
)
def test_dashboard_is_reached_by_its_own_names_alone(pair: Pair, host: str, status: int) -> None:
    """What another host is asked for must not be sent to the head, nor a rebound name's request."""
    seen: list[bytes] = []

    async def act() -> tuple[int, str]:
        async with service(pair.head.ports.port("dashboard"), "dashboard", seen):
            return await ask(pair.worker.ports.port("dashboard"), host)

    assert run(pair, act)[0] == status
    assert bool(seen) == (status == 200)


def test_nothing_listens_any_more_afterwards(pair: Pair) -> None:
    async def act() -> None:
        return None

    run(pair, act)
    run(pair, act)  # every port is free again


def test_both_ends_ask_for_a_certificate_and_for_tls_1_3(pair: Pair) -> None:
    files = LeafFiles.within(pair.worker.certificates)
    for context in (_server(files), _client(files)):
        assert context.verify_mode is ssl.CERT_REQUIRED
        assert context.minimum_version is ssl.TLSVersion.TLSv1_3
    assert _client(files).check_hostname


def test_plan_without_a_dashboard_has_no_way_to_one(tmp_path: Path) -> None:
    pair = make_pair(tmp_path)
    gone = "dashboard"
    plans = [
        replace(
            plan,
            ports=replace(
                plan.ports,
                ports=tuple(one for one in plan.ports.ports if one.component.name != gone),
            ),
        )
        for plan in (pair.head, pair.worker)
    ]

    async def act() -> None:
        with pytest.raises(ConnectionRefusedError):
            await ask(pair.worker.ports.port(gone))

    run(Pair(plans[0], plans[1]), act)


def test_strangers_leave_room_for_nodes(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Bounds
    monkeypatch.setattr(
        Bounds, "by_descriptors", lambda near="", know=nobody: real(9, 5, 2, near, know)
    )

    async def act() -> tuple[int, str]:
        relay = pair.head.ports.port("relay")
        held = [
            socket.create_connection((HEAD, relay), 5, (f"127.0.0.{last}", 0))
            for last in range(9, 14)
        ]
        try:
            async with service(pair.head.ports.port("dashboard"), "dashboard"):
                return await ask(pair.worker.ports.port("dashboard"))
        finally:
            for connection in held:
                connection.close()

    # On one host the worker comes from 127.0.0.1, whatever its own address.
    assert run(pair, act, lambda: frozenset({HEAD, WORKER, HERE})) == (200, "dashboard")
