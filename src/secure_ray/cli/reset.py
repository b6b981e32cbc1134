"""`secure-ray reset`: remove all of a stopped cluster."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from secure_ray.cli.down import AsJson, Cluster

if TYPE_CHECKING:
    from secure_ray.node.paths import ClusterPaths


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(reset)


def reset(
    *,
    cluster: Cluster = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove a stopped cluster's keys, token and logs.

    The next start makes new ones.
    """
    from secure_ray.base.files import is_there
    from secure_ray.cli.output import emit_json, say
    from secure_ray.node.bring_down import clean_up, reset
    from secure_ray.node.cluster import changing
    from secure_ray.node.paths import cluster_paths

    paths = cluster_paths(os.environ, cluster)
    removed: list[str] = []
    if is_there(paths.directory):
        _require_stopped(paths)
        _require_consent(paths.name, str(paths.directory), yes=yes)
        with changing(paths):
            _require_stopped(paths)  # somebody may have started it while we asked
            clean_up(paths)
            removed = [str(path) for path in reset(paths)]
    if as_json:
        emit_json("secure-ray/reset/1", {"cluster": paths.name, "removed": removed})
    elif removed:
        say(f"cluster {paths.name} removed: {', '.join(removed)}")
    else:
        say(f"there is no cluster {paths.name}")


def _require_stopped(paths: ClusterPaths) -> None:
    from secure_ray.base.commands import command
    from secure_ray.base.errors import FailedError
    from secure_ray.node.instance import supervisor_lives

    if supervisor_lives(paths):
        raise FailedError(
            "SR-STATE-009",
            f"cluster {paths.name} is running",
            fix=f"{command('down', paths.name)}, then {command('reset', paths.name)}",
        )


def _require_consent(name: str, directory: str, *, yes: bool) -> None:
    from secure_ray.base.commands import command
    from secure_ray.base.errors import UsageError

    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(
            "SR-CFG-014",
            f"removing cluster {name} (its keys, token and logs in {directory}) needs consent",
            fix=command("reset --yes", name),
        )
    question = f"Remove cluster {name}, with its keys, token and logs in {directory}?"
    if not typer.confirm(question, err=True):
        raise typer.Exit(130)
