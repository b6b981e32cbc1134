"""What the tests of the policy share: a fixed time, and a review of one request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pytest

from secure_ray.policy.review import Request, Verdict, review

if TYPE_CHECKING:
    from secure_ray.policy.knobs import Kind

NOW = datetime(2026, 11, 22, 12, tzinfo=timezone.utc)

Judge = Callable[..., Verdict]


@dataclass(frozen=True)
class Override:
    until: datetime
    reason: str = "a reason"


@pytest.fixture
def now() -> datetime:
    return NOW


@pytest.fixture
def override() -> Override:
    return Override(NOW + timedelta(days=1))


@pytest.fixture
def expired() -> Override:
    return Override(NOW)


@pytest.fixture
def judge() -> Judge:
    """Review one request as of Ray 2.60.0."""

    def judge(
        kind: Kind, name: str, value: object, *, explicit: bool = True, **options: object
    ) -> Verdict:
        request = Request(kind, name, value, "here", explicit=explicit)
        given: dict[str, object] = {"ray_version": "2.60.0", "now": NOW} | options
        return review([request], **given)  # type: ignore[arg-type]  # the test's own options

    return judge
