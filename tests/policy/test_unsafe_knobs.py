"""Every unsafe knob of Ray 2.60.0, given to the policy once: none gets through."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone

import pytest

from secure_ray.policy.knobs import Action, Kind, find_knob
from secure_ray.policy.review import Request, Verdict, review
from secure_ray.policy.versions import FIRST_SUPPORTED

FLAG, VARIABLE, ARGUMENT, KEY = Kind.FLAG, Kind.VARIABLE, Kind.ARGUMENT, Kind.SYSTEM_CONFIG

FLAGS = [
    ("--dashboard-host", "0.0.0.0", "SR-NET-002"),
    ("--dashboard-host", "::", "SR-NET-002"),
    ("--dashboard-host", "203.0.113.7", "SR-NET-002"),
    ("--node-ip-address", "203.0.113.7", "SR-NET-003"),
    ("--ray-client-server-port", "10001", "SR-NET-004"),
    ("--ray-debugger-external", True, "SR-CODE-003"),
    ("--system-config", '{"AUTH_MODE": "disabled"}', "SR-AUTH-001"),
    ("--system-config", '{"USE_TLS": false}', "SR-TLS-001"),
    ("--system-config", '{"TLS_CA_CERT": "/etc/ssl/ca.pem"}', "SR-TLS-002"),
    ("--system-config", '{"enable_cluster_auth": false}', "SR-AUTH-004"),
    ("--system-config", '{"gcs_storage": "rocksdb"}', "SR-DATA-003"),
    ("--system-config", '{"gcs_storage_path": "/nfs"}', "SR-DATA-003"),
    ("--redis-password", "hunter2", "SR-DATA-001"),
    ("--redis-username", "ray", "SR-DATA-001"),
    ("--redis-shard-ports", "6380", "SR-DATA-002"),
    ("--address", "store:6379", "SR-RAY-002"),
    ("--proxy-server-url", "http://proxy", "SR-NET-005"),
    ("--tracing-startup-hook", "module:hook", "SR-CODE-001"),
    ("--temp-dir", "/tmp/ray", "SR-RAY-002"),
    ("--plasma-directory", "/nfs", "SR-DATA-003"),
    ("--object-spilling-directory", "/nfs", "SR-RAY-002"),
    ("--metrics-export-port", "8080", "SR-RAY-002"),
    ("--dashboard-agent-listen-port", "52365", "SR-RAY-002"),
    ("--dashboard-agent-grpc-port", "0", "SR-RAY-002"),
    ("--runtime-env-agent-port", "0", "SR-RAY-002"),
    ("--node-manager-port", "0", "SR-RAY-002"),
    ("--object-manager-port", "0", "SR-RAY-002"),
    ("--min-worker-port", "10002", "SR-RAY-002"),
    ("--max-worker-port", "19999", "SR-RAY-002"),
    ("--worker-port-list", "1,2", "SR-RAY-002"),
    ("--autoscaling-config", "cluster.yaml", "SR-CODE-007"),
    ("--no-redirect-output", True, "SR-LOG-002"),
    ("--include-log-monitor", "true", "SR-LOG-002"),
    ("--enable-resource-isolation", True, "SR-RAY-002"),
    ("--resources", '{"a": 1}', "SR-RAY-002"),
]

ARGUMENTS = [
    ("dashboard_host", "0.0.0.0", "SR-NET-002"),
    ("_node_ip_address", "10.0.0.5", "SR-NET-003"),
    ("_system_config", {"AUTH_MODE": "disabled"}, "SR-AUTH-001"),
    ("_redis_password", "hunter2", "SR-DATA-001"),
    ("_redis_username", "ray", "SR-DATA-001"),
    ("_temp_dir", "/tmp/ray", "SR-DATA-003"),
    ("_metrics_export_port", 8080, "SR-NET-008"),
    ("_tracing_startup_hook", "module:hook", "SR-CODE-001"),
    ("proxy_server_url", "http://proxy", "SR-NET-005"),
    ("local_mode", True, "SR-CODE-011"),
    ("_skip_env_hook", True, "SR-CODE-011"),
    ("job_config", object(), "SR-CODE-011"),
    ("secure", False, "SR-TLS-001"),
    ("_credentials", object(), "SR-TLS-002"),
    ("allow_multiple", True, "SR-NET-004"),
    ("address", "ray://head:10001", "SR-NET-007"),
    ("runtime_env", {"env_vars": {"RAY_AUTH_MODE": "disabled"}}, "SR-AUTH-001"),
    ("runtime_env", {"env_vars": {"RAY_USE_TLS": "0"}}, "SR-TLS-001"),
    ("runtime_env", {"env_vars": {"RAY_AUTH_TOKEN": "x"}}, "SR-AUTH-002"),
    ("runtime_env", {"env_vars": {"RAY_ADDRESS": "h:1"}}, "SR-NET-007"),
    ("runtime_env", {"env_vars": {"LD_PRELOAD": "x.so"}}, "SR-CODE-002"),
    ("runtime_env", {"env_vars": {"PYTHONPATH": "/x"}}, "SR-CODE-002"),
    ("runtime_env", {"env_vars": {"RAY_DEBUG": "1"}}, "SR-CODE-003"),
    ("runtime_env", {"env_vars": {"RAY_SERVE_UNHEARD_OF": "1"}}, "SR-CODE-009"),
    ("runtime_env", {"working_dir": "http://x/a.zip"}, "SR-CODE-010"),
    ("runtime_env", {"py_modules": ["http://x/a.zip"]}, "SR-CODE-010"),
    ("runtime_env", {"pip": ["--index-url=http://x"]}, "SR-CODE-010"),
    ("runtime_env", {"uv": {"uv_pip_install_options": ["x"]}}, "SR-CODE-010"),
    ("runtime_env", {"conda": {"channels": ["http://x"]}}, "SR-CODE-010"),
    ("runtime_env", {"py_executable": "sh -c x"}, "SR-CODE-006"),
    ("runtime_env", {"image_uri": "x"}, "SR-CODE-006"),
    ("runtime_env", {"container": {"image": "x"}}, "SR-CODE-006"),
    ("runtime_env", {"worker_process_setup_hook": "m.f"}, "SR-CODE-001"),
    ("runtime_env", {"_nsight": "default"}, "SR-CODE-006"),
    ("runtime_env", {"rocprof_sys": "default"}, "SR-CODE-006"),
    ("runtime_env", {"java_jars": ["x.jar"]}, "SR-CODE-006"),
    ("runtime_env", {"config": {"log_files": ["/etc/passwd"]}}, "SR-DATA-005"),
    ("runtime_env", {"config": {"setup_timeout_seconds": -1}}, "SR-LIMIT-020"),
]

KEYS = [
    ("AUTH_MODE", "disabled", "SR-AUTH-001"),
    ("USE_TLS", "0", "SR-TLS-001"),
    ("TLS_SERVER_CERT", "x", "SR-TLS-002"),
    ("TLS_SERVER_KEY", "x", "SR-TLS-002"),
    ("TLS_CA_CERT", "x", "SR-TLS-002"),
    ("TLS_UNHEARD_OF", "x", "SR-TLS-002"),
    ("enable_cluster_auth", False, "SR-AUTH-004"),
    ("gcs_storage", "rocksdb", "SR-DATA-003"),
    ("gcs_storage_path", "/nfs", "SR-DATA-003"),
    # Without a row of their own: judged as the variable.
    ("testing_asio_delay_us", "x", "SR-CODE-008"),
    ("preload_python_modules", "evil", "SR-CODE-002"),
    ("object_spilling_config", "{}", "SR-DATA-003"),
    ("grpc_enable_http_proxy", "1", "SR-NET-005"),
]

# Refused wherever they come from.
REFUSED_VARIABLES = [
    ("RAY_AUTH_MODE", "tokn", "SR-AUTH-001"),
    ("RAY_AUTH_MODE", "", "SR-AUTH-001"),
    ("RAY_ENABLE_K8S_TOKEN_AUTH", "1", "SR-AUTH-003"),
    ("RAY_USE_TLS", "yes", "SR-TLS-001"),
    ("RAY_enable_cluster_auth", "0", "SR-AUTH-004"),
    ("RAY_grpc_enable_http_proxy", "1", "SR-NET-005"),
    ("RAY_DASHBOARD_ENABLE_PROFILING", "1", "SR-CODE-005"),
    ("RAY_DASHBOARD_REDACT_RUNTIME_ENV", "0", "SR-DATA-005"),
    ("RAY_DASHBOARD_BUILD_FOLLOW_SYMLINKS", "1", "SR-DATA-005"),
    ("RAY_DASHBOARD_AGGREGATOR_AGENT_EVENTS_EXPORT_ADDR", "http://x", "SR-DATA-004"),
    ("RAY_DEBUG", "1", "SR-CODE-003"),
    ("RAY_DEBUG", "legacy", "SR-CODE-003"),
    ("RAY_DEBUG_POST_MORTEM", "1", "SR-CODE-003"),
    ("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "1", "SR-CODE-002"),
    ("RAY_REDIS_ADDRESS", "redis://:hunter2@store:6379", "SR-DATA-002"),
    ("RAY_REDIS_ADDRESS", "rediss://store:6379", "SR-DATA-002"),
    ("RAY_REDIS_PASSWORD", "hunter2", "SR-DATA-001"),
    ("RAY_gcs_storage", "memory", "SR-DATA-003"),
    ("RAY_gcs_storage", "rocksdb", "SR-DATA-003"),
    ("RAY_gcs_storage_path", "/nfs", "SR-DATA-003"),
    ("RAY_object_spilling_config", "{}", "SR-DATA-003"),
    ("RAY_object_spilling_directory", "/nfs", "SR-DATA-003"),
    ("RAY_SERVE_DEFAULT_HTTP_HOST", "0.0.0.0", "SR-NET-006"),
    ("RAY_SERVE_ENABLE_HA_PROXY", "1", "SR-NET-006"),
    ("RAY_SERVE_ENABLE_DIRECT_INGRESS", "1", "SR-NET-006"),
    ("RAY_SERVE_HAPROXY_SOCKET_PATH", "/tmp/x", "SR-NET-006"),
    ("RAY_SERVE_HAPROXY_STATS_PORT", "8404", "SR-NET-006"),
    ("RAY_SERVE_HAPROXY_METRICS_PORT", "9101", "SR-NET-006"),
    ("RAY_SERVE_HAPROXY_BINARY_PATH", "/tmp/x", "SR-NET-006"),
    ("RAY_DATA_AUTOLOAD_CLOUDPICKLE_TENSOR_METADATA", "1", "SR-CODE-004"),
    ("RAY_DATA_AUTOLOAD_PYEXTENSIONTYPE", "1", "SR-CODE-004"),
    ("RAY_DATA_AUTOLOAD_PICKLE_OBJECT_SCALAR", "1", "SR-CODE-004"),
    ("RAY_DATA_WEBDATASET_ALLOW_UNSAFE_DESERIALIZATION", "1", "SR-CODE-004"),
    ("RAY_DATA_ARROW_EXTENSION_SERIALIZATION_CLOUDPICKLE", "1", "SR-CODE-004"),
    ("RAY_SANDBOX_IGNORE_CGROUPS", "1", "SR-LIMIT-020"),
    ("RAY_JOB_ALLOW_DRIVER_ON_WORKER_NODES", "1", "SR-NET-007"),
    ("RAY_OVERRIDE_JOB_RUNTIME_ENV", "1", "SR-CODE-009"),
    ("RAY_USAGE_STATS_ENABLED", "1", "SR-DATA-004"),
    ("RAY_BACKEND_LOG_LEVEL", "debug", "SR-LOG-001"),
    ("RAY_enable_export_api_write", "1", "SR-LOG-001"),
    ("RAY_RUNTIME_ENV_LOG_TO_DRIVER_ENABLED", "1", "SR-LOG-001"),
    ("RAY_testing_asio_delay_us", "x", "SR-CODE-008"),
    ("RAY_FAKE_CLUSTER", "1", "SR-CODE-008"),
    ("RAY_OVERRIDE_NODE_ID_FOR_TESTING", "x", "SR-CODE-008"),
    ("RAY_DASHBOARD_DEV", "1", "SR-CODE-008"),
    ("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "1", "SR-NET-003"),
    ("RAY_enable_task_events_to_dashboard_head", "1", "SR-NET-007"),
    ("RAY_memory_monitor_refresh_ms", "0", "SR-LIMIT-020"),
]

# Dropped when inherited, refused when asked for by name.
SCRUBBED_VARIABLES = [
    ("RAY_AUTH_TOKEN", "SR-AUTH-002"),
    ("RAY_AUTH_TOKEN_PATH", "SR-AUTH-002"),
    ("RAY_TLS_SERVER_CERT", "SR-TLS-002"),
    ("RAY_TLS_SERVER_KEY", "SR-TLS-002"),
    ("RAY_TLS_CA_CERT", "SR-TLS-002"),
    ("http_proxy", "SR-NET-005"),
    ("https_proxy", "SR-NET-005"),
    ("no_proxy", "SR-NET-005"),
    ("RAY_GRAFANA_HOST", "SR-DATA-004"),
    ("RAY_GRAFANA_IFRAME_HOST", "SR-DATA-004"),
    ("RAY_PROMETHEUS_HOST", "SR-DATA-004"),
    ("RAY_PROMETHEUS_HEADERS", "SR-DATA-006"),
    ("REMOTE_PDB_HOST", "SR-CODE-003"),
    ("REMOTE_PDB_PORT", "SR-CODE-003"),
    ("PYTHONBREAKPOINT", "SR-CODE-003"),
    ("RAY_START_HOOK", "SR-CODE-001"),
    ("RAY_RUNTIME_ENV_HOOK", "SR-CODE-001"),
    ("RAY_JOB_SUBMIT_HOOK", "SR-CODE-001"),
    ("RAY_CLUSTER_ACTIVITY_HOOK", "SR-CODE-001"),
    ("RAY_ON_SPARK_START_HOOK", "SR-CODE-001"),
    ("RAY_SERVE_CONTROLLER_CALLBACK_IMPORT_PATH", "SR-CODE-001"),
    ("RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH", "SR-CODE-001"),
    ("RAY_SERVE_TRACING_EXPORTER_IMPORT_PATH", "SR-CODE-001"),
    ("__RAY_WORKER_PROCESS_SETUP_HOOK_ENV_VAR", "SR-CODE-001"),
    ("LD_PRELOAD", "SR-CODE-002"),
    ("RAY_LD_PRELOAD_ON_WORKERS", "SR-CODE-002"),
    ("PYTHONPATH", "SR-CODE-002"),
    ("PYTHONSTARTUP", "SR-CODE-002"),
    ("RAY_preload_python_modules", "SR-CODE-002"),
    ("RAY_RUNTIME_ENV_LOCAL_DEV_MODE", "SR-CODE-002"),
    ("AIOHTTP_NO_EXTENSIONS", "SR-CODE-002"),
    ("PYTHONOPTIMIZE", "SR-CODE-002"),
    ("RAY_ADDRESS", "SR-NET-007"),
    ("RAY_API_SERVER_ADDRESS", "SR-NET-007"),
    ("RAY_JOB_HEADERS", "SR-NET-007"),
    ("RAY_CLIENT_MODE", "SR-NET-007"),
    ("RAY_TMPDIR", "SR-DATA-003"),
    ("RAY_TEMPDIR", "SR-DATA-003"),
    ("RAY_JOB_CONFIG_JSON_ENV_VAR", "SR-CODE-009"),
    ("RAY_RUNTIME_ENV_BEARER_TOKEN", "SR-DATA-006"),
    ("RAY_USAGE_STATS_REPORT_URL", "SR-DATA-004"),
    ("DASHBOARD_METRIC_PORT", "SR-RAY-002"),
    ("AUTOSCALER_METRIC_PORT", "SR-RAY-002"),
]

EXPLICIT = [
    *((FLAG, *row) for row in FLAGS),
    *((ARGUMENT, *row) for row in ARGUMENTS),
    *((KEY, *row) for row in KEYS),
    *((VARIABLE, *row) for row in REFUSED_VARIABLES),
    *((VARIABLE, name, "hunter2", rule) for name, rule in SCRUBBED_VARIABLES),
]

Judge = Callable[..., Verdict]


@pytest.mark.parametrize(
    ("kind", "name", "value", "rule"), EXPLICIT, ids=[f"{row[1]}-{row[3]}" for row in EXPLICIT]
)
def test_an_unsafe_knob_is_refused(
    judge: Judge, kind: Kind, name: str, value: object, rule: str
) -> None:
    verdict = judge(kind, name, value)

    assert [refusal.rule for refusal in verdict.refusals] == [rule]
    assert not verdict.passed
    refusal = verdict.refusals[0]
    assert refusal.why
    assert refusal.fix
    assert refusal.source == "here"
    assert "hunter2" not in refusal.subject


@pytest.mark.parametrize(("name", "value", "rule"), REFUSED_VARIABLES)
def test_an_inherited_variable_that_contradicts_a_protection_is_refused(
    judge: Judge, name: str, value: str, rule: str
) -> None:
    verdict = judge(VARIABLE, name, value, explicit=False)

    assert [refusal.rule for refusal in verdict.refusals] == [rule]


@pytest.mark.parametrize(("name", "rule"), SCRUBBED_VARIABLES)
def test_an_inherited_variable_that_means_nothing_to_us_is_scrubbed(
    judge: Judge, name: str, rule: str
) -> None:
    verdict = judge(VARIABLE, name, "x", explicit=False)

    assert [request.name for request in verdict.scrubbed] == [name]
    assert not verdict.refusals
    assert not verdict.passed
    knob = find_knob(VARIABLE, name)
    assert knob is not None
    assert knob.rule == rule


PINNED = [
    (FLAG, "--dashboard-host", "127.0.0.1"),
    (FLAG, "--node-ip-address", "127.0.0.1"),
    (FLAG, "--disable-usage-stats", True),
    (ARGUMENT, "dashboard_host", "127.0.0.1"),
    (ARGUMENT, "_node_ip_address", "localhost"),
    (VARIABLE, "RAY_AUTH_MODE", "TOKEN"),
    (VARIABLE, "RAY_USE_TLS", "true"),
    (VARIABLE, "RAY_enable_cluster_auth", "1"),
    (VARIABLE, "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0"),
    (VARIABLE, "RAY_DEBUG", "0"),
    (VARIABLE, "RAY_DEBUG_POST_MORTEM", "0"),
    (VARIABLE, "RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0"),
    (VARIABLE, "RAY_USAGE_STATS_ENABLED", "0"),
]


@pytest.mark.parametrize(("kind", "name", "value"), PINNED, ids=[row[1] for row in PINNED])
def test_what_secure_ray_sets_anyway_is_pinned(
    judge: Judge, kind: Kind, name: str, value: object
) -> None:
    verdict = judge(kind, name, value)

    assert [request.name for request in verdict.pinned] == [name]
    assert not verdict.refusals
    knob = find_knob(kind, name)
    assert knob is not None
    assert knob.action is Action.PIN
    assert knob.pinned is not None
    assert not knob.unsafe.holds(knob.pinned)


PASSED = [
    (FLAG, "--labels", "a=b"),
    (FLAG, "--node-name", "n"),
    (FLAG, "--log-style", "record"),
    (FLAG, "--system-config", '{"worker_lease_timeout_milliseconds": 50}'),
    (FLAG, "--system-config", '{"AUTH_MODE": "token", "USE_TLS": true}'),
    (FLAG, "--include-log-monitor", "false"),
    (ARGUMENT, "num_cpus", 2),
    (ARGUMENT, "address", "auto"),
    (ARGUMENT, "address", "local"),
    (ARGUMENT, "address", None),
    (ARGUMENT, "_temp_dir", None),
    (ARGUMENT, "runtime_env", None),
    (ARGUMENT, "local_mode", False),
    (ARGUMENT, "runtime_env", {"env_vars": {"MY": "1", "RAY_DEDUP_LOGS": "0"}, "pip": ["numpy"]}),
    (ARGUMENT, "runtime_env", {"working_dir": ".", "config": {"setup_timeout_seconds": 60}}),
    (VARIABLE, "RAY_DASHBOARD_ENABLE_PROFILING", "0"),
    (VARIABLE, "RAY_BACKEND_LOG_LEVEL", "warning"),
    (VARIABLE, "RAY_DEDUP_LOGS", "0"),
    (VARIABLE, "MY_OWN", "1"),
]


@pytest.mark.parametrize(
    ("kind", "name", "value"), PASSED, ids=[f"{row[1]}={row[2]}" for row in PASSED]
)
def test_what_is_harmless_is_passed_on(judge: Judge, kind: Kind, name: str, value: object) -> None:
    verdict = judge(kind, name, value)

    assert [request.name for request in verdict.passed] == [name]
    assert verdict.passed[0].value is value
    assert not verdict.refusals


def test_all_refusals_come_at_once() -> None:
    import datetime as dt

    requests = [Request(kind, name, value, "here") for kind, name, value, _ in EXPLICIT]

    verdict = review(
        requests, ray_version="2.60.0", now=dt.datetime(2026, 11, 22, tzinfo=dt.timezone.utc)
    )

    assert [refusal.rule for refusal in verdict.refusals] == [row[3] for row in EXPLICIT]


@pytest.mark.parametrize("version", [FIRST_SUPPORTED, "2.56.0", "2.60.0", "3.0.0.dev0", "unheard"])
@pytest.mark.parametrize(
    ("kind", "name", "value", "rule"), EXPLICIT, ids=[f"{row[1]}-{row[3]}" for row in EXPLICIT]
)
def test_no_ray_lets_an_unsafe_knob_through(
    judge: Judge, kind: Kind, name: str, value: object, rule: str, version: str
) -> None:
    """A Ray that does not have the knob yet leaves it unknown, which is not passed on either."""
    verdict = judge(kind, name, value, ray_version=version)

    assert not verdict.passed
    assert verdict.refusals or verdict.unknown
    assert rule


def test_token_of_the_sandbox_api_can_be_set() -> None:
    """Without one that API is open (Ray 2.60.0)."""
    verdict = review(
        (Request(Kind.VARIABLE, "RAY_SANDBOX_API_TOKEN", "x", "setting", explicit=True),),
        ray_version="2.60.0",
        now=datetime(2026, 11, 25, tzinfo=timezone.utc),
    )

    assert not verdict.refusals
    assert [request.name for request in verdict.passed] == ["RAY_SANDBOX_API_TOKEN"]
