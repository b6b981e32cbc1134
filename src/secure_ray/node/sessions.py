"""Ray's session directories on this node: what Ray makes, never removes, and trips over."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from secure_ray.base.files import remove_tree

if TYPE_CHECKING:
    from secure_ray.node.paths import RunPaths

_KEPT = 3


def forget_old_sessions(run: RunPaths) -> None:
    """Keep the logs of the last starts; Ray itself never removes a session."""
    sessions = sorted(
        entry for entry in run.ray.glob("session_2*") if entry.is_dir() and not entry.is_symlink()
    )
    for session in sessions[:-_KEPT]:
        remove_tree(session)


def make_way(run: RunPaths) -> None:
    """Take away what Ray's last life left and the next one would trip over.

    A head whose control store is kept goes on in the same session, so these lie in its way.
    """
    # Names the last head's address. Ray refuses to start at the same one again when it also finds
    # that address on the command line of any process, of whatever namespace (Ray 2.60.0,
    # scripts/scripts.py, _private/services.py `find_gcs_addresses`).
    (run.ray / "ray_current_cluster").unlink(missing_ok=True)
    last = run.ray / "session_latest"
    with suppress(OSError):
        # Ray takes another name for each that is there, and a socket's path must stay short.
        for entry in (last / "sockets").iterdir():
            if entry.is_socket():
                entry.unlink()
    with suppress(OSError):
        # Tells why Ray has ended, and is read for the next end.
        (last / "logs" / "ray_process_exit.log").unlink()


def session_name(run: RunPaths) -> str:
    """The session of the Ray that runs here, or ran last; "" before the first one.

    A head's is kept in its control store (Ray 2.60.0, `_private/node.py`
    `check_persisted_session_name`): it is the same as long as that knows the same cluster.
    """
    try:
        return os.path.basename(os.readlink(run.ray / "session_latest"))  # noqa: PTH115, PTH119
    except OSError:
        return ""
