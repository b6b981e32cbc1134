"""Sizes in bytes, as people write them: `4GiB`, `512MB`, `1048576`."""

from __future__ import annotations

import re
from decimal import Decimal

# Largest first. KB is 1000 bytes and KiB is 1024 (IEC 80000-13); a bare K or M is both to
# different programs, so it is refused.
_UNITS = {
    "TiB": 1 << 40,
    "TB": 1000**4,
    "GiB": 1 << 30,
    "GB": 1000**3,
    "MiB": 1 << 20,
    "MB": 1000**2,
    "KiB": 1 << 10,
    "KB": 1000,
    "B": 1,
}
_FACTORS = {unit.lower(): factor for unit, factor in _UNITS.items()}
_BINARY = {unit: factor for unit, factor in _UNITS.items() if unit.endswith("iB")}
_SIZE = r"([0-9]{1,19}(?:\.[0-9]{1,6})?) ?([A-Za-z]{0,3})"
_LARGEST = (1 << 63) - 1
_WANTED = 'should be a size such as "4GiB", "512MB" or a whole number of bytes'


def parse_size(value: str | int) -> int:
    """Bytes of a size; a fraction of a byte is dropped.

    Raises:
        ValueError: `value` is not a size, is negative, or does not fit into 63 bits.
    """
    # bool is an int to Python, and anything may come out of a settings file.
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise ValueError(_WANTED)  # noqa: TRY004  # one error for all that is no size
    size = _parse_text(value) if isinstance(value, str) else value
    if not 0 <= size <= _LARGEST:
        raise ValueError(_WANTED)
    return size


def _parse_text(text: str) -> int:
    found = re.fullmatch(_SIZE, text.strip())
    if found is None:
        raise ValueError(_WANTED)
    number, unit = found.groups()
    if not unit:
        if "." in number:
            raise ValueError(_WANTED)
        return int(number)
    if unit.lower() not in _FACTORS:
        raise ValueError(f"{_WANTED}; the units are {', '.join(reversed(_UNITS))}")
    return int(Decimal(number) * _FACTORS[unit.lower()])


def format_size(size: int) -> str:
    """`size` bytes for a person, rounded to one decimal: `15.4GiB`."""
    for unit, factor in _BINARY.items():
        if size >= factor:
            return f"{size / factor:.1f}".removesuffix(".0") + unit
    return f"{size}B"


def spell_size(size: int) -> str:
    """`size` bytes exactly, in the largest unit that divides it; `parse_size` reads it back."""
    for unit, factor in _UNITS.items():
        if size and size % factor == 0:
            return f"{size // factor}{unit}"
    return "0B"
