"""The record of a running (or ended) instance: what was planned, who runs it, how it went.

The supervisor writes it; `status`, `audit`, `run` and `secure_init` read it. Whether an instance
lives is not read from here but from the supervisor's lock, which the kernel drops with it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING

from secure_ray.base.commands import command
from secure_ray.base.errors import FailedError
from secure_ray.base.files import is_there, read_private, write_private
from secure_ray.base.locks import lock_is_free
from secure_ray.base.plain import from_plain_json, plain_json
from secure_ray.base.processes import ProcessIdentity
from secure_ray.node.plan import LaunchPlan
from secure_ray.node.start_again import start_again

if TYPE_CHECKING:
    from secure_ray.node.paths import ClusterPaths


class Phase(str, Enum):
    """Where an instance is in its life."""

    STARTING = "starting"
    PROVING = "proving"
    RUNNING = "running"
    DEGRADED = "degraded"
    WAITING = "waiting"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"


ENDED = frozenset({Phase.STOPPED, Phase.FAILED})


@dataclass(frozen=True)
class Instance:
    """One start of a cluster.

    Attributes:
        plan: What was started.
        supervisor: The supervisor's process.
        ray: The process of `ray start`; None before it runs.
        phase: How far it came.
        reason: Why it is in this phase, for a person.
        since: When the phase began, ISO 8601 in UTC.
        started: When the instance began, ISO 8601 in UTC.
        certificate_expires: When the node's leaf expires, ISO 8601.
        sound: Whether every socket was where it belongs when that was last looked at.
    """

    plan: LaunchPlan
    supervisor: ProcessIdentity
    ray: ProcessIdentity | None
    phase: Phase
    reason: str
    since: str
    started: str
    certificate_expires: str
    sound: bool = False


def write_instance(instance: Instance) -> None:
    """Record `instance` in its cluster's directory."""
    shown = replace(instance, plan=instance.plan.shown())
    write_private(instance.plan.paths.instance, plain_json(shown).encode())


def read_instance(paths: ClusterPaths) -> Instance | None:
    """The last recorded instance; None when there is none or it was written by another version.

    Raises:
        FailedError: the file is there but is not ours alone.
    """
    if not is_there(paths.instance):
        return None
    text = read_private(paths.instance)
    try:
        return from_plain_json(text, Instance)
    except ValueError:
        return None


def supervisor_lives(paths: ClusterPaths) -> bool:
    """Whether a supervisor of this cluster is alive."""
    return is_there(paths.supervisor_lock) and not lock_is_free(paths.supervisor_lock)


def require_running(paths: ClusterPaths) -> Instance:
    """The running instance.

    Raises:
        FailedError: the cluster is not up, or another version of secure-ray started it.
    """
    lives = supervisor_lives(paths)
    instance = read_instance(paths) if lives else None
    if lives and instance is None and is_there(paths.instance):
        raise FailedError(
            "SR-STATE-010",
            f"cluster {paths.name} has a supervisor, whose record cannot be read: another version "
            "of secure-ray wrote it, or it is damaged",
            fix=f"{command('down', paths.name)}, then {start_again(paths)}",
        )
    if instance is not None and instance.phase is Phase.WAITING:
        raise FailedError(
            "SR-STATE-004",
            f"node {instance.plan.place.name} waits: {instance.reason}",
            fix=f"see on the head at {instance.plan.place.head}: secure-ray status",
        )
    if instance is None or instance.phase not in {Phase.RUNNING, Phase.DEGRADED}:
        raise FailedError(
            "SR-STATE-004",
            f"cluster {paths.name} is not running",
            fix=start_again(paths),
        )
    return instance
