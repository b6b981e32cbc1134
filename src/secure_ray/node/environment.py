"""The environments of what is started: pure functions over plain values.

Ray's own is built from nothing: a few harmless variables of the caller, what the settings add, and
what secure-ray decides. A driver's is the caller's own, with everything that steers Ray replaced.
"""

from __future__ import annotations

import os
import sys
from types import MappingProxyType
from typing import TYPE_CHECKING

from secure_ray.network.guard.library import guarded_environment
from secure_ray.network.guard.rules import LOCAL_RULES, GuardRules
from secure_ray.node.place import LOCAL
from secure_ray.policy.addresses import LOOPBACK
from secure_ray.policy.environment import select_passed

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from secure_ray.node.paths import ClusterPaths, RunPaths
    from secure_ray.node.place import Place
    from secure_ray.node.plan import LaunchPlan
    from secure_ray.policy.ports import PortPlan
    from secure_ray.settings.model import Settings

# Marks every process of a cluster; drivers do not carry it, so that `down` leaves them alone.
INSTANCE_VARIABLE = "SECURE_RAY_INSTANCE"
CLUSTER_VARIABLE = "SECURE_RAY_CLUSTER"
HOME_VARIABLE = "SECURE_RAY_HOME"
START_VARIABLE = "SECURE_RAY_START"
SESSION_VARIABLE = "SECURE_RAY_SESSIONS"

_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Above the last port: Ray 2.52.1 takes only digits here and falls back to its default for "-1".
_NO_PORT = "65536"
_NOBODY: Mapping[str, str] = MappingProxyType({})
_NO_PROXY = "127.0.0.1,localhost,::1"
# What trains across processes looks for an interface other than loopback, where the guard lets it
# listen on no address; all of its processes are on this host.
_ON_LOOPBACK = dict.fromkeys(("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME", "TP_SOCKET_IFNAME"), "lo")


def identity_environment(certificates: Path, token: Path) -> dict[str, str]:
    """What makes a Ray process authenticate and encrypt; every process of a cluster needs it.

    `RAY_TLS_*` is always mutual TLS (Ray 2.60.0, `_common/tls_utils.py`).
    """
    return {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_USE_TLS": "1",
        "RAY_TLS_SERVER_CERT": str(certificates / "node.crt"),
        "RAY_TLS_SERVER_KEY": str(certificates / "node.key"),
        "RAY_TLS_CA_CERT": str(certificates / "ca.crt"),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_DEBUG": "0",
    }


def bind_environment(
    place: Place, ports: PortPlan, guard: Path | None, preload: str = ""
) -> dict[str, str]:
    """What keeps every listener of a Ray process where it belongs.

    `RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0` makes Ray take 127.0.0.1 as the node's address on Linux
    too, and with it every listener of Ray's core binds loopback (Ray 2.60.0,
    `_private/services.py` `get_node_ip_address`). For any other address Ray has no such switch, and
    what its libraries and jobs open does not ask it (`[::]:0` in serve/_private/replica.py): that
    is the guard's work.

    Args:
        place: The node's place.
        ports: What belongs on loopback and what on the node's address.
        guard: The bind guard's library; None in local mode where there is none.
        preload: The `LD_PRELOAD` that was there before.
    """
    own = {} if place.is_private else {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
    if guard is None:
        return own
    if not place.is_private:
        own |= _ON_LOOPBACK
    return own | guarded_environment(guard, guard_rules(place, ports), inherited_preload=preload)


def guard_rules(place: Place, ports: PortPlan) -> GuardRules:
    """What the guard is told on this node.

    The same in every cluster of one host, so that one program can be a driver of several in turn.
    """
    if not place.is_private:
        return LOCAL_RULES
    return GuardRules(
        node=place.address,
        loopback_ports=ports.loopback_ports,
        node_ports=ports.node_ports,
        relayed=ports.relayed,
    )


def ray_environment(  # noqa: PLR0913  # everything that Ray's processes may know
    caller: Mapping[str, str],
    settings: Settings,
    variables: Mapping[str, str],
    paths: ClusterPaths,
    run: RunPaths,
    ports: PortPlan,
    *,
    cluster_id: str,
    place: Place = LOCAL,
    guard: Path | None = None,
    store: Mapping[str, str] = _NOBODY,
) -> dict[str, str]:
    """The environment of Ray's processes and of every job that they start.

    Args:
        caller: Where a few harmless variables are taken from.
        settings: Limits, logs, metrics, and which further variables of the caller to take.
        variables: What `[environment] set` adds, as far as policy lets it through.
        paths: The cluster's files.
        run: The short directory.
        ports: The port plan.
        cluster_id: The mark of the cluster's processes.
        place: The node's place.
        guard: The bind guard's library, where there is one.
        store: What says where the control store keeps its state, on a head.
    """
    environment = select_passed(caller, tuple(settings.environment.pass_))
    # After the caller's: a pattern such as "P*" must not bring in the caller's search path.
    environment |= {"PATH": f"{os.path.dirname(sys.executable)}:{_SYSTEM_PATH}"}  # noqa: PTH120
    environment |= identity_environment(paths.pki / "node" / "current", paths.token)
    environment |= _limit_variables(settings)
    environment |= _log_variables(settings)
    environment |= _metric_variables(settings, ports)
    environment |= {
        "TMPDIR": str(run.temporary),
        "RAY_START_HOOK": "secure_ray.node.start_hook.apply",
        START_VARIABLE: settings.start.order,
        # A drain before stopping would only wait for detached actors that the stop ends anyway
        # (Ray 2.60.0, _private/node.py `_drain_node_before_shutdown`).
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
        # With usage statistics off Ray still reports that they are off (Ray 2.60.0,
        # dashboard/modules/usage_stats). What is no URL reaches nobody.
        "RAY_USAGE_STATS_REPORT_URL": "off",
    }
    if not place.is_head:
        environment[SESSION_VARIABLE] = str(run.ray)
    environment |= store
    # After what secure-ray sets: policy let these through, some of them by an override.
    environment |= variables
    # Only then: an override that lets a library of the user's in must not take the guard out.
    environment |= bind_environment(place, ports, guard, variables.get("LD_PRELOAD", ""))
    return environment | {
        CLUSTER_VARIABLE: paths.name,
        HOME_VARIABLE: str(paths.home),
        INSTANCE_VARIABLE: cluster_id,
    }


def _limit_variables(settings: Settings) -> dict[str, str]:
    limits = settings.limits
    return {
        "RAY_memory_usage_threshold": str(limits.memory_usage_threshold),
        "RAY_local_fs_capacity_threshold": str(limits.spill_limit),
        # A task that asks for no GPU otherwise sees them all (Ray 2.60.0,
        # _private/accelerators/accelerator.py).
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",
    }


def _log_variables(settings: Settings) -> dict[str, str]:
    logging = settings.logging
    variables = {
        "RAY_ROTATION_MAX_BYTES": str(logging.rotate_bytes),
        "RAY_ROTATION_BACKUP_COUNT": str(logging.rotate_count),
    }
    # Setting Ray's own default would have every worker print a line about it.
    if logging.level != "info":
        # The first is for C++, the second for Python (Ray 2.60.0, _private/ray_constants.py).
        variables |= {"RAY_BACKEND_LOG_LEVEL": logging.level, "RAY_LOGGER_LEVEL": logging.level}
    if logging.format == "json":
        variables |= {"RAY_BACKEND_LOG_JSON": "1", "RAY_LOGGING_CONFIG_ENCODING": "JSON"}
    return variables


def _metric_variables(settings: Settings, ports: PortPlan) -> dict[str, str]:
    if settings.metrics.enabled:
        return {
            planned.component.variable: str(planned.port)
            for planned in ports.ports
            if planned.component.variable
        }
    # The exporters ask for no token, so any user of the host could read them. Ray has no switch
    # for two of them; a port that cannot be bound is logged and left out (Ray 2.60.0,
    # dashboard/head.py `_setup_metrics`, autoscaler/_private/monitor.py).
    return {
        "RAY_enable_metrics_collection": "0",
        "DASHBOARD_METRIC_PORT": _NO_PORT,
        "AUTOSCALER_METRIC_PORT": _NO_PORT,
        "RAY_GRAFANA_HOST": "DISABLED",
    }


def driver_environment(plan: LaunchPlan, caller: Mapping[str, str] = _NOBODY) -> dict[str, str]:
    """What a driver on this node needs, to be laid over its own environment `caller`."""
    no_proxy = caller.get("no_proxy") or caller.get("NO_PROXY") or ""
    direct = [_NO_PROXY, *sorted({plan.place.address, plan.place.head} - {LOOPBACK})]
    no_proxy = ",".join([no_proxy, *direct] if no_proxy else direct)
    environment = identity_environment(plan.certificates, plan.paths.token)
    environment |= bind_environment(
        plan.place, plan.ports, plan.guard, caller.get("LD_PRELOAD", "")
    )
    environment |= {
        "RAY_ADDRESS": plan.control_store,
        # A proxy would be handed the cluster token with each request to the Jobs API.
        "no_proxy": no_proxy,
        "NO_PROXY": no_proxy,
    }
    if not plan.ephemeral:
        environment |= {CLUSTER_VARIABLE: plan.paths.name, HOME_VARIABLE: str(plan.paths.home)}
    if plan.logging_json:
        environment["RAY_LOGGING_CONFIG_ENCODING"] = "JSON"
    if any(planned.component.name == "dashboard" for planned in plan.ports.ports):
        environment["RAY_API_SERVER_ADDRESS"] = f"http://127.0.0.1:{plan.ports.port('dashboard')}"
    return environment
