"""Names are spelled one way, and only plain names pass."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secure_ray.base.errors import UsageError
from secure_ray.pki.sans import parse_sans


@pytest.mark.parametrize(
    ("given_name", "spelled"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("0:0:0:0:0:0:0:1", "::1"),
        ("FE80::0001", "fe80::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("LocalHost", "localhost"),
        ("head.example.com.", "head.example.com"),
        ("my_container", "my_container"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("4f0c1d2e3f4a", "4f0c1d2e3f4a"),
    ],
)
def test_a_name_has_one_spelling(given_name: str, spelled: str) -> None:
    assert parse_sans((given_name,)) == (spelled,)


def test_names_are_sorted_and_each_stands_once() -> None:
    assert parse_sans(("localhost", "::1", "LOCALHOST", "127.0.0.1", "0::1")) == (
        "127.0.0.1",
        "::1",
        "localhost",
    )


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        "*",
        "*.example.com",
        "a..b",
        ".a",
        "-a",
        "a-",
        "a b",
        "a\nb",
        "a\0b",
        "bücher.example",
        "10.0.0.300",
        "10.0.0",
        "127.0.0.1:6379",
        "[::1]",
        "10.0.0.0/8",
        "http://a",
        "a" * 64,
        ".".join(["a" * 60] * 5),
    ],
)
def test_anything_else_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="SR-PKI-010"):
        parse_sans(("localhost", name))


def test_a_leaf_needs_a_name() -> None:
    with pytest.raises(UsageError, match="at least one"):
        parse_sans(())


@given(st.lists(st.ip_addresses().map(str), min_size=1))
def test_parsing_again_changes_nothing(names: list[str]) -> None:
    once = parse_sans(tuple(names))

    assert parse_sans(once) == once
