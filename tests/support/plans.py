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
from secure_ray.node.choose_ports import choose_ports
from secure_ray.node.decide import Decision
from secure_ray.node.instance import Instance, Phase
from secure_ray.node.paths import ClusterPaths, RunPaths
from secure_ray.node.place import Place, head_at
from secure_ray.node.plan import LaunchPlan, build_plan
from secure_ray.policy.limits import Host, decide_limits
from secure_ray.policy.ports import plan_ports
from secure_ray.settings.resolve import Resolved, resolve
from secure_ray.settings.sources import from_toml

if TYPE_CHECKING:
    from secure_ray.policy.ports import PortPlan
    from secure_ray.settings.model import Settings

NOW = datetime(2026, 11, 22, 12, tzinfo=timezone.utc)
BASE = 20480
ID = "0123456789abcdef"
GIB = 1 << 30
HOST = Host(
    cpus=8,
    memory=16 * GIB,
    shared_memory=8 * GIB,
    gpus=0,
    isolation_obstacle="",
    cgroup="/sys/fs/cgroup/ours",
)
VERSIONS = {"ray": "2.60.0", "aiohttp": "3.13.3"}
SOURCE = Path(secure_ray.__file__).parents[1]
EXPIRES = "2027-02-20T12:00:00+00:00"

HEAD = head_at("10.77.0.1")
WORKER = Place("w1", "10.77.0.2", HEAD.address)
GUARD = Path("/opt/secure-ray/_guard.so")

# What `ray start --block` shows of itself, without Ray.
READY = "print('Ray runtime started.', flush=True)"
WAITS = "import signal; signal.pause()"


def resolved(toml: str = "") -> Resolved:
    return resolve([from_toml(toml, "file test")])


def settings_of(toml: str = "") -> Settings:
    return resolved(toml).settings


def ports_of(settings: Settings, *, base: int = BASE, private: bool = False) -> PortPlan:
    """The ports of a head with `settings`."""
    return plan_ports(
        base,
        fixed=settings.ports.fixed(),
        workers=settings.ports.worker_range(),
        metrics=settings.metrics.enabled,
        dashboard=settings.dashboard.enabled,
        private=private,
    )


def plan_of(home: Path, toml: str = "", *, host: Host = HOST, **more: Any) -> LaunchPlan:
    """The plan for the settings in `toml`; `more` goes to `build_plan`."""
    settings = settings_of(toml)
    limits, _ = decide_limits(settings.limits, host, {})
    ports = ports_of(settings)
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


def private_plan(
    home: Path, toml: str = "", *, place: Place = HEAD, base: int = BASE, **more: Any
) -> LaunchPlan:
    """The plan of a node at `place` in a cluster in private mode."""
    ports = ports_of(settings_of(toml), base=base, private=True)
    own = ports if place.is_head else ports.for_worker()
    given: dict[str, Any] = {"place": place, "guard": GUARD, "ports": own, "head_ports": ports}
    return plan_of(home, toml, **(given | more))


def free_base(address: str) -> int:
    """The base of a block of ports that is free on `address`."""
    ports, reservation = choose_ports(settings_of(), 0, VERSIONS["ray"], address=address)
    reservation.close()
    return ports.base


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
