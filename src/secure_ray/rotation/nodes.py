"""What is known of each node's certificate: on disk, and as its ports show it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from secure_ray.gateway.nodes.members import list_members
from secure_ray.gateway.nodes.register import find_register
from secure_ray.network.grpc_probe import Identity
from secure_ray.network.served import served_chain
from secure_ray.node.place import DRAIN, HEAD_NAME
from secure_ray.pki.dress import read_shown, read_worn
from secure_ray.pki.store import LeafFiles
from secure_ray.policy.ports import Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from secure_ray.gateway.nodes.members import Member
    from secure_ray.node.plan import LaunchPlan
    from secure_ray.policy.ports import PortPlan

_THREADS = 16
_TIMEOUT = 3.0
_SILENT_AFTER = 35.0


@dataclass(frozen=True)
class OnDisk:
    """The leaf that Ray's next processes read.

    Attributes:
        serial: Its serial number, lower-case hexadecimal.
        expires: When it ends.
        issuer: SHA-256 of the issuing CA's certificate in its chain; "" when not told.
        trusts: SHA-256 of each certificate that is trusted beside it.
    """

    serial: str
    expires: datetime
    issuer: str = ""
    trusts: tuple[str, ...] = ()


@dataclass(frozen=True)
class AtPort:
    """What one of a node's ports showed when it was asked.

    Attributes:
        title: Which port.
        port: Its number.
        serial: Of the leaf; "" when none was shown.
        expires: When that ends.
        issuer: SHA-256 of the issuing CA that was sent along.
        why: Why nothing was shown.
    """

    title: str
    port: int
    serial: str = ""
    expires: datetime | None = None
    issuer: str = ""
    why: str = ""


@dataclass(frozen=True)
class NodeFacts:
    """One node.

    Attributes:
        id: The head's id for it; "" for the head.
        name: Its name.
        address: Its address.
        state: What it said last of itself, or `silent`.
        seen: When it said so; None for the head, and before the first word.
        orders: What it is to do.
        disk: Its leaf on disk; None when not known.
        ports: What its services showed.
        told: The ends of leaves that its own look at all of its ports found, by serial number.
    """

    id: str
    name: str
    address: str
    state: str
    seen: datetime | None
    orders: tuple[str, ...]
    disk: OnDisk | None
    ports: tuple[AtPort, ...]
    told: Mapping[str, datetime]

    @property
    def is_head(self) -> bool:
        """Whether it is the head."""
        return not self.id

    @property
    def rests(self) -> bool:
        """Whether a person has drained it: no Ray runs there, and none is to start."""
        return self.state == "waiting" and DRAIN in self.orders

    @property
    def live(self) -> dict[str, datetime]:
        """The ends of the leaves that running processes show, by serial number."""
        asked = {one.serial: one.expires for one in self.ports if one.expires is not None}
        return {**self.told, **asked}

    @property
    def restart_due(self) -> bool:
        """Whether something runs with another leaf than the one on disk."""
        return self.disk is not None and any(serial != self.disk.serial for serial in self.live)


def cluster_facts(plan: LaunchPlan, *, now: datetime) -> tuple[NodeFacts, ...]:
    """The workers that joined the head of `plan` and were not revoked, by name, then the head.

    Args:
        plan: The head's, which runs.
        now: The time.

    Raises:
        FailedError: the register, or the head's own leaf, cannot be read.
    """
    members = _welcome(plan)
    with ThreadPoolExecutor(_THREADS) as threads:
        workers = threads.map(lambda member: _worker(plan, member, now), members)
        head = threads.submit(head_facts, plan)
        return (*workers, head.result())


def head_facts(plan: LaunchPlan) -> NodeFacts:
    """The head itself.

    Raises:
        FailedError: its own leaf cannot be read.
    """
    worn = read_worn(LeafFiles.within(plan.certificates))
    leaf = worn.shown.leaf
    return NodeFacts(
        id="",
        name=HEAD_NAME,
        address=plan.place.address,
        state="running",
        seen=None,
        orders=(),
        disk=OnDisk(leaf.serial, leaf.not_after, worn.shown.issuer, worn.trusted),
        ports=tuple(ask_ports(plan, plan.place.address, plan.ports)),
        told={},
    )


def find_worker(plan: LaunchPlan, id_: str, *, now: datetime) -> NodeFacts | None:
    """The worker with that id as it is now; None when it was revoked."""
    found = (one for one in _welcome(plan) if one.id == id_)
    return next((_worker(plan, member, now) for member in found), None)


def worker_names(plan: LaunchPlan) -> frozenset[str]:
    """The names of the workers that joined the head of `plan` and were not revoked."""
    return frozenset(member.name for member in _welcome(plan))


def _welcome(plan: LaunchPlan) -> tuple[Member, ...]:
    register = find_register(plan.paths.directory)
    if register is None:
        return ()
    with register.reading() as database:
        return tuple(member for member in list_members(database) if member.revoked is None)


def _worker(plan: LaunchPlan, member: Member, now: datetime) -> NodeFacts:
    said = member.state
    silent = member.seen is None or (now - member.seen).total_seconds() > _SILENT_AFTER
    return NodeFacts(
        id=member.id,
        name=member.name,
        address=member.address,
        state="silent" if silent else str(said.get("phase", "?")),
        seen=member.seen,
        orders=member.orders,
        disk=_said_of_disk(said),
        ports=tuple(ask_ports(plan, member.address, plan.ports.for_worker())),
        told={} if silent else _said_of_live(said),
    )


def _said_of_disk(said: Mapping[str, object]) -> OnDisk | None:
    expires = _moment(said.get("expires"))
    if expires is None:
        return None
    trusts = said.get("trusts")
    return OnDisk(
        serial=str(said.get("serial", "")),
        expires=expires,
        issuer=str(said.get("issuer", "")),
        trusts=tuple(map(str, trusts)) if isinstance(trusts, list) else (),
    )


def _said_of_live(said: Mapping[str, object]) -> dict[str, datetime]:
    live = said.get("live")
    entries = [one for one in live if isinstance(one, dict)] if isinstance(live, list) else []
    ends = {str(one.get("serial", "")): _moment(one.get("expires")) for one in entries}
    return {serial: end for serial, end in ends.items() if end is not None}


def _moment(text: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(str(text).replace("Z", "+00:00"))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


def ask_ports(plan: LaunchPlan, address: str, ports: PortPlan) -> Iterable[AtPort]:
    """What each gRPC service of Ray at `address` shows now."""
    identity = Identity(plan.certificates / "node.crt", plan.certificates / "node.key")
    for planned in ports.of_ray:
        if planned.component.protocol is not Protocol.GRPC:
            continue
        title, port = planned.component.title, planned.port
        served = served_chain(address, port, identity=identity, timeout=_TIMEOUT)
        shown = read_shown(served.chain)
        if shown is None:
            yield AtPort(title, port, why=served.why or "it showed nothing that can be read")
        else:
            leaf = shown.leaf
            yield AtPort(title, port, leaf.serial, leaf.not_after, shown.issuer)
