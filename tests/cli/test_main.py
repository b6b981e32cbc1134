import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import typer
from typer.main import get_command

from secure_ray.base.errors import FailedError
from secure_ray.base.locks import lock
from secure_ray.cli.main import COMMAND_MODULES, build_app, main, needed_modules, wants_json
from secure_ray.node.instance import write_instance
from support.plans import instance_of, make_directories, plan_of

SOURCE = Path(__file__).parents[2] / "src"
HEAVY = {
    "asyncio",
    "cryptography",
    "dotenv",
    "jinja2",
    "platformdirs",
    "psutil",
    "pydantic",
    "ray",
    "rich",
}


def command_paths(command: object, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    for name, inner in getattr(command, "commands", {}).items():
        yield from command_paths(inner, (*path, name))


PATHS = sorted(command_paths(get_command(build_app())))


def app_that(act: Callable[[], object]) -> Callable[[], typer.Typer]:
    """An application whose command `act` does what is given."""

    def build() -> typer.Typer:
        app = typer.Typer(add_completion=False, rich_markup_mode=None)
        app.callback()(lambda: None)

        @app.command()
        def do(*, json: bool = False) -> object:  # noqa: ARG001  # only parsed
            return act()

        return app

    return build


def raising(error: BaseException) -> Callable[[], object]:
    def act() -> object:
        raise error

    return act


@pytest.mark.parametrize("path", PATHS, ids=" ".join)
def test_every_command_has_help(path: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*path, "--help"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"Usage: {' '.join(('secure-ray', *path))} ")
    about = out.split("\n\n")[1].strip()
    assert about.endswith(".")
    assert err == ""


@pytest.mark.parametrize("path", PATHS, ids=" ".join)
def test_every_option_has_help(path: tuple[str, ...]) -> None:
    command = get_command(build_app())
    for name in path:
        command = command.commands[name]  # type: ignore[attr-defined]
    undocumented = [
        parameter.name
        for parameter in command.params
        if not getattr(parameter, "help", None) and not getattr(parameter, "hidden", False)
    ]
    assert undocumented == []


@pytest.mark.parametrize("name", COMMAND_MODULES)
def test_every_command_is_there(name: str) -> None:
    assert (name,) in PATHS


@pytest.mark.parametrize("name", COMMAND_MODULES)
def test_a_command_is_the_same_alone_and_among_the_others(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = []
    for build in (None, build_app):
        main([name, "--help"], build=build)
        shown.append(capsys.readouterr().out)
    assert shown[0] == shown[1] != ""


@pytest.mark.parametrize("arguments", [[], ["--help"], ["--version"], ["exp"], ["--", "up"]])
def test_all_commands_are_there_where_none_is_named(arguments: list[str]) -> None:
    assert needed_modules(arguments) == COMMAND_MODULES


@pytest.mark.parametrize("arguments", ["'--help'", "'config', 'show'"])
def test_what_must_be_quick_imports_nothing_heavy(arguments: str, tmp_path: Path) -> None:
    script = (
        f"import sys; from secure_ray.cli.main import main; main([{arguments}]);"
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": str(SOURCE), "HOME": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(done.stderr.split()) & HEAVY == set()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["explian"], "explain"),
        (["explain", "--jsn"], "--jsn"),
        (["explain", "a", "b"], "b"),
        (["config"], ""),
        ([], ""),
        (["--nope"], "--nope"),
        (["config", "show", "--config"], "--config"),
        (["\x1b[2J"], "\\x1b"),
    ],
)
def test_a_wrong_command_line_exits_2(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert complaint in err
    assert "\x1b" not in err
    assert "Traceback" not in err


def test_a_wrong_choice_is_told_in_plain_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "--format", "jsn"]) == 2
    err = capsys.readouterr().err
    assert "'table', 'json'" in err
    assert "Value error" not in err


def test_a_wrong_command_line_is_json_for_a_program(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "--json", "a", "b"]) == 2
    assert json.loads(capsys.readouterr().out)["code"] == "SR-CLI-001"


def test_an_error_gives_its_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    error = FailedError("SR-A-001", "it failed", fix="mend it")
    assert main(["do"], build=app_that(raising(error))) == 4
    assert capsys.readouterr().err == "error SR-A-001: it failed\n  fix: mend it\n"


@pytest.mark.parametrize(
    ("act", "code"),
    [
        (lambda: None, 0),
        (lambda: 0, 0),
        (lambda: 6, 6),
        (raising(typer.Exit(5)), 5),
        (raising(typer.Exit()), 0),
        (raising(KeyboardInterrupt()), 130),
        (raising(typer.Abort()), 130),
        (raising(BrokenPipeError()), 141),
        (raising(ValueError("hunter2")), 1),
        (raising(RecursionError()), 1),
    ],
)
def test_whatever_happens_becomes_an_exit_code(
    act: Callable[[], object], code: int, capfd: pytest.CaptureFixture[str]
) -> None:
    kept = os.dup(1)
    try:
        assert code == main(["do"], build=app_that(act))
    finally:
        os.dup2(kept, 1)  # a closed pipe makes `main` let go of standard output
        os.close(kept)
    assert "Traceback" not in capfd.readouterr().err


def test_a_bug_says_where_and_nothing_of_the_values(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("SECURE_RAY_TRACEBACK", raising=False)
    assert main(["do", "--json"], build=app_that(raising(ValueError("hunter2")))) == 1
    out, err = capsys.readouterr()
    assert "hunter2" not in out + err
    assert "this is a bug of secure-ray: ValueError" in err
    assert json.loads(out)["code"] == "SR-CLI-002"


def test_a_traceback_is_shown_on_request(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SECURE_RAY_TRACEBACK", "1")
    assert main(["do"], build=app_that(raising(ValueError("what")))) == 1
    assert "ValueError: what" in capsys.readouterr().err


def test_a_reader_that_goes_away_is_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "secure_ray.cli.main", "explain"],
        env={"PYTHONPATH": str(SOURCE)},
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")


def test_json_after_the_dashes_is_not_ours() -> None:
    assert wants_json(["run", "--json", "--", "ls"])
    assert not wants_json(["run", "--", "ls", "--json"])


def test_the_version_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("secure-ray ")


# What a native library does with its messages, and what a child inherits.
STRAY = """
import os, sys
from pathlib import Path
from secure_ray.base.locks import lock
from secure_ray.cli.main import main

main(["--version"])
with lock(Path(sys.argv[1]), wait=0):
    for number in (0, 1, 2):
        try:
            os.write(number, b"stray")
        except OSError:
            pass
    print("printed", flush=True)
    os.system("echo stray; echo stray >&2")
"""


def without_streams(*command: str, **environment: str) -> int:
    """The exit code of `command`, started with all three standard streams closed."""
    return subprocess.call(
        ["/bin/sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", sys.executable, *command],
        env={"PYTHONPATH": str(SOURCE), **environment},
    )


def test_what_is_written_to_closed_streams_reaches_no_file_of_ours(home: Path) -> None:
    assert without_streams("-c", STRAY, str(home / "lock")) == 0

    assert (home / "lock").read_bytes() == b""


def test_status_works_with_closed_streams_and_changes_nothing(home: Path) -> None:
    plan = make_directories(plan_of(home))
    write_instance(instance_of(plan))
    before = plan.paths.instance.read_bytes()

    with lock(plan.paths.supervisor_lock, wait=0):
        code = without_streams("-m", "secure_ray.cli.main", "status", SECURE_RAY_HOME=str(home))

    assert code == 0
    assert plan.paths.instance.read_bytes() == before
