"""A node's PKI in a directory of its own, at a time of the test's choosing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pytest

from secure_ray.pki import rotation
from secure_ray.pki.credentials import Credentials, LeafWish, ensure_credentials
from secure_ray.pki.inspection import read_authorities
from secure_ray.pki.lifetimes import DEFAULT_LIFETIMES, Lifetimes
from secure_ray.pki.profiles import Owner
from secure_ray.pki.rotation_facts import read_rotation
from secure_ray.pki.store import PkiPaths

if TYPE_CHECKING:
    from pathlib import Path

    from secure_ray.pki.authority import Authorities, Stage
    from secure_ray.pki.rotation_facts import RotationFacts

BIRTH = datetime(2030, 1, 1, 12, tzinfo=timezone.utc)
SANS = ("127.0.0.1", "::1", "localhost")
NO_WISH = LeafWish()
OWNER = Owner("default", "c1d2e3f4")


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
        cluster: str = OWNER.cluster,
        cluster_id: str = OWNER.cluster_id,
        lifetimes: Lifetimes = DEFAULT_LIFETIMES,
        wish: LeafWish = NO_WISH,
    ) -> Credentials:
        return ensure_credentials(
            self.paths,
            cluster=cluster,
            cluster_id=cluster_id,
            sans=sans,
            now=self.birth + after,
            lifetimes=lifetimes,
            wish=wish,
        )

    def turn(self, *verbs: str, after: timedelta = timedelta(0)) -> RotationFacts:
        """Take the steps of a rotation that are named, in that order."""
        for verb in verbs:
            getattr(rotation, verb)(self.paths, OWNER, now=self.birth + after)
        return self.rotation(after)

    def rotation(self, after: timedelta = timedelta(0)) -> RotationFacts:
        return read_rotation(self.paths, OWNER.cluster, now=self.birth + after)

    @property
    def stage(self) -> Stage:
        return self.authorities.stage

    @property
    def authorities(self) -> Authorities:
        found = read_authorities(self.paths, OWNER.cluster)
        assert found is not None
        return found

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
