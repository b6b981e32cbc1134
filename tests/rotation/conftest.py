"""A cluster of a head and two workers without Ray, which obeys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from support.fleet import Fleet

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def fleet(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    """Ray's part in it: work that moves, and a head that starts again."""
    made = Fleet(home)

    def drain(_plan: object, address: str, **_more: Any) -> bool:
        made.drained.append(address)
        return True

    def restart(_paths: object, _on_event: object) -> None:
        made.head.end()
        made.head.start()

    monkeypatch.setattr("secure_ray.rotation.roll.drain", drain)
    monkeypatch.setattr("secure_ray.rotation.rotate.restart", restart)
    yield made
    made.close()
