"""The names of a leaf (subject alternative names, RFC 5280 section 4.2.1.6), in one spelling."""

from __future__ import annotations

import re
from ipaddress import IPv6Address, ip_address

from secure_ray.base.errors import UsageError

EVERY_NODE = ("127.0.0.1", "::1", "localhost")
"""The names of every node: those by which its own processes reach it."""

_LONGEST_DNS_NAME = 253  # RFC 1035 section 2.3.4, without the length bytes
# Underscores are no part of a host name (RFC 952), yet container runtimes hand them out.
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")


def parse_sans(names: tuple[str, ...]) -> tuple[str, ...]:
    """`names` in canonical spelling, sorted, each once.

    An IPv6 scope (`%eth0`) is dropped: a certificate has no place for it.

    Raises:
        UsageError: there is none, or one is neither an IP address nor a plain DNS name. A
            wildcard is refused too: a node answers to its own names only.
    """
    if not names:
        raise _bad_name("a node's certificate needs at least one name")
    return tuple(sorted({_parse(name) for name in names}))


def _parse(name: str) -> str:
    try:
        address = ip_address(name)
    except ValueError:
        return _parse_dns(name)
    if isinstance(address, IPv6Address):
        return str(IPv6Address(address.packed))
    return str(address)


def _parse_dns(name: str) -> str:
    lowered = name.lower().rstrip(".")
    labels = lowered.split(".")
    digits_last = labels[-1].isdigit()  # such as 10.0.0.300, an address with a slip of the finger
    if len(lowered) > _LONGEST_DNS_NAME or digits_last or not all(map(_LABEL.fullmatch, labels)):
        raise _bad_name(f"{name!r} is neither an IP address nor a DNS name")
    return lowered


def _bad_name(cause: str) -> UsageError:
    return UsageError(
        "SR-PKI-010",
        cause,
        fix="give addresses such as 10.0.0.5 and names such as localhost; no wildcard",
    )
