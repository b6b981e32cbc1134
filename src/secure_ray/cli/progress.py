"""What is shown while Ray starts: a spinner on a terminal, nothing elsewhere."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_TEXTS = {
    "starting": "starting Ray",
    "proving": "proving that every socket is closed to others",
    "running": "running",
}


@contextmanager
def progress() -> Iterator[Callable[[dict[str, Any]], None]]:
    """Yields what takes the supervisor's events."""
    if not sys.stderr.isatty():
        yield lambda _event: None
        return
    from rich.console import Console

    with Console(stderr=True).status(_TEXTS["starting"]) as status:

        def show(event: dict[str, Any]) -> None:
            status.update(_TEXTS.get(event["event"], event["event"]))

        yield show
