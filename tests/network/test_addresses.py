from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secure_ray.network.addresses import is_loopback, is_wildcard, same_address

if TYPE_CHECKING:
    import ipaddress


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.255.255.254",
        "::1",
        "0:0:0:0:0:0:0:1",
        "::ffff:127.0.0.1",
        "::ffff:7f00:1",
        "::1%lo",
        "::ffff:127.0.0.1%lo",
    ],
)
def test_loopback(address: str) -> None:
    assert is_loopback(address)


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",
        "::",
        "::ffff:0.0.0.0",
        "10.0.0.1",
        "192.168.1.1",
        "169.254.1.1",
        "fe80::1%eth0",
        "::ffff:10.0.0.1",
        "::127.0.0.1",
        "2001:db8::1",
        "128.0.0.1",
        "localhost",
        "127.1",
        "0177.0.0.1",
        "127.0.0.1 ",
        "127.0.0.1:80",
        "[::1]",
        "",
        "%lo",
    ],
)
def test_not_loopback(address: str) -> None:
    assert not is_loopback(address)


@given(st.ip_addresses(v=4))
def test_mapping_into_v6_changes_nothing(address: ipaddress.IPv4Address) -> None:
    mapped = f"::ffff:{address}"
    assert is_loopback(mapped) == is_loopback(str(address)) == address.is_loopback
    assert same_address(mapped, str(address))


@given(st.text())
def test_any_text_has_an_answer(text: str) -> None:
    assert not (is_loopback(text) and is_wildcard(text))


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "::ffff:0.0.0.0", "0:0:0:0:0:0:0:0"])
def test_wildcard(address: str) -> None:
    assert is_wildcard(address)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "10.0.0.1", "*", ""])
def test_not_wildcard(address: str) -> None:
    assert not is_wildcard(address)


def test_texts_that_are_no_address_are_never_the_same() -> None:
    assert not same_address("localhost", "localhost")
    assert not same_address("10.0.0.1", "10.0.0.2")
