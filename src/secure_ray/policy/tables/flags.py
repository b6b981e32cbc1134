"""The options of `ray start` (Ray 2.52.1 to 2.60.0, scripts/scripts.py)."""

from __future__ import annotations

from secure_ray.policy.knobs import SUPPORTED, Action, Kind, Knob
from secure_ray.policy.values import (
    ANY,
    EACH_KEY,
    NEVER,
    NOT_LOOPBACK,
    ON,
    Unsafe,
)


def _refuse(  # a row of the table
    name: str, rule: str, why: str, fix: str, *, unsafe: Unsafe = ANY, asks: str = ""
) -> Knob:
    return Knob(Kind.FLAG, name, Action.REFUSE, rule, unsafe, why, fix, asks=asks)


def _owned(name: str, why: str, fix: str) -> Knob:
    return Knob(Kind.FLAG, name, Action.PIN, "SR-RAY-002", ANY, why, fix)


def _allow(name: str, why: str, *, versions: str = SUPPORTED) -> Knob:
    return Knob(Kind.FLAG, name, Action.ALLOW, "", NEVER, why, "", versions=versions)


_PORT = "A random port defeats the firewall and the proof; one chosen twice stops the start."
_LIMIT = "Given here it would go past the check against what the host and its cgroup have."
_ISOLATION = "Without cgroup v2 Ray half-starts with it, so it is checked before."

FLAGS = (
    Knob(
        Kind.FLAG,
        "--dashboard-host",
        Action.PIN,
        "SR-NET-002",
        NOT_LOOPBACK,
        "it is plain HTTP and whoever reaches it can run code",
        "drop the flag; open the dashboard on this host or through an SSH tunnel",
        pinned="127.0.0.1",
        asks="the dashboard would listen on {value}",
    ),
    Knob(
        Kind.FLAG,
        "--node-ip-address",
        Action.PIN,
        "SR-NET-003",
        NOT_LOOPBACK,
        "with another address all gRPC and the agents' HTTP listen beyond loopback",
        "drop the flag; the node is 127.0.0.1 (`secure-ray up --bind local`)",
        pinned="127.0.0.1",
        asks="the node would advertise {value}",
    ),
    Knob(
        Kind.FLAG,
        "--disable-usage-stats",
        Action.PIN,
        "SR-DATA-004",
        NEVER,
        "without it Ray reports to usage-stats.ray.io",
        "nothing to do: secure-ray always sets it",
        pinned="true",
    ),
    _refuse(
        "--ray-client-server-port",
        "SR-NET-004",
        "Ray Client is one more door that takes pickled code",
        "drop the flag; run drivers here with `secure-ray run`",
        asks="the Ray Client server would listen",
    ),
    _refuse(
        "--ray-debugger-external",
        "SR-CODE-003",
        "the debugger would listen on every interface and asks for no password",
        "drop the flag; debug on this host",
    ),
    _refuse(
        "--system-config",
        "SR-RAY-005",
        "its keys win over the environment that secure-ray builds, AUTH_MODE and USE_TLS included",
        "write a JSON object",
        unsafe=EACH_KEY,
    ),
    Knob(
        Kind.FLAG,
        "--redis-password",
        Action.REFUSE,
        "SR-DATA-001",
        ANY,
        "Ray puts it on the command line of its processes, where every user reads it",
        "drop the flag; set [redis] in the settings",
        secret=True,
    ),
    Knob(
        Kind.FLAG,
        "--redis-username",
        Action.REFUSE,
        "SR-DATA-001",
        ANY,
        "Ray puts it on the command line of its processes, and an external store can be read there",
        "drop the flag; set [redis] in the settings",
        secret=True,
    ),
    _refuse(
        "--redis-shard-ports",
        "SR-DATA-002",
        "it belongs to an external store that secure-ray does not protect",
        "drop the flag",
    ),
    _refuse(
        "--proxy-server-url",
        "SR-NET-005",
        "requests are forwarded there with the token",
        "drop the flag",
        asks="requests with the token would be forwarded to {value}",
    ),
    _refuse(
        "--tracing-startup-hook",
        "SR-CODE-001",
        "the function that it names runs in every worker",
        "drop the flag; start tracing in your driver",
    ),
    _refuse(
        "--plasma-directory",
        "SR-DATA-003",
        "objects would lie there unencrypted, in a directory that others may reach",
        "drop the flag; objects stay in /dev/shm",
        asks="objects would lie in {value}",
    ),
    _refuse(
        "--autoscaling-config",
        "SR-CODE-007",
        "its commands run with this user's cloud credentials",
        "drop the flag",
    ),
    _refuse(
        "--no-redirect-output",
        "SR-LOG-002",
        "secrets that jobs print would end in the journal",
        "drop the flag; logs lie in the cluster's private directory",
        unsafe=ON,
    ),
    _refuse(
        "--include-log-monitor",
        "SR-LOG-002",
        "it forwards what jobs print to every driver",
        "drop the flag",
        unsafe=ON,
    ),
    # What secure-ray decides itself. The fix names the option or setting to use instead.
    _owned("--head", "secure-ray starts the head", "use `secure-ray up --head`"),
    _owned("--block", "Ray always runs under the supervisor", "use `secure-ray up --block`"),
    _owned(
        "--address",
        "on a head it names an external store, on a worker a head that nobody has proven",
        "drop the flag",
    ),
    _owned(
        "--temp-dir",
        "Ray makes this directory 0777, so it must lie under a private one",
        "set SECURE_RAY_HOME",
    ),
    _owned(
        "--object-spilling-directory",
        "spilled objects are not encrypted, so they lie in the private tree",
        "set SECURE_RAY_HOME; `[limits] spill_limit` sets how full its disk may get",
    ),
    _owned("--include-dashboard", "the port plan rests on it", "set `[dashboard] enabled`"),
    _owned("--port", _PORT, "set `[ports] gcs`"),
    _owned("--dashboard-port", _PORT, "set `[ports] dashboard`"),
    _owned("--node-manager-port", _PORT, "set `[ports] node_manager`"),
    _owned("--object-manager-port", _PORT, "set `[ports] object_manager`"),
    _owned("--dashboard-agent-grpc-port", _PORT, "set `[ports] agent_grpc`"),
    _owned("--dashboard-agent-listen-port", _PORT, "set `[ports] agent_http`"),
    _owned("--runtime-env-agent-port", _PORT, "set `[ports] runtime_env`"),
    _owned(
        "--metrics-export-port",
        "the exporter asks for no token, so it is off unless you want it",
        "set `[metrics] enabled` and `[ports] metrics`",
    ),
    _owned("--min-worker-port", _PORT, "set `[ports] workers`"),
    _owned("--max-worker-port", _PORT, "set `[ports] workers`"),
    _owned("--worker-port-list", _PORT, "set `[ports] workers`"),
    _owned("--num-cpus", _LIMIT, "use `secure-ray up --num-cpus N` or `[limits] num_cpus`"),
    _owned("--num-gpus", _LIMIT, "use `secure-ray up --num-gpus N` or `[limits] num_gpus`"),
    _owned("--memory", _LIMIT, "use `secure-ray up --memory SIZE` or `[limits] memory`"),
    _owned(
        "--object-store-memory",
        _LIMIT,
        "use `secure-ray up --object-store-memory SIZE` or `[limits] object_store_memory`",
    ),
    _owned("--resources", _LIMIT, "use `secure-ray up --resources JSON` or `[limits] resources`"),
    _owned("--enable-resource-isolation", _ISOLATION, "set `[limits] resource_isolation`"),
    _owned(
        "--cgroup-path", _ISOLATION, "set `[limits] resource_isolation`; Ray gets its own group"
    ),
    _owned("--system-reserved-cpu", _ISOLATION, "set `[limits] system_reserved_cpu`"),
    _owned("--system-reserved-memory", _ISOLATION, "set `[limits] system_reserved_memory`"),
    # Known and harmless.
    _allow("--labels", "placement only; no node joins without a certificate"),
    _allow("--labels-file", "placement only; no node joins without a certificate"),
    _allow("--node-name", "a name for people"),
    _allow("--no-monitor", "one process less: no autoscaler"),
    _allow("--enable-object-reconstruction", "has no effect in these Rays"),
    _allow("--log-style", "how `ray start` prints"),
    _allow("--log-color", "how `ray start` prints"),
    _allow("--verbose", "how much `ray start` prints"),
    _allow("-v", "how much `ray start` prints"),
)
