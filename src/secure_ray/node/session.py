"""`secure_init`: `ray.init` with the same policy and plan, for a script, a notebook or a test."""

from __future__ import annotations

import atexit
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from secure_ray.base.clock import utc_now
from secure_ray.base.errors import FailedError, RefusedError
from secure_ray.node import ray_process
from secure_ray.node.environment import INSTANCE_VARIABLE, driver_environment
from secure_ray.node.instance import require_running
from secure_ray.node.paths import cluster_paths

if TYPE_CHECKING:
    from collections.abc import Mapping

    from secure_ray.node.plan import LaunchPlan

# Arguments of ray.init that size a local cluster; Ray itself refuses them when it joins one.
_SETTINGS = {
    "num_cpus": "limits.num_cpus",
    "num_gpus": "limits.num_gpus",
    "resources": "limits.resources",
    "object_store_memory": "limits.object_store_memory",
    "_memory": "limits.memory",
    "include_dashboard": "dashboard.enabled",
    "dashboard_port": "ports.dashboard",
}
_NEW = frozenset({None, "local"})


def secure_init(
    address: str | None = None,
    *,
    cluster: str | None = None,
    config: str | os.PathLike[str] | None = None,
    **arguments: Any,
) -> Any:
    """Start a hardened Ray for this program, or join the secure cluster of this machine.

    Use it where `ray.init` stands. Its arguments are accepted; unsafe ones are refused by the rules
    that `secure-ray explain` lists. A Ray that it starts ends with the program or with
    `ray.shutdown()`.

    Args:
        address: None or "local" starts a new Ray, unless the program runs under
            `secure-ray run` or in a job, where it joins that cluster; "auto" joins the cluster
            that `secure-ray up` started on this machine.
        cluster: Which cluster to join, when there are several; implies `address="auto"`.
        config: A settings file; otherwise found as the command line finds it.
        **arguments: Arguments of `ray.init`.

    Returns:
        Ray's context, as `ray.init` returns it.

    Raises:
        RefusedError: policy refuses an argument, a setting or a variable; holds every refusal.
        UsageError: the settings are wrong.
        FailedError: the cluster is not running, or Ray could not be started as planned.
        RuntimeError: Ray is initialised already (as `ray.init` raises it).
    """
    if ray_process.is_initialized():
        return ray_process.init(address=address, **arguments)
    if _inside_cluster(os.environ):
        _refuse_unsafe(arguments, config)
        return ray_process.init(address=None, **arguments)
    joins = address not in _NEW or cluster is not None or "SECURE_RAY_CLUSTER" in os.environ
    if joins and address != "local":
        return _join(address, cluster, config, arguments)
    return _start(config, arguments)


def _inside_cluster(environ: Mapping[str, str]) -> bool:
    """Whether this process was started by a secure cluster: a job, a task, an actor."""
    return INSTANCE_VARIABLE in environ and environ.get("RAY_AUTH_MODE") == "token"


def _join(
    address: str | None,
    cluster: str | None,
    config: str | os.PathLike[str] | None,
    arguments: dict[str, Any],
) -> Any:
    _refuse_unsafe(arguments, config)
    plan = require_running(cluster_paths(os.environ, cluster)).plan
    here = f"127.0.0.1:{plan.ports.port('gcs')}"
    if address not in {None, "auto", here}:
        raise FailedError(
            "SR-RAY-020",
            f"address={address!r} is not the secure cluster of this machine ({here})",
            fix='use address="auto"',
        )
    return _connect(plan, arguments)


def _connect(plan: LaunchPlan, arguments: dict[str, Any]) -> Any:
    environment = driver_environment(plan)
    restore = ray_process.harden(environment)
    try:
        context = ray_process.init(address=environment["RAY_ADDRESS"], **arguments)
    except BaseException:
        restore()
        raise
    ray_process.after_shutdown(restore)
    return context


def _start(config: str | os.PathLike[str] | None, arguments: dict[str, Any]) -> Any:
    from secure_ray.node.bring_up import bring_up
    from secure_ray.node.decide import Wish, decide
    from secure_ray.node.ephemeral import Ephemeral
    from secure_ray.node.prepare import prepare

    wish, rest = _split(arguments)
    now = utc_now()
    ray_process.require_hardenable()
    decision = decide(
        Wish(
            flags=wish,
            config=Path(config) if config is not None else None,
            ray_options=_labels(arguments),
            arguments=_requests(rest),
        ),
        environ=os.environ,
        cwd=Path.cwd(),
        now=now,
    )
    ephemeral = Ephemeral.make(os.environ)
    try:
        prepared = prepare(
            decision,
            ephemeral.paths,
            caller=os.environ,
            now=now,
            ephemeral=True,
            working_directory=Path.cwd(),
        )
        bring_up(prepared, lambda _event: None)
        atexit.register(ephemeral.end)
        context = _connect(prepared.plan, rest)
    except BaseException:
        ephemeral.end()
        raise
    ray_process.after_shutdown(ephemeral.end)
    return context


def _split(arguments: dict[str, Any]) -> tuple[dict[str, object], dict[str, Any]]:
    """The settings that Ray's arguments stand for, and the arguments that remain for the driver."""
    rest = dict(arguments)
    settings = {key: rest.pop(argument, None) for argument, key in _SETTINGS.items()}
    rest.pop("labels", None)
    return settings, rest


def _labels(arguments: dict[str, Any]) -> tuple[str, ...]:
    labels = arguments.get("labels") or {}
    if not labels:
        return ()
    return ("--labels=" + ",".join(f"{key}={value}" for key, value in sorted(labels.items())),)


def _requests(arguments: Mapping[str, Any]) -> tuple[Any, ...]:
    from secure_ray.policy.knobs import Kind
    from secure_ray.policy.review import Request

    return tuple(
        Request(Kind.ARGUMENT, name, value, f"argument {name}") for name, value in arguments.items()
    )


def _refuse_unsafe(arguments: Mapping[str, Any], config: str | os.PathLike[str] | None) -> None:
    """Judge the arguments of a program that joins: the same rules, without a plan."""
    from secure_ray.node.host import read_versions
    from secure_ray.node.load import load_settings
    from secure_ray.policy.review import review

    loaded = load_settings(
        config=Path(config) if config is not None else None,
        environ=os.environ,
        cwd=Path.cwd(),
        flags={},
    )
    verdict = review(
        _requests(arguments),
        ray_version=read_versions().get("ray", "0"),
        allow_flags=frozenset(loaded.resolved.settings.ray.allow_flags),
        overrides=loaded.resolved.settings.override,
        now=utc_now(),
    )
    if verdict.refusals:
        raise RefusedError(verdict.refusals)
