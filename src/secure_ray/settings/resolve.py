"""Many sources to one value per setting, and where each came from.

Later sources win, value by value. Each source must be right by itself: a wrong value is refused
even where a later source would win over it. Tables whose keys the user chooses (`limits.resources`,
`environment.set`, `override`) are joined entry by entry.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct

from secure_ray.settings.convert import FlawedError, read_settings, spell_settings
from secure_ray.settings.fields import Path, dotted, is_open, leaf_fields
from secure_ray.settings.problems import Problem, SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from secure_ray.settings.convert import Flaw
    from secure_ray.settings.model import Settings
    from secure_ray.settings.sources import Source

DEFAULT = "default"
HIDDEN = "********"


class Resolved(Struct, frozen=True):
    """The settings that won.

    Attributes:
        settings: The values.
        origin: Where each came from, by dotted key; "default" when nobody set it.
    """

    settings: Settings
    origin: Mapping[str, str]


class Row(Struct, frozen=True):
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
        settings = read_settings(_nest(winners))
    except FlawedError as error:
        raise SettingsError(
            tuple(_problem(flaw, _joint_label(flaw, origin)) for flaw in error.flaws)
        ) from None
    for path in leaf_fields():
        if not any(known[: len(path)] == path for known in winners):
            origin[dotted(path)] = DEFAULT
    return Resolved(settings, origin)


def rows(resolved: Resolved) -> tuple[Row, ...]:
    """Every setting in the order of the model, without secrets."""
    found = dict(_leaves(spell_settings(resolved.settings)))
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
        read_settings(source.values)
    except FlawedError as error:
        # What a section says of its fields together is judged once all sources are in.
        alone = (flaw for flaw in error.flaws if not flaw.joint)
        yield from (_problem(flaw, source.label(flaw.path)) for flaw in alone)


def _problem(flaw: Flaw, source: str) -> Problem:
    return Problem(flaw.code, dotted(flaw.path), flaw.value, flaw.complaint, source)


def _joint_label(flaw: Flaw, origin: Mapping[str, str]) -> str:
    prefix = f"{dotted(flaw.path)}."
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
