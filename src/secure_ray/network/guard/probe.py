"""Run by `self_test` under the guard, as a program: says `guarded`, or the first thing that is not.

Alone in its process and without site-packages, so it may import nothing but the standard library.
"""

from __future__ import annotations

import errno
import socket
import sys
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_FOREIGN = {socket.AF_INET: "192.0.2.1", socket.AF_INET6: "2001:db8::1"}  # RFC 5737, RFC 3849


def main(node: str, inner: int, outer: int, relayed: int, relay: int) -> None:
    """Try each rule. Raises SystemExit with what goes elsewhere.

    Args:
        node: The node's address.
        inner: A loopback port.
        outer: A node port.
        relayed: A relayed port.
        relay: The port of its relay.
    """
    family = socket.AF_INET6 if ":" in node else socket.AF_INET
    wildcard = "::" if family == socket.AF_INET6 else "0.0.0.0"  # noqa: S104  # it is to be moved
    plain = node.partition("%")[0]
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with _bound(family, kind, (wildcard, 0)) as moved:
            _expect(f"bind to {wildcard}", _local(moved), plain)
        _expect_refusal(family, kind, (_FOREIGN[family], 0))
    _try_other_family(family, plain)
    with _bound(family, socket.SOCK_STREAM, (wildcard, inner)) as moved:
        if _local(moved) not in {"127.0.0.1", "::1"}:
            sys.exit(f"bind of a loopback port to {wildcard} goes to {_local(moved)}")
    if plain != "127.0.0.1":  # a sender is left alone in local mode: from there it reaches nobody
        _try_senders(family, node, outer)
    with closing(socket.socket(family)) as unbound:
        unbound.listen()
        _expect("listen without bind", _local(unbound), plain)
    aside = plain if plain == "127.0.0.1" else "127.0.0.2"  # nothing moves in local mode
    with _bound(family, socket.SOCK_STREAM, (node, inner)) as moved:
        _expect("bind of a loopback port", _local(moved), aside)
        moved.listen()
        _expect_connection(family, (node, inner), (aside, inner))
    with _bound(family, socket.SOCK_STREAM, (wildcard, outer)) as moved:
        moved.listen()
        loopback = "::1" if family == socket.AF_INET6 else "127.0.0.1"
        _expect_connection(family, (loopback, outer), (plain, outer))
    with _bound(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", relay)) as kept:
        kept.listen()
        _expect_connection(family, (_FOREIGN[family], relayed), ("127.0.0.1", relay))


def _try_other_family(family: int, node: str) -> None:
    """A dual-stack socket takes an IPv4 address too; an IPv4 socket no IPv6 address."""
    if family == socket.AF_INET6:
        _expect_refusal(socket.AF_INET, socket.SOCK_STREAM, ("0.0.0.0", 0))  # noqa: S104  # to be refused
        return
    try:
        probe = socket.socket(socket.AF_INET6)
    except OSError:  # this kernel has no IPv6
        return
    with closing(probe):
        probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        probe.bind(("::", 0))
        _expect("bind to ::", _local(probe), node)


def _try_senders(family: int, node: str, port: int) -> None:
    """An unbound sender gets an address; the datagrams reach nobody, or whoever drops them."""
    target = socket.getaddrinfo(node, port, family, flags=socket.AI_NUMERICHOST)[0][4]
    for name in ("sendto", "sendmsg"):
        with closing(socket.socket(family, socket.SOCK_DGRAM)) as sender:
            if name == "sendto":
                sender.sendto(b"", target)
            else:
                sender.sendmsg([b""], [], 0, target)
            _expect(f"{name} without bind", _local(sender), node.partition("%")[0])


@contextmanager
def _bound(family: int, kind: int, address: tuple[str, int]) -> Iterator[socket.socket]:
    with closing(socket.socket(family, kind)) as made:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(socket.getaddrinfo(*address, family, flags=socket.AI_NUMERICHOST)[0][4])
        yield made


def _expect_refusal(family: int, kind: int, address: tuple[str, int]) -> None:
    try:
        with _bound(family, kind, address):
            sys.exit(f"bind to {address[0]} is not refused")
    except OSError as error:
        if error.errno != errno.EACCES:
            sys.exit(f"bind to {address[0]} is not refused by the guard: {error}")


def _expect_connection(family: int, asked: tuple[str, int], reached: tuple[str, int]) -> None:
    with closing(socket.socket(family)) as client:
        client.settimeout(5)
        client.connect(socket.getaddrinfo(*asked, family, flags=socket.AI_NUMERICHOST)[0][4])
        address, port, *_ = client.getpeername()
        _expect(f"connect to {asked}", (_unmapped(address), port), reached)


def _local(made: socket.socket) -> str:
    return _unmapped(made.getsockname()[0])


def _unmapped(address: str) -> str:
    return address.removeprefix("::ffff:").partition("%")[0]


def _expect(what: str, got: object, expected: object) -> None:
    if got != expected:
        sys.exit(f"{what} goes to {got} instead of {expected}")


if __name__ == "__main__":
    try:
        main(sys.argv[1], *map(int, sys.argv[2:]))
    except OSError as problem:
        sys.exit(str(problem))
    print("guarded")  # noqa: T201  # the answer
