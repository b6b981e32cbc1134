"""Takes work away from a node without losing any: Ray gives it nothing new, and we wait."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

from secure_ray.base.errors import IncompleteError
from secure_ray.network.addresses import same_address
from secure_ray.node.environment import driver_environment
from secure_ray.node.ray_nodes import drain_ray_node, list_ray_nodes

if TYPE_CHECKING:
    from collections.abc import Callable

    from secure_ray.node.plan import LaunchPlan
    from secure_ray.node.ray_nodes import RayNode

_LOOK_SECONDS = 2.0


def drain(
    plan: LaunchPlan,
    address: str,
    *,
    reason: str,
    seconds: float,
    show: Callable[[str], None] = lambda _text: None,
    sleep: Callable[[float], None] = time.sleep,
) -> bool:
    """Have the node at `address` finish what it runs and leave the cluster.

    Ray gives it no new work; running tasks end by themselves, and live actors keep it.

    Args:
        plan: Of a node of the cluster, this one or the head.
        address: The node's.
        reason: For Ray's log.
        seconds: How long to wait.
        show: Told what is waited for.
        sleep: Waits.

    Returns:
        False when there was no such node in Ray.

    Raises:
        FailedError: Ray does not answer, or refuses.
        IncompleteError: it still had work when the time was over; it stays drained.
    """
    environment = _environment(plan)
    node = _alive_at(address, environment)
    if node is None:
        return False
    drain_ray_node(environment, node.id, reason)
    deadline = time.monotonic() + seconds
    while _alive_at(address, environment) is not None:
        if time.monotonic() >= deadline:
            raise IncompleteError(
                "SR-RAY-031",
                f"the node at {address} still has work after {seconds:g} s; it gets no more",
                fix="run it again to go on waiting; ray list tasks and ray list actors show what "
                "is left there",
            )
        show(f"waiting for the work on {address} to end")
        sleep(_LOOK_SECONDS)
    return True


def _alive_at(address: str, environment: dict[str, str]) -> RayNode | None:
    nodes = list_ray_nodes(environment)
    return next((one for one in nodes if one.alive and same_address(one.address, address)), None)


def _environment(plan: LaunchPlan) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("HOME", "LANG", "TZ") if name in os.environ}
    own = os.path.dirname(sys.executable)  # noqa: PTH120  # a link's own directory
    return kept | {"PATH": f"{own}:{os.defpath}"} | driver_environment(plan)
