"""The addresses of this host and what they lead to: what `policy.bind` decides from."""

from __future__ import annotations

import ipaddress
import socket
from pathlib import Path

from secure_ray.base.errors import FailedError, UsageError
from secure_ray.network.linux_sockets import decode_address
from secure_ray.policy.addresses import LOOPBACK, kind_of, parse_address
from secure_ray.policy.bind import LOCAL, PRIVATE, Candidate, choose_bind, choose_towards

_ROUTES = Path("/proc/net/route")
_ROUTES_6 = Path("/proc/net/ipv6_route")
_UP_AND_GATEWAY = 0x1 | 0x2  # RTF_UP, RTF_GATEWAY: include/uapi/linux/route.h
_REJECT = 0x0200  # RTF_REJECT
_DISCARD_PORT = 9  # RFC 863; nothing is sent


def bind_address(
    wish: str, *, source: str = "flag --bind", permitted: frozenset[str] = frozenset()
) -> str:
    """The address that the setting `network.bind` means on this host.

    Args:
        wish: `local`, `private`, an address or a name.
        source: Where the wish comes from.
        permitted: Rules that an override suspends now.

    Raises:
        RefusedError: the address is public, a wildcard, or not one for a cluster.
        UsageError: several fit, or the address or name is not one of this host.
        FailedError: this host has no private address, or its addresses cannot be read.
    """
    if wish in {LOCAL, LOOPBACK}:
        return LOOPBACK
    is_name = wish != PRIVATE and kind_of(wish) is None
    return choose_bind(
        wish,
        candidates(),
        resolved=resolve(wish) if is_name else (),
        source=source,
        permitted=permitted,
    )


def bind_address_towards(head: str, *, permitted: frozenset[str] = frozenset()) -> str:
    """The address of this host from which it reaches the head: a worker's.

    Raises:
        RefusedError: it is public, loopback, or not one for a cluster.
        FailedError: there is no route to the head, or this host's addresses cannot be read.
    """
    return choose_towards(head, source_address(head), candidates(), permitted=permitted)


def candidates() -> tuple[Candidate, ...]:
    """All addresses of this host, by interface.

    Raises:
        FailedError: they cannot be read.
    """
    import psutil

    try:
        interfaces, states = psutil.net_if_addrs(), psutil.net_if_stats()
    except (OSError, psutil.Error) as error:
        raise FailedError(
            "SR-BIND-009",
            f"the addresses of this host cannot be read: {error}",
            fix="let this user use netlink sockets",
        ) from None
    gateways = default_gateways()
    return tuple(
        Candidate(
            interface=name,
            address=entry.address,
            network=_network(entry.address, entry.netmask),
            gateway=gateways.get((name, 6 if entry.family == socket.AF_INET6 else 4), ""),
            up=name in states and states[name].isup,
        )
        for name, entries in sorted(interfaces.items())
        for entry in entries
        if entry.family in {socket.AF_INET, socket.AF_INET6}
    )


def source_address(target: str) -> str:
    """The address that packets to `target` leave from, by the routing table; nothing is sent.

    Raises:
        FailedError: there is no route, or `target` is no address.
    """
    family = socket.AF_INET6 if ":" in target else socket.AF_INET
    try:
        # Connecting a UDP socket looks up the route and does no more (RFC 1122, 4.1.3.5).
        ((*_, sockaddr),) = socket.getaddrinfo(
            target, _DISCARD_PORT, family, socket.SOCK_DGRAM, 0, socket.AI_NUMERICHOST
        )
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect(sockaddr)
            return str(probe.getsockname()[0])
    except OSError as error:
        raise FailedError(
            "SR-BIND-008",
            f"this host has no route to the head {target}: {error.strerror or error}",
            fix=f"ip route get {target} should show one; connect the networks, or take another "
            "address of the head",
        ) from None


def resolve(name: str) -> tuple[str, ...]:
    """The addresses that `name` means here: /etc/hosts, DNS.

    Raises:
        UsageError: it means none.
    """
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(
            "SR-BIND-007",
            f"the name {name} means no address here: {reason}",
            fix="give an address of this host: --bind private lists them",
        ) from None
    return tuple(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))


def default_gateways() -> dict[tuple[str, int], str]:
    """The next hop of the default route by interface and IP version; empty where /proc has none."""
    return {**parse_routes_6(_read(_ROUTES_6)), **parse_routes(_read(_ROUTES))}


def parse_routes(text: str) -> dict[tuple[str, int], str]:
    """The default gateways in the text of `/proc/net/route` (proc(5))."""
    found: dict[tuple[str, int], str] = {}
    for line in text.splitlines()[1:]:
        interface, destination, gateway, flags, _, _, _, mask, *_ = line.split()
        if destination == mask == "00000000" and int(flags, 16) & 3 == _UP_AND_GATEWAY:
            found.setdefault((interface, 4), decode_address(gateway))
    return found


def parse_routes_6(text: str) -> dict[tuple[str, int], str]:
    """The default gateways in the text of `/proc/net/ipv6_route` (proc(5))."""
    found: dict[tuple[str, int], str] = {}
    for line in text.splitlines():
        destination, length, _, _, gateway, _, _, _, flags, interface = line.split()
        usable = int(flags, 16) & (_UP_AND_GATEWAY | _REJECT) == _UP_AND_GATEWAY
        if usable and length == "00" and not destination.strip("0"):
            found.setdefault((interface, 6), str(ipaddress.IPv6Address(int(gateway, 16))))
    return found


def _network(address: str, mask: str | None) -> str:
    plain = parse_address(address.partition("%")[0])
    if plain is None or not mask:
        return ""
    bits = ipaddress.ip_address(mask)
    length = int(bits).bit_count()
    return str(ipaddress.ip_network((plain, length), strict=False))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except OSError:  # macOS, or a kernel without IPv6
        return ""
