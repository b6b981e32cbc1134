"""The templates: find them, fill them in, write them where nothing is lost."""

from __future__ import annotations

import os
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from secure_ray.base.errors import FailedError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from importlib.abc import Traversable


def template_text(name: str) -> str:
    """The template `name` (a path below templates/) as it stands."""
    return _templates().joinpath(name).read_text(encoding="utf-8")


def render(
    name: str, values: Mapping[str, object], filters: Mapping[str, Callable[[str], str]]
) -> str:
    """The template `name` with `values` filled in; a value that is missing is a bug and raises.

    Nothing is escaped here: the caller has made sure of its values, and each template quotes with
    the filter that its format needs.
    """
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=False,  # noqa: S701  # not HTML; see above
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(filters)
    return environment.from_string(template_text(name)).render(values)


def write_new(path: Path, text: str, *, mode: int) -> None:
    """Write a file that is not there yet.

    Raises:
        UsageError: something is there already, a link included; it stays as it is.
        FailedError: the file cannot be written; nothing is left of it.
    """
    content = text.encode()
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, mode)
    except FileExistsError:
        raise UsageError(
            "SR-CFG-006", f"{path} is there already", fix="move it away, or choose another place"
        ) from None
    except OSError as error:
        raise _failure(path, error) from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            os.fchmod(descriptor, mode)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise _failure(path, error) from None


def _failure(path: Path, error: OSError) -> FailedError:
    return FailedError(
        "SR-FILE-004",
        f"cannot write {path}: {error.strerror}",
        fix=f"look at {path.parent}, or choose another place",
    )


def _templates() -> Traversable:
    try:
        return resources.files("secure_ray._templates")
    except ModuleNotFoundError:  # run from a checkout that is not installed
        return Path(__file__).parents[3] / "templates"
