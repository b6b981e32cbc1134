"""A cluster's identity on disk, and the short directory that its sockets need."""

from __future__ import annotations

import os
import secrets
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from secure_ray.base.commands import command
from secure_ray.base.errors import FailedError, IncompleteError
from secure_ray.base.files import is_there, make_private_directory, read_private, write_private
from secure_ray.base.locks import lock
from secure_ray.base.ownership import require_private_directory
from secure_ray.base.plain import from_plain_json, plain_json
from secure_ray.node.paths import ClusterPaths, RunPaths, fits_sockets
from secure_ray.node.place import Place
from secure_ray.policy.ports import PortPlan

if TYPE_CHECKING:
    from collections.abc import Iterator

_SHORT_PARENT = Path("/tmp")  # noqa: S108  # a random name with mode 0700, made atomically
_LOCK_WAIT = 30.0
DAMAGED_RECORD = "SR-STATE-001"


@dataclass(frozen=True)
class Membership:
    """What the head told this node when it joined; a head has none.

    Attributes:
        node: The head's id for this node.
        name: This node's name.
        address: This node's address, as the head sees it; its leaf bears it.
        head: The head's address.
        door: The port of the head's door for nodes.
        ports: The head's port plan; all nodes have the same numbers.
    """

    node: str
    name: str
    address: str
    head: str
    door: int
    ports: PortPlan

    @property
    def place(self) -> Place:
        """Where this node is in its cluster."""
        return Place(self.name, self.address, self.head)


@dataclass(frozen=True)
class Cluster:
    """What stays the same from one start to the next.

    Attributes:
        name: The name the user gave.
        id: Random, the head's choice; stands in every certificate.
        run: The short directory.
        base: First port of the block it had last, tried first next time; 0 before the first start.
        membership: What makes this node a worker; None on a head.
    """

    name: str
    id: str
    run: str
    base: int = 0
    membership: Membership | None = None

    @property
    def mark(self) -> str:
        """Marks the cluster's processes on this node; two nodes of it may be on one host."""
        return self.membership.node if self.membership else self.id

    @property
    def run_paths(self) -> RunPaths:
        """The files in the run directory."""
        return RunPaths(Path(self.run))


def read_cluster(paths: ClusterPaths) -> Cluster | None:
    """The cluster at `paths`, or None when there is none (or only the start of one).

    Raises:
        FailedError: the file is there but cannot be trusted or read.
    """
    if not is_there(paths.identity):
        return None
    text = read_private(paths.identity)
    try:
        return from_plain_json(text, Cluster)
    except ValueError:
        raise FailedError(
            DAMAGED_RECORD,
            f"{paths.identity} is not a cluster record",
            fix=command("reset", paths.name),
        ) from None


def ensure_directories(paths: ClusterPaths) -> None:
    """Check the directories of the cluster at `paths`, or make them; then it can be locked.

    Raises:
        FailedError: one is not ours alone, or cannot be made.
    """
    make_private_directory(paths.home)
    for directory in (paths.directory.parent, paths.passphrase.parent, paths.directory):
        make_private_directory(directory)


def ensure_cluster(paths: ClusterPaths) -> Cluster:
    """Read the cluster at `paths`, or make it; its directories are checked or made.

    The caller holds the cluster's lock: two first starts at once would each make an id.

    Raises:
        FailedError: a path is not ours alone, or cannot be made.
    """
    ensure_directories(paths)
    known = read_cluster(paths)
    run = _ensure_run_directory(paths, known.run if known else None)
    cluster = Cluster(
        name=paths.name,
        id=known.id if known else secrets.token_hex(8),
        run=str(run),
        base=known.base if known else 0,
        membership=known.membership if known else None,
    )
    if cluster != known:
        write_cluster(paths, cluster)
    return cluster


def write_cluster(paths: ClusterPaths, cluster: Cluster) -> None:
    """Record `cluster`."""
    write_private(paths.identity, plain_json(cluster).encode() + b"\n")


def _ensure_run_directory(paths: ClusterPaths, known: str | None) -> Path:
    """The recorded directory while it is still ours alone, else a new one.

    A name in /tmp is random and made with mkdir, which fails on anything that is there already: so
    nobody can plant it. A cleaner of /tmp may remove it, and then somebody else may take its name;
    the next start makes another and leaves theirs alone.
    """
    inside = paths.directory / "run"
    if fits_sockets(inside):
        make_private_directory(inside)
        return inside
    if known is not None and is_ours(Path(known)):
        require_private_directory(Path(known))
        return Path(known)
    chosen = _SHORT_PARENT / f"sr-{secrets.token_hex(4)}"
    try:
        chosen.mkdir(mode=0o700)
    except OSError as error:
        raise FailedError(
            "SR-STATE-002",
            f"cannot make a short directory for sockets: {chosen}: {error.strerror}",
            fix=f"make {_SHORT_PARENT} writable, or set SECURE_RAY_HOME to a path of at most "
            "12 letters",
        ) from None
    require_private_directory(chosen)
    return chosen


def is_ours(path: Path) -> bool:
    """Whether something of this user, be it a link, is at `path`.

    Raises:
        FailedError: we may not look.
    """
    return is_there(path) and path.lstat().st_uid == os.geteuid()


@contextmanager
def changing(paths: ClusterPaths, *, wait: float = _LOCK_WAIT) -> Iterator[int]:
    """Hold the cluster's lock: one `up`, `down` or `reset` at a time. Yields its descriptor.

    Raises:
        IncompleteError: another command held it all the time.
    """
    try:
        with lock(paths.lock, wait=wait) as descriptor:
            yield descriptor
    except BlockingIOError:
        raise IncompleteError(
            "SR-STATE-003",
            f"another secure-ray command is working on cluster {paths.name}",
            fix="wait for it to end, then run this again",
        ) from None
