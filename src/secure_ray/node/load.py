"""Read the settings of this machine: files, variables and flags.

A settings file decides what is refused, so one that somebody else could have written is not read.
"""

from __future__ import annotations

import os
import stat
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from secure_ray.base.errors import UsageError
from secure_ray.settings.resolve import Resolved, resolve
from secure_ray.settings.sources import from_dotenv, from_environ, from_flags, from_toml

if TYPE_CHECKING:
    from collections.abc import Mapping

    from secure_ray.settings.sources import Source

SETTINGS_FILE = "secure-ray.toml"
DOTENV_FILE = ".env"
_MAX_BYTES = 1 << 20
_OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH


@dataclass(frozen=True)
class Loaded:
    """The settings of this machine.

    Attributes:
        resolved: Every value and its origin.
        dotenv: Variables of the `.env` file that are no settings, for the policy to look at.
        files: The files that were read.
        settings_file: The one of them that is the settings file, or None.
    """

    resolved: Resolved
    dotenv: Mapping[str, str]
    files: tuple[Path, ...]
    settings_file: Path | None


def load_settings(
    *,
    config: Path | None,
    environ: Mapping[str, str],
    cwd: Path,
    flags: Mapping[str, object],
) -> Loaded:
    """Defaults, settings file, `.env`, variables and flags; later ones win.

    Args:
        config: The settings file, or None for the first of SECURE_RAY_CONFIG, `secure-ray.toml`
            in `cwd`, and the user's own.
        environ: The caller's environment.
        cwd: Where relative paths begin, and where `.env` is looked for.
        flags: Values by dotted key (`limits.num_cpus`); None means that the flag was not given.

    Raises:
        UsageError: a file is missing, cannot be trusted or read, or a setting is wrong.
    """
    sources: list[Source] = []
    files: list[Path] = []
    settings_file = find_settings_file(config=config, environ=environ, cwd=cwd)
    if settings_file is not None:
        sources.append(from_toml(read_trusted(settings_file), f"file {settings_file}"))
        files.append(settings_file)
    dotenv: Mapping[str, str] = {}
    dotenv_file = cwd / DOTENV_FILE
    # A directory of that name is somebody's virtual environment.
    if os.path.lexists(dotenv_file) and not dotenv_file.is_dir():
        source, dotenv = from_dotenv(read_trusted(dotenv_file), f"file {dotenv_file}")
        sources.append(source)
        files.append(dotenv_file)
    sources += [from_environ(environ, "variable"), from_flags(flags)]
    return Loaded(resolve(sources), dotenv, tuple(files), settings_file)


def find_settings_file(
    *, config: Path | None, environ: Mapping[str, str], cwd: Path
) -> Path | None:
    """The settings file that counts, or None when there is none. A file named by hand must exist.

    Raises:
        UsageError: the file named by `config` or SECURE_RAY_CONFIG is not there.
    """
    named = config or environ.get("SECURE_RAY_CONFIG")
    if named:
        path = cwd / named
        if not os.path.lexists(path):
            raise UsageError(
                "SR-CFG-004",
                f"the settings file {path} does not exist",
                fix="correct --config or SECURE_RAY_CONFIG, or write one: secure-ray config init",
            )
        return path
    candidates = (cwd / SETTINGS_FILE, user_settings_file(environ))
    return next((path for path in candidates if os.path.lexists(path)), None)


def named_settings_file(
    config: Path | None, environ: Mapping[str, str], started_with: Path | None
) -> Path | None:
    """The settings file for a question about a running cluster: the one it was started with.

    Args:
        config: The file that was named with the question, which wins.
        environ: The caller's environment; SECURE_RAY_CONFIG in it wins too.
        started_with: The file of the cluster's start; None when there was none.
    """
    return config if config or environ.get("SECURE_RAY_CONFIG") else started_with


def user_settings_file(environ: Mapping[str, str]) -> Path:
    """The user's own settings file, in the platform's directory for configuration."""
    chosen = environ.get("XDG_CONFIG_HOME", "")
    if chosen.startswith("/"):  # a relative one is to be ignored: XDG Base Directory 0.8
        return Path(chosen) / "secure-ray" / SETTINGS_FILE
    # Without HOME there is no place of the user's own; /nonexistent is where Debian puts such users.
    home = Path(environ.get("HOME") or "/nonexistent")
    below = "Library/Application Support" if sys.platform == "darwin" else ".config"
    return home / below / "secure-ray" / SETTINGS_FILE


def read_trusted(path: Path) -> str:
    """The text of a file that only we or root can have written.

    Raises:
        UsageError: it belongs to somebody else, others may write to it, it is no regular file, is
            larger than 1 MiB, or is not UTF-8.
    """
    try:
        _require_trusted(path, path.lstat())
        # Without O_NONBLOCK opening a named pipe would wait for its writer for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            found = os.fstat(descriptor)
            _require_trusted(path, found)
            if not stat.S_ISREG(found.st_mode):
                raise _unreadable(path, "it is not a regular file")
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                content = file.read(_MAX_BYTES + 1)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise _unreadable(path, error.strerror or "the system gives no reason") from None
    if len(content) > _MAX_BYTES:
        raise _unreadable(path, f"it is larger than {_MAX_BYTES} bytes")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise _unreadable(path, f"it is not UTF-8 (byte {error.start})") from None


def _require_trusted(path: Path, found: os.stat_result) -> None:
    if found.st_uid not in {0, os.geteuid()}:
        raise UsageError(
            "SR-CFG-005",
            f"{path} decides about security and belongs to uid {found.st_uid}, not to you",
            fix="read it, then make it yours (chown) or use a copy of your own with --config",
        )
    if found.st_mode & _OTHERS_MAY_WRITE and not stat.S_ISLNK(found.st_mode):
        raise UsageError(
            "SR-CFG-005",
            f"{path} decides about security and others may write to it"
            f" (mode {stat.S_IMODE(found.st_mode):04o})",
            fix=f"look whether it says what you want, then: chmod go-w '{path}'",
        )


def _unreadable(path: Path, reason: str) -> UsageError:
    return UsageError(
        "SR-CFG-004", f"cannot read {path}: {reason}", fix=f"look at it: ls -l '{path}'"
    )
