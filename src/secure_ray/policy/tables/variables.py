"""Environment variables: authentication, TLS, the network, what secure-ray owns, what it allows."""

from __future__ import annotations

from secure_ray.policy.tables.rows import allow, pin, refuse, scrub
from secure_ray.policy.values import (
    ANY,
    NOT_HTTPS,
    NOT_LOOPBACK,
    OFF,
    ON,
    other_than,
)

_AUTHENTICATION = (
    *pin(
        "RAY_AUTH_MODE",
        rule="SR-AUTH-001",
        unsafe=other_than("token"),
        pinned="token",
        why="Ray takes every value but `token` as `disabled`, without a word",
    ),
    *pin(
        "RAY_AUTH_TOKEN_PATH",
        rule="SR-AUTH-002",
        unsafe=ANY,
        pinned=None,
        why="Ray does not check who owns or may read the token's file",
        fix="leave it out; secure-ray makes the token and names its file",
    ),
    *scrub(
        "RAY_AUTH_TOKEN",
        rule="SR-AUTH-002",
        why="every job inherits it, it can be read in /proc, and it wins over the token's file",
        fix="leave it out; secure-ray makes the token and names its file",
        secret=True,
    ),
    *refuse(
        "RAY_ENABLE_K8S_TOKEN_AUTH",
        rule="SR-AUTH-003",
        unsafe=ON,
        why="it takes service-account tokens, which nothing validates outside Kubernetes",
    ),
    *pin(
        "RAY_enable_cluster_auth",
        rule="SR-AUTH-004",
        unsafe=OFF,
        pinned="1",
        why="without it a process of another cluster may talk to this one",
    ),
)

_TLS = (
    *pin(
        "RAY_USE_TLS",
        rule="SR-TLS-001",
        unsafe=OFF,
        pinned="1",
        why="with any value but `1` and `true` all gRPC is plaintext, without a word",
    ),
    *(
        row
        for name in ("RAY_TLS_SERVER_CERT", "RAY_TLS_SERVER_KEY", "RAY_TLS_CA_CERT")
        for row in pin(
            name,
            rule="SR-TLS-002",
            unsafe=ANY,
            pinned=None,
            why="any certificate of the CA that Ray trusts may join as a node",
            fix="leave it out; secure-ray makes the CA, the key and the certificate",
        )
    ),
    *scrub(
        "SSLKEYLOGFILE",
        "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "OPENSSL_CONF",
        "OPENSSL_MODULES",
        rule="SR-TLS-002",
        why="it steers the TLS library: whom it trusts, what it loads, where it writes its keys",
    ),
)

_NETWORK = (
    *pin(
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER",
        rule="SR-NET-003",
        unsafe=ON,
        pinned="0",
        why="only with 0 does Ray take 127.0.0.1 as the node's address on Linux",
    ),
    *refuse(
        "RAY_grpc_enable_http_proxy",
        rule="SR-NET-005",
        unsafe=ON,
        why="gRPC would go through a proxy",
    ),
    *scrub(
        "http_proxy",
        "https_proxy",
        "all_proxy",
        "no_proxy",
        "grpc_proxy",
        "no_grpc_proxy",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "NO_PROXY",
        "GRPC_PROXY",
        rule="SR-NET-005",
        why="Ray's own requests would carry the token to the proxy",
        fix="leave it out; a job can set the proxy for its own downloads in its code",
        secret=True,
    ),
    *scrub(
        "RAY_ADDRESS",
        "RAY_API_SERVER_ADDRESS",
        "RAY_CLIENT_MODE",
        rule="SR-NET-007",
        why="a client would send this cluster's token there",
        fix="leave it out; `secure-ray run` sets it for the cluster here",
    ),
    *scrub(
        "RAY_JOB_HEADERS",
        rule="SR-NET-007",
        why="its headers go to whatever cluster is addressed, and a wrong Authorization locks out",
        fix="leave it out; `secure-ray run` authenticates",
        secret=True,
    ),
    *refuse(
        "RAY_JOB_ALLOW_DRIVER_ON_WORKER_NODES",
        rule="SR-NET-007",
        unsafe=ON,
        why="the head would send the token to other nodes in plain HTTP",
    ),
    *refuse(
        "RAY_enable_task_events_to_dashboard_head",
        rule="SR-NET-007",
        unsafe=ON,
        why="nodes would send events with the token in plain HTTP",
        versions=">2.56.0",
    ),
    *refuse(
        "RAY_DASHBOARD_AGGREGATOR_AGENT_EVENTS_EXPORT_ADDR",
        rule="SR-DATA-004",
        unsafe=NOT_HTTPS,
        why="events of tasks and jobs would go out in the clear",
        fix="use an https:// address, or unset it",
        versions=">=2.53",
    ),
    *refuse(
        "RAY_SERVE_DEFAULT_HTTP_HOST",
        rule="SR-NET-006",
        unsafe=NOT_LOOPBACK,
        why="Serve's HTTP proxy asks for no token",
    ),
    *refuse(
        "RAY_SERVE_ENABLE_HA_PROXY",
        "RAY_SERVE_ENABLE_DIRECT_INGRESS",
        rule="SR-NET-006",
        unsafe=ON,
        why="it opens unauthenticated ports on every interface and a world-writable admin socket",
        versions=">=2.53",
    ),
    *refuse(
        "RAY_SERVE_HAPROXY_SOCKET_PATH",
        "RAY_SERVE_HAPROXY_STATS_PORT",
        "RAY_SERVE_HAPROXY_METRICS_PORT",
        "RAY_SERVE_HAPROXY_BINARY_PATH",
        "RAY_SERVE_HAPROXY_*",
        rule="SR-NET-006",
        unsafe=ANY,
        why="HAProxy mode opens unauthenticated ports and a world-writable admin socket",
        versions=">=2.53",
    ),
)

_PORT = "a random or shared port defeats the firewall and the proof"

_OWNED = (
    *pin(
        "DASHBOARD_METRIC_PORT",
        rule="SR-RAY-002",
        unsafe=ANY,
        pinned=None,
        why=_PORT,
        fix="set `[metrics] enabled` and `[ports] dashboard_metrics`",
    ),
    *pin(
        "AUTOSCALER_METRIC_PORT",
        rule="SR-RAY-002",
        unsafe=ANY,
        pinned=None,
        why=_PORT,
        fix="set `[metrics] enabled` and `[ports] autoscaler_metrics`",
    ),
    *scrub(
        "RAY_enable_metrics_collection",
        rule="SR-RAY-002",
        why="the exporters ask for no token",
        fix="set `[metrics] enabled`",
    ),
    *scrub(
        "RAY_memory_usage_threshold",
        rule="SR-RAY-002",
        why="secure-ray sets it from its limits",
        fix="set `[limits] memory_usage_threshold`",
    ),
    *scrub(
        "RAY_local_fs_capacity_threshold",
        rule="SR-RAY-002",
        why="secure-ray sets it from its limits",
        fix="set `[limits] spill_limit`",
    ),
    *scrub(
        "RAY_ROTATION_MAX_BYTES",
        rule="SR-RAY-002",
        why="secure-ray sets it from its log settings",
        fix="set `[logging] rotate_bytes`",
    ),
    *scrub(
        "RAY_ROTATION_BACKUP_COUNT",
        rule="SR-RAY-002",
        why="secure-ray sets it from its log settings",
        fix="set `[logging] rotate_count`",
    ),
    *scrub(
        "RAY_LOGGER_LEVEL",
        rule="SR-RAY-002",
        why="secure-ray sets it from its log settings",
        fix="set `[logging] level`",
    ),
    *scrub(
        "RAY_BACKEND_LOG_JSON",
        "RAY_LOGGING_CONFIG_ENCODING",
        rule="SR-RAY-002",
        why="secure-ray sets it from its log settings",
        fix="set `[logging] format`",
    ),
    *scrub(
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO",
        rule="SR-RAY-002",
        why="secure-ray sets it itself",
    ),
    *scrub(
        "SECURE_RAY_*",
        rule="SR-RAY-002",
        why="it marks the cluster's processes, by which they are found and stopped",
        fix="write the setting itself into the settings file",
    ),
)

_HARMLESS = allow(
    "RAY_DEDUP_LOGS",
    "RAY_COLOR_PREFIX",
    "RAY_TQDM",
    "RAY_worker_lease_timeout_milliseconds",
    "RAY_num_workers_soft_limit",
    "RAY_task_oom_retries",
    "RAY_gcs_rpc_server_reconnect_timeout_s",
    why="output, scheduling or timing only",
)

VARIABLES = (*_AUTHENTICATION, *_TLS, *_NETWORK, *_OWNED, *_HARMLESS)
