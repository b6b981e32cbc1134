"""From a decision to a launch plan whose files, keys and ports are there."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from secure_ray.base.errors import FailedError
from secure_ray.base.files import free_bytes, remove_tree
from secure_ray.base.ownership import (
    require_own_directory,
    require_private_file,
    require_private_socket,
)
from secure_ray.network.addresses import same_address
from secure_ray.network.guard.library import guard_library, self_test
from secure_ray.node.choose_ports import LET_GO_SECONDS, choose_ports, take_ports
from secure_ray.node.cluster import Cluster, ensure_cluster, read_cluster, write_cluster
from secure_ray.node.environment import guard_rules
from secure_ray.node.identity import prepare_credentials
from secure_ray.node.place import Place, head_at
from secure_ray.node.plan import LaunchPlan, build_plan
from secure_ray.node.sessions import forget_old_sessions
from secure_ray.node.store import require_redis_files, settle_store
from secure_ray.policy.store import StoreKind

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping
    from datetime import datetime
    from pathlib import Path

    from secure_ray.node.decide import Decision
    from secure_ray.node.paths import ClusterPaths, RunPaths
    from secure_ray.policy.ports import PortPlan


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
    place = _place(cluster, decision)
    _require_nothing_planted(paths, cluster.run_paths)
    # Before the disk is looked at: what the last start left may be what fills it.
    for left in (paths.spilled, cluster.run_paths.temporary):
        remove_tree(left)
    forget_old_sessions(cluster.run_paths)
    _require_space(paths, cluster.run_paths, settings.limits.min_free_disk)
    if not ephemeral:
        require_redis_files(settings.redis)
    credentials = prepare_credentials(paths, cluster, settings, place, now=now, ephemeral=ephemeral)
    ports, reservation = _take_ports(decision, cluster, place, insist=True)
    with ExitStack() as failed:
        failed.callback(reservation.close)
        write_cluster(paths, replace(cluster, base=ports.base))
        guard, unguarded = _guard(place, ports)
        plan = _plan(
            decision,
            paths,
            cluster,
            ports,
            guard=guard,
            caller=caller,
            working_directory=working_directory,
            ephemeral=ephemeral,
        )
        changes = (*credentials.changes, *settle_store(plan))
        failed.pop_all()
    warnings = (*credentials.warnings, *unguarded)
    return Prepared(plan, reservation, changes, warnings, credentials.expires)


def preview(decision: Decision, paths: ClusterPaths, *, caller: Mapping[str, str]) -> LaunchPlan:
    """The plan as `prepare` would make it now, without writing anything (`--dry-run`)."""
    cluster = read_cluster(paths) or Cluster(paths.name, "NEW", str(paths.directory / "run"))
    place = _place(cluster, decision)
    ports, reservation = _take_ports(decision, cluster, place)
    reservation.close()
    guard, _ = _guard(place, ports)
    return _plan(decision, paths, cluster, ports, guard=guard, caller=caller)


def _plan(  # noqa: PLR0913  # all that goes into it
    decision: Decision,
    paths: ClusterPaths,
    cluster: Cluster,
    ports: PortPlan,
    *,
    guard: Path | None,
    caller: Mapping[str, str],
    working_directory: Path | None = None,
    ephemeral: bool = False,
) -> LaunchPlan:
    place, membership = _place(cluster, decision), cluster.membership
    return build_plan(
        settings=decision.settings,
        paths=paths,
        run=cluster.run_paths,
        ports=ports,
        limits=decision.limits,
        versions=decision.versions,
        caller=caller,
        cluster_id=cluster.mark,
        variables=decision.variables,
        ray_options=decision.ray_options,
        working_directory=working_directory,
        ephemeral=ephemeral,
        place=place,
        guard=guard,
        head_ports=membership.ports if membership else None,
        # A cluster of one program keeps nothing, and in a shared Redis it would meet another.
        store=StoreKind.MEMORY if ephemeral else decision.store,
        settings_file=decision.settings_file,
    )


def _guard(place: Place, ports: PortPlan) -> tuple[Path | None, tuple[str, ...]]:
    """The bind guard, proven to hold here, and a warning where a cluster goes on without it.

    Ray's own sockets stay on loopback without it; those of its libraries (Serve) and of jobs do not.

    Raises:
        FailedError: it does not, and other hosts could reach what it does not hold.
    """
    try:
        library = guard_library()
        self_test(library, guard_rules(place, ports))
    except FailedError as error:
        if place.is_private:
            raise
        loss = "without the bind guard, what a job opens on all addresses is told, not prevented"
        return None, (f"{loss}: {error.code}: {error.cause}",)
    return library, ()


def _place(cluster: Cluster, decision: Decision) -> Place:
    """This node's place; what a worker was told when it joined must still be so."""
    if cluster.membership is None:
        return head_at(decision.address)
    place = cluster.membership.place
    if not same_address(place.address, decision.address):
        raise FailedError(
            "SR-JOIN-044",
            f"this node joined as {place.address} and reaches its head from "
            f"{decision.address} now; its certificate bears the old address",
            fix="on the head: secure-ray join-token create; then join again from here",
        )
    return place


def _take_ports(
    decision: Decision, cluster: Cluster, place: Place, *, insist: bool = False
) -> tuple[PortPlan, socket.socket]:
    """The node's ports; `insist` waits a little for those that the other nodes know."""
    if cluster.membership is not None:
        ports = cluster.membership.ports.for_worker()
        return ports, take_ports(ports, place.address, wait=LET_GO_SECONDS if insist else 0.0)
    return choose_ports(
        decision.settings,
        cluster.base,
        decision.versions["ray"],
        address=place.address,
        insist=insist and place.is_private,
    )


def _require_nothing_planted(paths: ClusterPaths, run: RunPaths) -> None:
    """What is opened or replaced later, by us or by Ray, is what the last start left there."""
    for path, require in (
        (paths.passphrase, require_private_file),
        (paths.instance, require_private_file),
        (paths.log, require_private_file),
        (run.control, require_private_socket),
        (run.ray, require_own_directory),
        (run.temporary, require_own_directory),
        (paths.spilled, require_own_directory),
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
