"""Ray's environment is built from nothing, and what makes it safe is in every environment."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secure_ray.node.environment import driver_environment, identity_environment
from support.plans import BASE, ID, plan_of

HOME = Path("/home/u/state")
CLUSTER = HOME / "clusters" / "default"
CURRENT = CLUSTER / "pki" / "node" / "current"
IDENTITY = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN_PATH": str(CLUSTER / "token"),
    "RAY_USE_TLS": "1",
    "RAY_TLS_SERVER_CERT": str(CURRENT / "node.crt"),
    "RAY_TLS_SERVER_KEY": str(CURRENT / "node.key"),
    "RAY_TLS_CA_CERT": str(CURRENT / "ca.crt"),
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEBUG": "0",
}
DEFAULT = IDENTITY | {
    "PATH": f"{Path(sys.executable).parent}"
    ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "RAY_memory_usage_threshold": "0.9",
    "RAY_local_fs_capacity_threshold": "0.9",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",
    "RAY_ROTATION_MAX_BYTES": str(100 << 20),
    "RAY_ROTATION_BACKUP_COUNT": "5",
    "RAY_enable_metrics_collection": "0",
    "DASHBOARD_METRIC_PORT": "65536",
    "AUTOSCALER_METRIC_PORT": "65536",
    "RAY_GRAFANA_HOST": "DISABLED",
    "TMPDIR": str(HOME / "run" / "tmp"),
    "RAY_START_HOOK": "secure_ray.node.start_hook.apply",
    "SECURE_RAY_START": "parallel",
    "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
    "RAY_USAGE_STATS_REPORT_URL": "off",
    "SECURE_RAY_CLUSTER": "default",
    "SECURE_RAY_HOME": str(HOME),
    "SECURE_RAY_INSTANCE": ID,
}
LEAKING = {
    "AWS_SECRET_ACCESS_KEY": "x",
    "LD_PRELOAD": "/tmp/evil.so",
    "PATH": "/tmp/evil",
    "PYTHONPATH": "/tmp/evil",
    "PYTHONSTARTUP": "/tmp/evil.py",
    "RAY_AUTH_TOKEN": "x",
    "RAY_AUTH_MODE": "disabled",
    "RAY_ADDRESS": "192.0.2.1:6379",
    "RAY_JOB_CONFIG_JSON_ENV_VAR": "{}",
    "SECURE_RAY_INSTANCE": "other",
    "SECURE_RAY_HOME": "/tmp/evil",
    "SSH_AUTH_SOCK": "/tmp/agent",
    "https_proxy": "http://192.0.2.1",
}


def environment(toml: str = "", **more: Any) -> dict[str, str]:
    return plan_of(HOME, toml, **more).environment


def test_environment_of_ray_is_exactly_this() -> None:
    assert environment() == DEFAULT


def test_nothing_of_the_caller_leaks() -> None:
    assert environment(caller=LEAKING) == DEFAULT


THE_USERS_OWN = {"AWS_SECRET_ACCESS_KEY", "SSH_AUTH_SOCK", "https_proxy"}


@pytest.mark.parametrize("name", sorted(LEAKING.keys() - THE_USERS_OWN))
def test_pass_does_not_open_what_policy_holds_back(name: str) -> None:
    toml = f'[environment]\npass = ["{name}"]'

    assert environment(toml, caller=LEAKING) == DEFAULT


def test_harmless_and_asked_for_variables_are_taken() -> None:
    caller = {"HOME": "/home/u", "LC_ALL": "C.UTF-8", "MY_DATA": "/data", "OTHER": "x"}

    added = environment('[environment]\npass = ["MY_*"]', caller=caller).items() - DEFAULT.items()

    assert dict(added) == {"HOME": "/home/u", "LC_ALL": "C.UTF-8", "MY_DATA": "/data"}


def test_variables_of_the_settings_are_added() -> None:
    variables = {"MY_FLAG": "1", "RAY_memory_usage_threshold": "0.8"}

    assert environment(variables=variables) == DEFAULT | variables


@given(
    st.dictionaries(
        st.sampled_from(["SECURE_RAY_INSTANCE", "SECURE_RAY_CLUSTER", "SECURE_RAY_HOME", "X"]),
        st.sampled_from(["", "other"]),
    )
)
def test_variables_of_the_settings_cannot_displace_the_marks(variables: dict[str, str]) -> None:
    marks = {name: value for name, value in DEFAULT.items() if name.startswith("SECURE_RAY_")}

    assert marks.items() <= environment(variables=variables).items()


@pytest.mark.parametrize(
    ("toml", "expected"),
    [
        ("", {}),
        (
            '[logging]\nformat = "json"',
            {"RAY_BACKEND_LOG_JSON": "1", "RAY_LOGGING_CONFIG_ENCODING": "JSON"},
        ),
        ('[logging]\nlevel = "debug"', {"RAY_BACKEND_LOG_LEVEL": "debug"}),
        (
            '[logging]\nrotate_bytes = "1MiB"\nrotate_count = 2',
            {"RAY_ROTATION_MAX_BYTES": "1048576", "RAY_ROTATION_BACKUP_COUNT": "2"},
        ),
        (
            "[limits]\nmemory_usage_threshold = 0.8\nspill_limit = 0.7",
            {"RAY_memory_usage_threshold": "0.8", "RAY_local_fs_capacity_threshold": "0.7"},
        ),
        ('[start]\norder = "stock"', {"SECURE_RAY_START": "stock"}),
    ],
    ids=["default", "json", "level", "rotation", "thresholds", "order"],
)
def test_settings_become_variables(toml: str, expected: dict[str, str]) -> None:
    assert environment(toml) == DEFAULT | expected


def test_metrics_get_their_ports_only_when_they_are_wanted() -> None:
    wanted = environment("[metrics]\nenabled = true")

    assert wanted["DASHBOARD_METRIC_PORT"] == str(BASE + 8)
    assert wanted["AUTOSCALER_METRIC_PORT"] == str(BASE + 9)
    assert wanted.keys() == DEFAULT.keys() - {"RAY_enable_metrics_collection", "RAY_GRAFANA_HOST"}


def test_identity_is_token_and_mutual_tls_on_loopback() -> None:
    assert identity_environment(CURRENT, CLUSTER / "token") == IDENTITY


DRIVER = IDENTITY | {
    "RAY_ADDRESS": f"127.0.0.1:{BASE}",
    "RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{BASE + 1}",
    "NO_PROXY": "127.0.0.1,localhost,::1",
    "no_proxy": "127.0.0.1,localhost,::1",
    "SECURE_RAY_CLUSTER": "default",
    "SECURE_RAY_HOME": str(HOME),
}


def test_environment_of_a_driver_is_exactly_this() -> None:
    assert driver_environment(plan_of(HOME)) == DRIVER


def test_driver_does_not_carry_the_mark_by_which_down_stops_processes() -> None:
    assert "SECURE_RAY_INSTANCE" not in driver_environment(plan_of(HOME))


@pytest.mark.parametrize(
    ("toml", "ephemeral", "missing", "added"),
    [
        ("[dashboard]\nenabled = false", False, {"RAY_API_SERVER_ADDRESS"}, {}),
        ("", True, {"SECURE_RAY_CLUSTER", "SECURE_RAY_HOME"}, {}),
        ('[logging]\nformat = "json"', False, set(), {"RAY_LOGGING_CONFIG_ENCODING": "JSON"}),
    ],
    ids=["no dashboard", "ephemeral", "json"],
)
def test_driver_of_another_cluster(
    toml: str, missing: set[str], added: dict[str, str], *, ephemeral: bool
) -> None:
    kept = {name: value for name, value in DRIVER.items() if name not in missing}

    assert driver_environment(plan_of(HOME, toml, ephemeral=ephemeral)) == kept | added
