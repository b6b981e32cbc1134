"""A node's leaf and cluster token: made on a head, had from the head on a worker."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from secure_ray.base.errors import FailedError
from secure_ray.base.files import make_private_directory
from secure_ray.base.ownership import require_private_file
from secure_ray.pki.sans import EVERY_NODE

if TYPE_CHECKING:
    from datetime import datetime

    from secure_ray.node.cluster import Cluster
    from secure_ray.node.paths import ClusterPaths
    from secure_ray.node.place import Place
    from secure_ray.node.plan import LaunchPlan
    from secure_ray.pki.credentials import Credentials
    from secure_ray.pki.lifetimes import Lifetimes
    from secure_ray.pki.store import PkiPaths
    from secure_ray.settings.model import PkiSettings, Settings

_EPHEMERAL_LIFE = timedelta(days=30)


@dataclass(frozen=True)
class NodeCredentials:
    """What was found or made.

    Attributes:
        expires: When the leaf expires, ISO 8601.
        changes: What was made or renewed, for a person.
        warnings: What was not and should be, for a person.
    """

    expires: str
    changes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def prepare_credentials(
    paths: ClusterPaths,
    cluster: Cluster,
    settings: Settings,
    place: Place,
    *,
    now: datetime,
    ephemeral: bool = False,
) -> NodeCredentials:
    """Make or renew what is missing or due on a head; on a worker, check what the head gave.

    Raises:
        FailedError: a file is not safe or cannot be written, or a worker's leaf has expired.
    """
    if cluster.membership is not None:
        return _of_member(paths, now)
    return _of_head(paths, cluster, settings, place, now=now, ephemeral=ephemeral)


def leaf_expires(paths: ClusterPaths) -> datetime:
    """When the node's leaf expires.

    Raises:
        FailedError: it is not there, or cannot be read.
    """
    from secure_ray.pki.credentials import LeafFiles, read_facts

    return read_facts(LeafFiles.within(paths.pki / "node" / "current").certificate).not_after


def _of_member(paths: ClusterPaths, now: datetime) -> NodeCredentials:
    require_private_file(paths.token)
    expires = leaf_expires(paths)
    if now >= expires:
        raise FailedError(
            "SR-JOIN-045",
            f"this node's certificate expired on {expires:%Y-%m-%d %H:%M} UTC",
            fix="on the head: secure-ray join-token create; then join again from here",
        )
    return NodeCredentials(expires.isoformat(timespec="seconds"))


def pki_paths(paths: ClusterPaths, pki: PkiSettings) -> PkiPaths:
    """Where a cluster's keys and certificates are, and what opens the root key."""
    from secure_ray.pki.store import PkiPaths

    passphrase = Path(pki.passphrase_file) if pki.passphrase_file else paths.passphrase
    return PkiPaths(paths.pki, passphrase)


def renew_head(plan: LaunchPlan, *, now: datetime, fresh: bool = False) -> tuple[str, ...]:
    """Make or renew what is missing or due of a running head's keys and certificates.

    Args:
        plan: The head's.
        now: The time.
        fresh: Make its leaf anew, due or not.

    Returns:
        What was made, for a person.

    Raises:
        FailedError: a file is not safe or cannot be written; what was in use still is.
    """
    made = _ensure(plan.paths, plan.cluster_id, plan.pki, plan.place, now=now, fresh=fresh)
    return made.changes


def _ensure(
    paths: ClusterPaths,
    cluster_id: str,
    pki: PkiSettings,
    place: Place,
    *,
    now: datetime,
    fresh: bool = False,
) -> Credentials:
    from secure_ray.pki.credentials import LeafWish, ensure_credentials

    return ensure_credentials(
        pki_paths(paths, pki),
        cluster=paths.name,
        cluster_id=cluster_id,
        sans=(*EVERY_NODE, place.address),
        now=now,
        lifetimes=lifetimes(pki),
        wish=LeafWish(pki.leaf_key, fresh=fresh),
    )


def lifetimes(pki: PkiSettings) -> Lifetimes:
    """How long certificates live that are made now."""
    from secure_ray.pki.lifetimes import Lifetimes

    return Lifetimes(issuing=timedelta(days=pki.issuing_days), leaf=pki.leaf)


def _of_head(
    paths: ClusterPaths,
    cluster: Cluster,
    settings: Settings,
    place: Place,
    *,
    now: datetime,
    ephemeral: bool,
) -> NodeCredentials:
    from secure_ray.pki.credentials import make_ephemeral_credentials
    from secure_ray.pki.token import ensure_token

    if ephemeral:
        make_private_directory(paths.pki / "node")
        made = make_ephemeral_credentials(
            paths.pki / "node" / "current",
            sans=(*EVERY_NODE, place.address),
            now=now,
            lifetime=_EPHEMERAL_LIFE,
        )
    else:
        made = _ensure(paths, cluster.id, settings.pki, place, now=now)
    changes = [*made.changes]
    if ensure_token(paths.token):
        changes.append("cluster token made")
    expires = made.leaf.not_after.isoformat(timespec="seconds")
    return NodeCredentials(expires, tuple(changes), made.warnings)
