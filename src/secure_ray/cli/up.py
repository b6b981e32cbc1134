"""`secure-ray up`: start a hardened Ray on this machine."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from secure_ray.base.errors import SecureRayError
    from secure_ray.cli.joining import Join
    from secure_ray.node.decide import Decision, Wish
    from secure_ray.node.paths import ClusterPaths
    from secure_ray.node.prepare import Prepared


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(context_settings={"allow_extra_args": True})(up)


def up(  # noqa: PLR0913  # the options of the command line
    context: typer.Context,
    *,
    head: Annotated[bool, typer.Option("--head", help="Start the head node.")] = False,
    bind: Annotated[
        str | None,
        typer.Option(
            help="Where to listen: local, private (the one private address), or an address.",
            metavar="local|private|ADDR",
        ),
    ] = None,
    join: Annotated[
        str | None,
        typer.Option(
            help="Join as a worker; the join string comes from standard input (-) or a file.",
            metavar="-|FILE",
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="What to call this node [its host name]", metavar="NAME")
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
    """Start a hardened Ray on this machine: a head, or a worker of one.

    Every socket is on loopback, or on the one private address that you choose; token authentication and mutual TLS are on, and that is proven on
    the live cluster before the command ends. Options of `ray start` go after `--`; policy decides which are allowed. Run again, it says that
    the cluster is up.
    """
    from secure_ray.node.decide import Wish
    from secure_ray.node.paths import cluster_paths

    paths = cluster_paths(os.environ, cluster)
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
    if join is not None and dry_run:
        raise _no_plan_before_joining(paths)
    wish, joining = _role(wish, paths, head=head, join=join, name=name)
    if dry_run:
        _print_plan(wish, paths, as_json=as_json)
    else:
        _start(wish, paths, joining, block=block, as_json=as_json)


def _role(
    wish: Wish, paths: ClusterPaths, *, head: bool, join: str | None, name: str | None
) -> tuple[Wish, Join | None]:
    """Head, new worker, or the worker that this host is already."""
    from secure_ray.base.commands import command
    from secure_ray.base.errors import UsageError
    from secure_ray.cli.joining import joined_before, read_join, towards
    from secure_ray.node.membership import require_head_here

    if head and join is None:
        require_head_here(paths)
        return wish, None
    known = joined_before(paths)
    if not head and join is not None:
        joining = read_join(join, name, known)
        # Not the head that is known: it may have moved, which a new string tells.
        return towards(wish, joining.string.heads[0].address), joining
    if not head and known:
        return towards(wish, known.head), None
    raise UsageError(
        "SR-CFG-012",
        "--head and --join do not go together" if head else "head or worker?",
        fix=f"{command('up --head', paths.name)} starts a head; {command('up --join -', paths.name)} joins one, with "
        "the string that secure-ray join-token create prints there",
    )


def _no_plan_before_joining(paths: ClusterPaths) -> SecureRayError:
    from secure_ray.base.commands import command
    from secure_ray.base.errors import UsageError

    return UsageError(
        "SR-CFG-019",
        "--join and --dry-run do not go together: the node's name and ports are the head's to "
        "give, and known once it has joined",
        fix=f"{command('up --join -', paths.name)}; later, {command('up --dry-run', paths.name)} "
        "shows the plan of what has joined",
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


def _decide(wish: Wish) -> Decision:
    from secure_ray.base.clock import utc_now
    from secure_ray.node.decide import decide

    return decide(wish, environ=os.environ, cwd=Path.cwd(), now=utc_now())


def _print_plan(wish: Wish, paths: ClusterPaths, *, as_json: bool) -> None:
    from secure_ray.cli.output import emit_json
    from secure_ray.cli.summary import print_plan
    from secure_ray.node.prepare import preview

    plan = preview(_decide(wish), paths, caller=os.environ).shown()
    if as_json:
        emit_json("secure-ray/plan/1", json.loads(plan.to_json()))
    else:
        print_plan(plan)


def _start(
    wish: Wish, paths: ClusterPaths, joining: Join | None, *, block: bool, as_json: bool
) -> None:
    from secure_ray.cli.outcome import report_running, report_start
    from secure_ray.cli.output import say
    from secure_ray.cli.progress import progress
    from secure_ray.node.bring_up import become_supervisor, bring_up
    from secure_ray.node.cluster import changing, ensure_directories
    from secure_ray.node.instance import supervisor_lives

    decision = _decide(wish)  # first, so that what is unsafe is refused whatever runs
    if supervisor_lives(paths):
        report_running(paths, decision, joining, as_json=as_json)
        return
    ensure_directories(paths)
    with changing(paths) as cluster_lock:
        if supervisor_lives(paths):  # started by somebody else while we waited
            report_running(paths, decision, joining, as_json=as_json)
            return
        prepared = _make_ready(decision, paths, joining)
        if block:
            for notice in decision.notices:
                say(notice)
            become_supervisor(prepared, cluster_lock)
        with progress() as show:
            bring_up(prepared, show)
    report_start(paths, decision.notices, as_json=as_json)


def _make_ready(decision: Decision, paths: ClusterPaths, joining: Join | None) -> Prepared:
    """All that comes before the start, and what a person should know of it."""
    from secure_ray.base.clock import utc_now
    from secure_ray.cli.output import say, warn
    from secure_ray.node.bring_down import clean_up
    from secure_ray.node.prepare import prepare

    for line in clean_up(paths):
        warn(f"left behind by a supervisor that was killed, now stopped: {line}")
    for step in joining.fulfil(paths, decision) if joining else ():
        say(step)
    prepared = prepare(decision, paths, caller=os.environ, now=utc_now())
    for line in prepared.changes:
        say(line)
    for warning in prepared.warnings:
        warn(warning)
    return prepared
