"""A node's leaf and token: a head makes its own, a worker has what its head gave."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from secure_ray.base.errors import FailedError
from secure_ray.base.files import write_private
from secure_ray.node.cluster import Membership, ensure_cluster
from secure_ray.node.identity import NodeCredentials, leaf_expires, prepare_credentials
from secure_ray.node.paths import ClusterPaths
from secure_ray.node.place import LOCAL, Place, head_at
from secure_ray.pki.credentials import make_ephemeral_credentials
from secure_ray.pki.facts import read_facts
from support.plans import NOW, WORKER, ports_of, settings_of

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

LIFE = timedelta(days=90)
MEMBER = Membership(
    node="89abcdef01234567",
    name=WORKER.name,
    address=WORKER.address,
    head=WORKER.head,
    door=20490,
    ports=ports_of(settings_of(), private=True),
)


@pytest.fixture
def paths(home: Path) -> ClusterPaths:
    return ClusterPaths(home, "default")


@pytest.fixture
def joined(paths: ClusterPaths) -> ClusterPaths:
    """A worker: a leaf and a token, and no authority."""
    ensure_cluster(paths)
    for directory in (paths.pki, paths.pki / "node"):
        directory.mkdir(mode=0o700)
    make_ephemeral_credentials(
        paths.pki / "node" / "current", sans=(WORKER.address,), now=NOW, lifetime=LIFE
    )
    write_private(paths.token, b"0" * 64)
    return paths


def prepare(
    paths: ClusterPaths, place: Place, *, now: datetime = NOW, member: bool = False
) -> NodeCredentials:
    cluster = ensure_cluster(paths)
    if member:
        cluster = type(cluster)(cluster.name, cluster.id, cluster.run, 0, MEMBER)
    return prepare_credentials(paths, cluster, settings_of(), place, now=now)


@pytest.mark.parametrize("place", [LOCAL, head_at("10.77.0.1"), head_at("fd00::1")], ids=str)
def test_leaf_of_a_head_bears_its_address(paths: ClusterPaths, place: Place) -> None:
    prepare(paths, place)

    leaf = read_facts(paths.pki / "node" / "current" / "node.crt")
    assert set(leaf.sans) == {"127.0.0.1", "::1", "localhost", place.address}


def test_head_that_moves_gets_a_leaf_for_its_new_address(paths: ClusterPaths) -> None:
    prepare(paths, LOCAL)
    token = paths.token.read_bytes()

    changed = prepare(paths, head_at("10.77.0.1"))

    assert changed.changes
    assert "10.77.0.1" in read_facts(paths.pki / "node" / "current" / "node.crt").sans
    assert paths.token.read_bytes() == token


def test_worker_keeps_what_it_was_given_and_makes_no_authority(joined: ClusterPaths) -> None:
    before = sorted(joined.pki.rglob("*"))

    found = prepare(joined, WORKER, member=True)

    assert found == NodeCredentials(leaf_expires(joined).isoformat(timespec="seconds"))
    assert sorted(joined.pki.rglob("*")) == before
    assert not (joined.pki / "authority" / "current" / "root.crt").exists()
    assert not joined.passphrase.exists()


@pytest.mark.parametrize("after", [timedelta(0), timedelta(days=1)])
def test_expired_leaf_of_a_worker_is_told(joined: ClusterPaths, after: timedelta) -> None:
    expires = leaf_expires(joined)
    prepare(joined, WORKER, member=True, now=expires - timedelta(seconds=1))

    with pytest.raises(FailedError) as caught:
        prepare(joined, WORKER, member=True, now=expires + after)

    assert caught.value.code == "SR-JOIN-045"
    assert "join-token create" in caught.value.fix


def test_token_that_others_can_read_is_refused(joined: ClusterPaths) -> None:
    joined.token.chmod(0o640)

    with pytest.raises(FailedError) as caught:
        prepare(joined, WORKER, member=True)

    assert caught.value.code == "SR-FILE-002"


def test_worker_without_its_token_is_told(joined: ClusterPaths) -> None:
    joined.token.unlink()

    with pytest.raises(FailedError):
        prepare(joined, WORKER, member=True)

    assert not joined.token.exists()
