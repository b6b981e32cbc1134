"""Which one address a cluster listens on, decided from the wish and what this host has.

`private` takes only what cannot be meant otherwise: an RFC 1918 or ULA address that is alone in
being one, and not the inner side of a container network. All else must be named. What is reached
from the internet is refused, named or not, and so is the wildcard: neither has an override.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from secure_ray.base.errors import FailedError, Refusal, RefusedError, UsageError
from secure_ray.policy.addresses import LOOPBACK, AddressKind, kind_of, parse_address
from secure_ray.policy.rules import RULES

if TYPE_CHECKING:
    from collections.abc import Sequence

LOCAL = "local"
PRIVATE = "private"
_PICKED = {AddressKind.RFC1918, AddressKind.ULA}
_NAMED = _PICKED | {AddressKind.CGNAT, AddressKind.LINK_LOCAL}
_RULES = {
    AddressKind.WILDCARD: "SR-NET-001",
    AddressKind.PUBLIC: "SR-BIND-001",
    AddressKind.DOCUMENTATION: "SR-BIND-002",
    AddressKind.BENCHMARKING: "SR-BIND-002",
}
_NO_HOSTS_ADDRESS = "SR-BIND-003"
_SCOPED = "SR-BIND-010"
# Bridges and ends of cables that lead into containers and virtual machines of this host: other
# hosts do not reach them. Docker, libvirt, CNI, flannel, Calico, LXC, Podman, Weave, kube-proxy.
_INNER_NETWORKS = (
    "docker*",
    "br-*",
    "virbr*",
    "vnet*",
    "veth*",
    "cni*",
    "flannel*",
    "cali*",
    "lxc*",
    "lxdbr*",
    "podman*",
    "weave*",
    "kube-*",
    "nodelocaldns*",
)


@dataclass(frozen=True)
class Candidate:
    """An address of this host.

    Attributes:
        interface: The name of the interface that has it.
        address: With its scope (`fe80::1%eth0`) where it is link-local by IPv6.
        network: The prefix that is reached through it directly, for example `10.0.0.0/24`.
        gateway: The default route's next hop on that interface and family; "" without one.
        up: Whether the interface is up.
    """

    interface: str
    address: str
    network: str = ""
    gateway: str = ""
    up: bool = True

    @property
    def kind(self) -> AddressKind:
        """What kind of address it is."""
        return kind_of(self.address) or AddressKind.RESERVED

    @property
    def route(self) -> str:
        """Where it leads, for a person."""
        return f"default via {self.gateway}" if self.gateway else self.network or "no route"

    @property
    def nameable(self) -> bool:
        """Whether a cluster may listen on it, when it is named."""
        return self.kind in _NAMED and not _is_scoped(self.address)

    @property
    def is_inner(self) -> bool:
        """Whether it leads to containers or virtual machines of this host, by the usual names."""
        return any(fnmatchcase(self.interface, pattern) for pattern in _INNER_NETWORKS)


def judge_bind(
    wish: str, source: str, permitted: frozenset[str] = frozenset()
) -> tuple[Refusal, ...]:
    """The refusal that `wish` meets on any host; none for `local`, `private`, names.

    Args:
        wish: The setting `network.bind`.
        source: Where it was set, for example `flag --bind`.
        permitted: Rules that an override suspends now.
    """
    kind = kind_of(wish)
    if kind is None or wish == LOOPBACK:
        return ()
    return _judge(wish, kind, f"the cluster would listen on {wish}", source, permitted)


def stays_local(wish: str) -> bool:
    """Whether `network.bind` keeps the cluster on this machine, so that nobody can join it."""
    return wish in {LOCAL, LOOPBACK}


def choose_bind(
    wish: str,
    candidates: Sequence[Candidate],
    *,
    resolved: Sequence[str] = (),
    source: str = "flag --bind",
    permitted: frozenset[str] = frozenset(),
) -> str:
    """The one address to listen on.

    Args:
        wish: `local`, `private`, an address of this host or a name.
        candidates: The addresses of this host.
        resolved: The addresses that `wish` means, where it is a name.
        source: Where the wish comes from, for example `setting network.bind`.
        permitted: Rules that an override suspends now.

    Raises:
        RefusedError: the address is public, a wildcard, or not one for a cluster.
        UsageError: several fit, or the address or name is not one of this host.
        FailedError: this host has no private address.
    """
    if stays_local(wish):
        return LOOPBACK
    if wish == PRIVATE:
        return _only_private(candidates)
    refusals = judge_bind(wish, source, permitted)
    if refusals:
        raise RefusedError(refusals)
    if kind_of(wish) is None:
        return _meant_by(wish, resolved, candidates, permitted)
    return _of_this_host(wish, candidates)


def choose_towards(
    head: str,
    local: str,
    candidates: Sequence[Candidate],
    *,
    permitted: frozenset[str] = frozenset(),
) -> str:
    """The address of a worker: the one from which this host reaches the head.

    Args:
        head: The head's address, for the message.
        local: The address that the route to it leaves from.
        candidates: The addresses of this host.
        permitted: Rules that an override suspends now.

    Raises:
        RefusedError: that address is public, loopback, or not one for a cluster.
        UsageError: it is not one of `candidates`.
    """
    kind = kind_of(local) or AddressKind.RESERVED
    subject = f"the way to the head {head} leaves this host from {local}"
    refusals = _judge(local, kind, subject, "the join string", permitted)
    if refusals:
        raise RefusedError(refusals)
    return _of_this_host(local, candidates)


def _judge(
    address: str, kind: AddressKind, subject: str, source: str, permitted: frozenset[str]
) -> tuple[Refusal, ...]:
    scoped = _is_scoped(address)
    rule = RULES[_SCOPED if scoped else _RULES.get(kind, _NO_HOSTS_ADDRESS)]
    if (kind in _NAMED and not scoped) or (rule.overridable and rule.id in permitted):
        return ()
    what = "" if kind is AddressKind.WILDCARD else f", a {kind.value} address"
    fix = rule.fix
    if kind is AddressKind.LOOPBACK:
        fix = f"--bind {LOCAL} for a cluster on this host alone, --bind {PRIVATE} for several hosts"
    elif parse_address(address) is not None and ":" in address and kind is AddressKind.PUBLIC:
        fix = f"{rule.fix} {_NEW_ADDRESS}"
    return (Refusal(rule.id, f"{subject}{what}", source, rule.why, fix),)


def _is_scoped(address: str) -> bool:
    """Whether it means something on one link only, and another interface on each host (RFC 4007)."""
    return ":" in address and kind_of(address) is AddressKind.LINK_LOCAL


_NEW_ADDRESS = (
    "A host with global IPv6 addresses only needs a private one: a ULA of your own prefix "
    "(RFC 4193: ip address add fdXX:XXXX:XXXX::1/64 dev IFACE), or a VPN such as WireGuard."
)


def _only_private(candidates: Sequence[Candidate]) -> str:
    found = [
        entry for entry in candidates if entry.kind in _PICKED and entry.up and not entry.is_inner
    ]
    # One interface with both families is one network; Ray's own habit is IPv4.
    if len({entry.interface for entry in found}) == 1:
        found = [entry for entry in found if entry.kind is AddressKind.RFC1918] or found
    if len(found) == 1:
        return found[0].address
    if found:
        raise UsageError(
            "SR-BIND-004",
            "this host has several private addresses; which one is the network of the cluster?\n"
            + list_candidates(candidates),
            fix=_choices(found),
        )
    nameable = [entry for entry in candidates if entry.nameable and entry.up]
    raise FailedError(
        "SR-BIND-005",
        "this host has no private address that could be meant\n" + list_candidates(candidates),
        fix=_choices(nameable) if nameable else f"{_NEW_ADDRESS} Or stay here: --bind {LOCAL}",
    )


def _of_this_host(wish: str, candidates: Sequence[Candidate]) -> str:
    found = [entry for entry in candidates if _names(wish, entry.address)]
    if len(found) == 1 and found[0].up:
        return found[0].address
    if len(found) > 1:
        cause = f"{wish} is an address of several interfaces: say which one"
    elif found:
        cause = f"{wish} is on {found[0].interface}, which is down"
    else:
        cause = f"{wish} is not an address of this host"
    raise UsageError(
        "SR-BIND-006", f"{cause}\n{list_candidates(candidates)}", fix=_choices(found, candidates)
    )


def _meant_by(
    name: str,
    resolved: Sequence[str],
    candidates: Sequence[Candidate],
    permitted: frozenset[str],
) -> str:
    meant = {
        entry.address
        for entry in candidates
        for address in resolved
        if _names(address, entry.address)
        and entry.up
        and not _judge(address, entry.kind, "", "", permitted)
    }
    if len(meant) == 1:
        return meant.pop()
    what = ", ".join(f"{entry} ({_kind_name(entry)})" for entry in resolved) or "nothing"
    wanted = "one private address" if meant else "a private address"
    raise UsageError(
        "SR-BIND-007",
        f"the name {name} means {what}; it should mean {wanted} of this host\n"
        + list_candidates(candidates),
        fix=_choices([entry for entry in candidates if entry.address in meant], candidates),
    )


def _names(wish: str, address: str) -> bool:
    """Whether `wish` means `address`; a link-local one may be given without its scope."""
    if "%" not in wish:
        address = address.partition("%")[0]
    return parse_address(wish) == parse_address(address)


def list_candidates(candidates: Sequence[Candidate]) -> str:
    """A line for each address: interface, address, kind, route, and why it is not picked."""
    rows = [
        (entry.interface, entry.address, entry.kind.value, entry.route, _remark(entry))
        for entry in candidates
        if entry.kind is not AddressKind.LOOPBACK
    ]
    if not rows:
        return "there is no address but loopback"
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def _remark(entry: Candidate) -> str:
    if not entry.up:
        return "down"
    if entry.nameable and (entry.is_inner or entry.kind not in _PICKED):
        return "only by name"
    return "" if entry.nameable else "never"


def _kind_name(address: str) -> str:
    kind = kind_of(address)
    return "no address" if kind is None else kind.value


def _choices(found: Sequence[Candidate], others: Sequence[Candidate] = ()) -> str:
    usable = [entry for entry in found if entry.up] or [
        entry for entry in others if entry.up and entry.nameable
    ]
    if not usable:
        return f"give this host a private address and its interface a link, or --bind {LOCAL}"
    first, *rest = [f"--bind {entry.address}" for entry in usable]
    return " or ".join([f"secure-ray up --head {first}", *rest])
