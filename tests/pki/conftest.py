"""A node's PKI in a directory of its own, at a time of the test's choosing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pytest

from secure_ray.pki.credentials import Credentials, ensure_credentials
from secure_ray.pki.store import PkiPaths

if TYPE_CHECKING:
    from pathlib import Path

BIRTH = datetime(2030, 1, 1, 12, tzinfo=timezone.utc)
SANS = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True)
class Node:
    """One node, whose credentials can be ensured at any time."""

    paths: PkiPaths
    birth: datetime = BIRTH

    def ensure(
        self,
        after: timedelta = timedelta(0),
        *,
        sans: tuple[str, ...] = SANS,
        cluster: str = "default",
        cluster_id: str = "c1d2e3f4",
    ) -> Credentials:
        return ensure_credentials(
            self.paths,
            cluster=cluster,
            cluster_id=cluster_id,
            sans=sans,
            now=self.birth + after,
        )

    def content(self) -> dict[str, bytes]:
        """Every file by its path, to see what a run changed."""
        roots = (self.paths.directory, self.paths.passphrase.parent)
        return {
            str(path): path.read_bytes()
            for root in roots
            for path in sorted(root.rglob("*"))
            if path.is_file()
        }


@pytest.fixture
def node(tmp_path: Path) -> Node:
    """Nothing made yet."""
    return Node(PkiPaths(tmp_path / "state" / "pki", tmp_path / "passphrases" / "default"))


@pytest.fixture
def born(node: Node) -> Node:
    """All made, at `BIRTH`."""
    node.ensure()
    return node
