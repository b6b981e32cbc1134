"""Every command that an error, a rule or the documentation tells to run is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from typer.main import get_command

from secure_ray.cli.main import build_app

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
TEXTS = [
    *ROOT.glob("*.md"),
    *ROOT.glob("docs/*.md"),
    *(path for path in ROOT.glob("templates/**/*") if path.suffix in {".toml", ".example", ".j2"}),
]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
APP: Any = get_command(build_app())
# What follows the name where the program is spoken of, and none is told to run it.
PROSE = {
    *(
        "again",
        "always",
        "and",
        "asks",
        "begins",
        "beside",
        "brings",
        "builds",
        "checks",
        "closes",
        "command",
    ),
    *(
        "decides",
        "did",
        "does",
        "elsewhere",
        "find",
        "finds",
        "gives",
        "has",
        "in",
        "is",
        "itself",
        "keeps",
        "knows",
    ),
    *("looks", "made", "makes", "needs", "node", "or", "owns", "planned", "read", "sets"),
    *("started", "starts", "supervise", "that", "this", "wrote", "writes"),
}


def told_in(text: str) -> Iterator[list[str]]:
    """The words after each `secure-ray` as far as they may be a command line."""
    for said in re.split(r"(?<![\w/.-])secure-ray(?=\s)", text)[1:]:
        words = []
        for word in re.split(r"[`|;]", said)[0].split():
            words.append(word.rstrip(".,:)'\""))
            if words[-1] != word or word == "--":
                break
        if words:
            yield words


def texts_of(source: Path) -> Iterator[str]:
    """The string constants of a module, and the first argument of each `command(...)`."""
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id == "command"
            and isinstance(node.args[0], ast.Constant)
        ):
            yield f"secure-ray {node.args[0].value!s}"


def wrong_with(words: list[str]) -> str:
    """What of a command line is not there; "" when nothing is."""
    command, rest = APP, list(words)
    while rest and rest[0] in getattr(command, "commands", {}):
        command = command.commands[rest.pop(0)]
    is_group = getattr(command, "commands", None)
    if is_group and rest and not rest[0].startswith("-"):
        spoken_of = command is APP and (rest[0] in PROSE or not rest[0].islower())
        return "" if spoken_of else f"no command {' '.join(words)}"
    known = {name for parameter in command.params for name in parameter.opts} | {"--help", "--"}
    unknown = [word for word in rest if word.startswith("--") and word not in known]
    return f"no option {unknown[0]} of {words[0]}" if unknown else ""


TOLD = [
    *((path.name, words) for path in TEXTS for words in told_in(path.read_text())),
    *((path.name, words) for path in SOURCES for text in texts_of(path) for words in told_in(text)),
]


def test_every_command_that_is_told_is_there() -> None:
    wrong = {
        f"{place}: secure-ray {' '.join(words)}": complaint
        for place, words in TOLD
        if (complaint := wrong_with(words))
    }

    assert wrong == {}


def test_they_are_found_where_they_are() -> None:
    places = {place for place, words in TOLD if words[0] in APP.commands}

    assert places >= {"README.md", "errors.md", "rules_pki.py", "instance.py"}
    assert {"secure-ray.toml", "env.example"} & places


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("run `secure-ray rotate` first", "no command rotate"),
        ("secure-ray up --haed, then wait", "no option --haed of up"),
        ("secure-ray down, secure-ray upp --head", "no command upp --head"),
        ("secure-ray config chekc", "no command config chekc"),
        ("secure-ray run -- python --version", ""),
        ("secure-ray down, then --anything", ""),
    ],
)
def test_one_that_is_not_there_is_found(line: str, complaint: str) -> None:
    [*_, words] = told_in(line)

    assert wrong_with(words) == complaint
