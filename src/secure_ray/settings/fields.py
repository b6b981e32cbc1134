"""Which settings there are, read off the model: keys by path, such as `("limits", "num_cpus")`."""

from __future__ import annotations

import functools
import re
import typing
from collections.abc import Mapping
from types import UnionType
from typing import Literal, Union

from secure_ray.settings.model import Settings

Path = tuple[str, ...]
_PLAIN_PART = re.compile(r"[A-Za-z0-9_-]+")


@functools.cache
def field_types() -> Mapping[Path, object]:
    """The annotation of every section and every field; a field's path has its name in a file."""
    types: dict[Path, object] = {}
    for section, field in Settings.model_fields.items():
        types[(section,)] = field.annotation
        for name, inner in getattr(field.annotation, "model_fields", {}).items():
            types[section, inner.alias or name] = inner.annotation
    return types


def leaf_fields() -> tuple[Path, ...]:
    """Every field that holds a value: all but the sections."""
    return tuple(path for path in field_types() if len(path) > 1 or is_open(path))


def is_open(path: Path) -> bool:
    """Whether the user chooses the keys of the table at `path` (`environment.set`)."""
    return typing.get_origin(field_types().get(path)) is Mapping


def accepts_text(path: Path) -> bool:
    """Whether the value at `path` is text as it stands, so that `1` is "1" there."""
    if path not in field_types() and is_open(path[:-1]):
        return _is_text(typing.get_args(field_types()[path[:-1]])[1])
    return _is_text(field_types().get(path))


def _is_text(annotation: object) -> bool:
    origin = typing.get_origin(annotation)
    if origin in {Union, UnionType}:
        return any(_is_text(part) for part in typing.get_args(annotation))
    if origin is typing.Annotated:
        return _is_text(typing.get_args(annotation)[0])
    return annotation is str or origin is Literal


def dotted(path: Path) -> str:
    """`path` as it is written in messages; a part that is no bare key of TOML is quoted."""
    return ".".join(part if _PLAIN_PART.fullmatch(part) else ascii(part) for part in path)


def nearest_key(path: Path) -> str | None:
    """The setting that somebody who wrote `path` most likely meant."""
    from difflib import get_close_matches

    for field in leaf_fields():
        if field[-1] == path[-1] and len(field) > 1:
            return dotted(field)
    matches = get_close_matches(".".join(path), [dotted(known) for known in field_types()], 1)
    return matches[0] if matches else None
