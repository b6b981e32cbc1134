"""`secure-ray deploy`: files that start secure-ray elsewhere."""

from pathlib import Path
from typing import Annotated

import typer

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


def systemd(
    *,
    output: Annotated[
        str, typer.Option(metavar="DIR|-", help="Write the unit into DIR; - prints it.")
    ] = _STDOUT,
    user: Annotated[
        str | None, typer.Option(help="The account that Ray runs as; yours if not given.")
    ] = None,
    cluster: Annotated[str, typer.Option(help="The cluster; the default one if not given.")] = "",
    name: Annotated[str, typer.Option(help="The unit's name; secure-ray[-CLUSTER].")] = "",
    config: Annotated[Path | None, typer.Option(help="The settings file that it uses.")] = None,
    home: Annotated[Path | None, typer.Option(help="SECURE_RAY_HOME for the unit.")] = None,
    executable: Annotated[
        Path | None, typer.Option(help="Where secure-ray is; this one if not given.")
    ] = None,
) -> int:
    """Make a systemd unit that starts the cluster at boot and keeps it running."""
    import getpass

    from secure_ray.cli.output import emit, say
    from secure_ray.deploy.render import write_new
    from secure_ray.deploy.systemd import UnitRequest, render_unit

    request = UnitRequest(
        user=getpass.getuser() if user is None else user,
        executable=str(executable or _this_program()),
        name=name,
        cluster=cluster,
        config=str(config.absolute()) if config else "",
        home=str(home.absolute()) if home else "",
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


def _this_program() -> Path:
    import sys

    return Path(sys.executable).with_name("secure-ray")
