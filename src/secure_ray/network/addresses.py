"""What an IP address reaches: this host alone, or all of its interfaces.

Addresses come from sockets, so anything that is not an IP address (a host name, `127.1`) counts as
the unsafe answer.
"""

from __future__ import annotations

import ipaddress


def is_loopback(address: str) -> bool:
    """Whether only this host can reach `address`: 127.0.0.0/8, ::1, or 127.0.0.0/8 mapped into v6.

    RFC 1122 section 3.2.1.3, RFC 4291 sections 2.5.3 and 2.5.5.2.
    """
    parsed = _parse(address)
    return parsed is not None and parsed.is_loopback


def is_wildcard(address: str) -> bool:
    """Whether `address` stands for every interface: 0.0.0.0, ::, or 0.0.0.0 mapped into v6."""
    parsed = _parse(address)
    return parsed is not None and parsed.is_unspecified


def same_address(one: str, other: str) -> bool:
    """Whether two texts name the same address, however it is written. False for what is no address."""
    parsed = _parse(one)
    return parsed is not None and parsed == _parse(other)


def _parse(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    without_scope = address.partition("%")[0]
    try:
        parsed = ipaddress.ip_address(without_scope)
    except ValueError:
        return None
    # A dual-stack socket shows a v4 address in this form; Pythons differ on what it then is.
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        return parsed.ipv4_mapped
    return parsed
