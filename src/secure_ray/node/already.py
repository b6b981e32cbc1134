"""Whether the cluster that runs is the one that is asked for now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from secure_ray.settings.resolve import DEFAULT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from secure_ray.node.decide import Decision
    from secure_ray.node.plan import LaunchPlan

# Key of the setting, what is asked for, what runs.
_Pair = tuple[str, object, object]


def differences(decision: Decision, plan: LaunchPlan) -> tuple[str, ...]:
    """What was asked for and does not run so, for a person; empty when all of it does.

    Only what somebody asked for counts: a default that was taken from the host may be another by now. Values of `[environment] set` are not compared, since the record does not have them.

    Args:
        decision: What would be started now.
        plan: What was started, as recorded.
    """
    pairs = (
        *_everywhere(decision, plan),
        *(_of_head(decision, plan) if plan.place.is_head else ()),
    )
    settings = [
        f"{key} is {runs}, asked for is {asked} ({decision.origin[key]})"
        for key, asked, runs in pairs
        if asked != runs and decision.origin.get(key, DEFAULT) != DEFAULT
    ]
    options = [f"{one} was not given" for one in decision.ray_options if one not in plan.argv]
    variables = [
        f"{name} is not set (environment.set)"
        for name in sorted(decision.variables.keys() - plan.environment.keys())
    ]
    return (*settings, *_resources(decision, plan), *options, *variables)


def _everywhere(decision: Decision, plan: LaunchPlan) -> Iterator[_Pair]:
    limits, logging = decision.settings.limits, decision.settings.logging
    yield "network.bind", decision.address, plan.place.address
    for name in ("num_cpus", "num_gpus", "memory", "object_store_memory", "memory_usage_threshold"):
        yield f"limits.{name}", getattr(limits, name), getattr(plan.limits, name)
    if limits.resource_isolation != "auto":
        runs = "on" if plan.limits.isolation else "off"
        yield "limits.resource_isolation", limits.resource_isolation, runs
    yield "logging.level", logging.level, plan.logging_level
    yield "logging.format", logging.format, "json" if plan.logging_json else "text"
    yield "logging.rotate_bytes", logging.rotate_bytes, plan.logging_bytes
    yield "logging.rotate_count", logging.rotate_count, plan.logging_count


def _of_head(decision: Decision, plan: LaunchPlan) -> Iterator[_Pair]:
    """A worker has these from its head."""
    settings, ports = decision.settings, plan.ports
    running = {planned.component.name: planned.port for planned in ports.ports}
    yield "dashboard.enabled", settings.dashboard.enabled, "dashboard" in running
    yield "metrics.enabled", settings.metrics.enabled, "metrics" in running
    yield "store.kind", decision.store.value, plan.store.value
    yield "redis.address", settings.redis.address, plan.environment.get("RAY_REDIS_ADDRESS")
    yield "network.join_from", settings.network.join_from, plan.join_from
    yield "ports.base", settings.ports.base, ports.base
    if workers := settings.ports.worker_range():
        yield "ports.workers", workers, (ports.first_worker, ports.last_worker)
    for name, port in settings.ports.fixed().items():
        if name in running:
            yield f"ports.{name}", port, running[name]


def _resources(decision: Decision, plan: LaunchPlan) -> Iterator[str]:
    asked, runs = dict(decision.settings.limits.resources), plan.limits.resources
    if asked and asked != runs:
        yield f"limits.resources is {runs}, asked for is {asked}"
