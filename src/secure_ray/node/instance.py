"""The record of a running (or ended) instance: what was planned, who runs it, how it went.

The supervisor writes it; `status`, `audit`, `run` and `secure_init` read it. Whether an instance
lives is not read from here but from the supervisor's lock, which the kernel drops with it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING

from secure_ray.base.errors import FailedError
from secure_ray.base.files import is_there, lock_is_free, read_private, write_private
from secure_ray.base.plain import from_plain_json, plain_json
from secure_ray.base.processes import ProcessIdentity
from secure_ray.node.plan import LaunchPlan

if TYPE_CHECKING:
    from secure_ray.node.paths import ClusterPaths


class Phase(str, Enum):
    """Where an instance is in its life."""

    STARTING = "starting"
    PROVING = "proving"
    RUNNING = "running"
    DEGRADED = "degraded"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"


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
    """

    plan: LaunchPlan
    supervisor: ProcessIdentity
    ray: ProcessIdentity | None
    phase: Phase
    reason: str
    since: str
    started: str
    certificate_expires: str


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
        FailedError: the cluster is not up.
    """
    instance = read_instance(paths) if supervisor_lives(paths) else None
    if instance is None or instance.phase not in {Phase.RUNNING, Phase.DEGRADED}:
        option = "" if paths.name == "default" else f" --cluster {paths.name}"
        raise FailedError(
            "SR-STATE-004",
            f"cluster {paths.name} is not running",
            fix=f"secure-ray up --head{option}",
        )
    return instance
