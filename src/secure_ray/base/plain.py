"""Frozen dataclasses to JSON and back, checked: what one process writes and another reads."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any, TypeVar

_Value = TypeVar("_Value")


def plain_json(value: object) -> str:
    """`value`, a dataclass of plain values, paths and further dataclasses, as JSON."""
    import msgspec

    return msgspec.json.encode(value, enc_hook=_to_plain).decode()


def from_plain_json(text: str | bytes, kind: type[_Value]) -> _Value:
    """The `kind` that `plain_json` wrote.

    Raises:
        ValueError: the text is not JSON, or not such a value.
    """
    import msgspec

    return msgspec.json.decode(text, type=kind, dec_hook=_from_plain)


def _to_plain(value: object) -> str:
    if isinstance(value, PurePath):
        return str(value)
    raise TypeError(type(value).__name__)


def _from_plain(kind: type, value: Any) -> object:
    if issubclass(kind, PurePath) and isinstance(value, str):
        return kind(value)
    raise TypeError(kind.__name__)
