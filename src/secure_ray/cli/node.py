"""`secure-ray node`: the nodes of the cluster, seen from the head."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from secure_ray.cli.down import AsJson, Cluster

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime, timedelta

    from secure_ray.base.errors import SecureRayError
    from secure_ray.gateway.nodes.members import Member
    from secure_ray.node.paths import ClusterPaths

Name = Annotated[str, typer.Argument(metavar="NAME", help="The node's name, as in the list.")]
# Three heartbeats, which come every ten seconds, and a little for a slow one.
_SILENT_AFTER = 35.0


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(
        help="Show, drain and revoke the nodes that joined this head.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    group.command("list")(list_)
    group.command()(drain)
    group.command()(revoke)
    app.add_typer(group, name="node")


def list_(*, cluster: Cluster = None, as_json: AsJson = False) -> None:
    """Show the nodes that joined, how they are, and when they said so last."""
    from secure_ray.base.clock import utc_now
    from secure_ray.cli.firewall import warn_of_old_rules
    from secure_ray.cli.output import columns, emit, emit_json, say
    from secure_ray.gateway.nodes.members import list_members
    from secure_ray.gateway.nodes.register import find_register
    from secure_ray.node.paths import cluster_paths

    found: tuple[Member, ...] = ()
    paths = cluster_paths(os.environ, cluster)
    there = find_register(paths.directory)
    if there is not None:
        with there.reading() as database:
            found = list_members(database)
    now = utc_now()
    if as_json:
        emit_json("secure-ray/node-list/1", {"nodes": [_fields(one, now) for one in found]})
    elif found:
        head = ("NAME", "ADDRESS", "STATE", "LAST SEEN", "CLOCK", "CERTIFICATE", "JOINED")
        emit(columns([head, *(_row(one, now) for one in found)]))
        _warn_of_clocks(found)
        welcome = [one.address for one in found if one.revoked is None]
        revoked = [one.address for one in found if one.revoked is not None]
        warn_of_old_rules(paths, welcome, revoked)
    else:
        say("no node has joined")


def drain(
    name: Name,
    *,
    timeout: Annotated[
        str, typer.Option(metavar="SPAN", help="How long to wait for the work there: 90s, 1h.")
    ] = "1h",
    undo: Annotated[bool, typer.Option("--undo", help="Give the node work again.")] = False,
    cluster: Cluster = None,
    as_json: AsJson = False,
) -> None:
    """Let a node finish its work and give it none: Ray stops there once nothing runs any more.

    The node stays in the cluster. `--undo` has its Ray started again.
    """
    from secure_ray.base.commands import command
    from secure_ray.cli.output import emit_json, say
    from secure_ray.cli.progress import progress
    from secure_ray.cli.spans import read_span
    from secure_ray.node.draining import drain as drain_node
    from secure_ray.node.instance import require_running
    from secure_ray.node.paths import cluster_paths
    from secure_ray.node.place import DRAIN

    seconds = read_span(timeout, "--timeout").total_seconds()
    paths = cluster_paths(os.environ, cluster)
    plan = require_running(paths).plan
    member = _order(paths, name, () if undo else (DRAIN,))
    left, back = False, command(f"node drain {name} --undo", paths.name)
    if not undo:
        with progress() as show:
            left = drain_node(
                plan,
                member.address,
                reason=f"secure-ray node drain {name}",
                seconds=seconds,
                show=lambda text: show({"event": text}),
            )
    if as_json:
        emit_json("secure-ray/node-drain/1", {"name": name, "drained": not undo, "left": left})
    elif undo:
        say(f"node {name} gets work again; its Ray starts with its next heartbeat")
    elif left:
        say(f"node {name} is drained: nothing runs there; {back} gives it work again")
    else:
        say(f"Ray does not have node {name} now; when it comes, it gets no work until {back}")


def _order(paths: ClusterPaths, name: str, orders: tuple[str, ...]) -> Member:
    from secure_ray.gateway.nodes.members import find_member, give_orders, holder_of
    from secure_ray.gateway.nodes.register import find_register

    there = find_register(paths.directory)
    if there is not None:
        with there.changing() as database:
            holder = holder_of(database, name)
            member = find_member(database, holder[0]) if holder else None
            if member is not None:
                give_orders(database, member.id, orders)
                return member
    raise _no_such_node(name)


def _no_such_node(name: str) -> SecureRayError:
    from secure_ray.base.errors import FailedError

    return FailedError(
        "SR-JOIN-043",
        f"there is no node {name}, or it is revoked already",
        fix="secure-ray node list",
    )


def revoke(
    name: Name,
    *,
    cluster: Cluster = None,
    as_json: AsJson = False,
) -> None:
    """Refuse a node from now on: its heartbeats and any renewal of its certificate.

    It does not take back what the node has; the command says what that means.
    """
    from secure_ray.base.clock import utc_now
    from secure_ray.cli.output import emit_json, say, warn
    from secure_ray.gateway.nodes.members import revoke_member
    from secure_ray.gateway.nodes.register import find_register
    from secure_ray.node.paths import cluster_paths

    paths = cluster_paths(os.environ, cluster)
    there = find_register(paths.directory)
    member = None
    if there is not None:
        with there.changing() as database:
            member = revoke_member(database, name, utc_now())
    if member is None:
        raise _no_such_node(name)
    limit = _what_it_leaves(member, paths)
    if as_json:
        emit_json("secure-ray/node-revoke/1", {**_fields(member, utc_now()), "limit": limit})
    else:
        say(f"node {name} ({member.address}) is revoked: the door refuses it from now on")
        warn(limit)


def _what_it_leaves(member: Member, paths: ClusterPaths) -> str:
    from secure_ray.base.commands import command
    from secure_ray.node.start_again import start_again

    until = f"{member.certificate_expires:%Y-%m-%d}" if member.certificate_expires else "it expires"
    return (
        f"this does not lock it out of Ray. Ray checks no list of revoked certificates, so the "
        f"node's is good until {until}, and the node knows the cluster token: with it, it can run "
        f"code on the head, which can make join tokens. Stop Ray there, or close the network to "
        f"{member.address}. The join tokens that it used have ended; end others whose string it may "
        f"have seen (secure-ray join-token list). If it is in wrong hands, only new keys help: "
        f"{command('down', paths.name)}, {command('reset', paths.name)}, then {start_again(paths)}; "
        f"then every node resets and joins again"
    )


def _state(member: Member, now: datetime) -> str:
    from secure_ray.node.place import DRAIN

    if member.revoked is not None:
        return "revoked"
    if member.seen is None:
        return "joined"
    if (now - member.seen).total_seconds() > _SILENT_AFTER:
        return "silent"
    phase = str(member.state.get("phase", "?"))
    up = phase in {"running", "degraded"}
    if up and not member.state.get("sound", False):
        return "not as planned"
    if DRAIN not in member.orders:
        return phase
    return "draining" if up else "drained" if phase == "waiting" else phase


def _row(member: Member, now: datetime) -> tuple[str, ...]:
    from secure_ray.policy.admission import in_words

    seen, expires = member.seen, member.certificate_in_use
    return (
        member.name,
        member.address,
        _state(member, now),
        f"{in_words(now - seen)} ago" if seen else "never",
        _clock(member.clock_ahead),
        f"until {expires:%Y-%m-%d}" if expires else "-",
        f"{member.joined:%Y-%m-%d %H:%M} UTC",
    )


def _clock(ahead: timedelta | None) -> str:
    from secure_ray.policy.admission import in_words

    if ahead is None:
        return "-"
    return f"{'-' if ahead.total_seconds() < 0 else '+'}{in_words(ahead)}"


def _warn_of_clocks(found: Sequence[Member]) -> None:
    from secure_ray.cli.output import warn
    from secure_ray.policy.admission import MOST_SKEW, in_words

    for member in found:
        ahead = member.clock_ahead
        if member.revoked is None and ahead is not None and abs(ahead) > MOST_SKEW:
            warn(
                f"the clock of {member.name} is {in_words(ahead)} off the head's: certificates will "
                "fail, now or later; set both by NTP (timedatectl set-ntp true)"
            )


def _fields(member: Member, now: datetime) -> dict[str, object]:
    return {
        "id": member.id,
        "name": member.name,
        "address": member.address,
        "state": _state(member, now),
        "joined": member.joined.isoformat(),
        "revoked": member.revoked.isoformat() if member.revoked else None,
        "seen": member.seen.isoformat() if member.seen else None,
        "orders": list(member.orders),
        "certificate_expires": (
            member.certificate_in_use.isoformat() if member.certificate_in_use else None
        ),
        "clock_ahead_seconds": (
            member.clock_ahead.total_seconds() if member.clock_ahead is not None else None
        ),
        "said": dict(member.state),
    }
