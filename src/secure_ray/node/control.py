"""How the CLI talks to the supervisor: JSON lines over a unix socket with mode 0600.

A request is one line:

    {"do": "status"}    where the node is; one line
    {"do": "finish"}    do not start Ray again once it has ended; one line
    {"do": "stop"}      end Ray and the supervisor
    {"do": "restart"}   end Ray in order and start it again, with the store that it has

The last two are answered by a line for each step and a last one with `"done": true`. After a restart
that is `running` (or `degraded`) of the new Ray, or `failed`, `stopped` or `waiting`.

The peer must be the same user: the socket's directory is 0700, and the kernel is asked as well
(SO_PEERCRED, unix(7)).
"""

from __future__ import annotations

import json
import os
import socket
import struct
import sys
from typing import TYPE_CHECKING, Any

from secure_ray.base.errors import IncompleteError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_LARGEST_LINE = 1 << 20


def request(path: Path, what: dict[str, Any], *, timeout: float) -> Iterator[dict[str, Any]]:
    """Send `what` and yield each line of the answer until the supervisor closes.

    Args:
        path: The supervisor's socket.
        what: The request.
        timeout: Seconds to wait for each line.

    Raises:
        IncompleteError: the supervisor does not answer.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout)
        try:
            connection.connect(str(path))
            connection.sendall(json.dumps(what).encode() + b"\n")
            with connection.makefile("rb") as lines:
                while line := lines.readline(_LARGEST_LINE):
                    yield json.loads(line)
        except (OSError, ValueError) as error:
            raise IncompleteError(
                "SR-STATE-005",
                f"the supervisor does not answer at {path}: {error}",
                fix="run the command again",
            ) from None


def is_same_user(connection: socket.socket) -> bool:
    """Whether the process at the other end belongs to this user or to root."""
    if sys.platform != "linux":
        return True  # the directory's mode decides
    size = struct.calcsize("3i")
    packed = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    _pid, uid, _gid = struct.unpack("3i", packed)
    return uid in {0, os.geteuid()}
