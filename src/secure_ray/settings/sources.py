"""Where settings come from: TOML text, variables, `.env` text. Text in, values out; no I/O.

Each turns into a `Source`. None of them judges a value: `resolve` does, for all at once.
"""

from __future__ import annotations

import io
import json
import sys
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

from secure_ray.settings.fields import Path, accepts_text, is_open
from secure_ray.settings.problems import Problem, SettingsError, syntax_error

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

PREFIX = "SECURE_RAY_"
_SEPARATOR = "__"
# Read elsewhere, before there are settings, or set by secure-ray for the processes it starts.
RESERVED_VARIABLES = frozenset(
    PREFIX + name
    for name in (
        "HOME",
        "CONFIG",
        "CLUSTER",
        "INSTANCE",
        "START",
        "SESSIONS",
        "TRACEBACK",
        "GUARD_NODE",
        "GUARD_LOOPBACK_PORTS",
        "GUARD_NODE_PORTS",
        "GUARD_RELAYED",
    )
)


class Source(Struct, frozen=True):
    """Settings from one place.

    Attributes:
        name: The place, for a person: `file /etc/secure-ray.toml`.
        values: Tables of values, as in the settings file.
        labels: A better name for some of the values, by path: `flag --num-cpus`.
    """

    name: str
    values: Mapping[str, Any]
    labels: Mapping[Path, str] = field(default_factory=lambda: MappingProxyType({}))

    def label(self, path: Path) -> str:
        """Where the value at `path` was given, as exactly as is known."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.labels:
                return self.labels[path[:length]]
        return self.name


def from_toml(text: str, name: str) -> Source:
    """The settings in a TOML document.

    Raises:
        UsageError: it is not TOML; the message has the line.
    """
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        return Source(name, tomllib.loads(text))
    except RecursionError:
        raise syntax_error(name, "nested too deeply") from None
    except ValueError as error:  # TOMLDecodeError, or a number with thousands of digits
        raise syntax_error(name, str(error)) from None


def from_environ(environ: Mapping[str, str], name: str) -> Source:
    """The settings among variables: `SECURE_RAY_LIMITS__NUM_CPUS=4` is `limits.num_cpus`.

    A value is read as JSON (`4`, `true`, `["A", "B"]`) unless the setting is text. A variable that
    begins with `SECURE_RAY_` and is no setting becomes one that `resolve` refuses.
    """
    wanted = {
        variable: text
        for variable, text in environ.items()
        if variable.startswith(PREFIX) and variable not in RESERVED_VARIABLES
    }
    paths = {variable: _path(variable) for variable in sorted(wanted)}
    return build_source(
        name,
        (
            (path, _decode(path, wanted[variable]), f"{name} {variable}")
            for variable, path in paths.items()
        ),
    )


def from_flags(flags: Mapping[str, object], name: str = "flag") -> Source:
    """The settings among flags, by dotted key; one that is None was not given."""
    given = {tuple(key.split(".")): value for key, value in flags.items() if value is not None}
    return build_source(
        name,
        ((path, value, f"{name} --{path[-1].replace('_', '-')}") for path, value in given.items()),
    )


def from_dotenv(text: str, name: str) -> tuple[Source, Mapping[str, str]]:
    """The settings in the text of a `.env` file, and the file's other variables.

    Values are taken as they stand: `${NAME}` is not replaced.

    Raises:
        UsageError: a line is no assignment, or sets what is read before the file is.
    """
    from dotenv.parser import parse_stream

    variables: dict[str, str] = {}
    for binding in parse_stream(io.StringIO(text)):
        blank = not binding.error and binding.key is None
        if blank:
            continue
        if binding.error or binding.key is None or binding.value is None:
            # The parser counts from the end of the binding before, blank lines included.
            text_before = binding.original.string[: -len(binding.original.string.lstrip()) or None]
            line = binding.original.line + text_before.count("\n")
            raise syntax_error(name, f"line {line} is not NAME=value")
        variables[binding.key] = binding.value
    _refuse_reserved(variables, name)
    rest = {key: value for key, value in variables.items() if not key.startswith(PREFIX)}
    return from_environ(variables, name), MappingProxyType(rest)


def build_source(name: str, entries: Iterable[tuple[Path, object, str]]) -> Source:
    """A source from (path, value, label); an entry below one that is no table is left to it."""
    values: dict[str, Any] = {}
    labels: dict[Path, str] = {}
    for path, value, label in entries:
        table = values
        for part in path[:-1]:
            inner = table.setdefault(part, {})
            if not isinstance(inner, dict):
                break  # the value above is wrong and will be refused
            table = inner
        else:
            table[path[-1]] = value
        labels[path] = label
    return Source(name, values, labels)


def _path(variable: str) -> Path:
    # Keys that the user chooses keep their case.
    path: Path = ()
    for part in variable.removeprefix(PREFIX).split(_SEPARATOR, 2):
        path += (part if is_open(path) else part.lower(),)
    return path


def _decode(path: Path, text: str) -> object:
    if accepts_text(path):
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text  # "4GiB", or wrong: then `resolve` says what it should be


def _refuse_reserved(variables: Mapping[str, str], name: str) -> None:
    problems = tuple(
        Problem(
            "SR-CFG-001",
            variable,
            "",
            "is read before this file and has no effect in it: export it in the shell",
            name,
        )
        for variable in sorted(RESERVED_VARIABLES & variables.keys())
    )
    if problems:
        raise SettingsError(problems)
