"""Spans of time on the command line: 90s, 30m, 2h."""

from __future__ import annotations

import re
from datetime import timedelta

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours"}


def read_span(text: str, option: str) -> timedelta:
    """The span that `text` means.

    Raises:
        UsageError: it means none; `option` is named.
    """
    match = re.fullmatch(r"([0-9]{1,6})([smh])", text)
    if match is None:
        from secure_ray.base.errors import UsageError

        raise UsageError(
            "SR-JOIN-041", f"{option} {text!r} is no span of time", fix="write 90s, 30m or 2h"
        )
    return timedelta(**{_UNITS[match[2]]: int(match[1])})
