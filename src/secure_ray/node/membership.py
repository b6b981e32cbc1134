"""How this host becomes, and stays, a worker of a cluster."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from secure_ray.base.commands import command, new_keys
from secure_ray.base.errors import FailedError, UsageError
from secure_ray.base.files import is_there, write_private
from secure_ray.base.plain import from_plain_json
from secure_ray.network.addresses import same_address
from secure_ray.node.cluster import Membership, ensure_cluster, read_cluster, write_cluster
from secure_ray.policy.admission import is_node_name
from secure_ray.policy.ports import PortPlan

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from secure_ray.base.clock import Clock
    from secure_ray.node.cluster import Cluster
    from secure_ray.node.joining import Joined
    from secure_ray.node.paths import ClusterPaths
    from secure_ray.pki.join_string import JoinString

_LONGEST_NAME = 63


def node_name(hostname: str) -> str:
    """What a host is called in a cluster when nobody gives it a name (RFC 1123 section 2.1)."""
    first = hostname.partition(".")[0].lower()
    name = re.sub(r"[^a-z0-9-]+", "-", first).lstrip("-")[:_LONGEST_NAME].rstrip("-")
    # A host may be called 17 or head, a node may not.
    return name if is_node_name(name) else f"node-{name}"[:_LONGEST_NAME].rstrip("-")


def is_member(paths: ClusterPaths) -> bool:
    """Whether this host has joined a cluster under that name.

    Raises:
        FailedError: the record cannot be trusted or read.
    """
    known = read_cluster(paths)
    return known is not None and known.membership is not None


def require_can_join(
    paths: ClusterPaths, string: JoinString, *, address: str, now: datetime
) -> bool:
    """Check that what is here does not stand against joining the cluster of `string`.

    Args:
        paths: Where its state is.
        string: What the head's `join-token create` printed.
        address: From where this host reaches the head.
        now: The time.

    Returns:
        True when this host is a member of that cluster, and knows all that joining again would
        tell it: its string need not be spent.

    Raises:
        FailedError: here is a head, or a member of another cluster.
    """
    known = read_cluster(paths)
    if known is not None and known.membership is not None:
        if known.id == string.cluster_id:
            return _still_holds(known.membership, string, address) and not _is_old(paths, now)
        raise FailedError(
            "SR-JOIN-047",
            f"{paths.name} here is node {known.membership.name} of another cluster, whose head is "
            f"{known.membership.head}",
            fix=f"join under another name: secure-ray up --join - --cluster NAME; or leave that one: "
            f"{command('reset', paths.name)}",
        )
    if is_there(paths.pki / "authority" / "current"):
        raise FailedError(
            "SR-JOIN-047",
            f"{paths.name} here is a head, with a root CA of its own",
            fix="join under another name: secure-ray up --join - --cluster NAME; or give the head "
            f"up: {command('reset', paths.name)}",
        )
    return False


def become_member(
    paths: ClusterPaths,
    string: JoinString,
    *,
    name: str,
    address: str,
    versions: Mapping[str, str],
    clock: Clock,
) -> Cluster:
    """Join the cluster of `string`; the caller holds the cluster's lock.

    Killed at any moment, the next try goes on: it is made with the same key, so that the head gives
    the same answer, and what makes this host a member is written last.

    Args:
        paths: Where its state goes.
        string: What the head's `join-token create` printed.
        name: What the node wants to be called.
        address: From where this host reaches the head.
        versions: Of `ray`, `python` and `secure-ray`.
        clock: The time.

    Raises:
        RejectedError: the head said no.
        FailedError: the head cannot be reached, is another one, or sees another address than ours.
    """
    from secure_ray.node.joining import Newcomer, join_cluster
    from secure_ray.pki.store import PkiPaths

    newcomer = Newcomer(name, versions, PkiPaths(paths.pki, paths.passphrase))
    joined = join_cluster(string, newcomer, clock=clock)
    _require_seen_as(joined, address)
    cluster = replace(
        ensure_cluster(paths), id=joined.cluster_id, base=0, membership=_membership(joined)
    )
    write_private(paths.token, joined.token.reveal().encode())
    write_cluster(paths, cluster)
    return cluster


def require_head_here(paths: ClusterPaths) -> None:
    """Check that `up --head` does not take over what is a worker.

    Raises:
        UsageError: it is one.
    """
    known = read_cluster(paths)
    if known is not None and known.membership is not None:
        raise UsageError(
            "SR-CFG-017",
            f"{paths.name} here is node {known.membership.name} of the cluster whose head is "
            f"{known.membership.head}",
            fix=f"{command('up', paths.name)} starts it; for a head of its own: {new_keys(paths.name)}",
        )


def _still_holds(membership: Membership, string: JoinString, address: str) -> bool:
    """Whether node and head are where they were when the node joined."""
    return same_address(membership.address, address) and any(
        same_address(head.address, membership.head) and head.port == membership.door
        for head in string.heads
    )


def _is_old(paths: ClusterPaths, now: datetime) -> bool:
    """Whether the leaf is in the last third of its life: nothing else renews it."""
    from secure_ray.pki.credentials import LeafFiles, read_facts

    leaf = read_facts(LeafFiles.within(paths.pki / "node" / "current").certificate)
    return now >= leaf.not_after - (leaf.not_after - leaf.not_before) / 3


def _membership(joined: Joined) -> Membership:
    try:
        ports = from_plain_json(joined.ports, PortPlan)
    except ValueError:
        raise FailedError(
            "SR-JOIN-036",
            f"the port plan that the head at {joined.head} sent cannot be read: it runs "
            f"secure-ray {joined.versions.get('secure-ray', '?')}",
            fix="install the same release here as on the head, then run it again with the "
            "same string",
        ) from None
    return Membership(
        node=joined.node,
        name=joined.name,
        address=joined.address,
        head=joined.head,
        door=joined.door.port,
        ports=ports,
    )


def _require_seen_as(joined: Joined, address: str) -> None:
    plain = address.partition("%")[0]
    if joined.address != plain:
        raise FailedError(
            "SR-JOIN-048",
            f"the head sees this node as {joined.address}, but it has {plain} on its side: "
            "something between them translates addresses",
            fix="connect both to one network without NAT: every node must reach every other",
        )
