"""The guard's library, built without a warning."""

from __future__ import annotations

from importlib.machinery import EXTENSION_SUFFIXES
from typing import TYPE_CHECKING

import pytest

from support.guarded import SOURCES, Guarded, compile_strictly

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("guard")
    return compile_strictly(SOURCES, directory / f"_guard{EXTENSION_SUFFIXES[0]}")


@pytest.fixture(scope="session")
def guarded(library: Path) -> Guarded:
    return Guarded(library)
