"""Lives that make no sense are refused."""

from datetime import datetime, timedelta, timezone

import pytest

from secure_ray.base.errors import UsageError
from secure_ray.pki.lifetimes import Lifetimes, backdating, made_at

DAY = timedelta(days=1)


def test_the_defaults_are_ten_years_a_year_and_ninety_days() -> None:
    assert Lifetimes() == Lifetimes(root=3650 * DAY, issuing=365 * DAY, leaf=90 * DAY)


def test_all_may_be_as_short_as_one_minute() -> None:
    Lifetimes(*[timedelta(minutes=1)] * 3)


@pytest.mark.parametrize(
    ("root", "issuing", "leaf"),
    [
        (3650 * DAY, 365 * DAY, timedelta(seconds=59)),
        (3650 * DAY, 365 * DAY, -DAY),
        (3650 * DAY, 89 * DAY, 90 * DAY),
        (364 * DAY, 365 * DAY, 90 * DAY),
    ],
    ids=["too short", "negative", "leaf outlives issuing", "issuing outlives root"],
)
def test_a_life_that_makes_no_sense_is_refused(
    root: timedelta, issuing: timedelta, leaf: timedelta
) -> None:
    with pytest.raises(UsageError, match="SR-PKI-009"):
        Lifetimes(root=root, issuing=issuing, leaf=leaf)


@pytest.mark.parametrize(
    ("life", "before"),
    [
        (90 * DAY, timedelta(minutes=5)),
        (timedelta(minutes=10), timedelta(minutes=5)),
        (timedelta(minutes=5), timedelta(minutes=2.5)),
        (timedelta(minutes=1), timedelta(seconds=30)),
    ],
)
def test_a_short_life_begins_less_early_and_still_tells_when_it_was_made(
    life: timedelta, before: timedelta
) -> None:
    made = datetime(2030, 1, 1, tzinfo=timezone.utc)

    assert backdating(life) == before
    assert made_at(made - before, made + life) == made
