"""`secure-ray certs`: what is on disk, what running processes show, and how that stands."""

from __future__ import annotations

import os
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from secure_ray.cli.certs_authority import add_to
from secure_ray.cli.down import AsJson, Cluster

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from secure_ray.node.plan import LaunchPlan
    from secure_ray.rotation.nodes import NodeFacts
    from secure_ray.rotation.verdicts import Verdict

_FINDINGS, _UNKNOWN = 1, 6


class Format(str, Enum):
    """How `check` prints."""

    TABLE = "table"
    PROMETHEUS = "prometheus"


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(
        help="Show certificates, on disk and live, and take CAs in or off this machine.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    group.command()(check)
    group.command()(show)
    add_to(group)
    app.add_typer(group, name="certs")


def check(
    *,
    form: Annotated[
        Format, typer.Option("--format", help="A table, or metrics for Prometheus.")
    ] = Format.TABLE,
    cluster: Cluster = None,
    as_json: AsJson = False,
) -> None:
    """Say for each node when its certificate ends, on disk and at its live ports.

    Exit code 0 when all is well, 1 when a certificate is past two thirds of its life or worse, 6 when a node cannot be asked.
    """
    from secure_ray.base.clock import utc_now
    from secure_ray.cli.output import emit, emit_json
    from secure_ray.rotation.verdicts import Status, judge, worst

    plan, nodes = _nodes(cluster)
    now = utc_now()
    verdicts = [judge(node, life=plan.pki.leaf, now=now) for node in nodes]
    if as_json:
        rows = [_fields(node, verdict) for node, verdict in zip(nodes, verdicts, strict=True)]
        status = worst(verdicts).value
        emit_json("secure-ray/certs-check/1", {"status": status, "nodes": rows})
    elif form is Format.PROMETHEUS:
        emit("\n".join(_metrics(nodes, now)))
    else:
        _print(nodes, verdicts, now)
    codes = {Status.OK: 0, Status.UNKNOWN: _UNKNOWN}
    raise typer.Exit(codes.get(worst(verdicts), _FINDINGS))


def show(*, cluster: Cluster = None, as_json: AsJson = False) -> None:
    """Show the CAs of this cluster, and what every port of every node shows."""
    from dataclasses import asdict

    from secure_ray.base.clock import utc_now
    from secure_ray.cli.output import columns, emit, emit_json
    from secure_ray.node.identity import pki_paths
    from secure_ray.pki.rotation_facts import read_rotation

    plan, nodes = _nodes(cluster)
    facts = read_rotation(pki_paths(plan.paths, plan.pki), plan.paths.name, now=utc_now())
    if as_json:
        data = asdict(facts) | {"stage": facts.stage.value}
        ports = {node.name: [asdict(port) for port in node.ports] for node in nodes}
        emit_json("secure-ray/certs-show/1", {"authority": data, "ports": ports})
        return
    emit(f"rotation of the root CA: {facts.stage.value}")
    for name, one in (("root CA", facts.old), ("new root CA", facts.new)):
        if one is None:
            continue
        key = "its key is here" if one.root_key else "its key is not here"
        emit(f"  {name:<12} SHA256:{one.pin[:16]}  until {one.root.not_after:%Y-%m-%d}  {key}")
        if one.issuing is not None:
            emit(
                f"  {'issuing CA':<12} {one.issuing.serial[:16]}  until {one.issuing.not_after:%Y-%m-%d}"
            )
    rows = [
        (node.name, port.title, str(port.port), port.serial[:16] or port.why, _day(port.expires))
        for node in nodes
        for port in node.ports
    ]
    emit(columns([("NODE", "PORT OF", "PORT", "SHOWS", "UNTIL"), *rows]))


def _nodes(cluster: str | None) -> tuple[LaunchPlan, tuple[NodeFacts, ...]]:
    from secure_ray.base.clock import utc_now
    from secure_ray.base.errors import UsageError
    from secure_ray.node.instance import require_running
    from secure_ray.node.paths import cluster_paths
    from secure_ray.rotation.nodes import cluster_facts

    plan = require_running(cluster_paths(os.environ, cluster)).plan
    if not plan.place.is_head:
        raise UsageError(
            "SR-CFG-024",
            f"this is a worker; the head at {plan.place.head} knows all certificates",
            fix="run it there; secure-ray status shows this node's own",
        )
    return plan, cluster_facts(plan, now=utc_now())


def _print(nodes: Sequence[NodeFacts], verdicts: Sequence[Verdict], now: datetime) -> None:
    from secure_ray.cli.output import columns, emit

    head = ("NODE", "ON DISK UNTIL", "LIVE UNTIL", "STATUS", "NEXT", "FIX")
    rows = [
        (
            node.name,
            _ends(node.disk.expires if node.disk else None, now),
            _live(node, now),
            verdict.status.value,
            verdict.next,
            verdict.fix or "-",
        )
        for node, verdict in zip(nodes, verdicts, strict=True)
    ]
    emit(columns([head, *rows]))


def _live(node: NodeFacts, now: datetime) -> str:
    if not node.live:
        return "-"
    if not node.restart_due:
        return "the same"
    return _ends(min(node.live.values()), now)


def _ends(end: datetime | None, now: datetime) -> str:
    if end is None:
        return "-"
    from secure_ray.policy.admission import in_words

    left = end - now
    return f"{_day(end)} ({in_words(left)})" if left.total_seconds() > 0 else f"{_day(end)} (over)"


def _day(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M}" if moment else "-"


def _fields(node: NodeFacts, verdict: Verdict) -> dict[str, Any]:
    return {
        "name": node.name,
        "address": node.address,
        "state": node.state,
        "disk_serial": node.disk.serial if node.disk else None,
        "disk_expires": node.disk.expires.isoformat() if node.disk else None,
        "live": {serial: end.isoformat() for serial, end in node.live.items()},
        "restart_due": node.restart_due,
        "status": verdict.status.value,
        "next": verdict.next,
        "fix": verdict.fix,
    }


def _metrics(nodes: Sequence[NodeFacts], now: datetime) -> list[str]:
    """As a text file for node_exporter's collector (Prometheus' text format 0.0.4)."""
    name = "secure_ray_cert_expiry_seconds"
    lines = [f"# HELP {name} Seconds until the certificate ends.", f"# TYPE {name} gauge"]
    for node in nodes:
        ends = {"disk": node.disk.expires} if node.disk else {}
        if node.live:
            ends["live"] = min(node.live.values())
        lines += [
            f'{name}{{node="{node.name}",cert="ray",where="{where}"}} {(end - now).total_seconds():.0f}'
            for where, end in ends.items()
        ]
    return lines
