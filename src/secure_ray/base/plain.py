"""Frozen dataclasses to JSON and back, checked: what one process writes and another reads."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any, TypeVar

from secure_ray.base.errors import UsageError

_Value = TypeVar("_Value")


def plain_json(value: object) -> str:
    """`value`, a dataclass of plain values, paths and further dataclasses, as JSON.

    Raises:
        UsageError: something in it is not UTF-8: Linux allows that in paths.
    """
    import msgspec

    try:
        return msgspec.json.encode(value, enc_hook=_to_plain).decode()
    except UnicodeEncodeError:
        # Not what: it could be the value of a variable.
        raise UsageError(
            "SR-CFG-025",
            "a path is not UTF-8: that of the working directory, of Python, or of the settings",
            fix="use directories whose names are UTF-8 (LC_ALL=C ls shows the odd bytes)",
        ) from None


def is_utf8(text: str) -> bool:
    """Whether `text` can be written; what Python made of other bytes (PEP 383) cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


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
