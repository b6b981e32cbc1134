"""The arguments of `ray.init` (Ray 2.52.1 to 2.60.0, _private/worker.py), without runtime_env."""

from __future__ import annotations

from secure_ray.policy.knobs import Action, Kind, Knob
from secure_ray.policy.values import (
    ANY,
    EACH_KEY,
    NEVER,
    NOT_LOOPBACK,
    OFF,
    ON,
    Unsafe,
    other_than,
)


def _refuse(name: str, rule: str, why: str, fix: str, *, unsafe: Unsafe = ANY) -> Knob:
    return Knob(Kind.ARGUMENT, name, Action.REFUSE, rule, unsafe, why, fix)


def _allow(name: str, why: str) -> Knob:
    return Knob(Kind.ARGUMENT, name, Action.ALLOW, "", NEVER, why, "")


ARGUMENTS = (
    Knob(
        Kind.ARGUMENT,
        "dashboard_host",
        Action.PIN,
        "SR-NET-002",
        NOT_LOOPBACK,
        "it is plain HTTP and whoever reaches it can run code",
        "drop the argument; open the dashboard on this host or through an SSH tunnel",
        pinned="127.0.0.1",
        asks="the dashboard would listen on {value}",
    ),
    Knob(
        Kind.ARGUMENT,
        "_node_ip_address",
        Action.PIN,
        "SR-NET-003",
        NOT_LOOPBACK,
        "with another address all gRPC and the agents' HTTP listen beyond loopback",
        "drop the argument",
        pinned="127.0.0.1",
        asks="the node would advertise {value}",
    ),
    _refuse(
        "address",
        "SR-NET-007",
        "the driver would hand its token to whatever answers there",
        'use address="auto" for the cluster here, or "local" for a new one',
        unsafe=other_than("", "auto", "local"),
    ),
    _refuse(
        "_system_config",
        "SR-RAY-005",
        "its keys win over the environment that secure-ray builds, AUTH_MODE and USE_TLS included",
        "give a dictionary",
        unsafe=EACH_KEY,
    ),
    Knob(
        Kind.ARGUMENT,
        "_redis_password",
        Action.REFUSE,
        "SR-DATA-001",
        ANY,
        "Ray puts it on the command line of its processes, where every user reads it",
        "drop the argument; set [redis] in the settings",
        secret=True,
    ),
    Knob(
        Kind.ARGUMENT,
        "_redis_username",
        Action.REFUSE,
        "SR-DATA-001",
        ANY,
        "an external store can be read and written beside Ray's authentication",
        "drop the argument; set [redis] in the settings",
        secret=True,
    ),
    _refuse(
        "_temp_dir",
        "SR-DATA-003",
        "Ray makes this directory 0777, so it must lie under a private one",
        "drop the argument; SECURE_RAY_HOME moves the whole tree",
    ),
    _refuse(
        "_plasma_directory",
        "SR-DATA-003",
        "objects would lie there unencrypted, in a directory that others may reach",
        "drop the argument; objects stay in /dev/shm",
    ),
    _refuse(
        "_object_spilling_directory",
        "SR-DATA-003",
        "spilled objects are not encrypted, so they lie in the private tree",
        "drop the argument; SECURE_RAY_HOME moves the whole tree",
    ),
    _refuse(
        "storage",
        "SR-DATA-003",
        "what is stored there is not encrypted",
        "drop the argument; Ray has removed it",
    ),
    _refuse(
        "_metrics_export_port",
        "SR-NET-008",
        "the exporter asks for no token, so it is off unless you want it",
        "set `[metrics] enabled` and `[ports] metrics`",
    ),
    _refuse(
        "_tracing_startup_hook",
        "SR-CODE-001",
        "the function that it names runs in every worker",
        "drop the argument; start tracing in your driver",
    ),
    _refuse(
        "proxy_server_url",
        "SR-NET-005",
        "requests are forwarded there with the token",
        "drop the argument",
    ),
    _refuse(
        "local_mode",
        "SR-CODE-011",
        "tasks would run in the driver itself, outside every limit",
        "drop the argument",
        unsafe=ON,
    ),
    _refuse(
        "_skip_env_hook",
        "SR-CODE-011",
        "a hook that checks runtime environments would be skipped",
        "drop the argument",
        unsafe=ON,
    ),
    _refuse(
        "job_config",
        "SR-CODE-011",
        "it can name directories to load code from and a runtime environment beside the checked "
        "one",
        "pass runtime_env and namespace instead",
    ),
    _refuse(
        "secure",
        "SR-TLS-001",
        "Ray Client would speak plaintext",
        "drop the argument",
        unsafe=OFF,
    ),
    Knob(
        Kind.ARGUMENT,
        "_credentials",
        Action.REFUSE,
        "SR-TLS-002",
        ANY,
        "Ray Client would trust keys that secure-ray did not make",
        "drop the argument",
        secret=True,
    ),
    _refuse(
        "allow_multiple",
        "SR-NET-004",
        "it keeps several Ray Client connections, each to a server that gets the token",
        "drop the argument",
        unsafe=ON,
    ),
    _refuse(
        "cgroup_path",
        "SR-RAY-002",
        "without cgroup v2 Ray half-starts with it, so it is checked before",
        "set `[limits] resource_isolation`",
    ),
    _refuse(
        "_cgroup_path",
        "SR-RAY-002",
        "without cgroup v2 Ray half-starts with it, so it is checked before",
        "set `[limits] resource_isolation`",
    ),
    # What the plan of secure-ray takes over, and what is harmless.
    _allow("num_cpus", "checked against the host"),
    _allow("num_gpus", "checked against the host"),
    _allow("resources", "checked against the host"),
    _allow("object_store_memory", "checked against the host"),
    _allow("_memory", "checked against the host"),
    _allow("_driver_object_store_memory", "has no effect in these Rays"),
    _allow("enable_resource_isolation", "checked against the host's cgroups"),
    _allow("system_reserved_cpu", "checked against the host"),
    _allow("system_reserved_memory", "checked against the host"),
    _allow("include_dashboard", "on loopback or not at all"),
    _allow("dashboard_port", "taken into the port plan"),
    _allow("labels", "placement only"),
    _allow("namespace", "a name"),
    _allow("_node_name", "a name for people, given to the Ray that is started"),
    _allow("ignore_reinit_error", "what a second call does"),
    _allow("configure_logging", "the driver's own logging"),
    _allow("logging_level", "the driver's own logging"),
    _allow("logging_format", "the driver's own logging"),
    _allow("logging_config", "text or JSON, and a level, for the job's own Python logs"),
    _allow("log_to_driver", "what the job prints comes to the driver that started it"),
    _allow("_enable_object_reconstruction", "given to the Ray that is started"),
)
