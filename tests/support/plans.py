"""Launch plans for tests: on a host that is always the same, whatever the tests run on."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import secure_ray
from secure_ray.base.files import make_private_directory
from secure_ray.base.processes import ProcessIdentity
from secure_ray.node.decide import Decision
from secure_ray.node.instance import Instance, Phase
from secure_ray.node.paths import ClusterPaths, RunPaths
from secure_ray.node.plan import LaunchPlan, build_plan
from secure_ray.policy.limits import Host, decide_limits
from secure_ray.policy.ports import plan_ports
from secure_ray.settings.resolve import Resolved, resolve
from secure_ray.settings.sources import from_toml

if TYPE_CHECKING:
    from secure_ray.settings.model import Settings

NOW = datetime(2026, 11, 22, 12, tzinfo=timezone.utc)
BASE = 20480
ID = "0123456789abcdef"
GIB = 1 << 30
HOST = Host(cpus=8, memory=16 * GIB, shared_memory=8 * GIB, gpus=0, isolation_obstacle="")
VERSIONS = {"ray": "2.60.0", "aiohttp": "3.13.3"}
SOURCE = Path(secure_ray.__file__).parents[1]
EXPIRES = "2027-02-20T12:00:00+00:00"

# What `ray start --block` shows of itself, without Ray.
READY = "print('Ray runtime started.', flush=True)"
WAITS = "import signal; signal.pause()"


def resolved(toml: str = "") -> Resolved:
    return resolve([from_toml(toml, "file test")])


def settings_of(toml: str = "") -> Settings:
    return resolved(toml).settings


def plan_of(home: Path, toml: str = "", *, host: Host = HOST, **more: Any) -> LaunchPlan:
    """The plan for the settings in `toml`; `more` goes to `build_plan`."""
    settings = settings_of(toml)
    limits, _ = decide_limits(settings.limits, host, {})
    ports = plan_ports(
        BASE,
        fixed=settings.ports.fixed(),
        workers=settings.ports.worker_range(),
        metrics=settings.metrics.enabled,
        dashboard=settings.dashboard.enabled,
    )
    given: dict[str, Any] = {
        "settings": settings,
        "paths": ClusterPaths(home, "default"),
        "run": RunPaths(home / "run"),
        "ports": ports,
        "limits": limits,
        "versions": VERSIONS,
        "caller": {},
        "cluster_id": ID,
        "variables": {},
    }
    return build_plan(**(given | more))


def with_command(plan: LaunchPlan, script: str) -> LaunchPlan:
    """The plan with a Python script in place of `ray start`."""
    return replace(plan, argv=(sys.executable, "-u", "-S", "-c", script))


def instance_of(plan: LaunchPlan, phase: Phase = Phase.RUNNING, **more: Any) -> Instance:
    """A record of `plan`, as the supervisor (here: this process) would write it."""
    given: dict[str, Any] = {
        "plan": plan,
        "supervisor": ProcessIdentity.of(os.getpid()),
        "ray": None,
        "phase": phase,
        "reason": "",
        "since": NOW.isoformat(),
        "started": NOW.isoformat(),
        "certificate_expires": EXPIRES,
    }
    return Instance(**(given | more))


def make_directories(plan: LaunchPlan) -> LaunchPlan:
    """What `prepare` would have made for `plan`."""
    for directory in (plan.paths.directory, *plan.private_directories):
        make_private_directory(directory)
    return plan


def decision_of(toml: str = "", **more: Any) -> Decision:
    """What `decide` would say to the settings in `toml` on `HOST`."""
    settings = settings_of(toml)
    limits, refusals = decide_limits(settings.limits, HOST, {})
    assert not refusals
    given: dict[str, Any] = {
        "settings": settings,
        "limits": limits,
        "versions": VERSIONS,
        "ray_options": (),
        "variables": {},
        "held_back": frozenset(),
        "notices": (),
    }
    return Decision(**(given | more))
