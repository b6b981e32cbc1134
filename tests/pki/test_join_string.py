"""The join string survives every paste, and every damage is named."""

from __future__ import annotations

import base64
import string as letters
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secure_ray.base.errors import UsageError
from secure_ray.base.secrets import Secret
from secure_ray.pki.join_string import (
    MOST_ADDRESSES,
    Endpoint,
    JoinString,
    _with_check,
    parse_join_string,
)

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
ENDPOINTS = st.builds(
    Endpoint,
    st.one_of(st.builds(str, st.ip_addresses(v=4)), st.builds(str, st.ip_addresses(v=6))),
    st.integers(0, 65535),
)
STRINGS = st.builds(
    JoinString,
    id=st.text("abcdefghijklmnopqrstuvwxyz234567", min_size=8, max_size=8),
    cluster_id=st.binary(min_size=8, max_size=8).map(bytes.hex),
    pins=st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=2).map(tuple),
    secret=st.binary(min_size=20, max_size=20).map(lambda value: Secret(value.hex())),
    expires=st.integers(0, 2**32 - 1).map(lambda value: EPOCH + timedelta(seconds=value)),
    heads=st.lists(ENDPOINTS, min_size=1, max_size=MOST_ADDRESSES).map(tuple),
)
ONE = JoinString(
    id="abcdefgh",
    cluster_id="c1d2e3f4a5b60718",
    pins=(bytes(32),),
    secret=Secret("ab" * 20),
    expires=datetime(2030, 1, 1, tzinfo=timezone.utc),
    heads=(Endpoint("10.0.0.5", 10250),),
)


def code_of(text: str) -> str:
    with pytest.raises(UsageError) as caught:
        parse_join_string(text)
    return caught.value.code


@given(STRINGS)
def test_what_is_written_is_read(string: JoinString) -> None:
    text = string.text().reveal()

    assert parse_join_string(text) == string
    assert len(text) < 300


def test_it_is_short_enough_for_a_line_and_long_enough_to_be_safe() -> None:
    text = ONE.text().reveal()

    assert len(text) <= 125
    assert set(text) <= {*letters.ascii_letters, *letters.digits, "-", "_"}  # no shell quotes it


@given(st.text())
def test_any_text_is_read_or_refused_with_a_reason(text: str) -> None:
    assert code_of(text).startswith("SR-JOIN-00")


@given(st.binary(max_size=300))
def test_any_payload_is_read_or_refused_with_a_reason(payload: bytes) -> None:
    coded = base64.urlsafe_b64encode(payload).decode().rstrip("=")
    text = _with_check(f"SRJ1-abcdefgh-{coded}")
    try:
        parse_join_string(text)
    except UsageError as error:
        assert error.code in {"SR-JOIN-005", "SR-JOIN-002"}  # noqa: PT017


def test_a_payload_that_goes_on_is_not_read() -> None:
    content = base64.urlsafe_b64decode(ONE.text().reveal()[14:-7] + "==") + b"x"
    coded = base64.urlsafe_b64encode(content).decode().rstrip("=")

    assert code_of(_with_check(f"SRJ1-abcdefgh-{coded}")) == "SR-JOIN-005"


@given(STRINGS, st.data())
def test_a_cut_string_is_cut_short(string: JoinString, data: st.DataObject) -> None:
    text = string.text().reveal()
    kept = data.draw(st.integers(5, len(text) - 1))

    # One time in 16 million the end of what is left looks like a check.
    assert code_of(text[:kept]) in {"SR-JOIN-002", "SR-JOIN-003"}


@given(STRINGS, st.data())
def test_a_changed_letter_is_noticed(string: JoinString, data: st.DataObject) -> None:
    text = string.text().reveal()
    place = data.draw(st.integers(5, len(text) - 1))
    other = data.draw(st.sampled_from(letters.ascii_letters).filter(lambda one: one != text[place]))

    assert code_of(text[:place] + other + text[place + 1 :]) in {"SR-JOIN-002", "SR-JOIN-003"}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: f"  {text}\n",
        lambda text: "\r\n".join(text[i : i + 40] for i in range(0, len(text), 40)),
        lambda text: f"'{text}'",
        lambda text: f"`{text}`\n",
        "\t".join,
    ],
)
def test_what_a_paste_adds_is_forgiven(spoil: object) -> None:
    assert callable(spoil)
    assert parse_join_string(spoil(ONE.text().reveal())) == ONE


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "SR-JOIN-001"),
        ("hello", "SR-JOIN-001"),
        ("SRJ1", "SR-JOIN-001"),
        ("SRJ1-", "SR-JOIN-002"),
        ("SRJ1-abcdefgh-", "SR-JOIN-002"),
        ("SRU1-abcdefgh-secret", "SR-JOIN-004"),
        ("SRR1-abcdefgh-secret", "SR-JOIN-004"),
        ("SRJ2-abcdefgh-secret", "SR-JOIN-005"),
        (ONE.text().reveal() + "x" * 2000, "SR-JOIN-002"),
    ],
)
def test_the_cause_is_named(text: str, code: str) -> None:
    assert code_of(text) == code


def test_no_error_holds_the_secret() -> None:
    text = ONE.text().reveal()
    with pytest.raises(UsageError) as caught:
        parse_join_string(text[:-3])

    assert text[20:40] not in f"{caught.value!r} {caught.value.cause} {caught.value.fix}"
    assert text[20:40] not in repr(ONE.text())
    assert "abab" not in repr(ONE)


def test_only_one_text_says_the_same() -> None:
    """Base64 whose last digit has spare bits must not spell a string in two ways."""
    text = ONE.text().reveal()
    body = text[:-7]
    twins = [_with_check(body[:-1] + one) for one in letters.ascii_letters + letters.digits]

    assert len(base64.urlsafe_b64decode(body[14:] + "==")) == 73
    assert [twin for twin in twins if twin != text and _reads_as(twin, ONE)] == []


def _reads_as(text: str, string: JoinString) -> bool:
    try:
        return parse_join_string(text) == string
    except UsageError:
        return False


@pytest.mark.parametrize(
    "change",
    [
        {"id": "ABCDEFGH"},
        {"cluster_id": "c1"},
        {"pins": ()},
        {"pins": (bytes(31),)},
        {"pins": (bytes(32),) * 3},
        {"heads": ()},
        {"heads": ONE.heads * 5},
        {"heads": (Endpoint("10.0.0.5", 65536),)},
        {"heads": (Endpoint("head.example", 1),)},
        {"secret": Secret("ab")},
        {"expires": datetime(2200, 1, 1, tzinfo=timezone.utc)},
    ],
    ids=str,
)
def test_what_does_not_fit_is_not_written(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"."):
        replace(ONE, **change).text()  # type: ignore[arg-type]


def test_an_endpoint_is_written_as_in_a_url() -> None:
    assert str(Endpoint(str(IPv4Address("10.0.0.5")), 80)) == "10.0.0.5:80"
    assert str(Endpoint(str(IPv6Address("fd00::5")), 80)) == "[fd00::5]:80"


@pytest.mark.parametrize("letter", ["\udcff", "ä"])
def test_what_is_no_letter_was_altered(letter: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_join_string(f"SRJ1-abcdefgh-{letter}AAAA-123456")

    assert (caught.value.code, "no letter" in caught.value.cause) == ("SR-JOIN-003", True)
