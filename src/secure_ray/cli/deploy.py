"""`secure-ray deploy`: files that start secure-ray elsewhere."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from secure_ray.node.paths import ClusterPaths
    from secure_ray.node.place import Place

_STDOUT = "-"


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(
        help="Write files that start secure-ray: a systemd unit.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    group.callback()(_group)  # without it Typer makes one command a command, not a group
    group.command()(systemd)
    app.add_typer(group, name="deploy")


def _group() -> None:
    """Write files that start secure-ray: a systemd unit."""


def systemd(  # noqa: PLR0913  # the options of the command line
    *,
    output: Annotated[
        str, typer.Option(metavar="DIR|-", help="Write the unit into DIR; - prints it.")
    ] = _STDOUT,
    user: Annotated[
        str | None, typer.Option(help="The account that Ray runs as; yours if not given.")
    ] = None,
    worker: Annotated[
        bool, typer.Option("--worker", help="For a host that has joined, or will before the start.")
    ] = False,
    bind: Annotated[
        str,
        typer.Option(metavar="local|private|ADDR", help="Where a head listens, as for up."),
    ] = "",
    cluster: Annotated[str, typer.Option(help="The cluster; the default one if not given.")] = "",
    name: Annotated[str, typer.Option(help="The unit's name; secure-ray[-CLUSTER].")] = "",
    config: Annotated[Path | None, typer.Option(help="The settings file that it uses.")] = None,
    home: Annotated[Path | None, typer.Option(help="SECURE_RAY_HOME for the unit.")] = None,
    executable: Annotated[
        Path | None, typer.Option(help="Where secure-ray is; this one if not given.")
    ] = None,
) -> int:
    """Make a systemd unit that starts this node at boot: the head, or the worker that it is.

    Which of them, and where a head listens, is what your own state says of this host, unless you
    give --worker, --bind or --user.
    """
    from secure_ray.cli.output import emit, say
    from secure_ray.deploy.render import write_new
    from secure_ray.deploy.systemd import UnitRequest, render_unit

    account = _this_user() if user is None else user
    if user is None and not worker and not bind:
        worker, bind = _as_it_is(home, cluster)
    request = UnitRequest(
        user=account,
        executable=str(executable or _this_program()),
        name=name,
        cluster=cluster,
        config=str(config.absolute()) if config else "",
        home=str(home.absolute()) if home else "",
        bind=bind,
        worker=worker,
    )
    text = render_unit(request)
    target = f"/etc/systemd/system/{request.file_name}"
    if output == _STDOUT:
        emit(text.rstrip("\n"))
        say(f"put it at {target} (as root), then:")
    else:
        path = Path(output) / request.file_name
        write_new(path, text, mode=0o644)
        say(f"wrote {path}; copy it to {target} (as root), then:")
    say(f"  systemctl daemon-reload && systemctl enable --now {request.file_name}")
    return 0


def _as_it_is(home: Path | None, cluster: str) -> tuple[bool, str]:
    """Whether this host is a worker; and where its head listens, when others can reach it."""
    from secure_ray.cli.output import say
    from secure_ray.node.membership import is_member
    from secure_ray.node.paths import cluster_paths

    environ = {**os.environ, "SECURE_RAY_HOME": str(home.absolute())} if home else os.environ
    paths = cluster_paths(environ, cluster or None)
    if is_member(paths):
        say("this host is a worker of that cluster, and so is the unit")
        return True, ""
    place = _last_place(paths)
    if place is None or not place.is_private:
        return False, ""
    say(f"the head here listens on {place.address}, and so does the unit; --bind changes that")
    return False, place.address


def _last_place(paths: ClusterPaths) -> Place | None:
    from secure_ray.node.instance import read_instance

    last = read_instance(paths)
    return last.plan.place if last is not None else None


def _this_user() -> str:
    import getpass

    from secure_ray.base.errors import UsageError

    try:
        return getpass.getuser()
    except (KeyError, OSError):  # the latter since Python 3.13
        raise UsageError(
            "SR-DEPLOY-003",
            "this user has no name, by which a unit could start Ray",
            fix="give the name of an account: secure-ray deploy systemd --user ray",
        ) from None


def _this_program() -> Path:
    import sys

    return Path(sys.executable).with_name("secure-ray")
