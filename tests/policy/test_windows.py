from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from secure_ray.policy.windows import ALWAYS, parse_window

SUNDAY = datetime(2026, 11, 22, tzinfo=timezone.utc)


def at(text: str, *, days: int = 0) -> datetime:
    hours, minutes = map(int, text.split(":"))
    return SUNDAY + timedelta(days=days, hours=hours, minutes=minutes)


@pytest.mark.parametrize(
    ("window", "moment", "is_open"),
    [
        ("Sun 02:00-05:00", at("01:59"), False),
        ("Sun 02:00-05:00", at("02:00"), True),
        ("sun 02:00 - 05:00", at("04:59"), True),
        ("Sun 02:00-05:00", at("05:00"), False),
        ("Sun 02:00-05:00", at("03:00", days=1), False),
        ("Sun 02:00-05:00", at("03:00", days=7), True),
        ("Sun 23:00-01:00", at("23:30"), True),
        ("Sun 23:00-01:00", at("00:30", days=1), True),
        ("Sun 23:00-01:00", at("00:30"), False),
        ("Sun 23:00-01:00", at("01:00", days=1), False),
        ("Mon 23:00-01:00", at("00:30", days=2), True),
        ("Sat 23:00-01:00", at("00:30"), True),
        ("Sun 00:00-00:00", at("00:00"), True),
        ("Sun 00:00-00:00", at("23:59"), True),
        ("Sun 00:00-00:00", at("00:00", days=1), False),
        ("daily 03:00-04:00", at("03:30", days=3), True),
        ("daily 03:00-04:00", at("04:30", days=3), False),
        ("daily 23:00-01:00", at("00:30", days=5), True),
        ("always", at("12:00", days=4), True),
    ],
)
def test_open(window: str, moment: datetime, *, is_open: bool) -> None:
    assert parse_window(window).is_open(moment) == is_open


def test_always_has_no_gap() -> None:
    assert all(ALWAYS.is_open(SUNDAY + timedelta(minutes=7 * step)) for step in range(2000))


@pytest.mark.parametrize(
    "text",
    ["", "Sun", "Sunday 02:00-05:00", "Sun 2:00-5:00", "Sun 24:00-25:00", "Sun 02:60-03:00",
     "Foo 02:00-05:00", "Sun 02:00-05:00 UTC", "Sun 02:00", "daily", "Sun \u0660\u0662:00-05:00"],
)  # fmt: skip
def test_what_is_no_window_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not such as"):
        parse_window(text)
