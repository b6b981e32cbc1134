"""`secure-ray up`: start a hardened Ray on this machine."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from secure_ray.node.decide import Decision
    from secure_ray.node.paths import ClusterPaths


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(context_settings={"allow_extra_args": True})(up)


def up(  # noqa: PLR0913  # the options of the command line
    context: typer.Context,
    *,
    head: Annotated[bool, typer.Option("--head", help="Start the head node.")] = False,
    bind: Annotated[
        str | None, typer.Option(help="Where to listen. This version: local.", metavar="local")
    ] = None,
    num_cpus: Annotated[int | None, typer.Option(help="CPUs for tasks [what is usable]")] = None,
    num_gpus: Annotated[int | None, typer.Option(help="GPUs for tasks [what is found]")] = None,
    memory: Annotated[
        str | None, typer.Option(help="Memory for tasks [the rest]", metavar="SIZE")
    ] = None,
    object_store_memory: Annotated[
        str | None, typer.Option(help="Memory for objects [30%]", metavar="SIZE")
    ] = None,
    resources: Annotated[
        str | None, typer.Option(help='Custom resources, {"name": amount}', metavar="JSON")
    ] = None,
    cluster: Annotated[
        str | None, typer.Option(help="Which cluster, when you run several.", metavar="NAME")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="Settings file.", metavar="FILE", show_default=False)
    ] = None,
    block: Annotated[
        bool, typer.Option("--block", help="Stay in the foreground (systemd, containers).")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be started, change nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Start a hardened Ray on this machine.

    Every socket is on loopback, token authentication and mutual TLS are on, and that is proven on
    the live cluster before the command ends. Options of `ray start` go after `--`; policy decides which are allowed. Run again, it says that
    the cluster is up.
    """
    from secure_ray.node.decide import Wish
    from secure_ray.node.paths import cluster_paths

    _require_head(head=head)
    limits = {
        "num_cpus": num_cpus,
        "num_gpus": num_gpus,
        "memory": memory,
        "object_store_memory": object_store_memory,
        "resources": _parse_resources(resources),
    }
    wish = Wish(
        flags={"network.bind": bind} | {f"limits.{key}": value for key, value in limits.items()},
        config=config,
        ray_options=tuple(context.args),
    )
    paths = cluster_paths(os.environ, cluster)
    if dry_run:
        _print_plan(wish, paths, as_json=as_json)
    else:
        _start(wish, paths, block=block, as_json=as_json)


def _require_head(*, head: bool) -> None:
    if not head:
        from secure_ray.base.errors import UsageError

        raise UsageError(
            "SR-CFG-012",
            "this version starts head nodes only",
            fix="secure-ray up --head",
        )


def _parse_resources(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        parsed = json.loads(text)
    except ValueError:
        parsed = None
    if not isinstance(parsed, dict):
        from secure_ray.base.errors import UsageError

        raise UsageError(
            "SR-CFG-013",
            f"--resources {text} is not a JSON object",
            fix="""--resources '{"name": 2}'""",
        )
    return parsed


def _decide(wish: Any) -> Decision:
    from secure_ray.base.clock import utc_now
    from secure_ray.node.decide import decide

    return decide(wish, environ=os.environ, cwd=Path.cwd(), now=utc_now())


def _print_plan(wish: Any, paths: ClusterPaths, *, as_json: bool) -> None:
    from secure_ray.cli.output import emit_json
    from secure_ray.cli.summary import print_plan
    from secure_ray.node.prepare import preview

    plan = preview(_decide(wish), paths, caller=os.environ).shown()
    if as_json:
        emit_json("secure-ray/plan/1", json.loads(plan.to_json()))
    else:
        print_plan(plan)


def _start(wish: Any, paths: ClusterPaths, *, block: bool, as_json: bool) -> None:
    from secure_ray.base.clock import utc_now
    from secure_ray.cli.output import emit_json, say, warn
    from secure_ray.cli.progress import progress
    from secure_ray.cli.summary import print_summary, summary
    from secure_ray.node.bring_down import clean_up
    from secure_ray.node.bring_up import become_supervisor, bring_up
    from secure_ray.node.cluster import changing, ensure_directories
    from secure_ray.node.instance import supervisor_lives
    from secure_ray.node.prepare import prepare

    decision = _decide(wish)  # first, so that what is unsafe is refused whatever runs
    if supervisor_lives(paths):
        _report_running(paths, as_json=as_json)
        return
    ensure_directories(paths)
    with changing(paths) as cluster_lock:
        if supervisor_lives(paths):  # started by somebody else while we waited
            _report_running(paths, as_json=as_json)
            return
        for line in clean_up(paths):
            warn(f"left behind by a supervisor that was killed, now stopped: {line}")
        prepared = prepare(decision, paths, caller=os.environ, now=utc_now())
        for change in prepared.changes:
            say(change)
        for notice in decision.notices:
            say(notice)
        for warning in prepared.warnings:
            warn(warning)
        if block:
            become_supervisor(prepared, cluster_lock)
        with progress() as show:
            bring_up(prepared, show)
    facts = summary(paths)
    if as_json:
        emit_json("secure-ray/up/1", facts)
    else:
        print_summary(facts)


def _report_running(paths: ClusterPaths, *, as_json: bool) -> None:
    from secure_ray.base.errors import IncompleteError
    from secure_ray.cli.output import emit_json, say
    from secure_ray.cli.summary import UP, summary

    facts = summary(paths)
    if facts["state"] not in UP:
        raise IncompleteError(
            "SR-STATE-003",
            f"cluster {paths.name} has a supervisor already, which is {facts['state']}",
            fix="wait for it, then run this again",
        )
    if as_json:
        emit_json("secure-ray/up/1", facts)
    else:
        say(f"cluster {paths.name} is already up; secure-ray status shows it")
