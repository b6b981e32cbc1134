"""`secure-ray down`: stop a cluster."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from secure_ray.node.paths import ClusterPaths

Cluster = Annotated[
    str | None, typer.Option(help="Which cluster, when you run several.", metavar="NAME")
]
_ANSWER_SECONDS = 10.0
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(down)


def down(
    *,
    drain: Annotated[
        bool, typer.Option("--drain", help="First let the work end that runs on this worker.")
    ] = False,
    timeout: Annotated[
        str, typer.Option(metavar="SPAN", help="How long --drain waits: 90s, 1h.")
    ] = "1h",
    keep: Annotated[
        bool,
        typer.Option(
            "--keep", help="Keep what a head's store knows: the next start goes on with it."
        ),
    ] = False,
    cluster: Cluster = None,
    as_json: AsJson = False,
) -> None:
    """Stop this cluster on this machine, and nothing else.

    On a head the work has ended then, and what its store knows is forgotten, unless you --keep it.
    Also after a crash: what a killed supervisor left behind is found, named and stopped.
    """
    from secure_ray.base.files import is_there
    from secure_ray.cli.output import emit_json, say, warn
    from secure_ray.cli.progress import progress
    from secure_ray.node.bring_down import bring_down
    from secure_ray.node.cluster import changing
    from secure_ray.node.paths import cluster_paths

    paths = cluster_paths(os.environ, cluster)
    was_running = False
    leftovers: list[str] = []
    if drain:
        _drain(paths, timeout)
    if is_there(paths.directory):
        with changing(paths), progress() as show:
            was_running, leftovers = bring_down(
                paths, lambda phase: show({"event": phase}), keep_store=keep
            )
    was_running = was_running or drain
    for line in leftovers:
        warn(f"left behind by a supervisor that was killed, now stopped: {line}")
    if as_json:
        data = {"cluster": paths.name, "was_running": was_running, "leftovers": leftovers}
        emit_json("secure-ray/down/1", data)
    elif was_running or leftovers:
        say(f"cluster {paths.name} is down")
    else:
        say(f"cluster {paths.name} was not running")


def _drain(paths: ClusterPaths, timeout: str) -> None:
    """Have this worker's Ray end by itself; the supervisor is stopped afterwards."""
    from secure_ray.base.commands import command
    from secure_ray.base.errors import UsageError
    from secure_ray.cli.progress import progress
    from secure_ray.cli.spans import read_span
    from secure_ray.node.control import request
    from secure_ray.node.draining import drain
    from secure_ray.node.instance import require_running

    seconds = read_span(timeout, "--timeout").total_seconds()
    plan = require_running(paths).plan
    if plan.place.is_head:
        raise UsageError(
            "SR-CFG-018",
            "Ray has nowhere to move the work of a head to: it ends with the cluster",
            fix=f"let the work end, then {command('down', paths.name)}; secure-ray node drain "
            "NAME empties a worker",
        )
    # Without this a worker's Ray that has ended is started again.
    list(request(plan.run.control, {"do": "finish"}, timeout=_ANSWER_SECONDS))
    with progress() as show:
        drain(
            plan,
            plan.place.address,
            reason="secure-ray down --drain",
            seconds=seconds,
            show=lambda text: show({"event": text}),
        )
