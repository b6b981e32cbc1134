"""How much of the host a cluster may use, decided from what the host really has.

Ray believes what it is told: `--num-gpus=2` on a machine without a GPU is accepted, and its own
defaults look at the whole host even inside a smaller cgroup. So the amounts are always given.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from secure_ray.base.errors import Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from secure_ray.settings.model import LimitSettings

MIB = 1 << 20
# Ray 2.60.0, _private/ray_constants.py: OBJECT_STORE_MINIMUM_MEMORY_BYTES.
SMALLEST_OBJECT_STORE = 75 * MIB
_OBJECT_STORE_SHARE = 0.3
_LARGEST_DEFAULT_OBJECT_STORE = 200 * 1000**3
_RESERVE_SHARE = 0.1
_SMALLEST_RESERVE = 512 * MIB
_SMALLEST_WORK_MEMORY = 128 * MIB


@dataclass(frozen=True)
class Host:
    """What this process may use of the machine.

    Attributes:
        cpus: CPUs by affinity and cgroup quota, at least 1.
        memory: Bytes by cgroup limit and physical memory.
        shared_memory: Free bytes in the shared memory file system; None where Ray uses none.
        gpus: GPUs seen; 0 when none.
        isolation_obstacle: Why Ray's resource isolation cannot work here; "" when it can.
    """

    cpus: int
    memory: int
    shared_memory: int | None
    gpus: int
    isolation_obstacle: str


@dataclass(frozen=True)
class Limits:
    """What the cluster gets on this node; sizes in bytes.

    Attributes:
        reserve: Memory kept free for the system and for Ray's own processes.
        isolation: Whether Ray isolates its own processes by cgroup.
        isolation_note: Why not, for a person; "" when it does.
    """

    num_cpus: int
    num_gpus: int
    memory: int
    object_store_memory: int
    resources: dict[str, float]
    reserve: int
    memory_usage_threshold: float
    isolation: bool
    isolation_note: str


def decide_limits(
    wanted: LimitSettings, host: Host, origin: Mapping[str, str]
) -> tuple[Limits, tuple[Refusal, ...]]:
    """The limits for `host`, and a refusal for each wish that the host cannot meet.

    Args:
        wanted: What the user asked for; None in a field means "decide for me".
        host: What there is.
        origin: Where each setting came from, by dotted key.
    """
    reserve = max(_SMALLEST_RESERVE, int(host.memory * _RESERVE_SHARE))
    store = wanted.object_store_memory
    if store is None:
        store = _default_object_store(host)
    memory = wanted.memory
    if memory is None:
        memory = max(_SMALLEST_WORK_MEMORY, host.memory - reserve - store)
    isolation = wanted.resource_isolation != "off" and not host.isolation_obstacle
    limits = Limits(
        num_cpus=host.cpus if wanted.num_cpus is None else wanted.num_cpus,
        num_gpus=host.gpus if wanted.num_gpus is None else wanted.num_gpus,
        memory=memory,
        object_store_memory=store,
        resources=dict(wanted.resources),
        reserve=reserve,
        memory_usage_threshold=wanted.memory_usage_threshold,
        isolation=isolation,
        isolation_note=_isolation_note(wanted.resource_isolation, host.isolation_obstacle),
    )
    return limits, _refusals(limits, wanted, host, origin)


def _default_object_store(host: Host) -> int:
    store = min(int(host.memory * _OBJECT_STORE_SHARE), _LARGEST_DEFAULT_OBJECT_STORE)
    if host.shared_memory is not None:
        # Above what shared memory holds Ray falls back to a disk file, slow and in the open.
        store = min(store, int(host.shared_memory * 0.95))
    return max(store, SMALLEST_OBJECT_STORE)


def _isolation_note(wanted: str, obstacle: str) -> str:
    if wanted == "off":
        return "switched off (limits.resource_isolation)"
    return obstacle


def _refusals(
    limits: Limits, wanted: LimitSettings, host: Host, origin: Mapping[str, str]
) -> tuple[Refusal, ...]:
    def refusal(rule: str, key: str, subject: str, why: str, fix: str) -> Refusal:
        dotted = f"limits.{key}"
        return Refusal(rule, subject, origin.get(dotted, dotted), why, fix)

    found = []
    if limits.num_cpus > host.cpus:
        found.append(
            refusal(
                "SR-LIMIT-001",
                "num_cpus",
                f"{limits.num_cpus} CPUs asked for, {host.cpus} usable here",
                "Ray would run more tasks at once than the host can carry.",
                f"ask for at most {host.cpus}",
            )
        )
    if limits.num_gpus > host.gpus:
        found.append(
            refusal(
                "SR-LIMIT-002",
                "num_gpus",
                f"{limits.num_gpus} GPUs asked for, {host.gpus} found here",
                "Ray accepts any number and hands out GPUs that do not exist.",
                f"ask for at most {host.gpus}",
            )
        )
    if limits.object_store_memory < SMALLEST_OBJECT_STORE:
        found.append(
            refusal(
                "SR-LIMIT-004",
                "object_store_memory",
                f"an object store of {limits.object_store_memory // MIB} MiB",
                "Ray does not start with less than 75 MiB.",
                "ask for at least 75MiB",
            )
        )
    if host.shared_memory is not None and limits.object_store_memory > host.shared_memory:
        found.append(
            refusal(
                "SR-LIMIT-005",
                "object_store_memory",
                f"an object store of {limits.object_store_memory // MIB} MiB, but /dev/shm has "
                f"{host.shared_memory // MIB} MiB free",
                "Ray would keep the objects in a file on disk: slow, and outside of memory.",
                "ask for less, or give the host (docker run --shm-size) more shared memory",
            )
        )
    if limits.memory + limits.object_store_memory > host.memory:
        key = "memory" if wanted.memory is not None else "object_store_memory"
        found.append(
            refusal(
                "SR-LIMIT-003",
                key,
                f"memory {limits.memory // MIB} MiB and object store "
                f"{limits.object_store_memory // MIB} MiB together, {host.memory // MIB} MiB "
                "usable here",
                "The node would run out of memory and the kernel would pick what to kill.",
                f"keep the two together below {host.memory // MIB} MiB",
            )
        )
    if wanted.resource_isolation == "on" and host.isolation_obstacle:
        found.append(
            refusal(
                "SR-LIMIT-006",
                "resource_isolation",
                "resource isolation asked for, which cannot work here: " + host.isolation_obstacle,
                "Ray would start half-way and stop.",
                'set limits.resource_isolation to "auto"',
            )
        )
    return tuple(found)
