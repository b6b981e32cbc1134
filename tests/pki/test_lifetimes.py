"""Lives that make no sense are refused."""

from datetime import timedelta

import pytest

from secure_ray.base.errors import UsageError
from secure_ray.pki.lifetimes import Lifetimes

DAY = timedelta(days=1)


def test_the_defaults_are_ten_years_a_year_and_ninety_days() -> None:
    assert Lifetimes() == Lifetimes(root=3650 * DAY, issuing=365 * DAY, leaf=90 * DAY)


def test_all_may_be_as_short_as_ten_minutes() -> None:
    Lifetimes(*[timedelta(minutes=10)] * 3)


@pytest.mark.parametrize(
    ("root", "issuing", "leaf"),
    [
        (3650 * DAY, 365 * DAY, timedelta(minutes=9)),
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
