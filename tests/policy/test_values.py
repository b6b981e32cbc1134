"""Which values count as unsafe: typing errors always do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secure_ray.policy.values import (
    ANY,
    EACH_KEY,
    INSTALLER_OPTIONS,
    NEVER,
    NOT_HTTPS,
    OFF,
    ON,
    PLAIN_HTTP,
    Check,
    Unsafe,
    is_loopback,
    is_wildcard,
    one_of,
    other_than,
    shown,
)


@pytest.mark.parametrize(
    ("unsafe", "value", "expected"),
    [
        (NEVER, "x", False),
        (EACH_KEY, "x", False),
        (ANY, "", True),
        (ON, "0", False),
        (ON, "False", False),
        (ON, "", False),
        (ON, False, False),
        (ON, True, True),
        (ON, "1", True),
        (ON, "no", True),
        (OFF, "1", False),
        (OFF, "TRUE", False),
        (OFF, True, False),
        (OFF, "yes", True),
        (OFF, " 1", True),
        (OFF, "", True),
        (one_of("-1"), -1, True),
        (one_of("-1"), 30, False),
        (other_than("token"), "Token", False),
        (other_than("token"), "tokn", True),
        (other_than("token"), "to\u212aen", True),
        (NOT_HTTPS, "https://collector.example", False),
        (NOT_HTTPS, "http://collector.example", True),
        (NOT_HTTPS, "collector.example:80", True),
        (PLAIN_HTTP, "https://x/code.zip", False),
        (PLAIN_HTTP, "HTTP://x/code.zip", True),
        (PLAIN_HTTP, ["./a", {"b": ["http://x"]}], True),
        (INSTALLER_OPTIONS, ["numpy==2.0"], False),
        (INSTALLER_OPTIONS, {"packages": ["numpy"], "pip_check": False}, False),
        (INSTALLER_OPTIONS, {"packages": [], "pip_install_options": ["x"]}, True),
        (INSTALLER_OPTIONS, ("--index-url=https://x", "numpy"), True),
        (INSTALLER_OPTIONS, ["a @ http://x/a.whl"], True),
    ],
)
def test_a_value_is_judged(unsafe: Unsafe, value: object, *, expected: bool) -> None:
    assert unsafe.holds(value) is expected


@pytest.mark.parametrize(
    ("address", "loopback", "wildcard"),
    [
        ("127.0.0.1", True, False),
        ("127.1.2.3", True, False),
        ("::1", True, False),
        ("[::1]", True, False),
        ("::ffff:127.0.0.1", True, False),
        ("localhost", True, False),
        ("0.0.0.0", False, True),
        ("::", False, True),
        ("[::]", False, True),
        ("::ffff:0.0.0.0", False, True),
        ("", False, True),
        ("*", False, True),
        ("10.0.0.5", False, False),
        ("8.8.8.8", False, False),
        ("127.1", False, False),
        ("0", False, False),
        (" 127.0.0.1", False, False),
        ("localhost.example", False, False),
    ],
)
def test_addresses_are_told_apart(address: str, *, loopback: bool, wildcard: bool) -> None:
    assert (is_loopback(address), is_wildcard(address)) == (loopback, wildcard)


@given(st.sampled_from(["token", "1", "true", "0", "false"]), st.text(max_size=8))
def test_only_the_whole_word_is_a_switch(word: str, typo: str) -> None:
    """A word with anything added, in front or behind, is another word."""
    unsafe = other_than(word)

    assert not unsafe.holds(word.upper())
    assert unsafe.holds(word + typo) is bool(typo)
    assert unsafe.holds(typo + word) is bool(typo)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("redis://:hunter2@store:6379", "redis://***@store:6379"),
        ("a\x1b[2Jb\nc", "a\\x1b[2Jb\\nc"),
        ("x" * 200, "x" * 80 + "..."),
        (True, "true"),
    ],
    ids=["password", "terminal", "long", "boolean"],
)
def test_a_shown_value_is_short_plain_and_without_password(value: object, expected: str) -> None:
    assert shown(value) == expected


@pytest.mark.parametrize("check", Check)
def test_every_check_says_in_words_what_is_unsafe(check: Check) -> None:
    assert Unsafe(check).describe()
    assert Unsafe(check, ("", "x")).describe().endswith("empty, `x`")
