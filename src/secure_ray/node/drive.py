"""The environment of an unmodified program that becomes a driver of the cluster."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from secure_ray.network.guard.library import self_test
from secure_ray.node.environment import driver_environment, guard_rules
from secure_ray.node.instance import require_running
from secure_ray.node.judge_driver import judge_driver

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from secure_ray.node.paths import ClusterPaths


def prepare_driver(
    paths: ClusterPaths, caller: Mapping[str, str], *, config: Path | None = None
) -> tuple[dict[str, str], tuple[str, ...]]:
    """The caller's environment with everything that steers Ray replaced, and notices for a person.

    Args:
        paths: The cluster's files.
        caller: The caller's environment.
        config: The settings file that was named; else the one that the cluster was started with.

    Raises:
        UsageError: the settings are wrong.
        FailedError: the cluster is not running, or the bind guard does not hold here any more.
        RefusedError: a variable contradicts a protection.
    """
    plan = require_running(paths).plan
    if plan.guard is not None:
        # The loader only warns of a library that is not there, and goes on without it.
        self_test(plan.guard, guard_rules(plan.place, plan.ports))
    dropped = judge_driver(
        caller,
        ray_version=plan.versions.get("ray", "0"),
        config=config,
        started_with=plan.settings_file,
    )
    ours = driver_environment(plan, caller)
    environment = {name: value for name, value in caller.items() if name not in dropped} | ours
    # So that `python` and `ray` are those of the cluster, as in a job.
    own = os.path.dirname(sys.executable)  # noqa: PTH120  # a link's own directory
    environment["PATH"] = f"{own}:{caller.get('PATH', os.defpath)}"
    told = sorted(dropped - set(ours))
    return environment, (f"not passed on to Ray: {', '.join(told)}",) if told else ()
