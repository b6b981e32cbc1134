"""Firewall rules from the port plan and the list of nodes: a second layer behind the bind.

The table is secure-ray's own, and its chains accept by default: they drop only what is addressed
to the cluster's ports, and what others' tables drop stays dropped (nft(8): a verdict of `accept`
ends one base chain, `drop` ends the packet). Ports are matched on every address of the host, so
that the rules hold without the bind guard too.

The cloud's metadata service is closed to the user that Ray runs as: its answers hold credentials
of the machine, and any job could ask it. DNS stays open, which some clouds serve at that address.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from secure_ray.base.errors import UsageError
from secure_ray.policy.addresses import AddressKind, classify, kind_of, parse_address, range_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from secure_ray.policy.ports import PortPlan

# In the order of: AWS, GCP, Azure, OCI, OpenStack and most others; AWS ECS and EKS, which hand a
# container its role; Alibaba Cloud; AWS, EKS, GCP and OpenStack by IPv6.
METADATA = (
    "169.254.169.254",
    "169.254.170.2",
    "169.254.170.23",
    "100.100.100.200",
    "fd00:ec2::254",
    "fd00:ec2::23",
    "fd20:ce::254",
    "fe80::a9fe:a9fe",
)
DNS_PORT = 53
# New connections from one address at the door that joining nodes knock at; a node needs three.
KNOCKS_PER_SECOND = 10
KNOCKS_AT_ONCE = 20
_PRIORITY = (
    -10
)  # just before the usual filter chains; at the same priority the order is not defined
_PRIVATE = {AddressKind.RFC1918, AddressKind.ULA, AddressKind.CGNAT, AddressKind.LINK_LOCAL}
_CLUSTER = r"[a-z0-9]([a-z0-9-]*[a-z0-9])?"  # as node.paths has it
_FAMILIES = {4: "ip", 6: "ip6"}

PortRange = tuple[int, int]


@dataclass(frozen=True)
class FirewallPlan:
    """What the firewall of one node lets through.

    Attributes:
        table: The name of its nftables table.
        uid: The user that Ray runs as.
        opened: Port ranges that peers reach.
        closed: Ports that nobody reaches from outside.
        door: The port at which nodes knock that are no peers yet; None on workers.
        peers: The addresses of the cluster's other nodes.
        joining: The networks from which a node may knock.
        metadata: The addresses that are closed to `uid`.
    """

    table: str
    uid: int
    opened: tuple[PortRange, ...]
    closed: tuple[int, ...]
    door: int | None
    peers: tuple[str, ...]
    joining: tuple[str, ...]
    metadata: tuple[str, ...]

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to put into a table."""
        return not self.opened and not self.metadata


def table_name(cluster: str, uid: int) -> str:
    """The table of user `uid`'s cluster; two users of one host may have clusters of one name.

    Raises:
        ValueError: `cluster` is no cluster's name.
    """
    if not re.fullmatch(_CLUSTER, cluster) or uid < 0:
        raise ValueError(f"no cluster has such a name or owner: {cluster!r}, {uid}")
    return f"secure_ray_{cluster}_{uid}"


def plan_firewall(
    cluster: str,
    ports: PortPlan | None,
    *,
    uid: int,
    peers: Sequence[str] = (),
    joining: Sequence[str] = (),
) -> FirewallPlan:
    """The plan for one node.

    Args:
        cluster: The cluster's name.
        ports: The node's ports; None or a local plan opens nothing.
        uid: The user that Ray runs as. Metadata stays open to root, whose own services need it.
        peers: The addresses of the cluster's other nodes.
        joining: The networks from which a node may join, as `join_networks` has them.

    Raises:
        UsageError: a peer is no address, or a network is none or is not private.
    """
    private = ports is not None and ports.private
    names = {entry.component.name: entry.port for entry in ports.ports} if ports else {}
    return FirewallPlan(
        table=table_name(cluster, uid),
        uid=uid,
        opened=ports.opened if ports else (),
        closed=tuple(sorted(ports.loopback_ports)) if ports else (),
        door=names.get("nodes"),
        peers=tuple(dict.fromkeys(map(_peer, peers))) if private else (),
        joining=tuple(dict.fromkeys(map(private_network, joining))) if private else (),
        metadata=METADATA if uid else (),
    )


def join_networks(address: str, chosen: Sequence[str]) -> tuple[str, ...]:
    """From where nodes may join a head at `address`, if not only from `chosen` networks.

    That is all of the private range that the address is of: what a head reaches directly says
    little of where its nodes are (one address on a VPN or at GCP, another subnet of the same
    network), and who joins has to show a token.
    """
    private = kind_of(address.partition("%")[0]) in _PRIVATE
    return tuple(chosen) or ((range_of(address),) if private else ())


def private_network(text: str) -> str:
    """The network `text` in canonical spelling.

    Raises:
        UsageError: it is none, or not a private one.
    """
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        network = None
    ends = () if network is None else (network[0], network[-1])
    kinds = {classify(end) for end in ends}
    # A block is aligned: one that is wider than a private range begins or ends outside of it.
    if network is None or not kinds <= _PRIVATE:
        raise UsageError(
            "SR-FW-005",
            f"{text} is not a private network from which nodes could join",
            fix="name one for --join-from or network.join_from, for example 10.0.0.0/24",
        )
    return str(network)


def nft_rules(plan: FirewallPlan) -> str:
    """The input of `nft -f`: one transaction that makes the table or replaces it."""
    if plan.is_empty:
        return nft_removal(plan.table)
    sections = [_knock_sets(plan), _input(plan), _output(plan)]
    body = "\n".join(section for section in sections if section)
    return f"{nft_removal(plan.table)}table inet {plan.table} {{\n{body}}}\n"


def nft_removal(table: str) -> str:
    """The input of `nft -f` that removes the table, whether or not it is there."""
    return f"add table inet {table}\ndelete table inet {table}\n"


def of_family(version: int, addresses: Iterable[str]) -> list[str]:
    """Those of the addresses or networks that are of IP `version`."""
    return [entry for entry in addresses if (6 if ":" in entry else 4) == version]


def spell_range(ports: PortRange, dash: str = "-") -> str:
    """A port, or the first and last of several."""
    first, last = ports
    return str(first) if first == last else f"{first}{dash}{last}"


def _knock_sets(plan: FirewallPlan) -> str:
    if plan.door is None or not plan.joining:
        return ""
    return "".join(
        f"    set knocks{version} {{\n"
        f"        type ipv{version}_addr\n        size 65535\n        flags dynamic,timeout\n        timeout 1m\n"
        "    }\n"
        for version in _FAMILIES
    )


def _input(plan: FirewallPlan) -> str:
    if not plan.opened:
        return ""
    opened = _set(map(spell_range, plan.opened))
    rules = [
        'iif "lo" accept',
        # What this host asked for itself comes back to a port of its own choice.
        "ct direction reply accept",
    ]
    if plan.closed:
        rules.append(f"tcp dport {_set(map(str, plan.closed))} drop")
    rules += [
        f"{word} saddr {_set(peers)} tcp dport {opened} accept"
        for version, word in _FAMILIES.items()
        if (peers := of_family(version, plan.peers))
    ]
    rules += _door(plan)
    rules.append(f"tcp dport {opened} drop")
    return _chain("input", rules)


def _door(plan: FirewallPlan) -> list[str]:
    rules: list[str] = []
    for version, word in _FAMILIES.items():
        networks = of_family(version, plan.joining)
        if plan.door is None or not networks:
            continue
        knock = f"{word} saddr {_set(networks)} tcp dport {plan.door} ct state"
        limit = f"limit rate {KNOCKS_PER_SECOND}/second burst {KNOCKS_AT_ONCE} packets"
        rules += [
            f"{knock} established accept",
            f"{knock} new update @knocks{version} {{ {word} saddr {limit} }} accept",
        ]
    return rules


def _output(plan: FirewallPlan) -> str:
    rules = [
        # A reset, so that a library that looks for a cloud goes on at once.
        f"meta skuid {plan.uid} {word} daddr {_set(addresses)} tcp dport != {DNS_PORT} "
        "reject with tcp reset"
        for version, word in _FAMILIES.items()
        if (addresses := of_family(version, plan.metadata))
    ]
    return _chain("output", rules) if rules else ""


def _chain(hook: str, rules: Iterable[str]) -> str:
    head = f"type filter hook {hook} priority {_PRIORITY}; policy accept;"
    return "".join(
        [f"    chain {hook} {{\n", *(f"        {rule}\n" for rule in (head, *rules)), "    }\n"]
    )


def _set(elements: Iterable[str]) -> str:
    return f"{{ {', '.join(elements)} }}"


def _peer(text: str) -> str:
    address = parse_address(text.partition("%")[0])
    if address is None:
        raise UsageError(
            "SR-FW-005",
            f"the peer {text} is not an IP address",
            fix="--peer ADDRESS, once for each other node of the cluster",
        )
    return str(address)
