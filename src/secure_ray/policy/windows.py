"""When nodes may restart by themselves: `Sun 02:00-05:00`, `daily 03:00-04:00`, `always`.

Times are those of the host's clock on the wall. A window that ends before it begins ends on the
next day. On the day of a change to or from summer time it is as much shorter or longer.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAILY = "daily"
_ALWAYS = "always"
_FORM = re.compile(r"(\w{3,5}) +([01]\d|2[0-3]):([0-5]\d) *- *([01]\d|2[0-3]):([0-5]\d)")
_DAY = 24 * 60


@dataclass(frozen=True)
class Window:
    """A span of time that comes again each week, or each day.

    Attributes:
        days: The days on which it begins, Monday is 0.
        begins: Minutes after midnight.
        minutes: How long it lasts.
    """

    days: frozenset[int]
    begins: int
    minutes: int

    def is_open(self, now: datetime) -> bool:
        """Whether `now`, in the host's time, lies in it."""
        today, minute = now.weekday(), now.hour * 60 + now.minute
        since_today, since_yesterday = minute - self.begins, minute - self.begins + _DAY
        return (today in self.days and 0 <= since_today < self.minutes) or (
            (today - 1) % 7 in self.days and since_yesterday < self.minutes
        )


ALWAYS = Window(frozenset(range(7)), 0, _DAY)


def parse_window(text: str) -> Window:
    """The window that `text` describes.

    Raises:
        ValueError: it describes none; finishes the sentence "window ...".
    """
    wanted = text.strip().lower()
    if wanted == _ALWAYS:
        return ALWAYS
    found = _FORM.fullmatch(wanted)
    if found is None or found[1] not in (*_DAYS, _DAILY):
        raise ValueError(
            f"is {text!r}, not such as 'Sun 02:00-05:00', 'daily 03:00-04:00' or 'always'"
        )
    days = range(7) if found[1] == _DAILY else (_DAYS.index(found[1]),)
    begins, ends = (int(found[at]) * 60 + int(found[at + 1]) for at in (2, 4))
    return Window(frozenset(days), begins, (ends - begins) % _DAY or _DAY)
