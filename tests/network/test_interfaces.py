from __future__ import annotations

import socket

import pytest

from secure_ray.base.errors import FailedError, RefusedError, UsageError
from secure_ray.network.interfaces import (
    bind_address,
    bind_address_towards,
    candidates,
    parse_routes,
    parse_routes_6,
    resolve,
    source_address,
)

HEAD = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
ZEROS = "0" * 32


def route(interface: str, destination: str, gateway: str, flags: str, mask: str) -> str:
    return f"{interface}\t{destination}\t{gateway}\t{flags}\t0\t0\t0\t{mask}\t0\t0\t0\n"


def route_6(interface: str, destination: str, length: str, gateway: str, flags: str) -> str:
    return f"{destination} {length} {ZEROS} 00 {gateway} 00000400 1 0 {flags} {interface}\n"


def test_loopback_is_found_on_every_host() -> None:
    (found,) = (entry for entry in candidates() if entry.address == "127.0.0.1")

    assert found.interface.startswith("lo")
    assert found.network == "127.0.0.0/8"
    assert found.up


def test_no_address_stands_twice() -> None:
    found = [(entry.interface, entry.address) for entry in candidates()]
    assert len(set(found)) == len(found)


@pytest.mark.skipif(socket.ntohl(1) == 1, reason="written as on a little-endian machine")
def test_default_route_is_found_among_others() -> None:
    text = HEAD + "".join(
        [
            route("eth1", "0000A8C0", "00000000", "0001", "0000FFFF"),
            route("eth0", "00000000", "0100000A", "0003", "00000000"),
            route("eth0", "00000000", "0200000A", "0003", "00000000"),  # a worse metric
            route("eth2", "00000000", "0300000A", "0002", "00000000"),  # not up
            route("eth3", "00000000", "00000000", "0001", "00000000"),  # no next hop
            route("tun0", "00000000", "0100080A", "0003", "00000080"),  # half of the internet
        ]
    )
    assert parse_routes(text) == {("eth0", 4): "10.0.0.1"}
    assert parse_routes("") == {}


def test_default_route_of_ipv6() -> None:
    router = "fe800000000000000000000000000001"
    text = "".join(
        [
            route_6("lo", ZEROS, "00", ZEROS, "00200200"),
            route_6("eth0", "fd" + "0" * 30, "40", ZEROS, "00000001"),
            route_6("eth0", ZEROS, "00", router, "00000003"),
            route_6("eth1", ZEROS, "03", router, "00000003"),
        ]
    )
    assert parse_routes_6(text) == {("eth0", 6): "fe80::1"}
    assert parse_routes_6("") == {}


def test_address_towards_loopback_is_loopback() -> None:
    assert source_address("127.0.0.1") == "127.0.0.1"


@pytest.mark.parametrize("target", ["no-address", "", "255.255.255.255"])
def test_where_no_route_leads_is_told(target: str) -> None:
    with pytest.raises(FailedError) as caught:
        source_address(target)

    assert caught.value.code == "SR-BIND-008"


def test_names() -> None:
    assert "127.0.0.1" in resolve("localhost")
    with pytest.raises(UsageError) as caught:
        resolve("no-such-host.invalid")
    assert caught.value.code == "SR-BIND-007"


def test_bind_on_this_host() -> None:
    assert bind_address("local") == "127.0.0.1"
    with pytest.raises(RefusedError):
        bind_address("0.0.0.0")
    with pytest.raises(UsageError):
        bind_address("localhost")  # by this name only the settings mean loopback
    with pytest.raises(RefusedError) as caught:
        bind_address_towards("127.0.0.1")
    assert caught.value.code == "SR-BIND-003"
