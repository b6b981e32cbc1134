"""`secure-ray config`: show, check and begin the settings."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from secure_ray.node.load import Loaded

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_SETTINGS_TEMPLATE = "secure-ray.toml"
_SETTINGS_FILE = Path("secure-ray.toml")
_DOTENV_TEMPLATE = "env.example"
_DOTENV_EXAMPLE = ".env.example"
_PRIVATE = 0o600


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(
        help="Show, check or begin the settings.", no_args_is_help=True, rich_markup_mode=None
    )
    for command in (show, check, init):
        group.command()(command)
    app.add_typer(group, name="config")


def show(
    *,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The settings file; else it is searched.")
    ] = None,
    json: Json = False,
) -> int:
    """Show every setting with its value and where it came from; secrets as stars."""
    from msgspec.structs import asdict

    from secure_ray.cli.output import columns, emit, emit_json
    from secure_ray.settings.resolve import rows

    loaded = _load(config)
    listed = rows(loaded.resolved)
    if json:
        emit_json(
            "secure-ray/config-show/1",
            {
                "settings": [asdict(row) for row in listed],
                "files": [str(path) for path in loaded.files],
            },
        )
    else:
        emit(columns((row.key, _spell(row.value), row.origin) for row in listed))
    return 0


def check(
    file: Annotated[
        Path | None, typer.Argument(help="The settings file; else it is searched.")
    ] = None,
    *,
    json: Json = False,
) -> int:
    """Check the settings: file, .env and variables. Exits 2 and names every problem."""
    from secure_ray.cli.output import emit, emit_json

    files = [str(path) for path in _load(file).files]
    if json:
        emit_json("secure-ray/config-check/1", {"ok": True, "files": files})
    else:
        emit(f"the settings are right ({', '.join(files) or 'no file; defaults and variables'})")
    return 0


def init(
    *,
    path: Annotated[Path, typer.Option(metavar="FILE", help="The settings file to write.")] = (
        _SETTINGS_FILE
    ),
) -> int:
    """Write a settings file with every setting explained, and an example of a .env beside it."""
    import os
    import shlex

    from secure_ray.cli.output import say
    from secure_ray.deploy.render import template_text, write_new

    write_new(path, template_text(_SETTINGS_TEMPLATE), mode=_PRIVATE)
    say(f"wrote {path}")
    example = path.with_name(_DOTENV_EXAMPLE)
    if os.path.lexists(example):
        say(f"left {example} as it is")
    else:
        write_new(example, template_text(_DOTENV_TEMPLATE), mode=_PRIVATE)
        say(f"wrote {example}")
    where = "" if path == _SETTINGS_FILE else f" {shlex.quote(str(path))}"
    say(f"edit it, then: secure-ray config check{where}")
    return 0


def _load(config: Path | None) -> "Loaded":
    import os

    from secure_ray.node.load import load_settings

    return load_settings(config=config, environ=os.environ, cwd=Path.cwd(), flags={})


def _spell(value: object) -> str:
    import json

    return "-" if value is None else json.dumps(value, ensure_ascii=False)
