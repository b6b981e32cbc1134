"""`secure-ray`: the commands, and the one place where an error becomes text and an exit code.

Each command's module only declares its options and imports what it needs when it is called, so
that `--help` is quick. The exit codes are those of `base.errors`, and 130 for an interruption.
"""

import os
import sys
import traceback
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.main import get_command

from secure_ray.base.errors import SecureRayError, UsageError
from secure_ray.cli.coercion import spare_pydantic
from secure_ray.cli.output import emit, report, say

PROGRAM = "secure-ray"
INTERRUPTED = 130
# 128 + SIGPIPE, as a shell reports a program that wrote to a pipe that nobody reads.
PIPE_CLOSED = 141
TRACEBACK_VARIABLE = "SECURE_RAY_TRACEBACK"
# In the order of `--help`. Each module has `register(app)`.
COMMAND_MODULES = (
    "up",
    "status",
    "run",
    "join-token",
    "node",
    "certs",
    "rotate-certs",
    "down",
    "reset",
    "audit",
    "firewall",
    "config",
    "explain",
    "deploy",
)


def main(
    arguments: Sequence[str] | None = None, *, build: Callable[[], typer.Typer] | None = None
) -> int:
    """Run one command and return its exit code. Never raises, and prints no local variables."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    _open_missing_streams()
    _tolerate_any_text()
    as_json = wants_json(arguments)
    try:
        app = build() if build else build_app(needed_modules(arguments))
        code = run_command(app, arguments)
        sys.stdout.flush()
    except SecureRayError as error:
        report(error, as_json=as_json)
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        say("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        _forget_output()
        return PIPE_CLOSED
    except Exception as error:  # noqa: BLE001  # the boundary
        return _report_bug(error, as_json=as_json)
    return code


def needed_modules(arguments: Sequence[str]) -> Sequence[str]:
    """The one command that is named first, or all: for `--help`, and for what is misspelt."""
    first = tuple(arguments[:1])
    return first if set(first) & set(COMMAND_MODULES) else COMMAND_MODULES


def build_app(modules: Sequence[str] = COMMAND_MODULES) -> typer.Typer:
    """The application with the commands of `modules`."""
    app = typer.Typer(
        name=PROGRAM,
        help="Ray, locked by default.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,  # rich would take longer to import than everything else
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)
    for name in modules:
        import_module(f"secure_ray.cli.{name.replace('-', '_')}").register(app)
    return app


def run_command(app: typer.Typer, arguments: Sequence[str]) -> int:
    """Parse and call; what goes wrong is raised.

    Raises:
        SecureRayError: the command line is wrong, or the command failed.
    """
    command = get_command(app)
    spare_pydantic(command)
    try:
        with command.make_context(PROGRAM, list(arguments)) as context:
            code = command.invoke(context)
    except typer.Exit as stop:
        return stop.exit_code
    except Exception as error:
        if not _is_parse_error(error):
            raise
        return _refuse_usage(error)
    return code if isinstance(code, int) else 0


def wants_json(arguments: Sequence[str]) -> bool:
    """Whether a program reads the output, known even when the arguments do not parse."""
    ours = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return "--json" in ours


def _show_version(wanted: bool) -> None:  # noqa: FBT001  # Typer calls it so
    if wanted:
        from importlib.metadata import PackageNotFoundError, version

        try:
            emit(f"{PROGRAM} {version(PROGRAM)}")
        except PackageNotFoundError:
            emit(f"{PROGRAM} (not installed)")
        raise typer.Exit


def _options(
    *,
    _version: Annotated[
        bool,
        typer.Option(
            "--version",
            help="Show the version and exit.",
            callback=_show_version,
        ),
    ] = False,
) -> None:
    """Ray, locked by default: private sockets, authentication, mutual TLS, limits, and proof."""


def _is_parse_error(error: Exception) -> bool:
    # Typer has a Click of its own and exports only this class of it; the next one up is the base
    # of all errors of parsing (typer 0.26.0 to 0.29.2, _click/exceptions.py).
    return isinstance(error, typer.BadParameter.__base__ or typer.BadParameter)


def _refuse_usage(error: Any) -> int:
    message = error.format_message()
    context = error.ctx
    if not message or type(error).__name__ == "NoArgsIsHelpError":
        say(message or context.get_help())
        return UsageError.exit_code
    where = context.command_path if context else PROGRAM
    message = message.replace("Value error, ", "").rstrip(
        "."
    )  # pydantic's words, where Typer has it
    raise UsageError("SR-CLI-001", message, fix=f"{where} --help") from None


def _report_bug(error: Exception, *, as_json: bool) -> int:
    if os.environ.get(TRACEBACK_VARIABLE):
        say("".join(traceback.format_exception(error)))
    frames = traceback.extract_tb(error.__traceback__)
    place = [frame for frame in frames if "secure_ray" in frame.filename or frame is frames[0]][-1]
    # Not the message: it may hold a value that must not be shown.
    bug = SecureRayError(
        "SR-CLI-002",
        f"this is a bug of secure-ray: {type(error).__name__} in "
        f"{Path(place.filename).name}, line {place.lineno}",
        fix=f"run it again with {TRACEBACK_VARIABLE}=1 and report what it shows",
    )
    report(bug, as_json=as_json)
    return bug.exit_code


def _open_missing_streams() -> None:
    # A caller may have closed them (`>&-`); what is printed then goes nowhere, and no file or
    # socket of ours gets their numbers.
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115


def _tolerate_any_text() -> None:
    # A path may hold bytes that the terminal's encoding has no character for.
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def _forget_output() -> None:
    # Python flushes standard output once more when it ends, and would complain then.
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
