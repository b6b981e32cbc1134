import pytest
from hypothesis import given
from hypothesis import strategies as st

from secure_ray.settings.sizes import format_size, parse_size, spell_size

LARGEST = (1 << 63) - 1


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("1048576", 1048576),
        (1048576, 1048576),
        ("512MB", 512_000_000),
        ("512 MiB", 512 << 20),
        ("4GiB", 4 << 30),
        ("4gib", 4 << 30),
        (" 1.5GiB ", 3 << 29),
        ("0.1KB", 100),
        ("7B", 7),
        ("2TiB", 2 << 40),
    ],
)
def test_a_size_is_read_in_bytes(text: str | int, size: int) -> None:
    assert size == parse_size(text)


@pytest.mark.parametrize(
    "bad",
    ["", "GiB", "4G", "4 gigs", "-1", "1.5", "1e9", "4GiB!", "٤GiB", "4GiB\n4", "9" * 30, -1, True],
)
def test_what_is_no_size_is_refused(bad: str | int) -> None:
    with pytest.raises(ValueError, match="should be a size"):
        parse_size(bad)


def test_an_ambiguous_unit_is_answered_with_the_units() -> None:
    with pytest.raises(ValueError, match="KB, KiB"):
        parse_size("4K")


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0B"), (1023, "1023B"), (1 << 30, "1GiB"), (16_487_923_712, "15.4GiB")]
)
def test_a_size_is_shown_for_a_person(size: int, text: str) -> None:
    assert text == format_size(size)


@given(st.integers(0, LARGEST))
def test_a_spelled_size_reads_back_exactly(size: int) -> None:
    assert size == parse_size(spell_size(size))


@given(st.text(max_size=40))
def test_any_text_is_a_size_or_refused(text: str) -> None:
    try:
        size = parse_size(text)
    except ValueError:
        return
    assert 0 <= size <= LARGEST
