"""Which certificates the running processes of this node show: by handshake, not by file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from secure_ray.network.grpc_probe import Identity
from secure_ray.network.listeners import Kind, listeners_of
from secure_ray.network.served import served_chain
from secure_ray.node.start_ray import cluster_processes
from secure_ray.pki.dress import read_shown
from secure_ray.policy.ports import Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

    from secure_ray.network.listeners import Listener
    from secure_ray.node.plan import LaunchPlan
    from secure_ray.pki.dress import Shown

_TIMEOUT = 3.0


def look_live(plan: LaunchPlan, supervisor: int) -> tuple[Shown, ...]:
    """What each gRPC port of this node's Ray shows, workers and drivers of the cluster included.

    Args:
        plan: What runs.
        supervisor: The pid of the process above it all.

    Raises:
        InconclusiveError: the sockets of a process cannot be read.
    """
    processes = cluster_processes(plan.cluster_id, supervisor)
    found = listeners_of(tuple(process.pid for process in processes))
    identity = Identity(plan.certificates / "node.crt", plan.certificates / "node.key")
    shown = (
        read_shown(served_chain(one.address, one.port, identity=identity, timeout=_TIMEOUT).chain)
        for one in _speaking_grpc(plan, found)
    )
    return tuple(one for one in shown if one is not None)


def _speaking_grpc(plan: LaunchPlan, found: Iterable[Listener]) -> list[Listener]:
    other = {
        planned.port
        for planned in plan.ports.ports
        if planned.component.protocol is not Protocol.GRPC
    }
    return [one for one in found if one.kind is Kind.TCP and one.port not in other]
