"""The environment of an unmodified program that becomes a driver of the cluster."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from secure_ray.base.clock import utc_now
from secure_ray.base.errors import RefusedError
from secure_ray.node.environment import driver_environment
from secure_ray.node.instance import require_running
from secure_ray.node.load import load_settings
from secure_ray.policy.knobs import Kind
from secure_ray.policy.review import Request, review

if TYPE_CHECKING:
    from collections.abc import Mapping

    from secure_ray.node.paths import ClusterPaths


def prepare_driver(
    paths: ClusterPaths, caller: Mapping[str, str]
) -> tuple[dict[str, str], tuple[str, ...]]:
    """The caller's environment with everything that steers Ray replaced, and notices for a person.

    A driver is the user's own program: what injects code into it (PYTHONPATH, LD_PRELOAD) is the
    user's own affair, unlike in Ray's processes. What steers Ray is not.

    Raises:
        FailedError: the cluster is not running.
        RefusedError: a variable contradicts a protection.
    """
    instance = require_running(paths)
    loaded = load_settings(config=None, environ=caller, cwd=Path.cwd(), flags={})
    verdict = review(
        tuple(
            Request(Kind.VARIABLE, name, value, "environment", explicit=False)
            for name, value in sorted(caller.items())
        ),
        ray_version=instance.plan.versions.get("ray", "0"),
        allow_flags=frozenset(loaded.resolved.settings.ray.allow_flags),
        overrides=loaded.resolved.settings.override,
        now=utc_now(),
    )
    if verdict.refusals:
        raise RefusedError(verdict.refusals)
    dropped = {
        request.name
        for request in (*verdict.scrubbed, *verdict.unknown, *verdict.pinned)
        if request.name.upper().startswith(("RAY_", "__RAY_"))
    }
    ours = driver_environment(instance.plan)
    environment = {name: value for name, value in caller.items() if name not in dropped} | ours
    # So that `python` and `ray` are those of the cluster, as in a job.
    own = os.path.dirname(sys.executable)  # noqa: PTH120  # a link's own directory
    environment["PATH"] = f"{own}:{caller.get('PATH', os.defpath)}"
    told = sorted(dropped - set(ours))
    return environment, (f"not passed on to Ray: {', '.join(told)}",) if told else ()
