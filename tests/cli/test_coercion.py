import subprocess
import sys
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from typer.main import get_command

from secure_ray.cli.coercion import spare_pydantic

SOURCE = Path(__file__).parents[2] / "src"


class Colour(Enum):
    RED = "red"


def parse_with(arguments: list[str], *, spared: bool) -> Any:
    """What a command gets for `arguments`, or the message that it does not."""
    app = typer.Typer(add_completion=False, rich_markup_mode=None)

    @app.command()
    def do(  # one of each kind
        names: Annotated[list[str] | None, typer.Argument()] = None,
        *,
        text: str = "default",
        maybe: str | None = None,
        number: int | None = None,
        path: Path | None = None,
        colour: Colour = Colour.RED,
        shouted: Annotated[str, typer.Option(parser=str.upper)] = "x",
        flag: bool = False,
    ) -> object:
        return names, text, maybe, number, path, colour, shouted, flag

    command = get_command(app)
    if spared:
        spare_pydantic(command)
    try:
        with command.make_context("do", list(arguments)) as context:
            return command.invoke(context)
    except typer.BadParameter as error:
        return error.format_message()


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["a", "b", "--", "--text"],
        ["--text", "1", "--maybe", ""],
        ["--number", "3", "--path", "/a", "--colour", "red", "--shouted", "a", "--flag"],
        ["--number", "three"],
        ["--colour", "blue"],
    ],
    ids=" ".join,
)
def test_a_command_gets_what_typer_would_give_it(arguments: list[str]) -> None:
    assert parse_with(arguments, spared=True) == parse_with(arguments, spared=False)


def test_a_short_command_does_without_pydantic() -> None:
    """Where this fails, Typer has changed inside, and every command is slower than it was."""
    script = (
        "import sys; from secure_ray.cli.main import main; main(['explain', 'SR-NET-001']);"
        "sys.exit('pydantic' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
