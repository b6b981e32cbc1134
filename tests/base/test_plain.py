"""Values as JSON: what cannot be written is told as what it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from secure_ray.base.errors import UsageError
from secure_ray.base.plain import from_plain_json, is_utf8, plain_json

ODD = "/home/x\udcff"  # what Python makes of the byte 0xff


@dataclass(frozen=True)
class _Value:
    path: Path
    text: str = ""


def test_value_comes_back_as_it_was() -> None:
    value = _Value(Path("/a b/ü"), "x")

    assert from_plain_json(plain_json(value), _Value) == value


@pytest.mark.parametrize("value", [_Value(Path(ODD)), _Value(Path(), ODD)])
def test_what_is_not_utf8_is_a_fault_of_the_user_and_not_shown(value: _Value) -> None:
    with pytest.raises(UsageError) as caught:
        plain_json(value)

    assert caught.value.code == "SR-CFG-025"
    assert "home" not in str(caught.value)


def test_bytes_of_other_encodings_are_not_utf8() -> None:
    assert is_utf8("/home/ü")
    assert not is_utf8(ODD)
