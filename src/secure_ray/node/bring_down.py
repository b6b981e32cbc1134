"""Stop a cluster: through its supervisor, or what a dead one left behind."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from secure_ray.base.clock import utc_now
from secure_ray.base.commands import command
from secure_ray.base.errors import FailedError, IncompleteError
from secure_ray.base.files import remove_tree
from secure_ray.base.locks import lock
from secure_ray.base.processes import stop_all
from secure_ray.node.cluster import DAMAGED_RECORD, Cluster, is_ours, read_cluster
from secure_ray.node.control import request
from secure_ray.node.instance import (
    ENDED,
    Instance,
    Phase,
    read_instance,
    supervisor_lives,
    write_instance,
)
from secure_ray.node.neighbours import remove_firewall
from secure_ray.node.start_ray import cluster_processes, stop_leftovers
from secure_ray.node.store import forget_store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from secure_ray.base.clock import Clock
    from secure_ray.node.paths import ClusterPaths

_STEP_TIMEOUT = 60.0
# What a supervisor needs to stop Ray in order when it gets SIGTERM.
_UNASKED_GRACE = 30.0


def bring_down(
    paths: ClusterPaths, on_step: Callable[[str], None], *, keep_store: bool = False
) -> tuple[bool, list[str]]:
    """Stop the cluster at `paths`, and nothing else. Stopping one that is down is done at once.

    Args:
        paths: The cluster's files.
        on_step: Told of each phase.
        keep_store: Whether the next start of this head is to go on with what its control store
            knows; else that is forgotten, since the work has ended.

    Returns:
        Whether a supervisor was running, and a line for each process that one had left behind.

    Raises:
        IncompleteError: the supervisor does not answer, or does not end; or Ray's Redis does not
            answer.
    """
    cluster = _known(paths)
    if cluster is None:
        return False, []
    was_running = supervisor_lives(paths)
    if was_running:
        try:
            for answer in request(cluster.run_paths.control, {"do": "stop"}, timeout=_STEP_TIMEOUT):
                on_step(answer["phase"])
        except IncompleteError:
            _end_supervisor(paths)
        _wait_for_end(paths)
    found = clean_up(paths)
    if not keep_store:
        _forget(paths)
    return was_running, found


def _forget(paths: ClusterPaths) -> None:
    instance = read_instance(paths)
    forget_store(paths, instance.plan if instance else None)


def clean_up(paths: ClusterPaths, *, clock: Clock = utc_now) -> list[str]:
    """Stop what a killed supervisor left behind, and record the end that it could not record.

    Spilled objects are jobs' data in the clear, so they go with the Ray that could read them.

    Call it only when none lives.

    Returns:
        A line for each process that was found.
    """
    cluster = _known(paths)
    if cluster is None:
        return []
    # A copied record is the original's affair.
    instance = read_instance(paths)
    own = instance if instance is not None and instance.plan.paths == paths else None
    found = stop_leftovers(cluster.mark, None, own.ray if own else None)
    if own is not None:
        _record_end(own, cluster, clock)
        _remove_firewall(own, cluster)
    # Ray removes them only where ray.init started it (2.60.0, _private/external_storage.py).
    if not cluster_processes(cluster.mark, None, own.ray if own else None):
        remove_tree(paths.spilled)
    return found


def _record_end(instance: Instance, cluster: Cluster, clock: Clock) -> None:
    # What could not be killed has not ended.
    if instance.phase in ENDED or cluster_processes(cluster.mark, None, instance.ray):
        return
    now = clock().isoformat(timespec="seconds")
    reason = "its supervisor was killed, and what that left is stopped"
    # A disk that is full changes nothing about what was stopped.
    with suppress(FailedError):
        write_instance(replace(instance, phase=Phase.STOPPED, reason=reason, since=now))


def _remove_firewall(instance: Instance, cluster: Cluster) -> None:
    """Whatever way the supervisor ended: it may have been killed while it took its table out."""
    if cluster_processes(cluster.mark, None, instance.ray):
        return
    with suppress(FailedError):
        remove_firewall(instance.plan)


def reset(paths: ClusterPaths) -> list[Path]:
    """Remove all state of a stopped cluster: keys, token, logs, spilled objects.

    Returns:
        The directories and files that were removed.
    """
    cluster = _known(paths)
    removed = []
    # A Redis that is gone for good must not keep the rest here; the keys there bear a random name.
    with suppress(IncompleteError):
        _forget(paths)
    # After a restart of the host its name in /tmp may be somebody else's.
    run = cluster.run_paths.directory if cluster is not None else None
    if run is not None and is_ours(run) and run.is_dir():
        remove_tree(run)
        removed.append(run)
    # The directory last: as long as it is there, a reset that was interrupted can be run again.
    if paths.passphrase.is_file():
        paths.passphrase.unlink()
        removed.append(paths.passphrase)
    if paths.directory.is_dir():
        remove_tree(paths.directory)
        removed.append(paths.directory)
    return removed


def _known(paths: ClusterPaths) -> Cluster | None:
    """The cluster's record; where that is damaged or gone, what the last instance says of it."""
    try:
        cluster = read_cluster(paths)
    except FailedError as error:
        if error.code != DAMAGED_RECORD:
            raise
        cluster = None
    if cluster is not None:
        return cluster
    instance = read_instance(paths)
    if instance is None:
        return None
    plan = instance.plan
    return Cluster(paths.name, plan.cluster_id, str(plan.run.directory))


def _end_supervisor(paths: ClusterPaths) -> None:
    """End one that does not answer: its socket is gone, or it is stopped."""
    instance = read_instance(paths)
    process = instance.supervisor.process() if instance else None
    if process is not None:
        stop_all([process], grace=_UNASKED_GRACE)


def _wait_for_end(paths: ClusterPaths) -> None:
    """Until the supervisor, which has said that all is stopped, is gone as well.

    Raises:
        IncompleteError: it stays.
    """
    instance = read_instance(paths)
    if instance is not None:
        who, ended = f" (pid {instance.supervisor.pid})", instance.supervisor.wait(_STEP_TIMEOUT)
    else:  # another version's: its lock is all that can be asked
        who, ended = "", _is_let_go(paths.supervisor_lock)
    if not ended:
        raise IncompleteError(
            "SR-STATE-005",
            f"the supervisor{who} does not end",
            fix=f"{command('down', paths.name)} tries once more to stop what is left",
        )


def _is_let_go(path: Path) -> bool:
    try:
        with lock(path, wait=_STEP_TIMEOUT):
            return True
    except BlockingIOError:
        return False
