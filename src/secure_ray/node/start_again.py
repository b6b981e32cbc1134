"""Which command starts the node that is here, for the messages that tell it.

Reads what is known as plain JSON: messages are for what is damaged too.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from secure_ray.base.commands import command
from secure_ray.base.errors import FailedError
from secure_ray.base.files import is_there, read_private
from secure_ray.node.place import Place

if TYPE_CHECKING:
    from pathlib import Path

    from secure_ray.node.paths import ClusterPaths


def start_again(paths: ClusterPaths) -> str:
    """The command that starts what is at `paths`: the worker that it is, or the head as it was."""
    if _read(paths.identity).get("membership"):
        return command("up", paths.name)
    words = "up --head"
    with suppress(KeyError, TypeError):
        words = Place(**_read(paths.instance)["plan"]["place"]).start
    return command(words, paths.name)


def _read(path: Path) -> dict[str, Any]:
    with suppress(FailedError, ValueError):
        found = json.loads(read_private(path)) if is_there(path) else None
        return found if isinstance(found, dict) else {}
    return {}
