"""`secure-ray status`: what runs, where, since when, and for how long its certificate is good."""

from __future__ import annotations

import os
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(status)


def status(
    *,
    cluster: Annotated[
        str | None, typer.Option(help="Which cluster, when you run several.", metavar="NAME")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what runs, where, and until when.

    Node, ports and who holds them, versions, certificate, limits, logs. Exit code 0 when it runs and all of it is well, 1 otherwise.
    """
    from secure_ray.cli.summary import HEALTHY, print_status, summary
    from secure_ray.node.paths import cluster_paths

    facts = summary(cluster_paths(os.environ, cluster))
    if as_json:
        from secure_ray.cli.output import emit_json

        emit_json("secure-ray/status/1", facts)
    else:
        print_status(facts)
    healthy = facts["state"] == HEALTHY and facts["certificate"]["days_left"] >= 0
    raise typer.Exit(0 if healthy else 1)
