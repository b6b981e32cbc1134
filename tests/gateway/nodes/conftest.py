from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.doors import Head, Worker

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def head(tmp_path: Path) -> Head:
    """A head whose door is still closed."""
    return Head(tmp_path / "head")


@pytest.fixture
def worker(tmp_path: Path) -> Worker:
    return Worker(tmp_path / "w1")


@pytest.fixture
def another(tmp_path: Path) -> Callable[[str], Worker]:
    """Makes further workers."""
    return lambda name: Worker(tmp_path / name, name)
