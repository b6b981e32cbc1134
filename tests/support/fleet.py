"""A cluster without Ray: real keys, a real register, real TLS ports; nodes that obey when told to.

Nothing here runs by itself but the ports: workers take their turns while the roller waits
(`Fleet.turn` is its `sleep`), so that each test goes the same way every time.
"""

from __future__ import annotations

import secrets
import selectors
import socket
import ssl
import threading
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from secure_ray.base.secrets import Secret
from secure_ray.gateway.nodes.enrolment import HeadFacts
from secure_ray.gateway.nodes.members import (
    add_leaf,
    add_member,
    find_member,
    give_orders,
    list_members,
    record_heartbeats,
)
from secure_ray.gateway.nodes.register import open_register
from secure_ray.gateway.nodes.renewal import Renewal
from secure_ray.network.grpc_probe import Identity, Outcome, probe_grpc, tls_client
from secure_ray.node.identity import pki_paths, renew_head
from secure_ray.node.messages import Heartbeat, Leaf
from secure_ray.node.place import HALT, head_at, is_held_back, renew_order
from secure_ray.pki.canary import make_canary
from secure_ray.pki.dress import read_worn
from secure_ray.pki.enrolment import issue, keep, keep_renewal, pending_key, renewal_request
from secure_ray.pki.profiles import Owner
from secure_ray.pki.proof import read_request
from secure_ray.pki.rotation_facts import read_rotation
from secure_ray.pki.store import LeafFiles, PkiPaths
from secure_ray.pki.trust import read_pins
from secure_ray.policy.ports import Protocol
from secure_ray.rotation.roll import Roller
from secure_ray.rotation.rotate import Rotation
from support.plans import free_base, private_plan

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from secure_ray.node.plan import LaunchPlan
    from secure_ray.pki.authority import Stage
    from secure_ray.policy.ports import PortPlan

_SETTINGS = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"  # RFC 9113 section 6.5, empty
_HEARD = {"gcs", "node_manager"}  # enough ports: one that only a head has, and one of every node


def utc_now() -> datetime:
    return datetime.now(timezone.utc)


class Ports:
    """What Ray's gRPC services do with TLS: they read the files once, and want a certificate."""

    def __init__(self, address: str, ports: tuple[int, ...], files: LeafFiles) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.verify_mode = ssl.CERT_REQUIRED
        self._context.load_verify_locations(files.authority)
        self._context.load_cert_chain(files.certificate, files.key)
        self._context.set_alpn_protocols(["h2"])
        self._selector = selectors.DefaultSelector()
        for port in ports:
            self._selector.register(
                socket.create_server((address, port)), selectors.EVENT_READ, self._answer
            )
        self._ends, end = socket.socketpair()
        self._selector.register(end, selectors.EVENT_READ, None)
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        self._ends.close()
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
        self._selector.close()

    def _serve(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.data is None:
                    return
                key.data(key.fileobj)

    def _answer(self, listener: socket.socket) -> None:
        connection, _ = listener.accept()
        connection.settimeout(10)
        with (
            suppress(OSError),
            connection,
            self._context.wrap_socket(connection, server_side=True) as tls,
        ):
            if tls.recv(65536):
                tls.sendall(_SETTINGS)


@dataclass
class Node:
    """A node whose Ray is a few TLS ports.

    Attributes:
        address: Where it listens.
        files: Its leaf on disk.
        ports: The numbers of its ports.
        starts: How often its Ray has started.
    """

    address: str
    files: LeafFiles
    ports: tuple[int, ...]
    starts: int = 0
    _ray: Ports | None = None

    @property
    def runs(self) -> bool:
        return self._ray is not None

    def start(self) -> None:
        self._ray = Ports(self.address, self.ports, self.files)
        self.starts += 1

    def end(self) -> None:
        if self._ray is not None:
            self._ray.close()
            self._ray = None

    def serial(self) -> str:
        return read_worn(self.files).shown.leaf.serial

    def roots(self) -> tuple[str, ...]:
        """The pins of the roots that its files trust."""
        return read_worn(self.files).pins


@dataclass
class Worker(Node):
    """One that joined; it obeys the orders in the head's register.

    Attributes:
        id: The head's id for it.
        name: Its name.
        pki: Its PKI.
        away: Whether it says nothing and hears nothing.
        deaf: Whether it obeys nothing, but goes on saying how it is.
        obeyed: The orders that it saw change, in order.
    """

    id: str = ""
    name: str = ""
    pki: PkiPaths = field(kw_only=True)
    away: bool = False
    deaf: bool = False
    obeyed: list[tuple[str, ...]] = field(default_factory=list)

    def turn(self, fleet: Fleet) -> None:
        """Do what is ordered now, and say how it is."""
        if self.away:
            return
        with fleet.register.reading() as database:
            member = find_member(database, self.id)
        assert member is not None
        if member.revoked is not None:
            return
        if not self.deaf:
            self._obey(fleet, member.orders)
        with fleet.register.changing() as database:
            record_heartbeats(database, {self.id: (self._beat(), utc_now())})

    def _obey(self, fleet: Fleet, orders: tuple[str, ...]) -> None:
        if not self.obeyed or self.obeyed[-1] != orders:
            self.obeyed.append(orders)
        if renew_order(self.serial()) in orders:
            self.renew(fleet)
        if HALT in orders:
            self.end()
        elif not self.runs and not is_held_back(orders):
            self.start()

    def renew(self, fleet: Fleet) -> None:
        request, _ = renewal_request(self.pki)
        with fleet.register.reading() as database:
            member = find_member(database, self.id)
        assert member is not None
        leaf = Renewal(fleet.facts, fleet.register).issue(
            member, self.serial(), request.decode(), utc_now()
        )
        assert isinstance(leaf, Leaf)
        keep_renewal(self.pki, chain=leaf.chain, roots=leaf.roots, now=utc_now())

    def _beat(self) -> Heartbeat:
        worn = read_worn(self.files)
        leaf = worn.shown.leaf
        return Heartbeat(
            phase="running" if self.runs else "waiting",
            reason="",
            sound=True,
            serial=leaf.serial,
            expires=leaf.not_after,
            clock=utc_now(),
            issuer=worn.shown.issuer,
            trusts=worn.trusted,
        )


class Fleet:
    """A head and its workers.

    Attributes:
        plan: The head's.
        head: It.
        workers: The others.
        told: What a rotation said.
        drained: The addresses whose work was moved away.
    """

    def __init__(self, home: Path, names: tuple[str, ...] = ("w1", "w2")) -> None:
        # Addresses of its own, for several tests may run on this host at once.
        network = f"127.{secrets.randbelow(200) + 20}.{secrets.randbelow(250)}"
        address = f"{network}.5"
        self.plan = _few_ports(private_plan(home, place=head_at(address), base=free_base(address)))
        self.plan.paths.directory.mkdir(parents=True, mode=0o700)
        self.plan.run.temporary.mkdir(parents=True, mode=0o700)
        self._birth = utc_now() - timedelta(hours=1)
        renew_head(self.plan, now=self._birth)
        self.pki = pki_paths(self.plan.paths, self.plan.pki)
        self.owner = Owner(self.plan.paths.name, self.plan.cluster_id)
        self.register = open_register(self.plan.paths.directory)
        self.facts = HeadFacts(
            cluster=self.owner.cluster,
            cluster_id=self.owner.cluster_id,
            address=address,
            ports="",
            versions={},
            pki=self.pki,
            leaf_life=timedelta(days=90),
            token=lambda: Secret("0" * 64),
        )
        self.head = Node(address, LeafFiles.within(self.plan.certificates), _grpc(self.plan.ports))
        self.told: list[str] = []
        self.drained: list[str] = []
        self._turns = threading.Lock()
        self.workers = [
            self._join(home / name, name, f"{network}.{6 + at}") for at, name in enumerate(names)
        ]
        self.head.start()
        self.turn()
        self._first = home / "first-canary"
        make_canary(self.pki, self.owner, self._first, side="old", now=utc_now())

    def close(self) -> None:
        for node in (self.head, *self.workers):
            node.end()

    def turn(self, _seconds: float = 0.0) -> None:
        """Each worker once: stands in for a second that passes."""
        with self._turns:
            for worker in self.workers:
                worker.turn(self)

    def _join(self, directory: Path, name: str, address: str) -> Worker:
        directory.mkdir(mode=0o700)
        pki = PkiPaths(directory / "pki", directory / "passphrase" / "default")
        request, digest = pending_key(pki)
        leaf = issue(
            self.pki,
            read_request(request).key,
            cluster=self.owner.cluster,
            cluster_id=self.owner.cluster_id,
            names=(address, name, "127.0.0.1", "::1", "localhost"),
            now=self._birth,
            life=timedelta(days=90),
        )
        pins = read_pins(self.pki.leaf.authority)
        keep(pki, chain=leaf.chain, roots=leaf.roots, pins=pins, now=utc_now())
        id_ = f"id-{name}"
        with self.register.changing() as database:
            add_member(database, id_=id_, name=name, address=address, key=digest, now=utc_now())
            add_leaf(database, serial=leaf.serial, node=id_, expires=leaf.expires)
        ports = _grpc(self.plan.ports.for_worker())
        return Worker(address, pki.leaf, ports, id=id_, name=name, pki=pki)

    # What a test does or asks.

    def order(self, worker: Worker, *orders: str) -> None:
        with self.register.changing() as database:
            give_orders(database, worker.id, orders)

    def orders(self) -> list[tuple[str, ...]]:
        with self.register.reading() as database:
            return [member.orders for member in list_members(database)]

    @property
    def stage(self) -> Stage:
        return read_rotation(self.pki, self.owner.cluster, now=utc_now()).stage

    @property
    def root(self) -> str:
        """The pin of the root in use."""
        return read_rotation(self.pki, self.owner.cluster, now=utc_now()).old.pin

    def first_root_at_ports(self) -> set[Outcome]:
        """What the ports do with a leaf of the root that the cluster had at first."""
        files = LeafFiles.within(self._first)
        client = tls_client(identity=Identity(files.certificate, files.key), authority=None)
        return {
            probe_grpc(node.address, port, client=client, timeout=10).outcome
            for node in (self.head, *self.workers)
            for port in node.ports
        }

    def roller(self, kind: type[Roller] = Roller, *, drain_seconds: float = 1.0) -> Roller:
        return kind(self.plan, utc_now, drain_seconds, self.told.append, self.turn)

    def rotation(
        self,
        *,
        at_once: int = 1,
        excluded: frozenset[str] = frozenset(),
        consent: Callable[[], bool] = lambda: True,
        roller: Roller | None = None,
    ) -> Rotation:
        return Rotation(
            plan=self.plan,
            roller=roller or self.roller(),
            clock=utc_now,
            at_once=at_once,
            excluded=excluded,
            may_restart_head=consent,
            show=self.told.append,
        )


def _few_ports(plan: LaunchPlan) -> LaunchPlan:
    def few(ports: PortPlan) -> PortPlan:
        kept = tuple(
            planned
            for planned in ports.ports
            if planned.component.protocol is not Protocol.GRPC or planned.component.name in _HEARD
        )
        return replace(ports, ports=kept)

    return replace(plan, ports=few(plan.ports), head_ports=few(plan.head_ports))


def _grpc(ports: PortPlan) -> tuple[int, ...]:
    return tuple(
        planned.port for planned in ports.of_ray if planned.component.protocol is Protocol.GRPC
    )
