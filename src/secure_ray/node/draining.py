"""Takes work away from a node without losing any: Ray gives it nothing new, and we wait."""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import TYPE_CHECKING

from secure_ray.base.errors import FailedError, IncompleteError
from secure_ray.network.addresses import same_address
from secure_ray.node.environment import driver_environment
from secure_ray.node.place import DRAIN
from secure_ray.node.ray_nodes import drain_ray_node, list_ray_nodes

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Mapping

    from secure_ray.node.plan import LaunchPlan
    from secure_ray.node.ray_nodes import RayNode

_LOOK_SECONDS = 2.0
_AGAIN_SECONDS = 10.0


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
        IncompleteError: Ray does not answer; or the node still had work when the time was over.
            It stays drained.
    """
    environment = command_environment(plan)
    try:
        if not order_drain(environment, address, reason):
            return False
        _wait(environment, address, seconds, show, sleep)
    except FailedError as error:
        # Whoever calls has given the order to the node as well, and that one stands.
        raise IncompleteError(
            "SR-RAY-032",
            f"the node at {address} is told to drain, but Ray does not say whether it still has "
            f"work: {error.cause}",
            fix="run it again to wait for its work",
        ) from None
    return True


def order_drain(environment: Mapping[str, str], address: str, reason: str) -> bool:
    """Have Ray give the node at `address` nothing new; False when it knows no such node.

    Raises:
        FailedError: Ray does not answer, or refuses.
    """
    node = _alive_at(address, environment)
    if node is not None:
        drain_ray_node(environment, node.id, reason)
    return node is not None


class OwnDrain:
    """Follows the head's order to drain, on the node itself, in one life of its Ray.

    The head asks Ray as well; but when the order was given Ray may not have known this node.

    Args:
        plan: The node's.
        log: Told what goes wrong; it is tried again.
    """

    def __init__(self, plan: LaunchPlan, log: logging.Logger) -> None:
        self._plan = plan
        self._log = log
        self._done = False
        self._thread: threading.Thread | None = None
        self._next = 0.0

    def follow(self, orders: tuple[str, ...]) -> None:
        """Have Ray drain this node if `orders` say so and it was not asked yet. Does not wait."""
        now = time.monotonic()
        busy = self._thread is not None and self._thread.is_alive()
        if DRAIN not in orders or self._done or busy or now < self._next:
            return
        self._next = now + _AGAIN_SECONDS
        # Not of the event loop's pool, which waits for its threads at the end.
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()

    def _ask(self) -> None:
        plan = self._plan
        try:
            self._done = order_drain(
                command_environment(plan), plan.place.address, "ordered by secure-ray's head"
            )
        except FailedError as error:
            self._log.warning("the order to drain waits: %s", error.cause)


def _wait(
    environment: Mapping[str, str],
    address: str,
    seconds: float,
    show: Callable[[str], None],
    sleep: Callable[[float], None],
) -> None:
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


def _alive_at(address: str, environment: Mapping[str, str]) -> RayNode | None:
    nodes = list_ray_nodes(environment)
    return next((one for one in nodes if one.alive and same_address(one.address, address)), None)


def command_environment(plan: LaunchPlan) -> dict[str, str]:
    """The environment of a process that asks Ray something on behalf of a command."""
    kept = {name: os.environ[name] for name in ("HOME", "LANG", "TZ") if name in os.environ}
    own = os.path.dirname(sys.executable)  # noqa: PTH120  # a link's own directory
    return kept | {"PATH": f"{own}:{os.defpath}"} | driver_environment(plan)
