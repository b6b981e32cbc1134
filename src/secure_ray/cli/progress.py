"""What is shown while Ray starts: the step and its seconds on a terminal, nothing elsewhere."""

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
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as display:
        task = display.add_task(_TEXTS["starting"], total=None)

        def show(event: dict[str, Any]) -> None:
            display.update(task, description=_TEXTS.get(event["event"], event["event"]))

        yield show
