"""The kernel's table of sockets on Linux, read once for many processes: proc(5), `/proc/net/tcp`.

psutil reads the whole table again for each process, which takes milliseconds each time.
"""

from __future__ import annotations

import os
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

TABLES = ("tcp", "tcp6", "udp", "udp6")
_TCP_LISTEN = "0A"  # include/net/tcp_states.h
_LOCAL, _REMOTE, _STATE, _INODE = 1, 2, 3, 9
_INODE_LINK = "socket:["


@dataclass(frozen=True)
class WaitingSocket:
    """A TCP socket in state LISTEN, or a UDP socket that is connected to nobody."""

    table: str
    address: str
    port: int


def waiting_sockets() -> dict[str, WaitingSocket]:
    """All waiting sockets of this network namespace, by inode.

    Raises:
        OSError: the tables cannot be read.
    """
    found: dict[str, WaitingSocket] = {}
    for table in TABLES:
        path = Path("/proc/net", table)
        if table.endswith("6") and not path.exists():  # a kernel without IPv6
            continue
        found.update(parse_table(table, path.read_text()))
    return found


def parse_table(table: str, text: str) -> Iterator[tuple[str, WaitingSocket]]:
    """The inode and address of each waiting socket in the text of `/proc/net/<table>`."""
    for line in text.splitlines()[1:]:
        fields = line.split()
        if table.startswith("tcp"):
            waits = fields[_STATE] == _TCP_LISTEN
        else:
            waits = fields[_REMOTE].endswith(":0000")
        if waits:
            address, _, port = fields[_LOCAL].partition(":")
            yield fields[_INODE], WaitingSocket(table, decode_address(address), int(port, 16))


def decode_address(text: str) -> str:
    """`0100007F` to `127.0.0.1`: words of 32 bits, each in the byte order of this machine."""
    words = [bytes.fromhex(text[at : at + 8]) for at in range(0, len(text), 8)]
    if sys.byteorder == "little":
        words = [word[::-1] for word in words]
    family = socket.AF_INET if len(words) == 1 else socket.AF_INET6
    return socket.inet_ntop(family, b"".join(words))


def socket_inodes(pid: int) -> Iterator[str]:
    """The inodes of the sockets that process `pid` has open.

    Raises:
        FileNotFoundError: the process has ended (or `ProcessLookupError`).
        PermissionError: it belongs to somebody else.
    """
    for descriptor in os.listdir(f"/proc/{pid}/fd"):  # noqa: PTH208  # names, not paths: speed
        try:
            link = os.readlink(f"/proc/{pid}/fd/{descriptor}")  # noqa: PTH115
        except FileNotFoundError:
            continue  # closed meanwhile
        if link.startswith(_INODE_LINK):
            yield link[len(_INODE_LINK) : -1]
