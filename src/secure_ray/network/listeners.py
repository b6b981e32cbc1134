"""Who listens where, as the kernel says it, and whether a port can be had.

Sockets of a process in another network namespace are not seen: nothing here can reach them either.
"""

from __future__ import annotations

import contextlib
import socket
import sys
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, TypeVar

import psutil

from secure_ray.base.errors import InconclusiveError
from secure_ray.base.processes import describe, plain_text
from secure_ray.network import linux_sockets
from secure_ray.policy.addresses import LOOPBACK, host_port

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

_Found = TypeVar("_Found")


class Kind(Enum):
    """What a socket that waits for others speaks."""

    TCP = "tcp"
    UDP = "udp"


@dataclass(frozen=True)
class Listener:
    """A socket that others can send to.

    Attributes:
        address: The IP address that it is bound to.
        port: Its port.
        kind: TCP in state LISTEN, or UDP bound and connected to nobody.
        pid: The process that has it open.
        process: The name of that process.
    """

    address: str
    port: int
    kind: Kind
    pid: int
    process: str

    def __str__(self) -> str:
        where = host_port(self.address, self.port)
        return f"{self.kind.value} {where} {self.process} (pid {self.pid})"


def listeners_of(pids: Collection[int]) -> tuple[Listener, ...]:
    """All listeners of the processes `pids`, by process and port; one that has ended has none.

    A socket that several of them have open is told for each.

    Raises:
        InconclusiveError: the sockets of one of them cannot be read; the others prove nothing then.
    """
    return tuple(_of_each(pids, _on_linux() if sys.platform == "linux" else _by_psutil))


def unix_sockets_of(pids: Collection[int]) -> tuple[str, ...]:
    """The names of all Unix sockets of the processes `pids`; an abstract one begins with "@".

    Raises:
        InconclusiveError: the sockets of one of them cannot be read; the others prove nothing then.
    """
    return tuple(sorted(set(_of_each(pids, _unix_sockets))))


def holder(port: int) -> str | None:
    """Who has TCP `port` of this host, for a person; None when nobody listens on or uses it."""
    try:
        connections = psutil.net_connections(kind="tcp")
    except psutil.AccessDenied:  # macOS, without root
        connections = []
    users = [
        entry
        for entry in connections
        if entry.laddr and entry.laddr.port == port and entry.status != psutil.CONN_TIME_WAIT
    ]
    for entry in sorted(users, key=lambda entry: entry.status != psutil.CONN_LISTEN):
        with contextlib.suppress(psutil.Error):
            if entry.pid is not None:
                return describe(psutil.Process(entry.pid))
    if users:
        return "a process of another user"
    # Linux lists no socket that is bound without listening; only an attempt tells.
    return None if can_bind(LOOPBACK, port) else "a process that does not show itself"


def can_bind(address: str, port: int) -> bool:
    """Whether a server of Ray could listen on TCP `port` of `address` now.

    Every server of Ray sets SO_REUSEADDR (gRPC, aiohttp, 2.60.0 `_private/services.py`
    `start_api_server`). On Linux that passes over connections that linger in TIME_WAIT, a minute
    after a cluster has stopped, and over nothing that listens, be it on the wildcard. On BSD and
    macOS it would pass over a wildcard listener, so it stays off there.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as attempt:
        if sys.platform == "linux":
            attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            attempt.bind((address, port))
        except OSError:
            return False
    return True


def has_ended(pid: int) -> bool:
    """Whether process `pid` is gone, or dead and not yet waited for.

    The kernel gives such a zombie's entries in /proc to root, so that reading them is forbidden.
    """
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _of_each(pids: Collection[int], look: Callable[[int], Iterable[_Found]]) -> list[_Found]:
    found: list[_Found] = []
    unreadable: list[str] = []
    for pid in sorted(set(pids)):
        try:
            found += look(pid)
        except (psutil.Error, OSError):
            if not has_ended(pid):
                unreadable.append(str(pid))
    if unreadable:
        raise InconclusiveError(
            "SR-PROBE-001",
            f"the sockets of process {', '.join(unreadable)} cannot be read",
            fix="run it as the user who started the cluster",
        )
    return found


def _on_linux() -> Callable[[int], list[Listener]]:
    try:
        waiting = linux_sockets.waiting_sockets()
    except OSError as error:
        raise InconclusiveError(
            "SR-PROBE-002",
            f"the kernel's table of sockets cannot be read: {error}",
            fix="mount /proc and let this user read /proc/net",
        ) from None

    def look(pid: int) -> list[Listener]:
        inodes = set(linux_sockets.socket_inodes(pid))
        found = [waiting[inode] for inode in inodes if inode in waiting]
        name = plain_text(psutil.Process(pid).name()) if found else ""
        listeners = (
            Listener(entry.address, entry.port, Kind(entry.table[:3]), pid, name) for entry in found
        )
        return sorted(listeners, key=lambda listener: listener.port)

    return look


def _by_psutil(pid: int) -> list[Listener]:
    process = psutil.Process(pid)
    name = plain_text(process.name())
    kinds = {socket.SOCK_STREAM: Kind.TCP, socket.SOCK_DGRAM: Kind.UDP}
    listeners = (
        Listener(entry.laddr.ip, entry.laddr.port, kinds[entry.type], pid, name)
        for entry in process.net_connections(kind="inet")
        if _waits(entry.type, entry.status, entry.laddr, entry.raddr)
    )
    return sorted(listeners, key=lambda listener: listener.port)


def _waits(kind: int, status: str, local: tuple[object, ...], remote: tuple[object, ...]) -> bool:
    if not local:  # made, and bound to nothing yet
        return False
    return not remote if kind == socket.SOCK_DGRAM else status == psutil.CONN_LISTEN


def _unix_sockets(pid: int) -> list[str]:
    names = (str(entry.laddr) for entry in psutil.Process(pid).net_connections(kind="unix"))
    return [name for name in names if name]
