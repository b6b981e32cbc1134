"""Which settings there are, read off the model: keys by path, such as `("limits", "num_cpus")`."""

from __future__ import annotations

import functools
import re
import typing
from collections.abc import Mapping
from types import NoneType, UnionType
from typing import Annotated, Literal, TypeGuard, Union

from msgspec import Struct, structs

from secure_ray.settings.model import Settings

Path = tuple[str, ...]
_PLAIN_PART = re.compile(r"[A-Za-z0-9_-]+")


@functools.cache
def fields_of(struct: type[Struct]) -> Mapping[str, structs.FieldInfo]:
    """The fields of a section, by the names that they have in a file."""
    return {field.encode_name: field for field in structs.fields(struct)}


@functools.cache
def field_types() -> Mapping[Path, object]:
    """The annotation of every section and every field."""
    types: dict[Path, object] = {}
    for section, field in fields_of(Settings).items():
        types[(section,)] = field.type
        if is_struct(field.type):
            types |= {(section, key): inner.type for key, inner in fields_of(field.type).items()}
    return types


def is_struct(annotation: object) -> TypeGuard[type[Struct]]:
    """Whether the value is a table with fields of its own."""
    return isinstance(annotation, type(Struct))


def bare(annotation: object) -> tuple[object, tuple[object, ...]]:
    """The plain type in `annotation`, without `| None`, and what is noted beside it."""
    if typing.get_origin(annotation) in {Union, UnionType}:
        (annotation,) = (part for part in typing.get_args(annotation) if part is not NoneType)
    if typing.get_origin(annotation) is Annotated:
        kind, *notes = typing.get_args(annotation)
        return kind, tuple(notes)
    return annotation, ()


def leaf_fields() -> tuple[Path, ...]:
    """Every field that holds a value: all but the sections."""
    return tuple(path for path in field_types() if len(path) > 1 or is_open(path))


def is_open(path: Path) -> bool:
    """Whether the user chooses the keys of the table at `path` (`environment.set`)."""
    return typing.get_origin(field_types().get(path)) is Mapping


def accepts_text(path: Path) -> bool:
    """Whether the value at `path` is text as it stands, so that `1` is "1" there."""
    annotation = field_types().get(path)
    if annotation is None and is_open(path[:-1]):
        annotation = typing.get_args(field_types()[path[:-1]])[1]
    kind, _ = bare(annotation)
    return kind is str or typing.get_origin(kind) is Literal


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
