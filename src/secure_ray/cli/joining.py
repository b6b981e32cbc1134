"""What `up` does for a worker: read the join string, join, or start what has joined before."""

from __future__ import annotations

import os
import platform
import socket
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from secure_ray.node.cluster import Membership
    from secure_ray.node.decide import Decision
    from secure_ray.node.paths import ClusterPaths
    from secure_ray.pki.join_string import JoinString

_STDIN, _STANDARD_INPUT = "-", 0


@dataclass(frozen=True)
class Join:
    """A wish to join, which is fulfilled once the start is decided on."""

    string: JoinString
    name: str

    def fulfil(self, paths: ClusterPaths, decision: Decision) -> list[str]:
        """Join unless this host has joined before; what was done, for a person.

        Raises:
            RejectedError: the head said no.
            FailedError: the head cannot be reached, or what is here stands against it.
        """
        from secure_ray.base.clock import utc_now
        from secure_ray.network.guard.library import guard_library, self_test
        from secure_ray.network.guard.rules import GuardRules
        from secure_ray.node.membership import become_member, require_can_join

        address = decision.address
        if require_can_join(paths, self.string, address=address, now=utc_now()):
            return ["this host has joined that cluster before; the join string was not used"]
        # Before the token is spent: without the guard this host would be a node that cannot start.
        self_test(guard_library(), GuardRules(address, frozenset(), frozenset()))
        versions = {
            "ray": decision.versions["ray"],
            "python": platform.python_version(),
            "secure-ray": version("secure-ray"),
        }
        cluster = become_member(
            paths,
            self.string,
            name=self.name,
            address=address,
            versions=versions,
            clock=utc_now,
        )
        assert cluster.membership is not None  # noqa: S101  # it has just become one
        return [f"joined as {cluster.membership.name} ({cluster.membership.address})"]

    def require_done(self, paths: ClusterPaths, decision: Decision) -> None:
        """Check that the node that runs here is already what this wish asks for.

        Raises:
            FailedError: it is a head, or of another cluster.
            IncompleteError: it would have to join again.
        """
        from secure_ray.base.clock import utc_now
        from secure_ray.base.commands import command
        from secure_ray.base.errors import IncompleteError
        from secure_ray.node.membership import require_can_join

        address = decision.address
        if not require_can_join(paths, self.string, address=address, now=utc_now()):
            raise IncompleteError(
                "SR-JOIN-052",
                f"the node of cluster {paths.name} runs here as it joined before; the join string "
                "was not used",
                fix=f"{command('down', paths.name)}, then run this again with the same string",
            )


def read_join(source: str, name: str | None, known: Membership | None = None) -> Join:
    """The wish in `source`: "-" for standard input, or a file that only we can read.

    Args:
        source: Where the join string is.
        name: What the node is to be called; None for the name that it has, or its host's.
        known: What this host is already.

    Raises:
        UsageError: it holds no join string, or the name is none.
        FailedError: the file is not ours alone.
    """
    from secure_ray.base.errors import UsageError
    from secure_ray.node.membership import node_name
    from secure_ray.pki.join_string import parse_join_string
    from secure_ray.policy.admission import is_node_name

    if name is None:
        name = known.name if known else node_name(socket.gethostname())
    if not is_node_name(name):
        raise UsageError(
            "SR-JOIN-049",
            f"{name!r} is no name for a node",
            fix="use up to 63 lower-case letters, digits and hyphens: --name w1",
        )
    return Join(parse_join_string(_read(source)), name)


def towards(wish: Any, address: str) -> Any:
    """The wish of a worker: it listens where it reaches the head at `address` from."""
    return replace(wish, towards=address)


def joined_before(paths: ClusterPaths) -> Membership | None:
    """What this host is already; None when it is no worker."""
    from secure_ray.node.cluster import read_cluster

    known = read_cluster(paths)
    return known.membership if known is not None else None


def _read(source: str) -> str:
    from secure_ray.base.files import read_private

    if source == _STDIN:
        from secure_ray.cli.output import say
        from secure_ray.cli.pasting import read_pasted

        return read_pasted(_STANDARD_INPUT, say=say)
    if source.startswith("SRJ1-"):
        from secure_ray.cli.output import warn

        warn("the join string was on the command line, where every user of this host can see it")
        return source
    return read_private(Path(os.path.abspath(source))).decode(errors="replace")  # noqa: PTH100
