"""Each kind of address is told apart, and nothing that the internet reaches counts as private."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secure_ray.policy.addresses import AddressKind, classify, kind_of, parse_address

PRIVATE = {AddressKind.RFC1918, AddressKind.ULA}
UNREACHED = PRIVATE | {
    AddressKind.LOOPBACK,
    AddressKind.LINK_LOCAL,
    AddressKind.CGNAT,
}


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("127.0.0.1", AddressKind.LOOPBACK),
        ("127.255.255.255", AddressKind.LOOPBACK),
        ("::1", AddressKind.LOOPBACK),
        ("::ffff:127.0.0.1", AddressKind.LOOPBACK),
        ("0.0.0.0", AddressKind.WILDCARD),
        ("::", AddressKind.WILDCARD),
        ("::ffff:0.0.0.0", AddressKind.WILDCARD),
        ("0.0.0.1", AddressKind.RESERVED),
        ("9.255.255.255", AddressKind.PUBLIC),
        ("10.0.0.0", AddressKind.RFC1918),
        ("10.255.255.255", AddressKind.RFC1918),
        ("11.0.0.0", AddressKind.PUBLIC),
        ("172.15.255.255", AddressKind.PUBLIC),
        ("172.16.0.0", AddressKind.RFC1918),
        ("172.31.255.255", AddressKind.RFC1918),
        ("172.32.0.0", AddressKind.PUBLIC),
        ("192.167.255.255", AddressKind.PUBLIC),
        ("192.168.0.0", AddressKind.RFC1918),
        ("192.169.0.0", AddressKind.PUBLIC),
        ("::ffff:10.0.0.1", AddressKind.RFC1918),
        ("100.63.255.255", AddressKind.PUBLIC),
        ("100.64.0.0", AddressKind.CGNAT),
        ("100.127.255.255", AddressKind.CGNAT),
        ("100.128.0.0", AddressKind.PUBLIC),
        ("169.254.169.254", AddressKind.LINK_LOCAL),
        ("fe80::1", AddressKind.LINK_LOCAL),
        ("fe80::1%eth0", AddressKind.LINK_LOCAL),
        ("febf::1", AddressKind.LINK_LOCAL),
        ("fec0::1", AddressKind.RESERVED),
        ("192.0.2.1", AddressKind.DOCUMENTATION),
        ("198.51.100.1", AddressKind.DOCUMENTATION),
        ("203.0.113.1", AddressKind.DOCUMENTATION),
        ("2001:db8::1", AddressKind.DOCUMENTATION),
        ("3fff::1", AddressKind.DOCUMENTATION),
        ("3fff:1000::1", AddressKind.PUBLIC),
        ("198.18.0.1", AddressKind.BENCHMARKING),
        ("198.19.255.255", AddressKind.BENCHMARKING),
        ("198.20.0.0", AddressKind.PUBLIC),
        ("2001:2::1", AddressKind.BENCHMARKING),
        ("224.0.0.1", AddressKind.MULTICAST),
        ("ff02::1", AddressKind.MULTICAST),
        ("255.255.255.255", AddressKind.RESERVED),
        ("240.0.0.1", AddressKind.RESERVED),
        ("192.0.0.8", AddressKind.RESERVED),
        ("192.88.99.1", AddressKind.RESERVED),
        ("fbff::1", AddressKind.RESERVED),
        ("fc00::1", AddressKind.ULA),
        ("fd00::2", AddressKind.ULA),
        ("fdff:ffff::1", AddressKind.ULA),
        ("fe00::1", AddressKind.RESERVED),
        ("8.8.8.8", AddressKind.PUBLIC),
        ("2606:4700::1111", AddressKind.PUBLIC),
        ("2002:a00:1::1", AddressKind.PUBLIC),  # 6to4 of 10.0.0.1: a global prefix
        ("64:ff9b::a00:1", AddressKind.RESERVED),  # NAT64 of 10.0.0.1
        ("::10.0.0.1", AddressKind.RESERVED),  # v4-compatible, RFC 4291 2.5.5.1: deprecated
    ],
)
def test_kinds(address: str, kind: AddressKind) -> None:
    assert kind_of(address) is kind


@pytest.mark.parametrize(
    "text",
    ["", "localhost", "127.1", "0177.0.0.1", "10.0.0.1 ", "[::1]", "10.0.0.1:80", "%lo", "1"],
)
def test_what_is_no_address_has_no_kind(text: str) -> None:
    assert kind_of(text) is None
    assert parse_address(text) is None


@given(st.ip_addresses())
def test_python_agrees_where_it_has_the_same_question(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    kind = classify(address)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    assert (kind is AddressKind.LOOPBACK) == address.is_loopback
    assert (kind is AddressKind.WILDCARD) == address.is_unspecified
    assert (kind is AddressKind.MULTICAST) == address.is_multicast
    assert (kind is AddressKind.LINK_LOCAL) == address.is_link_local
    if kind in PRIVATE:
        assert address.is_private
    if kind in UNREACHED:
        assert not address.is_global
    if address.is_global:
        # Python counts what IANA calls globally reachable, so multicast and relays too.
        assert kind in {AddressKind.PUBLIC, AddressKind.MULTICAST, AddressKind.RESERVED}


@given(st.ip_addresses(v=4))
def test_mapping_into_v6_changes_nothing(address: ipaddress.IPv4Address) -> None:
    assert kind_of(f"::ffff:{address}") is kind_of(str(address)) is classify(address)
    assert parse_address(f"::ffff:{address}") == address


@given(st.ip_addresses(v=6), st.sampled_from(["eth0", "1", "docker0"]))
def test_scope_changes_nothing(address: ipaddress.IPv6Address, scope: str) -> None:
    assert kind_of(f"{address}%{scope}") is classify(address)


@given(st.text())
def test_any_text_has_an_answer(text: str) -> None:
    assert (kind_of(text) is None) == (parse_address(text) is None)
