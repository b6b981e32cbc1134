"""Many sources to one value per setting, and where each came from.

Later sources win, value by value. Each source must be right by itself: a wrong value is refused
even where a later source would win over it. Tables whose keys the user chooses (`limits.resources`,
`environment.set`, `override`) are joined entry by entry.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from secure_ray.settings.fields import Path, dotted, is_open, leaf_fields, nearest_key
from secure_ray.settings.model import Settings
from secure_ray.settings.problems import Problem, SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic_core import ErrorDetails

    from secure_ray.settings.sources import Source

DEFAULT = "default"
HIDDEN = "********"
_LONGEST_SHOWN = 80
_COMPLAINTS = {
    "bool_type": "should be true or false",
    "dict_type": "should be a table",
    "float_type": "should be a number",
    "int_type": "should be a whole number",
    "mapping_type": "should be a table",
    "missing": "is missing",
    "model_type": "should be a table",
    "string_type": "should be text in quotes",
    "tuple_type": "should be a list",
}


@dataclass(frozen=True)
class Resolved:
    """The settings that won.

    Attributes:
        settings: The values.
        origin: Where each came from, by dotted key; "default" when nobody set it.
    """

    settings: Settings
    origin: Mapping[str, str]


@dataclass(frozen=True)
class Row:
    """One setting for output; `value` is plain JSON, and stars where it may be a secret."""

    key: str
    value: object
    origin: str


def resolve(sources: Sequence[Source]) -> Resolved:
    """The value of every setting and its origin; later sources win.

    Raises:
        SettingsError: keys are unknown or values not allowed; it holds all of them.
    """
    problems = tuple(problem for source in sources for problem in _problems_alone(source))
    if problems:
        raise SettingsError(problems)
    winners: dict[Path, tuple[object, str]] = {}
    for source in sources:
        for path, value in _leaves(source.values):
            winners[path] = (value, source.label(path))
    origin = {dotted(path): label for path, (_, label) in winners.items()}
    try:
        settings = Settings.model_validate(_nest(winners))
    except ValidationError as error:
        raise SettingsError(
            tuple(_problem(detail, _joint_label(detail, origin)) for detail in _details(error))
        ) from None
    for path in leaf_fields():
        if not any(known[: len(path)] == path for known in winners):
            origin[dotted(path)] = DEFAULT
    return Resolved(settings, origin)


def rows(resolved: Resolved) -> tuple[Row, ...]:
    """Every setting in the order of the model, without secrets."""
    values = resolved.settings.model_dump(mode="json", by_alias=True)
    found = dict(_leaves(values))
    return tuple(
        Row(
            dotted(path),
            HIDDEN if _is_chosen_variable(path) else found.get(path, {}),
            resolved.origin[dotted(path)],
        )
        for field in leaf_fields()
        for path in [known for known in found if known[: len(field)] == field] or [field]
    )


def _problems_alone(source: Source) -> Iterator[Problem]:
    try:
        Settings.model_validate(source.values)
    except ValidationError as error:
        for detail in _details(error):
            # What a section says of its fields together is judged once all sources are in.
            if not _is_joint(detail):
                yield _problem(detail, source.label(_path(detail)))


def _details(error: ValidationError) -> list[ErrorDetails]:
    return error.errors(include_url=False, include_context=False)


def _is_joint(detail: ErrorDetails) -> bool:
    return len(detail["loc"]) == 1 and detail["type"] == "value_error"


def _path(detail: ErrorDetails) -> Path:
    parts = tuple(str(part) for part in detail["loc"])
    return parts[:-1] if parts[-1] == "[key]" else parts


def _problem(detail: ErrorDetails, source: str) -> Problem:
    path = _path(detail)
    if detail["type"] == "extra_forbidden":
        near = nearest_key(path)
        hint = f"; did you mean {near}?" if near else ""
        return Problem("SR-CFG-001", dotted(path), "", f"is not a setting{hint}", source)
    message = detail["msg"].removeprefix("Value error, ").removeprefix("Input ")
    complaint = _COMPLAINTS.get(detail["type"], message)
    return Problem("SR-CFG-002", dotted(path), _show(path, detail), complaint, source)


def _show(path: Path, detail: ErrorDetails) -> str:
    # A passphrase may stand where its file's path belongs, a token among variables.
    private = path[0] == "environment" or path[-1] == "passphrase_file"
    value = detail["input"]
    if private or isinstance(value, Mapping) or detail["loc"][-1] == "[key]":
        return ""
    text = json.dumps(value, default=str)
    return text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "..."


def _joint_label(detail: ErrorDetails, origin: Mapping[str, str]) -> str:
    prefix = f"{detail['loc'][0]}."
    labels = {label for key, label in origin.items() if key.startswith(prefix)}
    return ", ".join(sorted(labels)) or DEFAULT


def _leaves(values: Mapping[str, Any]) -> Iterator[tuple[Path, object]]:
    for section, table in values.items():
        for key, value in table.items():
            path = (section, key)
            if is_open(path):
                yield from (((*path, entry), inner) for entry, inner in value.items())
            else:
                yield path, value


def _nest(winners: Mapping[Path, tuple[object, str]]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for path, (value, _) in winners.items():
        table = nested
        for part in path[:-1]:
            table = table.setdefault(part, {})
        table[path[-1]] = value
    return nested


def _is_chosen_variable(path: Path) -> bool:
    return path[:2] == ("environment", "set") and len(path) > 2  # noqa: PLR2004  # an entry of it
