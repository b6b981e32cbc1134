"""Find a block of free ports and hold it.

The block's reservation port is bound, without listening, by the process that will become (or start)
the supervisor. The kernel so keeps two clusters apart, of one user or of several, and forgets the
reservation with its holder.
"""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING

from secure_ray.base.errors import FailedError
from secure_ray.network.listeners import can_bind, holder
from secure_ray.policy.addresses import LOOPBACK
from secure_ray.policy.ports import (
    BLOCK_SIZE,
    PortPlan,
    block_bases,
    open_to_anybody,
    plan_ports,
)

if TYPE_CHECKING:
    from secure_ray.policy.ports import ExpectedSocket
    from secure_ray.settings.model import Settings

# What a killed node leaves ends by itself within seconds, its sockets last.
LET_GO_SECONDS = 10.0
_LOOK_SECONDS = 0.1


def choose_ports(
    settings: Settings,
    preferred: int,
    ray_version: str,
    *,
    address: str = LOOPBACK,
    insist: bool = False,
) -> tuple[PortPlan, socket.socket]:
    """A plan whose ports are all free, and the socket that reserves its block.

    Args:
        settings: `ports.base` and fixed ports, metrics and dashboard switches.
        preferred: The base of the last start, tried first; 0 when there is none.
        ray_version: The installed Ray; decides what must be kept closed.
        address: What the head listens on.
        insist: Whether no other block than `preferred` will do, unless the settings name another:
            nodes that have joined know its ports.

    Raises:
        FailedError: a port that the user fixed is taken, or no block is free.
    """
    bases = block_bases(settings.ports.base)
    if preferred in bases:
        bases = (preferred, *(base for base in bases if base != preferred))
    plans = {base: _plan_at(base, settings, ray_version, address) for base in bases}
    _require_fixed_free(plans[bases[0]], settings, address)
    for base, plan in plans.items():
        if insist and base == preferred and plan.is_sound:
            return plan, take_ports(plan, address, wait=LET_GO_SECONDS)
        reservation = _reserve(plan, address) if plan.is_sound else None
        if reservation is not None:
            return plan, reservation
    raise FailedError(
        *_nothing_free(bases),
        fix="stop a cluster that is not needed (secure-ray down --cluster NAME), or set "
        "ports.base to the start of a free range of 1024 ports",
    )


def _plan_at(base: int, settings: Settings, ray_version: str, address: str) -> PortPlan:
    return plan_ports(
        base,
        fixed=settings.ports.fixed(),
        workers=settings.ports.worker_range(),
        metrics=settings.metrics.enabled,
        dashboard=settings.dashboard.enabled,
        closed=open_to_anybody(ray_version),
        private=address != LOOPBACK,
    )


def take_ports(plan: PortPlan, address: str, *, wait: float = 0.0) -> socket.socket:
    """Reserve exactly the ports of `plan`: a worker has those of its head.

    Args:
        plan: The ports.
        address: What the node listens on.
        wait: Seconds in which they may still become free.

    Raises:
        FailedError: one of them is taken here.
    """
    deadline = time.monotonic() + wait
    while (reservation := _reserve(plan, address)) is None and time.monotonic() < deadline:
        time.sleep(_LOOK_SECONDS)
    if reservation is not None:
        return reservation
    taken = next((entry for entry in plan.expected(address) if not _is_free(entry)), None)
    port, title = (taken.port, taken.planned.component.title) if taken else (plan.reservation, "")
    raise FailedError(
        "SR-NET-013",
        f"port {port} ({title or 'the reservation'}) is taken here by "
        f"{holder(port) or 'another process'}, and all nodes of a cluster have the same ports",
        fix="stop that process; or set ports.base on the head to a range that is free everywhere",
    )


def _reserve(plan: PortPlan, address: str) -> socket.socket | None:
    reservation = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        reservation.bind((LOOPBACK, plan.reservation))
    except OSError:
        reservation.close()
        return None
    if all(_is_free(entry) for entry in plan.expected(address)):
        return reservation
    reservation.close()
    return None


def _is_free(entry: ExpectedSocket) -> bool:
    return can_bind(entry.addresses[0], entry.port)


def _require_fixed_free(plan: PortPlan, settings: Settings, address: str) -> None:
    """No block can help where a port that the user fixed is taken, wherever it is to listen."""
    fixed = settings.ports.fixed()
    for entry in plan.expected(address):
        name = entry.planned.component.name
        if name in fixed and not _is_free(entry):
            raise FailedError(
                "SR-NET-011",
                f"port {entry.port} (ports.{name}) is taken on {entry.addresses[0]} by "
                f"{holder(entry.port) or 'another process'}",
                fix=f"stop that process, or choose another ports.{name}",
            )


def _nothing_free(bases: tuple[int, ...]) -> tuple[str, str]:
    if len(bases) == 1:
        return "SR-NET-011", f"the ports {bases[0]} to {bases[0] + BLOCK_SIZE - 1} are not all free"
    last = bases[-1] + BLOCK_SIZE - 1
    return "SR-NET-012", f"no block of {BLOCK_SIZE} ports is free from {min(bases)} to {last}"
