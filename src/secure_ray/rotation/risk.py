"""What ends with a node, or has to move: told before anything is done."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from secure_ray.network.addresses import same_address
from secure_ray.node.draining import command_environment
from secure_ray.node.ray_nodes import list_work

if TYPE_CHECKING:
    from collections.abc import Sequence

    from secure_ray.node.plan import LaunchPlan
    from secure_ray.node.ray_nodes import Work


def work_now(plan: LaunchPlan) -> tuple[Work, ...]:
    """What runs in the cluster.

    Raises:
        FailedError: Ray does not answer.
    """
    return list_work(command_environment(plan))


def work_at(work: Sequence[Work], address: str) -> str:
    """What runs at `address`, for a person: `2 actors, 1 task`; "" when nothing does."""
    kinds = Counter(one.kind for one in work if same_address(one.address, address))
    return ", ".join(f"{count} {kind}{'s' * (count != 1)}" for kind, count in sorted(kinds.items()))
