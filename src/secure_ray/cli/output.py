"""What a person or a program reads: data on standard output, messages on standard error.

Whatever came from outside is shown with its control characters spelled out, so that a file name or
a server's answer cannot move the cursor, change colours or hide a line.
"""

from __future__ import annotations

import json
import os
import re
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

from secure_ray.base.errors import RefusedError, SecureRayError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from secure_ray.settings.problems import Problem

_RED = "\x1b[31m"
_YELLOW = "\x1b[33m"
_RESET = "\x1b[0m"
# Whoever looks at the last line only must see why a cluster was stopped again, not what to read.
_REASON_LAST = frozenset({"SR-AUDIT-000"})
# C0 but newline, DEL, C1 (ECMA-48), zero-width and directional marks (Unicode TR 36), and what is
# left of bytes that were no text.
_UNSAFE = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]"
)


def sanitise(text: str) -> str:
    r"""`text` with every character that steers a terminal spelled out (`\x1b`); newlines stay."""
    return _UNSAFE.sub(lambda found: ascii(found.group())[1:-1], text)


def emit(text: str) -> None:
    """Data for a person, on standard output."""
    print(sanitise(text), flush=True)  # noqa: T201  # the one place that prints data


def emit_json(schema: str, data: Mapping[str, object]) -> None:
    """Data for a program, on standard output.

    Args:
        schema: `secure-ray/COMMAND/VERSION`; the version grows when a field changes its meaning.
        data: The fields. What JSON does not know (paths, times) becomes text.
    """
    text = json.dumps({"schema": schema, **data}, default=str, indent=2)
    print(text, flush=True)  # noqa: T201  # the one place that prints data


def say(text: str) -> None:
    """A message, on standard error."""
    print(sanitise(text), file=sys.stderr, flush=True)  # noqa: T201  # the one place that prints


def warn(text: str) -> None:
    """A message that should not be missed, on standard error."""
    print(  # noqa: T201  # the one place that prints messages
        f"{_paint('warning', _YELLOW)}: {sanitise(text)}", file=sys.stderr, flush=True
    )


def columns(rows: Iterable[Sequence[str]]) -> str:
    """The rows as text in columns, two spaces apart."""
    table = [[sanitise(cell).replace("\n", "\\n") for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in table
    )
    return "\n".join(lines)


def render_error(error: SecureRayError, *, colour: bool = False) -> str:
    """The error for a person: every refusal or problem, why, and what to do."""
    if isinstance(error, RefusedError):
        word = _paint("refused", _RED, colour=colour)
        return "\n".join(
            f"{word} {refusal.rule}: {_flat(refusal.subject)} ({_flat(refusal.source)})\n"
            f"  why: {_flat(refusal.why)}   fix: {_flat(refusal.fix)}"
            for refusal in error.refusals
        )
    word = _paint("error", _RED, colour=colour)
    if error.code in _REASON_LAST:
        return f"{word} {error.code}: {_flat(error.cause)}   fix: {_flat(error.fix)}"
    lines = [f"{word} {code}: {_indent(cause)}" for code, cause in _causes(error)]
    return "\n".join([*lines, f"  fix: {_indent(error.fix)}"])


def report(error: SecureRayError, *, as_json: bool) -> None:
    """Show the error on standard error and, for a program, on standard output too."""
    print(render_error(error, colour=colours_wanted()), file=sys.stderr, flush=True)  # noqa: T201
    if as_json:
        emit_json("secure-ray/error/1", describe(error))


def describe(error: SecureRayError) -> dict[str, object]:
    """The error for a program."""
    described: dict[str, object] = {
        "code": error.code,
        "cause": error.cause,
        "fix": error.fix,
        "exit_code": error.exit_code,
    }
    if isinstance(error, RefusedError):
        described["refusals"] = [asdict(refusal) for refusal in error.refusals]
    problems = _problems(error)
    if problems:
        from msgspec import structs

        described["problems"] = [structs.asdict(problem) for problem in problems]
    return described


def colours_wanted() -> bool:
    """Whether standard error is a terminal that may be coloured (no-color.org)."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return sys.stderr.isatty() and not plain


def _causes(error: SecureRayError) -> list[tuple[str, str]]:
    problems = _problems(error)
    return [(problem.code, str(problem)) for problem in problems] or [(error.code, error.cause)]


def _problems(error: SecureRayError) -> tuple[Problem, ...]:
    from secure_ray.settings.problems import SettingsError

    return error.problems if isinstance(error, SettingsError) else ()


def _paint(word: str, code: str, *, colour: bool | None = None) -> str:
    wanted = colours_wanted() if colour is None else colour
    return f"{code}{word}{_RESET}" if wanted else word


def _flat(text: str) -> str:
    return sanitise(text).replace("\n", "\\n")


def _indent(text: str) -> str:
    # A line of somebody else's text must not look like one of ours.
    return sanitise(text).replace("\n", "\n    ")
