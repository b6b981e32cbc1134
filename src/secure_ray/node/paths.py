"""Where a cluster's files are.

SECURE_RAY_HOME/                     0700
    passphrases/NAME                 opens the root key; apart from the keys on purpose
    clusters/NAME/                   0700
        cluster.json                 name, id, the run directory
        lock                         held by whoever changes this cluster
        supervisor.lock              held by the supervisor while it lives
        instance.json                the running (or last) instance: plan, processes, outcome
        supervisor.log
        token                        Ray's cluster token
        neighbours.json              the other nodes' addresses, in private mode
        walled.json                  whom the rules let in that `firewall show` printed last
        nodes.db                     on a head: join tokens and nodes
        pki/                         root, issuing CA, the node's leaf
        spill/                       objects that do not fit into memory
        store/                       on a head: the control store in RocksDB, of one Ray and Python
RUN/                                 0700, short: a socket's path ends at 107 bytes
    control.sock                     the CLI talks to the supervisor
    ray/                             Ray's own tree, which Ray makes 0777
    tmp/                             TMPDIR of everything that Ray starts
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from secure_ray.base.commands import DEFAULT_CLUSTER
from secure_ray.base.errors import UsageError
from secure_ray.base.plain import is_utf8

if TYPE_CHECKING:
    from collections.abc import Mapping

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?")

# sockaddr_un.sun_path is 108 bytes on Linux and 104 on macOS, the closing zero included.
_SOCKET_PATH_LIMIT = 103 if sys.platform == "darwin" else 107
# "/ray/session_2026-11-22_16-46-11_701505_4194304/sockets/dash_MetricsHead": Ray 2.60.0,
# _private/node.py names the session, dashboard/subprocesses/handle.py the longest socket.
_LONGEST_SOCKET = len("/ray/session_2026-11-22_16-46-11_701505_4194304/sockets/dash_MetricsHead.1")
LONGEST_RUN_DIRECTORY = _SOCKET_PATH_LIMIT - _LONGEST_SOCKET


@dataclass(frozen=True)
class ClusterPaths:
    """The files of one cluster that stay between runs."""

    home: Path
    name: str

    @property
    def directory(self) -> Path:
        """All of the cluster's state, but for the passphrase."""
        return self.home / "clusters" / self.name

    @property
    def passphrase(self) -> Path:
        """What opens the root key."""
        return self.home / "passphrases" / self.name

    @property
    def identity(self) -> Path:
        """Name, id and run directory."""
        return self.directory / "cluster.json"

    @property
    def lock(self) -> Path:
        """Held by the command that changes this cluster."""
        return self.directory / "lock"

    @property
    def supervisor_lock(self) -> Path:
        """Held by the supervisor as long as it lives."""
        return self.directory / "supervisor.lock"

    @property
    def instance(self) -> Path:
        """The running or last instance."""
        return self.directory / "instance.json"

    @property
    def log(self) -> Path:
        """What the supervisor did."""
        return self.directory / "supervisor.log"

    @property
    def token(self) -> Path:
        """Ray's cluster token."""
        return self.directory / "token"

    @property
    def neighbours(self) -> Path:
        """The addresses of the cluster's other nodes."""
        return self.directory / "neighbours.json"

    @property
    def walled(self) -> Path:
        """Whom the firewall rules let in that were printed last."""
        return self.directory / "walled.json"

    @property
    def pki(self) -> Path:
        """Keys and certificates."""
        return self.directory / "pki"

    @property
    def store(self) -> Path:
        """Control stores in RocksDB: a directory for each Ray and Python."""
        return self.directory / "store"

    @property
    def spill(self) -> Path:
        """Closes off the next one."""
        return self.directory / "spill"

    @property
    def spilled(self) -> Path:
        """Objects that Ray moves from memory to disk; Ray opens the directory to everybody."""
        return self.spill / "ray"


@dataclass(frozen=True)
class RunPaths:
    """The files of one cluster that live under the short run directory."""

    directory: Path

    @property
    def control(self) -> Path:
        """The supervisor's socket."""
        return self.directory / "control.sock"

    @property
    def ray(self) -> Path:
        """Ray's temporary directory."""
        return self.directory / "ray"

    @property
    def temporary(self) -> Path:
        """TMPDIR of all that Ray starts."""
        return self.directory / "tmp"


def state_home(environ: Mapping[str, str]) -> Path:
    """SECURE_RAY_HOME, else the platform's directory for state.

    Raises:
        UsageError: SECURE_RAY_HOME is not an absolute path, there is no home directory, or it is not
            UTF-8.
    """
    found = _chosen_home(environ)
    if not is_utf8(str(found)):
        raise UsageError(
            "SR-CFG-025",
            f"the directory for keys and state, {str(found)!a}, is not UTF-8",
            fix="export SECURE_RAY_HOME=/a/directory/of/yours",
        )
    return found


def _chosen_home(environ: Mapping[str, str]) -> Path:
    chosen = environ.get("SECURE_RAY_HOME")
    if chosen is not None:
        if not chosen.startswith("/"):
            raise UsageError(
                "SR-CFG-010",
                f"SECURE_RAY_HOME={chosen!r} is not an absolute path",
                fix="export SECURE_RAY_HOME=/a/directory/of/yours",
            )
        return Path(chosen)
    import platformdirs

    try:
        found = Path(platformdirs.user_state_dir("secure-ray", appauthor=False))
    except RuntimeError:  # no HOME and no entry in the list of users
        found = Path()
    if not found.is_absolute():
        raise UsageError(
            "SR-CFG-010",
            "this user has no home directory to keep keys and state in",
            fix="export SECURE_RAY_HOME=/a/directory/of/yours",
        )
    return found


def cluster_paths(environ: Mapping[str, str], name: str | None) -> ClusterPaths:
    """The paths of cluster `name`, else of SECURE_RAY_CLUSTER, else of "default".

    Raises:
        UsageError: the name is not one.
    """
    # An empty `--cluster "$UNSET"` must not mean the default cluster: `down` would stop it.
    chosen = environ.get("SECURE_RAY_CLUSTER") or DEFAULT_CLUSTER if name is None else name
    if not _NAME.fullmatch(chosen):
        raise UsageError(
            "SR-CFG-011",
            f"{chosen!r} is no cluster name",
            fix="use 1 to 32 lower-case letters, digits and hyphens, for example team-a",
        )
    return ClusterPaths(state_home(environ), chosen)


def fits_sockets(run_directory: Path) -> bool:
    """Whether Ray's sockets below `run_directory` stay within the platform's limit."""
    text = str(run_directory)
    return text.isascii() and " " not in text and len(text) <= LONGEST_RUN_DIRECTORY
