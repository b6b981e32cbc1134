from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.cluster import hardened_cluster
from support.servers import Pki, make_pki

if TYPE_CHECKING:
    from collections.abc import Iterator

    from secure_ray.audit.target import Target


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return make_pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture
def home() -> Iterator[Path]:
    """A private directory with a short path: a Unix socket's ends at 107 bytes."""
    path = Path(tempfile.mkdtemp(prefix="sr-", dir="/tmp"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def target(home: Path, pki: Pki) -> Iterator[Target]:
    with hardened_cluster(home, pki) as target:
        yield target
