"""What an IP address reaches: this host alone, or all of its interfaces.

Addresses come from sockets, so anything that is not an IP address (a host name, `127.1`) counts as
the unsafe answer.
"""

from __future__ import annotations

from secure_ray.policy.addresses import AddressKind, kind_of, parse_address, same_address

__all__ = ["is_loopback", "is_wildcard", "plain_address", "same_address"]


def is_loopback(address: str) -> bool:
    """Whether only this host can reach `address`: 127.0.0.0/8, ::1, or 127.0.0.0/8 mapped into v6.

    RFC 1122 section 3.2.1.3, RFC 4291 sections 2.5.3 and 2.5.5.2.
    """
    return kind_of(_without_scope(address)) is AddressKind.LOOPBACK


def is_wildcard(address: str) -> bool:
    """Whether `address` stands for every interface: 0.0.0.0, ::, or 0.0.0.0 mapped into v6."""
    return kind_of(_without_scope(address)) is AddressKind.WILDCARD


def plain_address(address: str) -> str:
    """`address` in the one spelling that `ipaddress` gives it, without a scope."""
    without = _without_scope(address)
    return str(parse_address(without) or without)


def _without_scope(address: str) -> str:
    return address.partition("%")[0]
