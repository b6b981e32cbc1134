"""Environment variables about data: Redis, files, telemetry, what is shown and logged."""

from __future__ import annotations

from secure_ray.policy.tables.rows import allow, pin, refuse, scrub
from secure_ray.policy.values import ANY, OFF, ON, other_than

_REDIS = (
    *refuse(
        "RAY_REDIS_ADDRESS",
        rule="SR-DATA-002",
        unsafe=ANY,
        why="what it holds runs code, so TLS and who may use it are checked where it is set",
        fix="unset it; set [redis] address in the settings, as rediss://",
        secret=True,
    ),
    *refuse(
        "RAY_REDIS_PASSWORD",
        rule="SR-DATA-001",
        unsafe=ANY,
        why="Ray puts it on the command line of its processes, where every user reads it",
        fix="unset it; name a file with it in [redis] password_file",
        secret=True,
    ),
    *scrub(
        "RAY_REDIS_CA_CERT",
        "RAY_REDIS_CA_PATH",
        "RAY_REDIS_CLIENT_CERT",
        "RAY_REDIS_CLIENT_KEY",
        "RAY_REDIS_SERVER_NAME",
        "RAY_external_storage_namespace",
        rule="SR-DATA-002",
        why="it decides which Redis is trusted, and whose keys are taken there",
        fix="set it in [redis] of the settings",
    ),
)

_FILES = (
    *refuse(
        "RAY_gcs_storage",
        "RAY_gcs_storage_path",
        rule="SR-DATA-003",
        unsafe=ANY,
        why="state would lie outside the private tree, unencrypted",
        fix="unset it; [store] kind in the settings says what keeps the state",
    ),
    *refuse(
        "RAY_object_spilling_config",
        "RAY_object_spilling_directory",
        rule="SR-DATA-003",
        unsafe=ANY,
        why="state or objects would lie outside the private tree, unencrypted",
        fix="unset it; SECURE_RAY_HOME moves the whole tree",
    ),
    *scrub(
        "RAY_TMPDIR",
        "RAY_TEMPDIR",
        "TMPDIR",
        "TEMP",
        "TMP",
        rule="SR-DATA-003",
        why="Ray makes its directories 0777, so they must lie under a private one",
        fix="leave it out; SECURE_RAY_HOME moves the whole tree",
    ),
)

_TELEMETRY = (
    *pin(
        "RAY_USAGE_STATS_ENABLED",
        rule="SR-DATA-004",
        unsafe=ON,
        pinned="0",
        why="Ray reports to usage-stats.ray.io",
    ),
    *scrub(
        "RAY_USAGE_STATS_REPORT_URL",
        rule="SR-DATA-004",
        why="Ray would report there",
    ),
)

_DASHBOARD = (
    *refuse(
        "RAY_DASHBOARD_REDACT_RUNTIME_ENV",
        rule="SR-DATA-005",
        unsafe=OFF,
        why="the dashboard would show jobs' variables",
        versions=">2.56.0",
    ),
    *refuse(
        "RAY_DASHBOARD_BUILD_FOLLOW_SYMLINKS",
        rule="SR-DATA-005",
        unsafe=ON,
        why="the dashboard would serve any file that a link names, without a token",
    ),
    *scrub(
        "RAY_GRAFANA_HOST",
        "RAY_GRAFANA_IFRAME_HOST",
        "RAY_PROMETHEUS_HOST",
        rule="SR-DATA-004",
        why="the dashboard fetches that URL itself and shows it in a frame",
    ),
    *scrub(
        "RAY_PROMETHEUS_HEADERS",
        rule="SR-DATA-006",
        why="it holds a credential, and every job inherits it",
        secret=True,
    ),
)

_CREDENTIALS = (
    *scrub(
        "RAY_RUNTIME_ENV_BEARER_TOKEN",
        rule="SR-DATA-006",
        why="every job inherits it, and Ray sends it to URLs that jobs choose",
        secret=True,
    ),
    # Not passed on by itself, like every variable of the caller; without it that API asks nobody.
    *allow(
        "RAY_SANDBOX_API_TOKEN",
        why="what the sandbox API asks for; unset it is open. Give it by `[environment.set]`",
    ),
)

_LIMITS = (
    *refuse(
        "RAY_SANDBOX_IGNORE_CGROUPS",
        rule="SR-LIMIT-020",
        unsafe=ON,
        why="sandboxes would run without limits",
        versions=">2.56.0",
    ),
    *refuse(
        "RAY_memory_monitor_refresh_ms",
        rule="SR-LIMIT-020",
        unsafe=other_than("", "100", "250", "500", "1000"),
        why="with 0 nothing ends a task that takes all memory",
        fix="unset it, or use 100, 250, 500 or 1000",
    ),
)

_LOGS = (
    *refuse(
        "RAY_BACKEND_LOG_LEVEL",
        rule="SR-LOG-001",
        unsafe=other_than("", "info", "warning", "error", "fatal"),
        why="at debug Ray logs jobs' arguments and variables",
        fix="use `[logging] level` with info, warning or error",
    ),
    *refuse(
        "RAY_enable_export_api_write",
        "RAY_enable_export_api_write_config",
        rule="SR-LOG-001",
        unsafe=ON,
        why="jobs' entry points and variables would be written to export logs",
    ),
    *refuse(
        "RAY_RUNTIME_ENV_LOG_TO_DRIVER_ENABLED",
        rule="SR-LOG-001",
        unsafe=ON,
        why="runtime environments with their variables would be sent to drivers",
    ),
    *scrub(
        "GRPC_TRACE",
        "GRPC_VERBOSITY",
        rule="SR-LOG-001",
        why="gRPC would log headers, the token among them",
    ),
)

DATA_VARIABLES = (
    *_REDIS,
    *_FILES,
    *_TELEMETRY,
    *_DASHBOARD,
    *_CREDENTIALS,
    *_LIMITS,
    *_LOGS,
)
