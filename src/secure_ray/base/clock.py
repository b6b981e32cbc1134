"""Time as a parameter: code that needs the time takes a `Clock`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The wall-clock time, aware, in UTC."""
    return datetime.now(timezone.utc)
