"""`secure-ray firewall`: nftables rules for the cluster's ports, as a second layer."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from secure_ray.cli.down import AsJson, Cluster

if TYPE_CHECKING:
    from collections.abc import Sequence

    from secure_ray.node.paths import ClusterPaths
    from secure_ray.policy.firewall import FirewallPlan

SCHEMA = "secure-ray/firewall/1"
_DESCRIPTION = "Firewall rules for the cluster: only its nodes reach it, Ray's user no metadata."
_STDIN = "-"
_DRIFT = 1
_NOBODY = 2**32 - 1  # chown(2): stands for no user
Peers = Annotated[
    list[str] | None,
    typer.Option("--peer", metavar="ADDR", help="Another node of the cluster; give it repeatedly."),
]
JoinFrom = Annotated[
    list[str] | None,
    typer.Option(
        "--join-from",
        metavar="NETWORK",
        help="Where nodes may join from [network.join_from, else this node's private range]",
    ),
]
User = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Who Ray runs as; the owner of the cluster's state."),
]
Iptables = Annotated[
    bool, typer.Option("--iptables", help="Print a script for hosts that have no nft.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what nft would get; do nothing.")]


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(help=_DESCRIPTION, no_args_is_help=True, rich_markup_mode=None)
    for command in (show, apply, check, remove):
        group.command()(command)
    app.add_typer(group, name="firewall")


def show(
    *,
    iptables: Iptables = False,
    peer: Peers = None,
    join_from: JoinFrom = None,
    user: User = None,
    cluster: Cluster = None,
    as_json: AsJson = False,
) -> None:
    """Print the rules, ready for `nft -f -`."""
    from secure_ray.cli.output import emit
    from secure_ray.policy.firewall import nft_rules
    from secure_ray.policy.iptables import iptables_rules

    paths, plan = _plan(cluster, peer or (), join_from or (), user)
    if as_json:
        _emit(paths, plan, nft=nft_rules(plan), iptables=iptables_rules(plan))
        return
    _note(paths, plan)
    _explain(paths, plan)
    emit((iptables_rules(plan) if iptables else nft_rules(plan)).rstrip("\n"))


def apply(
    *,
    peer: Peers = None,
    join_from: JoinFrom = None,
    user: User = None,
    cluster: Cluster = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Put the rules into the kernel, in place of those of before; needs root.

    All at once or not at all. The tables of others stay as they are. The rules end with the host's next start.
    """
    from secure_ray.cli.output import emit, say
    from secure_ray.network.nft import apply_rules
    from secure_ray.policy.firewall import nft_rules

    paths, plan = _plan(cluster, peer or (), join_from or (), user)
    rules = nft_rules(plan)
    if not dry_run:
        apply_rules(rules)
        _note(paths, plan)
    if as_json:
        _emit(paths, plan, applied=not dry_run, nft=rules)
        return
    _explain(paths, plan)
    if dry_run:
        emit(rules.rstrip("\n"))
    else:
        say(f"table inet {plan.table} is in place; secure-ray firewall remove takes it out")


def check(
    *,
    rules: Annotated[
        str | None,
        typer.Option(metavar="FILE|-", help="What `firewall show` printed, for another user."),
    ] = None,
    peer: Peers = None,
    join_from: JoinFrom = None,
    user: User = None,
    cluster: Cluster = None,
    as_json: AsJson = False,
) -> None:
    """Compare the live table with the plan; needs root.

    Exit code 0 when they are the same, 1 when they differ, 6 when it cannot be told.
    """
    from secure_ray.cli.output import emit, emit_json, say
    from secure_ray.network.nft import differences, table_of
    from secure_ray.policy.firewall import nft_rules

    text = (
        _read(rules) if rules else nft_rules(_plan(cluster, peer or (), join_from or (), user)[1])
    )
    found = differences(text)
    if as_json:
        emit_json(SCHEMA, {"table": table_of(text), "same": not found, "differences": list(found)})
    elif found:
        emit("\n".join(found))
        say(f"table inet {table_of(text)} is not as planned: - is missing, + is foreign")
    else:
        say(f"table inet {table_of(text)} is as planned")
    raise typer.Exit(_DRIFT if found else 0)


def remove(
    *,
    user: User = None,
    cluster: Cluster = None,
    iptables: Iptables = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Take the rules out of the kernel, without a trace; needs root."""
    from secure_ray.cli.output import emit, emit_json, say
    from secure_ray.network.nft import remove_table
    from secure_ray.node.paths import cluster_paths
    from secure_ray.policy.firewall import nft_removal, table_name
    from secure_ray.policy.iptables import iptables_removal

    paths = cluster_paths(os.environ, cluster)
    table = table_name(paths.name, _uid(user, paths))
    if iptables:
        emit(iptables_removal(table).rstrip("\n"))
        return
    removed = not dry_run and remove_table(table, nft_removal(table))
    if not dry_run:
        paths.walled.unlink(missing_ok=True)
    if as_json:
        emit_json(SCHEMA, {"cluster": paths.name, "table": table, "removed": removed})
    elif dry_run:
        emit(nft_removal(table).rstrip("\n"))
    else:
        say(f"table inet {table} {'removed' if removed else 'is not there'}")


def _plan(
    cluster: str | None, peers: Sequence[str], join_from: Sequence[str], user: str | None
) -> tuple[ClusterPaths, FirewallPlan]:
    from secure_ray.node.instance import read_instance
    from secure_ray.node.neighbours import read_neighbours
    from secure_ray.node.paths import cluster_paths
    from secure_ray.policy.firewall import join_networks, plan_firewall

    paths = cluster_paths(os.environ, cluster)
    instance = read_instance(paths)
    if instance is None or not instance.plan.ports.private:
        return paths, plan_firewall(paths.name, None, uid=_uid(user, paths))
    place = instance.plan.place
    others = {*peers, *read_neighbours(paths)} | (set() if place.is_head else {place.head})
    joining = join_networks(place.address, join_from or instance.plan.join_from)
    plan = plan_firewall(
        paths.name,
        instance.plan.ports,
        uid=_uid(user, paths),
        peers=sorted(others),
        joining=joining,
    )
    return paths, plan


def _uid(user: str | None, paths: ClusterPaths) -> int:
    import pwd

    from secure_ray.base.errors import UsageError

    if user is None:
        return _owner(paths)
    if user.isdecimal() and int(user) < _NOBODY:
        return int(user)
    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError:
        raise UsageError(
            "SR-FW-006", f"there is no user {user} here", fix="--user NAME, or its number"
        ) from None


def _owner(paths: ClusterPaths) -> int:
    try:
        return paths.directory.lstat().st_uid
    except OSError:
        caller = os.environ.get("SUDO_UID", "")
        return int(caller) if caller.isdecimal() and os.geteuid() == 0 else os.geteuid()


def _read(source: str) -> str:
    import sys
    from pathlib import Path

    from secure_ray.base.errors import UsageError
    from secure_ray.network.nft import table_of

    try:
        text = sys.stdin.read() if source == _STDIN else Path(source).read_text(encoding="utf-8")
        table_of(text)
    except (OSError, ValueError) as error:
        raise UsageError(
            "SR-FW-007",
            f"{source}: {getattr(error, 'strerror', None) or error}",
            fix="secure-ray firewall show | sudo secure-ray firewall check --rules -",
        ) from None
    return text


def _note(paths: ClusterPaths, plan: FirewallPlan) -> None:
    from secure_ray.node.neighbours import note_printed

    if plan.opened:
        note_printed(paths, tuple(plan.peers))


def warn_of_old_rules(
    paths: ClusterPaths, addresses: Sequence[str] | None, revoked: Sequence[str] = ()
) -> None:
    """Say that rules which were loaded by hand have to be loaded again.

    Args:
        paths: The cluster.
        addresses: The nodes that they are to let in; None before a node that is not known yet.
        revoked: Those that they are not to let in any more.
    """
    from secure_ray.base.commands import command
    from secure_ray.cli.output import warn
    from secure_ray.node.instance import read_instance
    from secure_ray.node.neighbours import printed_rules

    printed, instance = printed_rules(paths), read_instance(paths)
    followed = os.geteuid() == 0 and instance is not None and instance.plan.firewall
    if printed is None or followed:
        return
    again = (
        f"if the rules that `firewall show` printed are loaded here: {command('firewall show', paths.name)}"
        " | sudo nft -f -"
    )
    if addresses is None:
        warn(f"the node gets through to this host's Ray only once it is in the rules, {again}")
    elif missing := sorted({*addresses} - {*printed}):
        warn(f"not let in: {', '.join(missing)}; {again}; the same on every other node")
    elif stale := sorted({*revoked} & {*printed} - {*addresses}):
        warn(f"still let in: {', '.join(stale)}; {again}; the same on every other node")


def _explain(paths: ClusterPaths, plan: FirewallPlan) -> None:
    from secure_ray.cli.output import say, warn

    if not plan.opened:
        say(f"cluster {paths.name} listens on this host only, so there is nothing to open")
    elif not plan.peers:
        warn("no peers are known: no other node reaches this one (--peer ADDR)")
    if not plan.metadata:
        warn("Ray runs as root, whose own services may need the metadata: it stays open to jobs")


def _emit(paths: ClusterPaths, plan: FirewallPlan, **more: object) -> None:
    from secure_ray.cli.output import emit_json

    facts = {"cluster": paths.name, "table": plan.table, "private": bool(plan.opened)}
    emit_json(
        SCHEMA, {**facts, "peers": plan.peers, "joining": plan.joining, "uid": plan.uid, **more}
    )
