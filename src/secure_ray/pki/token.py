"""Ray's own cluster token: one secret that the processes of Ray share.

It goes to Ray by path (RAY_AUTH_TOKEN_PATH), never by value: RAY_AUTH_TOKEN would stand in the
environment of every job. Ray's loader strips white space around it (measured on 2.60.0); the file
has none, so that every other reader agrees with Ray.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from secure_ray.base.errors import FailedError
from secure_ray.base.files import make_private_directory, read_private, write_private
from secure_ray.base.secrets import Secret

if TYPE_CHECKING:
    from pathlib import Path

TOKEN_BITS = 256
_TOKEN = re.compile(rb"[0-9a-f]{64}")


def ensure_token(path: Path) -> bool:
    """Make the cluster token if there is none; True when it was made.

    The caller holds the cluster's lock: two first starts at once would each make one.

    Raises:
        FailedError: what is there is not a token of ours (it is never overwritten), or is not
            ours alone, or the token cannot be written.
    """
    make_private_directory(path.parent)
    if os.path.lexists(path):
        _require_token(path)
        return False
    write_private(path, Secret.random_hex(TOKEN_BITS).reveal().encode())
    return True


def read_token(path: Path) -> Secret:
    """The cluster token.

    Raises:
        FailedError: the file is missing, or not ours alone.
    """
    return Secret(read_private(path).decode().strip())


def _require_token(path: Path) -> None:
    if not _TOKEN.fullmatch(read_private(path)):
        raise FailedError(
            "SR-PKI-012",
            f"{path} is not a cluster token (64 hexadecimal digits and nothing else)",
            fix=f"if nothing needs it: remove {path}, and the next start makes a new token",
        )
