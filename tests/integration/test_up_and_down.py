"""`up`, `status`, `down` and `reset` on real Ray."""

from __future__ import annotations

import json
import os
import re
import subprocess
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from secure_ray.base.locks import lock_is_free
from secure_ray.node.paths import ClusterPaths

if TYPE_CHECKING:
    from support.clusters import Machine

pytestmark = pytest.mark.ray


def test_up_says_what_runs_and_what_to_do_next(running: Machine) -> None:
    facts = running.status()

    assert facts["schema"] == "secure-ray/status/1"
    assert facts["state"] == "running"
    assert {entry["component"] for entry in facts["ports"]} >= {"gcs", "dashboard", "node_manager"}
    assert all("nobody" not in entry["holder"] for entry in facts["ports"])
    assert facts["certificate"]["days_left"] >= 88
    assert facts["limits"]["num_cpus"] >= 1


def test_up_again_says_that_it_is_up_and_changes_nothing(running: Machine) -> None:
    before = running.record()["supervisor"]

    again = running.run("up", "--head")

    assert again.returncode == 0
    assert "already up" in again.stderr
    assert running.record()["supervisor"] == before


def test_up_is_quiet_without_a_terminal(running: Machine) -> None:
    again = running.run("up", "--head")

    assert "\x1b" not in again.stdout + again.stderr


def test_dry_run_changes_nothing(machine: Machine) -> None:
    result = machine.run("up", "--head", "--dry-run", "--json")

    assert result.returncode == 0, result.stderr
    plan = json.loads(result.stdout)
    assert plan["environment"]["RAY_AUTH_MODE"] == "token"
    assert not machine.state.exists()


def test_two_clusters_share_nothing_and_down_stops_only_its_own(machine: Machine) -> None:
    first = machine.up("--cluster", "one", "--num-cpus", "1", "--memory", "512MiB")
    second = machine.up("--cluster", "two", "--num-cpus", "1", "--memory", "512MiB")

    ports = [{entry["port"] for entry in facts["ports"]} for facts in (first, second)]
    assert not ports[0] & ports[1]
    tokens = {(machine.cluster_directory(name) / "token").read_bytes() for name in ("one", "two")}
    assert len(tokens) == 2

    assert machine.run("down", "--cluster", "one").returncode == 0
    assert machine.processes("one") == []
    assert machine.status("--cluster", "one")["state"] == "stopped"
    assert machine.status("--cluster", "two")["state"] == "running"
    assert machine.processes("two")


def test_two_ups_at_once_start_one_cluster(machine: Machine) -> None:
    both = [machine.start("up", "--head", "--num-cpus", "1") for _ in range(2)]
    outputs = [process.communicate(timeout=120) for process in both]

    assert [process.returncode for process in both] == [0, 0], outputs
    assert sum("already up" in error for _, error in outputs) == 1
    gcs = [process for process in machine.processes() if process.name() == "gcs_server"]
    assert len(gcs) == 1


def test_down_and_up_again_keep_keys_and_ports(machine: Machine) -> None:
    first = machine.up("--num-cpus", "1")
    token = (machine.cluster_directory() / "token").read_bytes()
    root = (machine.cluster_directory() / "pki" / "authority" / "current" / "root.crt").read_bytes()
    assert machine.run("down").returncode == 0

    second = machine.up("--num-cpus", "1")

    assert [entry["port"] for entry in second["ports"]] == [
        entry["port"] for entry in first["ports"]
    ]
    assert (machine.cluster_directory() / "token").read_bytes() == token
    assert (
        machine.cluster_directory() / "pki" / "authority" / "current" / "root.crt"
    ).read_bytes() == root


def test_down_of_what_is_down_is_done(machine: Machine) -> None:
    result = machine.run("down")

    assert result.returncode == 0
    assert "was not running" in result.stderr


def test_reset_asks_first_and_removes_all(machine: Machine) -> None:
    machine.up("--num-cpus", "1")
    while_running = machine.run("reset", "--yes")
    assert while_running.returncode == 4
    assert "SR-STATE-009" in while_running.stderr

    machine.run("down")
    run_directory = Path(machine.identity()["run"])
    unasked = machine.run("reset")
    assert unasked.returncode == 2
    assert machine.cluster_directory().is_dir()

    assert machine.run("reset", "--yes").returncode == 0
    assert not machine.cluster_directory().exists()
    assert not run_directory.exists()
    assert not (machine.state / "passphrases" / "default").exists()


def test_block_runs_in_the_foreground_and_stops_on_sigterm(machine: Machine) -> None:
    process = machine.start("up", "--head", "--block", "--num-cpus", "1")
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if "running" in line:
            break
    assert machine.status()["supervisor"]["pid"] == process.pid, lines

    process.terminate()
    process.communicate(timeout=60)

    assert process.returncode == 0
    assert machine.processes() == []


def test_block_hands_the_cluster_over_without_a_gap(machine: Machine) -> None:
    """Another command in between would take the supervisor for a leftover, and stop it."""
    paths = ClusterPaths(machine.state, "default")
    process = machine.start("up", "--head", "--block", "--num-cpus", "1")
    while lock_is_free(paths.lock):
        assert process.poll() is None

    while not lock_is_free(paths.lock):
        assert process.poll() is None

    assert not lock_is_free(paths.supervisor_lock)
    assert machine.run("down").returncode == 0
    process.communicate(timeout=60)


def test_interrupted_up_leaves_nothing_running(machine: Machine) -> None:
    process = machine.start("up", "--head", "--num-cpus", "1")
    instance = machine.cluster_directory() / "instance.json"
    while not instance.exists():
        assert process.poll() is None
        psutil.wait_procs([], timeout=0.05)

    process.send_signal(2)
    process.communicate(timeout=60)

    assert process.returncode == 130
    assert machine.processes() == []
    assert machine.run("up", "--head", "--num-cpus", "1").returncode == 0


def test_status_of_a_cluster_that_never_was(machine: Machine) -> None:
    result = machine.run("status")

    assert result.returncode == 1
    assert "never started" in result.stdout


def test_ray_options_are_passed_on_when_policy_allows_them(machine: Machine) -> None:
    machine.up("--num-cpus", "1", "--", "--labels=team=a")

    nodes = machine.driver("import ray; ray.init(); print(ray.nodes()[0]['Labels'])")

    assert "'team': 'a'" in nodes.stdout, nodes.stderr


def test_override_and_log_settings_reach_ray_and_are_told(machine: Machine) -> None:
    until = (datetime.now(timezone.utc) + timedelta(days=7)).date()
    settings = machine.home / "with override.toml"
    known = Path(machine.variables.get("SECURE_RAY_CONFIG", os.devnull)).read_text()
    settings.write_text(
        '[logging]\nlevel = "warning"\nformat = "json"\n'
        '[environment.set]\nRAY_memory_monitor_refresh_ms = "0"\n'
        f"{known or '[override]'}\nSR-LIMIT-020 = {{until = {until}, reason = 'a test'}}\n"
    )

    facts = machine.up("--num-cpus", "1", "--config", str(settings))
    audit = json.loads(machine.run("audit", "--json").stdout)
    environment = machine.record()["plan"]["environment"]
    logs = Path(facts["logs"])

    assert "SR-LIMIT-020" in [entry["rule"] for entry in facts["overrides"]]
    failed = [entry["where"] for entry in audit["findings"] if entry["id"] == "SR-AUDIT-060"]
    assert "override SR-LIMIT-020" in failed
    assert (environment["RAY_LOGGER_LEVEL"], environment["RAY_BACKEND_LOG_LEVEL"]) == (
        "warning",
        "warning",
    )
    written = [path for path in logs.iterdir() if path.suffix in {".log", ".out"}]
    assert written
    assert [path.name for path in written if re.search(r"\bINFO\b", path.read_text())] == []
    for line in (machine.cluster_directory() / "supervisor.log").read_text().splitlines():
        assert json.loads(line)["level"] != "INFO"


@pytest.mark.parametrize(
    ("arguments", "environment", "code"),
    [
        (["--", "--dashboard-host=0.0.0.0"], {}, 3),
        (["--", "--no-such-flag=1"], {}, 3),
        ([], {"RAY_AUTH_MODE": "tokn"}, 3),
        ([], {"RAY_USE_TLS": "yes"}, 3),
        (["--num-cpus", "4096"], {}, 3),
        (["--num-gpus", "64"], {}, 3),
        (["--memory", "many"], {}, 2),
        (["--resources", "[]"], {}, 2),
        (["--cluster", "../escape"], {}, 2),
        (["--bind", "0.0.0.0"], {}, 3),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_is_unsafe_is_refused_before_anything_is_made(
    machine: Machine, arguments: list[str], environment: dict[str, str], code: int
) -> None:
    result = machine.run("up", "--head", *arguments, environment=environment)

    assert result.returncode == code, result.stderr
    assert "fix:" in result.stderr
    assert not machine.state.exists()


def test_all_refusals_are_reported_at_once(machine: Machine) -> None:
    result = machine.run(
        "up", "--head", "--num-cpus", "4096", "--", "--dashboard-host=0.0.0.0",
        environment={"RAY_AUTH_MODE": "disabled"},
    )  # fmt: skip

    assert result.stderr.count("refused SR-") == 3


def test_program_without_a_cluster_says_how_to_start_one(machine: Machine) -> None:
    result = machine.driver("pass")

    assert result.returncode == 4
    assert "secure-ray up --head" in result.stderr


def test_a_stopped_cluster_leaves_no_listener(machine: Machine) -> None:
    facts = machine.up("--num-cpus", "1")
    machine.run("down")

    listening = subprocess.run(["ss", "-ltnH"], capture_output=True, text=True, check=True).stdout
    for entry in facts["ports"]:
        assert f":{entry['port']} " not in listening


def test_rays_own_order_of_starting_works_too(machine: Machine) -> None:
    """The way that is taken with a Ray that the shortcut does not know."""
    machine.variables["SECURE_RAY_START__ORDER"] = "stock"

    machine.up("--num-cpus", "1")

    assert machine.record()["plan"]["environment"]["SECURE_RAY_START"] == "stock"
    assert machine.driver("import ray; ray.init()").returncode == 0
