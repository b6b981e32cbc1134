"""`secure_init`: `ray.init` with the same policy and plan, for a script, a notebook or a test."""

from __future__ import annotations

import atexit
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from secure_ray.base.clock import utc_now
from secure_ray.base.errors import FailedError
from secure_ray.network.guard.inject import inject
from secure_ray.node import ray_process
from secure_ray.node.environment import INSTANCE_VARIABLE, driver_environment, guard_rules
from secure_ray.node.instance import require_running
from secure_ray.node.judge_driver import judge_driver
from secure_ray.node.paths import cluster_paths
from secure_ray.node.requirement_files import with_files_read

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from secure_ray.node.ephemeral import Ephemeral
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
    "system_reserved_cpu": "limits.system_reserved_cpu",
    "system_reserved_memory": "limits.system_reserved_memory",
}
# Those that Ray takes for a cluster that it starts; our driver joins one, where Ray refuses them.
_OPTIONS = {
    "labels": "--labels",
    "_node_name": "--node-name",
    "_enable_object_reconstruction": "--enable-object-reconstruction",
    "_system_config": "--system-config",
}
_NEW = frozenset({None, "local"})
_HARDENED = {"RAY_AUTH_MODE": "token", "RAY_USE_TLS": "1"}


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
        _require_hardened(os.environ)
        return ray_process.init(address=address, **arguments)
    ray_process.finish_shutdown()
    if _inside_cluster(os.environ):
        return _join(address, cluster, config, arguments)
    joins = address not in _NEW or cluster is not None or "SECURE_RAY_CLUSTER" in os.environ
    if joins and address != "local":
        return _join(address, cluster, config, arguments)
    return _start(config, arguments)


def _inside_cluster(environ: Mapping[str, str]) -> bool:
    """Whether this process was started by a secure cluster: a job, a task, an actor."""
    return INSTANCE_VARIABLE in environ and environ.get("RAY_AUTH_MODE") == "token"


def _require_hardened(environ: Mapping[str, str]) -> None:
    """Raise unless the Ray that this process is connected to is a secure one.

    While it is, its variables are in the environment; they were there before Ray was imported, or
    `secure_init` has put them there and `ray.shutdown` takes them away.
    """
    on_loopback = environ.get("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER") == "0"
    guarded = "SECURE_RAY_GUARD_NODE" in environ
    if not _HARDENED.items() <= environ.items() or not (on_loopback or guarded):
        raise FailedError(
            "SR-RAY-023",
            "this program is connected already, to a Ray that secure-ray did not start",
            fix="call ray.shutdown() first, or secure_init instead of ray.init",
        )


def _join(
    address: str | None,
    cluster: str | None,
    config: str | os.PathLike[str] | None,
    arguments: dict[str, Any],
) -> Any:
    plan = require_running(cluster_paths(os.environ, cluster)).plan
    dropped = judge_driver(
        os.environ,
        ray_version=plan.versions.get("ray", "0"),
        config=Path(config) if config is not None else None,
        started_with=plan.settings_file,
        arguments=_requests(arguments),
        trusted=_inside_cluster(os.environ),
    )
    if address not in {None, "auto", plan.control_store}:
        raise FailedError(
            "SR-RAY-020",
            f"address={address!r} is not the secure cluster of this machine ({plan.control_store})",
            fix='use address="auto"',
        )
    return _connect(plan, arguments, dropped)


def _connect(
    plan: LaunchPlan,
    arguments: dict[str, Any],
    dropped: frozenset[str],
    *,
    meanwhile: Callable[[], None] = lambda: None,
) -> Any:
    """Harden this process, do `meanwhile` while Ray is being imported, then join the cluster."""
    environment = driver_environment(plan, os.environ)
    restore = ray_process.harden(environment, dropped)
    try:
        imported = ray_process.begin_import()
        try:
            meanwhile()
        finally:
            imported()  # Ray must not read its configuration after it has been put back
        _guard(plan)
        if plan.place.is_private:
            # Ray would look for a raylet among all processes of the host, the head's first.
            arguments = arguments | {"_node_ip_address": plan.place.address}
        context = ray_process.init(address=environment["RAY_ADDRESS"], **arguments)
    except BaseException:
        restore()
        raise
    ray_process.after_shutdown(restore)
    return context


def _guard(plan: LaunchPlan) -> None:
    """Put this process under the bind guard.

    Raises:
        FailedError: it cannot be, and other hosts could reach what it opens. In local mode the
            driver's Ray is on loopback by Ray's own switch, guarded or not.
    """
    if plan.guard is None:
        return
    try:
        inject(plan.guard, guard_rules(plan.place, plan.ports))
    except FailedError:
        if plan.place.is_private:
            raise


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
            ray_options=_ray_options(arguments),
            sources={flag: f"argument {name}" for name, flag in _OPTIONS.items()},
            arguments=_requests(rest),
        ),
        environ=os.environ,
        cwd=Path.cwd(),
        now=now,
    )
    ephemeral = Ephemeral.make(os.environ)
    try:
        with ephemeral.starting():
            prepared = prepare(
                decision,
                ephemeral.paths,
                caller=os.environ,
                now=now,
                ephemeral=True,
                working_directory=Path.cwd(),
            )
            atexit.register(_end_with_program, ephemeral)
            context = _connect(
                prepared.plan,
                rest,
                decision.held_back,
                meanwhile=lambda: bring_up(prepared, lambda _event: None),
            )
    except BaseException:
        ephemeral.end()
        raise
    ray_process.after_shutdown(ephemeral.end)
    return context


def _end_with_program(ephemeral: Ephemeral) -> None:
    """The driver first, then its cluster."""
    try:
        if ephemeral.ends_here:
            ray_process.shutdown_at_exit()
    finally:
        ephemeral.end()


def _split(arguments: dict[str, Any]) -> tuple[dict[str, object], dict[str, Any]]:
    """The settings that Ray's arguments stand for, and the arguments that remain for the driver."""
    rest = dict(arguments)
    settings: dict[str, object] = {
        key: rest.pop(argument, None) for argument, key in _SETTINGS.items()
    }
    isolation = rest.pop("enable_resource_isolation", None)
    if isolation is not None:
        settings["limits.resource_isolation"] = "on" if isolation else "off"
    # A Ray of one program is for that program, whatever the settings say of clusters.
    settings["network.bind"] = "local"
    for argument in _OPTIONS:
        rest.pop(argument, None)
    return settings, rest


def _ray_options(arguments: dict[str, Any]) -> tuple[str, ...]:
    """The arguments that are options of `ray start`."""
    options = []
    if labels := arguments.get("labels"):
        options.append("--labels=" + ",".join(f"{key}={labels[key]}" for key in sorted(labels)))
    if name := arguments.get("_node_name"):
        options.append(f"--node-name={name}")
    if arguments.get("_enable_object_reconstruction"):
        options.append("--enable-object-reconstruction")
    if config := arguments.get("_system_config"):
        options.append(f"--system-config={json.dumps(config)}")
    return tuple(options)


def _requests(arguments: Mapping[str, Any]) -> tuple[Any, ...]:
    from secure_ray.policy.knobs import Kind
    from secure_ray.policy.review import Request

    judged = dict(arguments)
    if "runtime_env" in judged:
        judged["runtime_env"] = with_files_read(judged["runtime_env"])
    return tuple(
        Request(Kind.ARGUMENT, name, value, f"argument {name}") for name, value in judged.items()
    )
