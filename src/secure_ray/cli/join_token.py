"""`secure-ray join-token`: let further nodes into the cluster."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from secure_ray.cli.down import AsJson, Cluster

if TYPE_CHECKING:
    from datetime import datetime

    from secure_ray.gateway.nodes.tokens import TokenRecord
    from secure_ray.node.paths import ClusterPaths
    from secure_ray.pki.join_string import JoinString


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(
        help="Let further nodes into the cluster.", no_args_is_help=True, rich_markup_mode=None
    )
    group.command()(create)
    group.command("list")(list_)
    group.command()(revoke)
    app.add_typer(group, name="join-token")


def create(
    *,
    ttl: Annotated[
        str, typer.Option(metavar="SPAN", help="How long it lives: 30m, 2h, at most 24h.")
    ] = "30m",
    uses: Annotated[int, typer.Option(metavar="N", help="How many nodes may join with it.")] = 1,
    node: Annotated[
        str, typer.Option(metavar="NAME", help="The only node name that may join with it.")
    ] = "",
    cluster: Cluster = None,
    as_json: AsJson = False,
) -> None:
    """Make a join string for a new node. It is shown once.

    The string alone goes to standard output, so it can be piped to where the node is.
    """
    import getpass

    from secure_ray.base.clock import utc_now
    from secure_ray.cli.firewall import warn_of_old_rules
    from secure_ray.cli.spans import read_span
    from secure_ray.gateway.nodes.register import open_register
    from secure_ray.gateway.nodes.tokens import TokenOrder, make_token
    from secure_ray.node.door_place import require_door
    from secure_ray.node.instance import require_running
    from secure_ray.node.paths import cluster_paths
    from secure_ray.pki.rotation_facts import trusted_pins
    from secure_ray.pki.store import PkiPaths

    order = TokenOrder(ttl=read_span(ttl, "--ttl"), uses=uses, node=node, maker=getpass.getuser())
    paths = cluster_paths(os.environ, cluster)
    plan = require_running(paths).plan
    door = require_door(plan)
    with open_register(paths.directory).changing() as database:
        made = make_token(
            database,
            order,
            cluster_id=plan.cluster_id,
            pins=trusted_pins(PkiPaths(plan.paths.pki, plan.paths.passphrase), plan.paths.name),
            heads=(door,),
            now=utc_now(),
        )
    warn_of_old_rules(paths, None)
    _show(made, uses=uses, node=node, as_json=as_json)


def list_(*, cluster: Cluster = None, as_json: AsJson = False) -> None:
    """Show the join tokens that were made, and who used them. Their secrets are not kept."""
    from secure_ray.base.clock import utc_now
    from secure_ray.cli.output import columns, emit, emit_json, say
    from secure_ray.gateway.nodes.register import find_register
    from secure_ray.gateway.nodes.tokens import list_tokens

    found: tuple[TokenRecord, ...] = ()
    there = find_register(_paths(cluster).directory)
    if there is not None:
        with there.reading() as database:
            found = list_tokens(database)
    now = utc_now()
    if as_json:
        emit_json("secure-ray/join-token-list/1", {"tokens": [_fields(one, now) for one in found]})
    elif found:
        head = ("ID", "STATE", "EXPIRES", "USES", "NODE", "MADE BY", "USED BY")
        emit(columns([head, *(_row(one, now) for one in found)]))
    else:
        say("there are no join tokens")


def revoke(
    token: Annotated[str, typer.Argument(metavar="ID", help="The token's id, as in the list.")],
    *,
    cluster: Cluster = None,
    as_json: AsJson = False,
) -> None:
    """Let nobody join with a token any more. Nodes that did stay."""
    from secure_ray.base.clock import utc_now
    from secure_ray.base.errors import FailedError
    from secure_ray.cli.output import emit_json, say
    from secure_ray.gateway.nodes.register import find_register
    from secure_ray.gateway.nodes.tokens import revoke_token

    there = find_register(_paths(cluster).directory)
    known = False
    if there is not None:
        with there.changing() as database:
            known = revoke_token(database, token, utc_now())
    if not known:
        raise FailedError(
            "SR-JOIN-042", f"there is no join token {token}", fix="secure-ray join-token list"
        )
    if as_json:
        emit_json("secure-ray/join-token-revoke/1", {"id": token})
    else:
        say(f"join token {token} is revoked")


def _paths(cluster: str | None) -> ClusterPaths:
    from secure_ray.node.paths import cluster_paths

    return cluster_paths(os.environ, cluster)


def _show(made: JoinString, *, uses: int, node: str, as_json: bool) -> None:
    from secure_ray.cli.output import emit, emit_json, say

    command = f"secure-ray up --join -{f' --name {node}' if node else ''}"
    until = f"{made.expires:%Y-%m-%d %H:%M} UTC"
    text = made.text().reveal()
    if as_json:
        data = {
            "id": made.id,
            "join_string": text,
            "command": command,
            "expires": made.expires.isoformat(),
            "uses": uses,
            "node": node or None,
            "heads": [str(head) for head in made.heads],
        }
        emit_json("secure-ray/join-token-create/1", data)
        return
    nodes = "one node" if uses == 1 else f"up to {uses} nodes"
    say(f"until {until}, {nodes} can join {made.heads[0]}; on the new node run\n  {command}")
    say("and paste this, which is not shown again:")
    emit(text)


def _state(record: TokenRecord, now: datetime) -> str:
    state = record.state
    if state.revoked is not None:
        return "revoked"
    if state.expires <= now:
        return "expired"
    return "used" if len(state.spent_by) >= state.uses else "open"


def _row(record: TokenRecord, now: datetime) -> tuple[str, ...]:
    state = record.state
    return (
        state.id,
        _state(record, now),
        f"{state.expires:%Y-%m-%d %H:%M} UTC",
        f"{len(state.spent_by)}/{state.uses}",
        state.node or "any",
        record.maker,
        ", ".join(f"{name} ({address})" for name, address in state.spent_by) or "-",
    )


def _fields(record: TokenRecord, now: datetime) -> dict[str, object]:
    state = record.state
    return {
        "id": state.id,
        "state": _state(record, now),
        "made": record.made.isoformat(),
        "made_by": record.maker,
        "expires": state.expires.isoformat(),
        "uses": state.uses,
        "node": state.node or None,
        "used_by": [{"name": name, "address": address} for name, address in state.spent_by],
    }
