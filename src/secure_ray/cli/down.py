"""`secure-ray down`: stop a cluster."""

from __future__ import annotations

import os
from typing import Annotated

import typer

Cluster = Annotated[
    str | None, typer.Option(help="Which cluster, when you run several.", metavar="NAME")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(down)


def down(*, cluster: Cluster = None, as_json: AsJson = False) -> None:
    """Stop this cluster, and nothing else.

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
    if is_there(paths.directory):
        with changing(paths), progress() as show:
            was_running, leftovers = bring_down(paths, lambda phase: show({"event": phase}))
    for line in leftovers:
        warn(f"left behind by a supervisor that was killed, now stopped: {line}")
    if as_json:
        data = {"cluster": paths.name, "was_running": was_running, "leftovers": leftovers}
        emit_json("secure-ray/down/1", data)
    elif was_running or leftovers:
        say(f"cluster {paths.name} is down")
    else:
        say(f"cluster {paths.name} was not running")
