"""Has a node's supervisor end its Ray in order and start it again, and waits for the proof.

What the node's Ray reads only when it starts is new then: its certificate, the cluster token. On a
head with a store (`store`) the cluster goes on meanwhile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from secure_ray.base.errors import IncompleteError
from secure_ray.node.control import request
from secure_ray.node.instance import Instance, Phase, require_running
from secure_ray.node.start_again import start_again

if TYPE_CHECKING:
    from collections.abc import Callable

    from secure_ray.node.paths import ClusterPaths

# Beside what Ray may take to be ready: its end in order, and the proof.
_BESIDE_SECONDS = 120.0
_UP = frozenset({Phase.RUNNING.value, Phase.DEGRADED.value})


def restart(
    paths: ClusterPaths, on_event: Callable[[dict[str, Any]], None] = lambda _event: None
) -> Instance:
    """End the Ray of the node at `paths` and start it again; returns once it is proven anew.

    Args:
        paths: The cluster's files.
        on_event: Told of each phase on the way, as `{"event": PHASE, "reason": WHY}`.

    Raises:
        FailedError: the node is not running (SR-STATE-004); nothing has changed.
        IncompleteError: Ray did not come back (SR-STATE-012), or the supervisor does not answer
            (SR-STATE-005).
    """
    plan = require_running(paths).plan
    last = {"phase": "", "reason": "the supervisor ended without a word", "done": False}
    for answer in request(
        plan.run.control, {"do": "restart"}, timeout=plan.timeout + _BESIDE_SECONDS
    ):
        last = answer
        on_event({"event": answer["phase"], "reason": answer["reason"]})
    if not last["done"] or last["phase"] not in _UP:
        raise IncompleteError(
            "SR-STATE-012",
            f"Ray was to start again, and is {last['phase'] or 'gone'}: {last['reason']}",
            fix=f"{start_again(paths)}; {paths.log} says what happened",
        )
    return require_running(paths)
