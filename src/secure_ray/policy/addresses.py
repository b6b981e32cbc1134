"""What kind of address an IP address is, and so who can reach a socket that is bound to it.

The ranges are the registries of RFC 6890 (special-purpose addresses), with the RFC of each row.
Python's own `ipaddress.is_private` is not used: it counts documentation, benchmarking and
link-local addresses as private, and its answers differ from one Python to the next.
"""

from __future__ import annotations

import ipaddress
from enum import Enum

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
LOOPBACK = "127.0.0.1"


class AddressKind(Enum):
    """Kinds of address; the value is its name for a person."""

    LOOPBACK = "loopback"
    WILDCARD = "every interface"
    RFC1918 = "RFC 1918"
    ULA = "ULA"
    CGNAT = "CGNAT"
    LINK_LOCAL = "link-local"
    DOCUMENTATION = "documentation"
    BENCHMARKING = "benchmarking"
    MULTICAST = "multicast"
    RESERVED = "reserved"
    PUBLIC = "public"


# The first row that holds the address counts.
_RANGES = (
    ("0.0.0.0/32", AddressKind.WILDCARD),
    ("0.0.0.0/8", AddressKind.RESERVED),  # RFC 791: this network
    ("127.0.0.0/8", AddressKind.LOOPBACK),  # RFC 1122, 3.2.1.3
    ("10.0.0.0/8", AddressKind.RFC1918),
    ("172.16.0.0/12", AddressKind.RFC1918),
    ("192.168.0.0/16", AddressKind.RFC1918),
    ("100.64.0.0/10", AddressKind.CGNAT),  # RFC 6598
    ("169.254.0.0/16", AddressKind.LINK_LOCAL),  # RFC 3927
    ("192.0.2.0/24", AddressKind.DOCUMENTATION),  # RFC 5737, as the next two
    ("198.51.100.0/24", AddressKind.DOCUMENTATION),
    ("203.0.113.0/24", AddressKind.DOCUMENTATION),
    ("198.18.0.0/15", AddressKind.BENCHMARKING),  # RFC 2544
    ("192.0.0.0/24", AddressKind.RESERVED),  # RFC 6890: protocol assignments
    ("192.88.99.0/24", AddressKind.RESERVED),  # RFC 7526: was the anycast of 6to4 relays
    ("224.0.0.0/4", AddressKind.MULTICAST),  # RFC 5771
    ("240.0.0.0/4", AddressKind.RESERVED),  # RFC 1112; holds the broadcast address
    ("0.0.0.0/0", AddressKind.PUBLIC),
    ("::/128", AddressKind.WILDCARD),  # RFC 4291, as the next one
    ("::1/128", AddressKind.LOOPBACK),
    ("fc00::/7", AddressKind.ULA),  # RFC 4193
    ("fe80::/10", AddressKind.LINK_LOCAL),  # RFC 4291
    ("2001:db8::/32", AddressKind.DOCUMENTATION),  # RFC 3849
    ("3fff::/20", AddressKind.DOCUMENTATION),  # RFC 9637
    ("2001:2::/48", AddressKind.BENCHMARKING),  # RFC 5180
    ("ff00::/8", AddressKind.MULTICAST),  # RFC 4291
    ("2000::/3", AddressKind.PUBLIC),  # RFC 4291: global unicast
    ("::/0", AddressKind.RESERVED),
)
_NETWORKS = tuple((ipaddress.ip_network(network), kind) for network, kind in _RANGES)


def parse_address(text: str) -> Address | None:
    """The address that `text` is, a v4-mapped one as the IPv4 address; None if it is none.

    A scope (`%eth0`) stays on IPv6 addresses; only link-local ones have a meaning for it.
    """
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    # A dual-stack socket shows a v4 address in this form; Pythons differ on what it then is.
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def canonical(text: str) -> str:
    """The address `text` as `parse_address` reads it, without scope; "" when it is none."""
    return str(parse_address(text.partition("%")[0]) or "")


def host_port(address: str, port: int) -> str:
    """`address` and `port` as Ray and URLs write them: an IPv6 address stands in brackets."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def kind_of(text: str) -> AddressKind | None:
    """The kind of the address `text`; None when it is no IP address (a name, `127.1`)."""
    address = parse_address(text)
    return None if address is None else classify(address)


def range_of(text: str) -> str:
    """The registered range that the address `text` is of: `10.0.0.0/8`; "" when it is no address.

    Pythons differ on scopes, so that of a link-local address is left out.
    """
    address = parse_address(text.partition("%")[0])
    ranges = (
        network
        for network, _ in _NETWORKS
        if address is not None and network.version == address.version and address in network
    )
    return str(next(ranges, ""))


def same_address(one: str, other: str) -> bool:
    """Whether two texts name the same address, however it is written. False for what is no address.

    Scopes are left out: a socket does not always show its own.
    """
    parsed = parse_address(one.partition("%")[0])
    return parsed is not None and parsed == parse_address(other.partition("%")[0])


def classify(address: Address) -> AddressKind:
    """The kind of `address`; a v4-mapped one is what the IPv4 address is."""
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    plain = address if mapped is None else mapped
    return next(
        kind for network, kind in _NETWORKS if network.version == plain.version and plain in network
    )
