"""A secret shows nowhere but where it is asked for."""

import copy
import json
import pickle
from dataclasses import asdict, dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secure_ray.base.secrets import Secret, redact

VALUE = "correct horse"


@dataclass(frozen=True)
class Holder:
    secret: Secret


@pytest.mark.parametrize(
    "show",
    [
        repr,
        str,
        "{}".format,
        "{0!r:>20}".format,
        lambda secret: f"{secret:>40}",
        lambda secret: "%s %r" % (secret, secret),  # noqa: UP031  # how logging shows it
        lambda secret: repr(Holder(secret)),
        lambda secret: repr([secret]),
    ],
    ids=["repr", "str", "format", "format-spec", "f-string", "percent", "dataclass", "list"],
)
def test_a_secret_shows_as_stars(show: object) -> None:
    assert callable(show)
    shown = show(Secret(VALUE))

    assert VALUE not in shown
    assert "********" in shown


@pytest.mark.parametrize("carry", [pickle.dumps, copy.copy, copy.deepcopy, json.dumps])
def test_a_secret_is_not_carried_away(carry: object) -> None:
    assert callable(carry)
    with pytest.raises(TypeError):
        carry(Secret(VALUE))


def test_a_secret_is_not_carried_away_in_a_dataclass() -> None:
    with pytest.raises(TypeError):
        asdict(Holder(Secret(VALUE)))


def test_secrets_are_equal_by_value_and_to_secrets_only() -> None:
    assert Secret(VALUE) == Secret(VALUE)
    assert Secret(VALUE) != Secret("another")
    assert Secret(VALUE) != VALUE
    with pytest.raises(TypeError):
        hash(Secret(VALUE))


def test_a_random_secret_has_its_bits_and_is_another_each_time() -> None:
    first, second = Secret.random_hex(256), Secret.random_hex(256)

    assert len(bytes.fromhex(first.reveal())) == 32
    assert first != second


def test_redact_takes_every_occurrence_of_every_secret() -> None:
    shown = redact("a=s3cret b=s3cret c=t0ken", (Secret("s3cret"), Secret("t0ken")))

    assert shown == "a=******** b=******** c=********"


def test_redact_leaves_no_end_of_a_longer_secret_behind() -> None:
    """The shorter one, taken first, would leave the rest of the longer in clear."""
    assert redact("abcdef", (Secret("abc"), Secret("abcdef"))) == "********"


def test_redact_with_an_empty_secret_changes_nothing() -> None:
    assert redact("text", (Secret(""),)) == "text"


@given(
    before=st.text("xyz"),
    after=st.text("xyz"),
    values=st.lists(st.text("ab", min_size=1), min_size=1),
)
def test_no_secret_survives_redaction(before: str, after: str, values: list[str]) -> None:
    shown = redact(before + values[0] + after, tuple(map(Secret, values)))

    assert not any(value in shown for value in values)
