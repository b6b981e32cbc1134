"""The state of a cluster as `up` leaves it just before it starts Ray: made here, without Ray."""

from __future__ import annotations

from typing import TYPE_CHECKING

from secure_ray.base.clock import utc_now
from secure_ray.node.decide import Decision, Wish, decide
from secure_ray.node.paths import ClusterPaths
from secure_ray.node.prepare import prepare

if TYPE_CHECKING:
    from datetime import datetime

    from support.clusters import Machine


def decision_for(machine: Machine) -> Decision:
    wish = Wish(flags={"limits.num_cpus": 1})
    return decide(wish, environ=machine.environment(), cwd=machine.home, now=utc_now())


def prepare_state(machine: Machine, *, now: datetime | None = None) -> tuple[str, ...]:
    """Keys, token and directories of cluster "default"; returns what was made or renewed."""
    prepared = prepare(
        decision_for(machine),
        ClusterPaths(machine.state, "default"),
        caller=machine.environment(),
        now=now or utc_now(),
    )
    prepared.reservation.close()
    return prepared.changes
