"""`secure-ray run`: an unmodified program or Ray command as a driver of the secure cluster."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""
    # What comes after the command's name is the command's own, also where it has a name of ours.
    own = {
        "allow_extra_args": True,
        "allow_interspersed_args": False,
        "ignore_unknown_options": True,
    }
    app.command(context_settings=own)(run)


def run(
    context: typer.Context,
    *,
    cluster: Annotated[
        str | None, typer.Option(help="Which cluster, when you run several.", metavar="NAME")
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            help="Settings file [that of the cluster's start]", metavar="FILE", show_default=False
        ),
    ] = None,
) -> None:
    """Run a command as a driver of the cluster.

    It gets what it needs to authenticate and encrypt, by environment. For example `secure-ray run -- python script.py` or `secure-ray run -- ray status`.
    """
    from secure_ray.base.commands import DEFAULT_CLUSTER
    from secure_ray.base.commands import command as told
    from secure_ray.base.errors import UsageError
    from secure_ray.cli.output import warn
    from secure_ray.node.drive import prepare_driver
    from secure_ray.node.paths import cluster_paths

    command = list(context.args)
    if not command or not command[0]:
        raise UsageError(
            "SR-CFG-015",
            "no command was given",
            fix=f"{told('run', cluster or DEFAULT_CLUSTER)} -- python script.py",
        )
    paths = cluster_paths(os.environ, cluster)
    environment, notices = prepare_driver(paths, os.environ, config=config)
    for notice in notices:
        warn(notice)
    try:
        os.execvpe(command[0], command, environment)  # noqa: S606  # the user's own command
    except (OSError, ValueError) as error:
        raise UsageError(
            "SR-CFG-016",
            f"cannot run {command[0]}: {getattr(error, 'strerror', error)}",
            fix="check the command's name and that it is installed",
        ) from None
