"""Ray's environment is built from nothing, and what makes it safe is in every environment."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secure_ray.network.guard.rules import LOCAL_RULES
from secure_ray.node.environment import (
    bind_environment,
    driver_environment,
    guard_rules,
    identity_environment,
    ray_environment,
)
from secure_ray.node.place import LOCAL, Place
from support.plans import BASE, GUARD, HEAD, ID, WORKER, plan_of, private_plan, settings_of

HOME = Path("/home/u/state")
CLUSTER = HOME / "clusters" / "default"
CURRENT = CLUSTER / "pki" / "node" / "current"
IDENTITY = {
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN_PATH": str(CLUSTER / "token"),
    "RAY_USE_TLS": "1",
    "RAY_TLS_SERVER_CERT": str(CURRENT / "node.crt"),
    "RAY_TLS_SERVER_KEY": str(CURRENT / "node.key"),
    "RAY_TLS_CA_CERT": str(CURRENT / "ca.crt"),
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEBUG": "0",
}
ON_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
GUARDED = {
    "LD_PRELOAD": str(GUARD),
    "SECURE_RAY_GUARD_NODE": "10.77.0.1",
    # Dashboard, agent's HTTP, runtime environments, the way to other agents, the reservation.
    "SECURE_RAY_GUARD_LOOPBACK_PORTS": "20481,20485,20486,20492,20511",
    # Control store, raylet, object transfer, agent's gRPC; neither door nor relay.
    "SECURE_RAY_GUARD_NODE_PORTS": "20480,20482,20483,20484",
    "SECURE_RAY_GUARD_RELAYED": "20485:20492",
}
GUARDED_WORKER = {
    "LD_PRELOAD": str(GUARD),
    "SECURE_RAY_GUARD_NODE": "10.77.0.2",
    "SECURE_RAY_GUARD_LOOPBACK_PORTS": "20481,20485,20486,20492,20511",
    "SECURE_RAY_GUARD_NODE_PORTS": "20482,20483,20484",
    # The dashboard is the head's.
    "SECURE_RAY_GUARD_RELAYED": "20481:20481,20485:20492",
}
DEFAULT = (IDENTITY | ON_LOOPBACK) | {
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
        (
            '[logging]\nlevel = "debug"',
            {"RAY_BACKEND_LOG_LEVEL": "debug", "RAY_LOGGER_LEVEL": "debug"},
        ),
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


def test_identity_is_token_and_mutual_tls() -> None:
    assert identity_environment(CURRENT, CLUSTER / "token") == IDENTITY


def test_local_mode_is_held_on_loopback_by_rays_own_switch() -> None:
    assert bind_environment(LOCAL, plan_of(HOME).ports, None, "/lib/other.so") == ON_LOOPBACK


def test_local_mode_is_guarded_where_the_guard_was_built() -> None:
    """Ray's switch knows nothing of what its libraries and jobs open."""
    found = bind_environment(LOCAL, plan_of(HOME).ports, GUARD, "/lib/other.so")

    assert found == ON_LOOPBACK | LOCAL_RULES.environment() | {
        "LD_PRELOAD": f"{GUARD}:/lib/other.so",
        "GLOO_SOCKET_IFNAME": "lo",
        "NCCL_SOCKET_IFNAME": "lo",
        "TP_SOCKET_IFNAME": "lo",
    }


@pytest.mark.parametrize(
    ("place", "guarded"), [(HEAD, GUARDED), (WORKER, GUARDED_WORKER)], ids=["head", "worker"]
)
def test_private_mode_is_held_by_the_guard_alone(place: Place, guarded: dict[str, str]) -> None:
    """Ray's own switch would bind loopback, where no other node gets to."""
    plan = private_plan(HOME, place=place)

    found = {
        name: value
        for name, value in plan.environment.items()
        if name.startswith(("SECURE_RAY_GUARD_", "LD_", "RAY_ENABLE_"))
    }

    assert found == guarded
    assert bind_environment(place, plan.ports, GUARD) == guarded
    assert guard_rules(place, plan.ports).environment().items() <= guarded.items()


def test_reservation_stays_on_loopback_so_that_what_is_closed_finds_it_taken() -> None:
    ports = private_plan(HOME).ports

    assert ports.reservation in guard_rules(HEAD, ports).loopback_ports


def test_worker_is_told_where_its_sessions_are_and_a_head_is_not() -> None:
    assert private_plan(HOME, place=WORKER).environment["SECURE_RAY_SESSIONS"] == str(
        HOME / "run" / "ray"
    )
    assert "SECURE_RAY_SESSIONS" not in private_plan(HOME).environment


def test_library_of_the_settings_comes_after_the_guard_and_does_not_displace_it() -> None:
    """Policy refuses LD_PRELOAD; its override is for that library, not against the guard."""
    variables = {"LD_PRELOAD": "/lib/a.so", "SECURE_RAY_GUARD_NODE": "0.0.0.0"}
    plan = private_plan(HOME)
    found = ray_environment(
        {},
        settings_of(),
        variables,
        plan.paths,
        plan.run,
        plan.ports,
        cluster_id="id",
        place=HEAD,
        guard=GUARD,
    )

    assert found["LD_PRELOAD"] == f"{GUARD}:/lib/a.so"
    assert found["SECURE_RAY_GUARD_NODE"] == HEAD.address


@pytest.mark.parametrize("place", [HEAD, WORKER], ids=["head", "worker"])
def test_nothing_of_the_caller_comes_before_the_guard(place: Place) -> None:
    toml = '[environment]\npass = ["LD_*", "SECURE_RAY_*"]'
    caller = LEAKING | {"SECURE_RAY_GUARD_NODE": "0.0.0.0", "SECURE_RAY_GUARD_RELAYED": ""}

    assert private_plan(HOME, toml, place=place, caller=caller).environment == (
        private_plan(HOME, toml, place=place).environment
    )


DRIVER = (IDENTITY | ON_LOOPBACK) | {
    "RAY_ADDRESS": f"127.0.0.1:{BASE}",
    "RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{BASE + 1}",
    "NO_PROXY": "127.0.0.1,localhost,::1",
    "no_proxy": "127.0.0.1,localhost,::1",
    "SECURE_RAY_CLUSTER": "default",
    "SECURE_RAY_HOME": str(HOME),
}


def test_environment_of_a_driver_is_exactly_this() -> None:
    assert driver_environment(plan_of(HOME)) == DRIVER


@pytest.mark.parametrize(
    ("place", "guarded", "direct"),
    [
        (HEAD, GUARDED, "127.0.0.1,localhost,::1,10.77.0.1"),
        (WORKER, GUARDED_WORKER, "127.0.0.1,localhost,::1,10.77.0.1,10.77.0.2"),
    ],
    ids=["head", "worker"],
)
def test_environment_of_a_driver_in_private_mode(
    place: Place, guarded: dict[str, str], direct: str
) -> None:
    found = driver_environment(private_plan(HOME, place=place))

    assert found == IDENTITY | guarded | {
        "RAY_ADDRESS": f"10.77.0.1:{BASE}",
        # On a worker the forwarder, which leads to the head's.
        "RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{BASE + 1}",
        "NO_PROXY": direct,
        "no_proxy": direct,
        "SECURE_RAY_CLUSTER": "default",
        "SECURE_RAY_HOME": str(HOME),
    }


def test_what_a_driver_preloads_itself_comes_after_the_guard() -> None:
    found = driver_environment(private_plan(HOME), {"LD_PRELOAD": f"/lib/a.so {GUARD} /lib/b.so"})

    assert found["LD_PRELOAD"] == f"{GUARD}:/lib/a.so:/lib/b.so"


@pytest.mark.parametrize(
    ("caller", "expected"),
    [
        ({"no_proxy": "a.example"}, "a.example,127.0.0.1,localhost,::1"),
        ({"NO_PROXY": "a.example,b"}, "a.example,b,127.0.0.1,localhost,::1"),
        ({"no_proxy": "a", "NO_PROXY": "b"}, "a,127.0.0.1,localhost,::1"),
        ({"no_proxy": "", "NO_PROXY": "b"}, "b,127.0.0.1,localhost,::1"),
        ({"no_proxy": ""}, "127.0.0.1,localhost,::1"),
    ],
    ids=str,
)
def test_hosts_that_the_caller_reaches_without_a_proxy_stay_so(
    caller: dict[str, str], expected: str
) -> None:
    assert driver_environment(plan_of(HOME), caller) == DRIVER | {
        "no_proxy": expected,
        "NO_PROXY": expected,
    }


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
