"""From a decision to a launch plan whose files, keys and ports are there."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from secure_ray.base.errors import FailedError
from secure_ray.base.files import (
    free_bytes,
    make_private_directory,
    require_own_directory,
    require_private_file,
    require_private_socket,
)
from secure_ray.node.choose_ports import choose_ports
from secure_ray.node.cluster import Cluster, ensure_cluster, read_cluster, write_cluster
from secure_ray.node.paths import RunPaths
from secure_ray.node.plan import LaunchPlan, build_plan

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping
    from datetime import datetime

    from secure_ray.node.decide import Decision
    from secure_ray.node.paths import ClusterPaths
    from secure_ray.pki.credentials import Credentials
    from secure_ray.settings.model import Settings

_SANS = ("127.0.0.1", "::1", "localhost")
_EPHEMERAL_LIFE = timedelta(days=30)


@dataclass(frozen=True)
class Prepared:
    """Ready to be started.

    Attributes:
        plan: What to start.
        reservation: Holds the block of ports until it is closed.
        changes: What was made or renewed on the way, for a person.
        warnings: What was not done and should be, for a person.
        certificate_expires: When the leaf expires, ISO 8601.
    """

    plan: LaunchPlan
    reservation: socket.socket
    changes: tuple[str, ...]
    warnings: tuple[str, ...]
    certificate_expires: str


def prepare(
    decision: Decision,
    paths: ClusterPaths,
    *,
    caller: Mapping[str, str],
    now: datetime,
    ephemeral: bool = False,
    working_directory: Path | None = None,
) -> Prepared:
    """Make what is missing (directories, keys, token), find ports, build the plan.

    Raises:
        FailedError: a file is not safe, a port is taken, the disk is full; nothing is lost.
    """
    settings = decision.settings
    cluster = ensure_cluster(paths)
    _require_nothing_planted(paths, cluster.run_paths)
    _require_space(paths, cluster.run_paths, settings.limits.min_free_disk)
    _forget_old_sessions(cluster.run_paths)
    credentials = _credentials(paths, cluster, settings, now, ephemeral=ephemeral)
    changes = [*credentials.changes]
    from secure_ray.pki.token import ensure_token

    if ensure_token(paths.token):
        changes.append("cluster token made")
    ports, reservation = choose_ports(settings, cluster.base, decision.versions["ray"])
    with ExitStack() as failed:
        failed.callback(reservation.close)
        write_cluster(paths, replace(cluster, base=ports.base))
        plan = build_plan(
            settings=settings,
            paths=paths,
            run=cluster.run_paths,
            ports=ports,
            limits=decision.limits,
            versions=decision.versions,
            caller=caller,
            cluster_id=cluster.id,
            variables=decision.variables,
            ray_options=decision.ray_options,
            working_directory=working_directory,
            ephemeral=ephemeral,
        )
        failed.pop_all()
    expires = credentials.leaf.not_after.isoformat(timespec="seconds")
    return Prepared(plan, reservation, tuple(changes), credentials.warnings, expires)


def preview(decision: Decision, paths: ClusterPaths, *, caller: Mapping[str, str]) -> LaunchPlan:
    """The plan as `prepare` would make it now, without writing anything (`--dry-run`)."""
    cluster = read_cluster(paths) or Cluster(paths.name, "NEW", str(paths.directory / "run"))
    ports, reservation = choose_ports(decision.settings, cluster.base, decision.versions["ray"])
    reservation.close()
    return build_plan(
        settings=decision.settings,
        paths=paths,
        run=RunPaths(Path(cluster.run)),
        ports=ports,
        limits=decision.limits,
        versions=decision.versions,
        caller=caller,
        cluster_id=cluster.id,
        variables=decision.variables,
        ray_options=decision.ray_options,
    )


def _credentials(
    paths: ClusterPaths, cluster: Cluster, settings: Settings, now: datetime, *, ephemeral: bool
) -> Credentials:
    from secure_ray.pki.credentials import (
        Lifetimes,
        PkiPaths,
        ensure_credentials,
        make_ephemeral_credentials,
    )

    if ephemeral:
        make_private_directory(paths.pki / "node")
        return make_ephemeral_credentials(
            paths.pki / "node" / "current", sans=_SANS, now=now, lifetime=_EPHEMERAL_LIFE
        )
    chosen = settings.pki.passphrase_file
    passphrase = Path(chosen) if chosen else paths.passphrase
    return ensure_credentials(
        PkiPaths(paths.pki, passphrase),
        cluster=paths.name,
        cluster_id=cluster.id,
        sans=_SANS,
        now=now,
        lifetimes=Lifetimes(
            issuing=timedelta(days=settings.pki.issuing_days),
            leaf=timedelta(days=settings.pki.leaf_days),
        ),
    )


def _require_nothing_planted(paths: ClusterPaths, run: RunPaths) -> None:
    """What is opened or replaced later, by us or by Ray, is what the last start left there."""
    for path, require in (
        (paths.passphrase, require_private_file),
        (paths.instance, require_private_file),
        (paths.log, require_private_file),
        (run.control, require_private_socket),
        (run.ray, require_own_directory),
    ):
        if os.path.lexists(path):
            require(path)


def _require_space(paths: ClusterPaths, run: RunPaths, least: int) -> None:
    for directory in (paths.directory, run.directory):
        free = free_bytes(directory)
        if free < least:
            raise FailedError(
                "SR-FILE-006",
                f"{free >> 20} MiB are free at {directory}, less than limits.min_free_disk "
                f"({least >> 20} MiB); Ray writes logs and spilled objects there",
                fix="free some space, or lower limits.min_free_disk",
            )


_SESSIONS_KEPT = 3


def _forget_old_sessions(run: RunPaths) -> None:
    """Keep the logs of the last starts; Ray itself never removes a session."""
    from secure_ray.base.files import remove_tree

    sessions = sorted(
        entry for entry in run.ray.glob("session_2*") if entry.is_dir() and not entry.is_symlink()
    )
    for session in sessions[:-_SESSIONS_KEPT]:
        remove_tree(session)
    # Names the last head's address. Ray refuses to start at the same one again when it also finds
    # that address on the command line of any process, of whatever namespace (Ray 2.60.0,
    # scripts/scripts.py, _private/services.py `find_gcs_addresses`).
    (run.ray / "ray_current_cluster").unlink(missing_ok=True)
