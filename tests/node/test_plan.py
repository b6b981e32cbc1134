"""The launch plan: the command as a whole, and there and back through JSON."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from secure_ray.node.place import Place
from secure_ray.node.plan import ActiveOverride, LaunchPlan
from support.plans import BASE, GIB, HEAD, HOST, ID, VERSIONS, WORKER, plan_of, private_plan

HOME = Path("/home/u/state")
RICH = """
[ports]
gcs = 6400
workers = "21000-21999"
[limits]
num_cpus = 2
num_gpus = 1
memory = "2GiB"
object_store_memory = "1GiB"
resources = {slots = 3, "a b" = 0.5}
resource_isolation = "on"
system_reserved_cpu = 1.5
system_reserved_memory = "512MiB"
[metrics]
enabled = true
[dashboard]
enabled = false
[logging]
format = "json"
[start]
timeout_seconds = 60
[override]
SR-RAY-001 = {until = 2027-01-31T18:00:00Z, reason = "a test"}
CVE-2026-12345 = {until = 2027-01-31, reason = "no fix yet"}
"""


def options(plan: LaunchPlan) -> list[str]:
    return list(plan.argv[4:])


def test_command_for_the_defaults() -> None:
    plan = plan_of(HOME)

    assert plan.argv[:3] == (sys.executable, "-u", "-c")
    assert options(plan) == [
        "start",
        "--head",
        "--disable-usage-stats",
        "--dashboard-host=127.0.0.1",
        "--include-dashboard=true",
        "--block",
        "--log-color=false",
        "--temp-dir=/home/u/state/run/ray",
        "--object-spilling-directory=/home/u/state/clusters/default/spill/ray",
        f"--min-worker-port={BASE + 32}",
        f"--max-worker-port={BASE + 1023}",
        f"--port={BASE}",
        f"--dashboard-port={BASE + 1}",
        f"--node-manager-port={BASE + 2}",
        f"--object-manager-port={BASE + 3}",
        f"--dashboard-agent-grpc-port={BASE + 4}",
        f"--dashboard-agent-listen-port={BASE + 5}",
        f"--runtime-env-agent-port={BASE + 6}",
        "--num-cpus=8",
        f"--memory={plan.limits.memory}",
        f"--object-store-memory={plan.limits.object_store_memory}",
        "--enable-resource-isolation",
        "--cgroup-path=/sys/fs/cgroup/ours",
    ]


def test_command_for_a_rich_set_of_settings() -> None:
    plan = plan_of(
        HOME, RICH, host=replace(HOST, gpus=1), ray_options=("--labels=team=a",), ephemeral=True
    )

    assert options(plan) == [
        "start",
        "--head",
        "--disable-usage-stats",
        "--dashboard-host=127.0.0.1",
        "--include-dashboard=false",
        "--block",
        "--log-color=false",
        "--temp-dir=/home/u/state/run/ray",
        "--object-spilling-directory=/home/u/state/clusters/default/spill/ray",
        "--min-worker-port=21000",
        "--max-worker-port=21999",
        "--port=6400",
        f"--node-manager-port={BASE + 2}",
        f"--object-manager-port={BASE + 3}",
        f"--dashboard-agent-grpc-port={BASE + 4}",
        f"--dashboard-agent-listen-port={BASE + 5}",
        f"--runtime-env-agent-port={BASE + 6}",
        f"--metrics-export-port={BASE + 7}",
        "--num-cpus=2",
        f"--memory={2 * GIB}",
        f"--object-store-memory={GIB}",
        "--num-gpus=1",
        '--resources={"a b": 0.5, "slots": 3.0}',
        "--enable-resource-isolation",
        "--cgroup-path=/sys/fs/cgroup/ours",
        "--system-reserved-cpu=1.5",
        f"--system-reserved-memory={GIB // 2}",
        "--labels=team=a",
    ]
    assert plan.timeout == 60
    assert plan.ephemeral
    assert plan.logging_json
    assert plan.overrides == (
        ActiveOverride("CVE-2026-12345", "2027-02-01T00:00+00:00", "no fix yet"),
        ActiveOverride("SR-RAY-001", "2027-01-31T18:00+00:00", "a test"),
    )


def test_command_of_a_head_in_private_mode() -> None:
    plan, local = private_plan(HOME), plan_of(HOME)

    assert options(plan) == [
        "start",
        "--head",
        "--node-ip-address=10.77.0.1",
        # Everything below is as in local mode: plain HTTP stays on loopback.
        *options(local)[2:],
    ]
    assert "--dashboard-host=127.0.0.1" in options(plan)


def test_command_of_a_worker() -> None:
    plan = private_plan(HOME, place=WORKER)

    assert options(plan) == [
        "start",
        f"--address=10.77.0.1:{BASE}",
        "--node-ip-address=10.77.0.2",
        "--block",
        "--log-color=false",
        "--temp-dir=/home/u/state/run/ray",
        "--object-spilling-directory=/home/u/state/clusters/default/spill/ray",
        f"--min-worker-port={BASE + 32}",
        f"--max-worker-port={BASE + 1023}",
        # Neither the control store nor the dashboard: they are the head's.
        f"--node-manager-port={BASE + 2}",
        f"--object-manager-port={BASE + 3}",
        f"--dashboard-agent-grpc-port={BASE + 4}",
        f"--dashboard-agent-listen-port={BASE + 5}",
        f"--runtime-env-agent-port={BASE + 6}",
        "--num-cpus=8",
        f"--memory={plan.limits.memory}",
        f"--object-store-memory={plan.limits.object_store_memory}",
        "--enable-resource-isolation",
        "--cgroup-path=/sys/fs/cgroup/ours",
    ]


def test_worker_reaches_the_control_store_where_its_head_has_it() -> None:
    toml = "[ports]\ngcs = 6400"
    plan = private_plan(HOME, toml, place=Place("w1", "fd00::2", "fd00::1"))

    assert plan.control_store == "[fd00::1]:6400"
    assert "--address=[fd00::1]:6400" in options(plan)
    assert "--node-ip-address=fd00::2" in options(plan)
    assert private_plan(HOME, toml).control_store == "10.77.0.1:6400"


@pytest.mark.parametrize(
    ("toml", "gpus", "expected"),
    [("", 0, []), ("", 2, ["--num-gpus=2"]), ("[limits]\nnum_gpus = 0", 2, ["--num-gpus=0"])],
    ids=["none", "found", "none wanted"],
)
def test_gpus_are_named_when_there_are_some_or_none_are_wanted(
    toml: str, gpus: int, expected: list[str]
) -> None:
    plan = plan_of(HOME, toml, host=replace(HOST, gpus=gpus))

    assert [option for option in options(plan) if option.startswith("--num-gpus")] == expected


def test_isolation_is_not_asked_for_where_it_cannot_work() -> None:
    plan = plan_of(HOME, host=replace(HOST, isolation_obstacle="version 1"))

    assert "--enable-resource-isolation" not in options(plan)


def test_component_that_must_not_listen_is_given_the_port_that_is_held() -> None:
    ports = plan_of(HOME).ports
    agent = next(entry for entry in ports.ports if entry.component.name == "agent_http")
    others = tuple(entry for entry in ports.ports if entry != agent)
    closed = replace(ports, ports=others, closed=(agent.component,))

    given = options(plan_of(HOME, ports=closed))

    assert f"--dashboard-agent-listen-port={closed.reservation}" in given


@pytest.mark.parametrize("place", [HEAD, WORKER], ids=["head", "worker"])
def test_plan_of_private_mode_comes_back_from_json_as_it_was(place: Place) -> None:
    plan = private_plan(HOME, RICH, place=place)

    assert LaunchPlan.from_json(plan.to_json()) == plan


@pytest.mark.parametrize("toml", ["", RICH], ids=["default", "rich"])
def test_plan_comes_back_from_json_as_it_was(toml: str) -> None:
    plan = plan_of(HOME, toml, caller={"HOME": "/home/u"}, variables={"X": "ü\n"})

    assert LaunchPlan.from_json(plan.to_json()) == plan


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "not json", '{"cluster_id": 1}'], ids=lambda text: text or "empty"
)
def test_text_that_is_no_plan_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # whichever
        LaunchPlan.from_json(text)


def test_plan_knows_paths_of_secrets_but_no_secret() -> None:
    caller = {"RAY_AUTH_TOKEN": "hunter2", "AWS_SECRET_ACCESS_KEY": "hunter2"}
    plan = plan_of(HOME, caller=caller)

    text = plan.to_json()

    assert "hunter2" not in text
    assert str(plan.paths.token) in text
    assert not any(str(plan.paths.token) in word for word in plan.argv)
    assert str(plan.paths.passphrase) not in " ".join(plan.argv) + str(plan.environment)


def test_directories_that_are_made_and_where_it_runs() -> None:
    plan = plan_of(HOME)

    assert plan.private_directories == (
        HOME / "run",
        HOME / "run" / "tmp",
        HOME / "clusters" / "default" / "spill",
    )
    assert plan.working_directory == HOME / "run" / "tmp"
    assert plan_of(HOME, working_directory=Path("/work")).working_directory == Path("/work")
    assert plan.certificates == HOME / "clusters" / "default" / "pki" / "node" / "current"
    assert (plan.cluster_id, plan.versions) == (ID, VERSIONS)


def test_command_imports_nothing_from_the_directory_in_which_it_runs(tmp_path: Path) -> None:
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "__init__.py").write_text("print('planted')")
    (tmp_path / "site").mkdir()
    real = tmp_path / "site" / "ray" / "scripts"
    real.mkdir(parents=True)
    (real.parent / "__init__.py").write_text("")
    (real / "__init__.py").write_text("")
    (real / "scripts.py").write_text("import sys\ndef main(): print('installed', *sys.argv)")

    done = subprocess.run(
        plan_of(HOME).argv[:5],
        cwd=tmp_path,
        env={"PYTHONPATH": os.fspath(tmp_path / "site")},
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout == "installed ray start\n"


def test_what_the_settings_bring_in_is_not_shown_or_kept(home: Path) -> None:
    toml = '[environment]\npass = ["AWS_*"]'
    caller = {"AWS_SECRET_ACCESS_KEY": "one-secret", "LANG": "C"}
    plan = plan_of(home, toml, caller=caller, variables={"PASSWORD": "another-secret"})

    shown = plan.shown().to_json()

    assert plan.environment["AWS_SECRET_ACCESS_KEY"] == "one-secret"
    assert plan.environment["PASSWORD"] == "another-secret"
    assert "one-secret" not in shown
    assert "another-secret" not in shown
    assert plan.shown().environment["LANG"] == "C"
