"""Plain values to `Settings` and back.

Strict: no value is turned into another kind of value, beyond what its `Form` says. Everything
that is wrong is told, not the first.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import NoneType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args, get_origin

from msgspec import Meta, Struct, ValidationError, convert

from secure_ray.settings.fields import Path, bare, dotted, fields_of, is_struct, nearest_key
from secure_ray.settings.model import Settings
from secure_ray.settings.values import Form

if TYPE_CHECKING:
    from collections.abc import Sequence

_Struct = TypeVar("_Struct", bound=Struct)
UNKNOWN_KEY = "SR-CFG-001"
WRONG_VALUE = "SR-CFG-002"
_LONGEST_SHOWN = 80
_KINDS: Mapping[object, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text in quotes",
}
_BOUNDS = (("gt", "more than"), ("ge", "at least"), ("lt", "less than"), ("le", "at most"))


class Flaw(Struct, frozen=True):
    """One thing that is wrong.

    Attributes:
        code: `SR-CFG-001` for an unknown key, `SR-CFG-002` for a value that is not allowed.
        path: Where.
        complaint: The end of a sentence that begins with the key.
        value: What was given, as JSON; "" where it must not be shown (it may be a secret).
        joint: Whether each value is right by itself, and they do not fit together.
    """

    code: str
    path: Path
    complaint: str
    value: str = ""
    joint: bool = False


class FlawedError(ValueError):
    """The values are no settings. Holds every flaw."""

    def __init__(self, flaws: Sequence[Flaw]) -> None:
        super().__init__("; ".join(f"{dotted(flaw.path)} {flaw.complaint}" for flaw in flaws))
        self.flaws = tuple(flaws)


def read_settings(values: Mapping[str, Any]) -> Settings:
    """The settings in tables of plain values, as they stand in a file.

    Raises:
        FlawedError: keys are unknown, or values not allowed.
    """
    flaws: list[Flaw] = []
    settings = _read_struct((), values, Settings, flaws)
    if settings is None:
        raise FlawedError(flaws)
    return settings


def spell_settings(settings: Settings) -> dict[str, Any]:
    """Plain values that `read_settings` reads back."""
    return _spell_struct(settings)


def _read(path: Path, value: object, annotation: object, flaws: list[Flaw]) -> object:
    kind, _ = bare(annotation)
    if is_struct(kind):
        return _read_struct(path, value, kind, flaws)
    if get_origin(kind) is Mapping:
        return _read_table(path, value, get_args(kind), flaws)
    if get_origin(kind) is tuple:
        return _read_list(path, value, get_args(kind)[0], flaws)
    try:
        return _read_leaf(value, annotation)
    except ValueError as error:
        flaws.append(Flaw(WRONG_VALUE, path, str(error), _show(path, value)))
        return None


def _read_struct(
    path: Path, value: object, kind: type[_Struct], flaws: list[Flaw]
) -> _Struct | None:
    if not isinstance(value, Mapping):
        flaws.append(Flaw(WRONG_VALUE, path, "should be a table"))
        return None
    known = fields_of(kind)
    before = len(flaws)
    read: dict[str, object] = {}
    for key, inner in value.items():
        here = (*path, str(key))
        if key in known:
            read[known[key].name] = _read(here, inner, known[key].type, flaws)
        else:
            flaws.append(Flaw(UNKNOWN_KEY, here, _unknown(here)))
    flaws += [
        Flaw(WRONG_VALUE, (*path, key), "is missing")
        for key, field in known.items()
        if field.required and key not in value
    ]
    if len(flaws) > before:
        return None
    try:
        return kind(**read)
    except ValueError as error:
        flaws.append(Flaw(WRONG_VALUE, path, str(error), joint=True))
        return None


def _read_table(
    path: Path, value: object, kinds: tuple[object, ...], flaws: list[Flaw]
) -> dict[object, object] | None:
    if not isinstance(value, Mapping):
        flaws.append(Flaw(WRONG_VALUE, path, "should be a table"))
        return None
    key_kind, value_kind = kinds
    read: dict[object, object] = {}
    for key, inner in value.items():
        here = (*path, str(key))
        try:
            name = _read_leaf(key, key_kind)
        except ValueError as error:
            flaws.append(Flaw(WRONG_VALUE, here, str(error)))
            name = key
        read[name] = _read(here, inner, value_kind, flaws)
    return read


def _read_list(
    path: Path, value: object, kind: object, flaws: list[Flaw]
) -> tuple[object, ...] | None:
    if not isinstance(value, (list, tuple)):
        flaws.append(Flaw(WRONG_VALUE, path, "should be a list", _show(path, value)))
        return None
    return tuple(
        _read((*path, str(number)), inner, kind, flaws) for number, inner in enumerate(value)
    )


def _read_leaf(value: object, annotation: object) -> object:
    if value is None and NoneType in get_args(annotation):
        return None
    kind, notes = bare(annotation)
    for note in notes:
        if isinstance(note, Form):
            value = note.read(value)
    try:
        return convert(value, annotation)
    except ValidationError:
        raise ValueError(f"should be {_wanted(value, kind, notes)}") from None


def _wanted(value: object, kind: object, notes: Sequence[object]) -> str:
    if get_origin(kind) is Literal:
        *most, last = map(repr, get_args(kind))
        return f"{', '.join(most)} or {last}"
    try:
        convert(value, kind)
    except ValidationError:
        return _KINDS[kind]
    return " and ".join(_allowed(note) for note in notes if isinstance(note, Meta))


def _allowed(meta: Meta) -> str:
    bounds = ((words, getattr(meta, bound)) for bound, words in _BOUNDS)
    return meta.description or " and ".join(
        f"{words} {limit}" for words, limit in bounds if limit is not None
    )


def _unknown(path: Path) -> str:
    near = nearest_key(path)
    return "is not a setting" + (f"; did you mean {near}?" if near else "")


def _show(path: Path, value: object) -> str:
    # A passphrase may stand where its file's path belongs, a password in an address, a token among
    # variables.
    private = path[0] in {"environment", "redis"} or path[-1] == "passphrase_file"
    if private or isinstance(value, Mapping):
        return ""
    text = json.dumps(value, default=str)
    return text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "..."


def _spell_struct(struct: Struct) -> dict[str, Any]:
    return {
        key: _spell(getattr(struct, field.name), field.type)
        for key, field in fields_of(type(struct)).items()
    }


def _spell(value: Any, annotation: object) -> object:
    if isinstance(value, Struct):
        return _spell_struct(value)
    if value is None:
        return None
    kind, notes = bare(annotation)
    if get_origin(kind) is Mapping:
        return {key: _spell(inner, get_args(kind)[1]) for key, inner in value.items()}
    if get_origin(kind) is tuple:
        return [_spell(inner, get_args(kind)[0]) for inner in value]
    spells = (note.spell for note in notes if isinstance(note, Form) and note.spell)
    return next((spell(value) for spell in spells), value)
