"""How much of the host a cluster may use, decided from what the host really has.

Ray believes what it is told: `--num-gpus=2` on a machine without a GPU is accepted, and its own
defaults look at the whole host even inside a smaller cgroup. So the amounts are always given.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from secure_ray.base.errors import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from secure_ray.settings.model import LimitSettings

MIB = 1 << 20
# Ray 2.60.0, _private/ray_constants.py: OBJECT_STORE_MINIMUM_MEMORY_BYTES.
SMALLEST_OBJECT_STORE = 75 * MIB
_OBJECT_STORE_SHARE = 0.3
_LARGEST_DEFAULT_OBJECT_STORE = 200 * 1000**3
_RESERVE_SHARE = 0.1
_SMALLEST_RESERVE = 512 * MIB
_SMALLEST_WORK_MEMORY = 128 * MIB
# What resource isolation keeps for Ray's own processes at least (Ray 2.52.1 to 2.60.0,
# _private/ray_constants.py: DEFAULT_MIN_SYSTEM_RESERVED_CPU_CORES, ..._MEMORY_BYTES).
_LEAST_RESERVED_CPUS = 1
_LEAST_RESERVED_MEMORY = 500 * MIB


@dataclass(frozen=True)
class Host:
    """What this process may use of the machine.

    Attributes:
        cpus: CPUs by affinity and cgroup quota, at least 1.
        memory: Bytes by cgroup limit and physical memory.
        shared_memory: Free bytes in the shared memory file system; None where Ray uses none.
        gpus: GPUs seen; 0 when none.
        isolation_obstacle: Why Ray's resource isolation cannot work here; "" when it can.
        cgroup: The control group that Ray's resource isolation makes its own in.
    """

    cpus: int
    memory: int
    shared_memory: int | None
    gpus: int
    isolation_obstacle: str
    cgroup: str = ""


@dataclass(frozen=True)
class Limits:
    """What the cluster gets on this node; sizes in bytes.

    Attributes:
        reserve: Memory that is left for the system and for Ray's own processes; who chooses the other
            two sizes may leave less than a tenth.
        isolation: Whether Ray isolates its own processes by cgroup.
        isolation_note: Why not, for a person; "" when it does.
        cgroup: Where it makes its control groups.
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
    cgroup: str = ""


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
    obstacle = _isolation_obstacle(host)
    limits = Limits(
        num_cpus=host.cpus if wanted.num_cpus is None else wanted.num_cpus,
        num_gpus=host.gpus if wanted.num_gpus is None else wanted.num_gpus,
        memory=memory,
        object_store_memory=store,
        resources=dict(wanted.resources),
        reserve=max(0, host.memory - memory - store),
        memory_usage_threshold=wanted.memory_usage_threshold,
        isolation=wanted.resource_isolation != "off" and not obstacle,
        isolation_note=_isolation_note(wanted.resource_isolation, obstacle),
        cgroup=host.cgroup,
    )
    return limits, _refusals(limits, wanted, host, origin)


def _default_object_store(host: Host) -> int:
    store = min(int(host.memory * _OBJECT_STORE_SHARE), _LARGEST_DEFAULT_OBJECT_STORE)
    if host.shared_memory is not None:
        # Above what shared memory holds Ray falls back to a disk file, slow and in the open.
        store = min(store, int(host.shared_memory * 0.95))
    return max(store, SMALLEST_OBJECT_STORE)


def _isolation_obstacle(host: Host) -> str:
    """Why Ray's resource isolation cannot work on `host`; "" when it can.

    Ray keeps a CPU for its own processes and refuses to start when that is the only one (Ray
    2.60.0, _private/resource_isolation_config.py).
    """
    if not host.isolation_obstacle and host.cpus <= _LEAST_RESERVED_CPUS:
        return "Ray needs a second CPU for it"
    return host.isolation_obstacle


def _isolation_note(wanted: str, obstacle: str) -> str:
    if wanted == "off":
        return "switched off (limits.resource_isolation)"
    return obstacle


def _refusals(
    limits: Limits, wanted: LimitSettings, host: Host, origin: Mapping[str, str]
) -> tuple[Refusal, ...]:
    wishes = (
        *_counts_over(limits, host),
        *_object_store_outside(limits, host),
        *_memory_over(limits, wanted, host),
        *_impossible_isolation(wanted, host),
        *_reserved_outside(limits, wanted, host),
    )
    return tuple(
        Refusal(rule, subject, origin.get(f"limits.{key}", f"limits.{key}"), _WHY[rule], fix)
        for rule, key, subject, fix in wishes
    )


# Rule, key of the setting, what was asked for, what to do.
_Wish = tuple[str, str, str, str]

_WHY = {
    "SR-LIMIT-001": "Ray would run more tasks at once than the host can carry.",
    "SR-LIMIT-002": "Ray accepts any number and hands out GPUs that do not exist.",
    "SR-LIMIT-003": "The node would run out of memory and the kernel would pick what to kill.",
    "SR-LIMIT-004": "Ray does not start with less than 75 MiB.",
    "SR-LIMIT-005": "Ray would keep the objects in a file on disk: slow, and outside of memory.",
    "SR-LIMIT-006": "Ray would start half-way and stop.",
    "SR-LIMIT-007": "Ray would not start.",
}


def _counts_over(limits: Limits, host: Host) -> Iterator[_Wish]:
    if limits.num_cpus > host.cpus:
        subject = f"{limits.num_cpus} CPUs asked for, {host.cpus} usable here"
        yield "SR-LIMIT-001", "num_cpus", subject, f"ask for at most {host.cpus}"
    if limits.num_gpus > host.gpus:
        subject = f"{limits.num_gpus} GPUs asked for, {host.gpus} found here"
        yield "SR-LIMIT-002", "num_gpus", subject, f"ask for at most {host.gpus}"


def _object_store_outside(limits: Limits, host: Host) -> Iterator[_Wish]:
    asked = f"an object store of {_mib(limits.object_store_memory)}"
    if limits.object_store_memory < SMALLEST_OBJECT_STORE:
        yield "SR-LIMIT-004", "object_store_memory", asked, "ask for at least 75MiB"
    if host.shared_memory is not None and limits.object_store_memory > host.shared_memory:
        subject = f"{asked}, but /dev/shm has {_mib(host.shared_memory)} free"
        fix = "ask for less, or give the host (docker run --shm-size) more shared memory"
        yield "SR-LIMIT-005", "object_store_memory", subject, fix


def _memory_over(limits: Limits, wanted: LimitSettings, host: Host) -> Iterator[_Wish]:
    if limits.memory + limits.object_store_memory <= host.memory:
        return
    key = "memory" if wanted.memory is not None else "object_store_memory"
    subject = (
        f"memory {_mib(limits.memory)} and object store {_mib(limits.object_store_memory)} "
        f"together, {_mib(host.memory)} usable here"
    )
    yield "SR-LIMIT-003", key, subject, f"keep the two together below {_mib(host.memory)}"


def _impossible_isolation(wanted: LimitSettings, host: Host) -> Iterator[_Wish]:
    obstacle = _isolation_obstacle(host)
    if wanted.resource_isolation == "on" and obstacle:
        subject = f"resource isolation asked for, which cannot work here: {obstacle}"
        fix = 'set limits.resource_isolation to "auto"'
        yield "SR-LIMIT-006", "resource_isolation", subject, fix


def _reserved_outside(limits: Limits, wanted: LimitSettings, host: Host) -> Iterator[_Wish]:
    """Without isolation nothing is reserved, so that there is nothing to refuse."""
    cpus, memory = wanted.system_reserved_cpu, wanted.system_reserved_memory
    if not limits.isolation:
        return
    if cpus is not None and not _LEAST_RESERVED_CPUS <= cpus < host.cpus:
        subject = f"{cpus:g} CPUs asked for Ray's own processes, {host.cpus} usable here"
        fix = f"reserve at least {_LEAST_RESERVED_CPUS} and less than {host.cpus}"
        yield "SR-LIMIT-007", "system_reserved_cpu", subject, fix
    if memory is not None and not _LEAST_RESERVED_MEMORY <= memory <= host.memory:
        subject = f"{_mib(memory)} asked for Ray's own processes, {_mib(host.memory)} usable here"
        fix = f"reserve {_mib(_LEAST_RESERVED_MEMORY)} to {_mib(host.memory)}"
        yield "SR-LIMIT-007", "system_reserved_memory", subject, fix


def _mib(size: int) -> str:
    return f"{size // MIB} MiB"
