"""The files that a runtime environment names, read so that policy can judge what is in them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

_MAX_BYTES = 1 << 20
_YAML = (".yaml", ".yml")


def with_files_read(runtime_env: object) -> object:
    """`runtime_env` with what is in its requirements and conda files in the place of their paths.

    For the policy only: Ray gets the paths, and reads the files itself. What cannot be read stays a
    path, which policy refuses.
    """
    if not isinstance(runtime_env, Mapping):
        return runtime_env
    read: dict[str, Any] = dict(runtime_env)
    for field in ("pip", "uv"):
        if isinstance(named := read.get(field), str):
            read[field] = _requirements(Path(named)) or named
    named = read.get("conda")
    if isinstance(named, str) and named.endswith(_YAML):
        read["conda"] = _yaml(Path(named)) or named
    return read


def _requirements(path: Path) -> list[str]:
    """Its lines without comments; as in pip, a line that ends with a backslash goes on."""
    lines = (line.strip() for line in _text(path).replace("\\\n", " ").splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def _yaml(path: Path) -> object:
    import yaml

    try:
        return yaml.safe_load(_text(path))
    except yaml.YAMLError:
        return None


def _text(path: Path) -> str:
    """What is in the file; "" when it cannot be read."""
    try:
        if not path.is_file():  # a named pipe would be waited for
            return ""
        with path.open(encoding="utf-8") as file:
            text = file.read(_MAX_BYTES + 1)
    except (OSError, ValueError):
        return ""
    return text if len(text) <= _MAX_BYTES else ""
