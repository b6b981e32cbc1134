"""Where the head's node door is, by what was planned."""

from __future__ import annotations

from typing import TYPE_CHECKING

from secure_ray.base.commands import command
from secure_ray.base.errors import FailedError
from secure_ray.pki.join_string import Endpoint

if TYPE_CHECKING:
    from secure_ray.node.plan import LaunchPlan


def require_door(plan: LaunchPlan) -> Endpoint:
    """The address and port at which other nodes reach the door.

    Raises:
        FailedError: this node has no door: it is a worker, or its cluster is for this host alone.
    """
    name = plan.paths.name
    if not plan.place.is_head:
        raise FailedError(
            "SR-JOIN-040",
            f"this is a worker of cluster {name}; nodes join at the head ({plan.place.head})",
            fix="run it on the head",
        )
    if not plan.place.is_private:
        raise FailedError(
            "SR-JOIN-040",
            f"cluster {name} is for this host alone, so no other node can join it",
            fix=f"{command('down', name)}, then {command('up --head --bind private', name)}",
        )
    return Endpoint(plan.place.address.partition("%")[0], plan.ports.port("nodes"))
