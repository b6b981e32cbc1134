"""Three nodes at work: drivers, jobs, states, logs and metrics, from whichever node they are asked."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.live import until

if TYPE_CHECKING:
    from support.private import PrivateCluster

pytestmark = [pytest.mark.ray, pytest.mark.root]

NODES = ("head", "w1", "w2")
_EVERYWHERE = """
import ray
where = ray.remote(lambda: ray.util.get_node_ip_address())
nodes = [node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]]
print(sorted(ray.get([where.options(resources={f"node:{n}": 0.01}).remote() for n in nodes])))
"""
_LISTENING = """
import psutil
print(sorted({c.laddr.ip.removeprefix('::ffff:') for c in psutil.Process().net_connections('inet')
              if c.status == 'LISTEN' or c.type == 2 and not c.raddr}))
"""
_ASK = """
import os, sys, urllib.request
token = open(os.environ["RAY_AUTH_TOKEN_PATH"]).read().strip()
for url in sys.argv[1:]:
    asked = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
    print(urllib.request.urlopen(asked, timeout=30).read().decode())
"""


def program(private: PrivateCluster, name: str, script: str) -> subprocess.CompletedProcess[str]:
    """A Python program on host `name`, started as a user would."""
    machine = private.machine(name)
    return subprocess.run(
        [*machine.prefix, sys.executable, "-c", script],
        env=machine.environment(),
        cwd=machine.home,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def addresses(private: PrivateCluster) -> list[str]:
    return sorted(private.host(name).address for name in private.nodes)


def ask(private: PrivateCluster, name: str, url: str) -> str:
    """What a program under `secure-ray run` on node `name` is answered."""
    result = private.machine(name).run("run", "--", sys.executable, "-c", _ASK, url)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize("name", NODES)
def test_run_makes_an_unmodified_program_a_driver(private: PrivateCluster, name: str) -> None:
    result = private.machine(name).driver(f"import ray\nray.init()\n{_EVERYWHERE}{_LISTENING}")

    assert result.returncode == 0, result.stderr
    tasks, listening = map(eval, result.stdout.splitlines()[-2:])
    assert tasks == addresses(private)
    assert listening == [private.host(name).address]


@pytest.mark.parametrize(("name", "imported"), [("head", ""), ("w1", ""), ("w2", "import ray\n")])
def test_secure_init_joins_and_binds_as_planned(
    private: PrivateCluster, name: str, imported: str
) -> None:
    script = "from secure_ray import secure_init\nsecure_init('auto', log_to_driver=False)\n"

    result = program(private, name, f"{imported}{script}{_EVERYWHERE}{_LISTENING}")

    assert result.returncode == 0, result.stderr
    tasks, listening = map(eval, result.stdout.splitlines()[-2:])
    assert tasks == addresses(private)
    assert listening == [private.host(name).address]


def test_secure_init_can_be_repeated(private: PrivateCluster) -> None:
    again = "secure_init('auto', log_to_driver=False)\n"
    script = (
        f"import ray\nfrom secure_ray import secure_init\n{again}ray.shutdown()\n{again}"
        f"{_EVERYWHERE}{_LISTENING}"
    )

    result = program(private, "w1", script)

    assert result.returncode == 0, result.stderr
    tasks, listening = map(eval, result.stdout.splitlines()[-2:])
    assert tasks == addresses(private)
    assert listening == [private.host("w1").address]


@pytest.mark.parametrize("name", NODES)
def test_ray_lists_all_nodes(private: PrivateCluster, name: str) -> None:
    assert private.ray_nodes(name) == dict.fromkeys(addresses(private), "ALIVE")


@pytest.mark.parametrize("name", ["head", "w1"])
def test_dashboard_shows_all_nodes(private: PrivateCluster, name: str) -> None:
    ports = private.machine(name).status()["ports"]
    port = next(entry["port"] for entry in ports if entry["component"] == "dashboard")

    shown = json.loads(ask(private, name, f"http://127.0.0.1:{port}/nodes?view=summary"))

    found = {node["raylet"]["nodeManagerAddress"] for node in shown["data"]["summary"]}
    assert sorted(found) == addresses(private)
    # What the agents say of their hosts has arrived, too.
    assert all(node.get("hostname") for node in shown["data"]["summary"])


@pytest.mark.parametrize(("reader", "place"), [("head", "w1"), ("w1", "w2")])
def test_logs_of_another_node_can_be_read(private: PrivateCluster, reader: str, place: str) -> None:
    address = private.host(place).address

    listed = private.machine(reader).ray("logs", "cluster", "--node-ip", address)
    read = private.machine(reader).ray(
        "logs", "cluster", "raylet.out", "--node-ip", address, "--tail", "-1"
    )

    assert listed.returncode == 0, listed.stderr
    assert "raylet.out" in listed.stdout
    assert read.returncode == 0, read.stderr
    log = logs_of(private, place) / "raylet.out"
    assert log.read_text().splitlines()[0] in read.stdout


def logs_of(private: PrivateCluster, name: str) -> Path:
    return Path(private.machine(name).status()["logs"])


@pytest.mark.parametrize(("submitter", "place"), [("head", "w1"), ("w1", "w2")])
def test_job_runs_on_another_node_than_it_was_submitted_on(
    private: PrivateCluster, submitter: str, place: str
) -> None:
    address = private.host(place).address
    machine = private.machine(submitter)
    script = (
        "from secure_ray import secure_init; secure_init(); import ray;"
        "print('ran on', ray.util.get_node_ip_address())"
    )

    result = machine.ray(
        *("job", "submit", "--submission-id", f"job-{submitter}-{place}"),
        *("--entrypoint-resources", json.dumps({f"node:{address}": 0.01})),
        *("--", "python", "-c", script),
    )
    log = machine.ray("job", "logs", f"job-{submitter}-{place}")

    assert result.returncode == 0, result.stdout + result.stderr
    assert f"ran on {address}" in result.stdout
    assert f"ran on {address}" in log.stdout, log.stderr


def test_metrics_flow_on_every_node(private: PrivateCluster) -> None:
    private.head.driver(f"import ray\nray.init()\n{_EVERYWHERE}")
    for name in private.nodes:
        ports = private.machine(name).status()["ports"]
        port = next(entry["port"] for entry in ports if entry["component"] == "metrics")

        # Counted by raylet and workers, which hand it to the node's agent by gRPC.
        def flows(name: str = name, port: int = port) -> bool:
            return "ray_tasks" in ask(private, name, f"http://127.0.0.1:{port}/metrics")

        until(flows, f"metrics of raylet and workers on {name}", seconds=60)


def test_no_process_fails_to_reach_its_metrics_agent(private: PrivateCluster) -> None:
    private.head.driver(f"import ray\nray.init()\n{_EVERYWHERE}")

    complaints: dict[str, list[str]] = {}
    for name in private.nodes:
        logs = [path for path in logs_of(private, name).iterdir() if path.is_file()]
        assert len(logs) > 8
        for path in logs:
            lines = path.read_text(errors="replace").splitlines()
            wrong = [line for line in lines if "Failed to establish connection to the" in line]
            if wrong:
                complaints[f"{name} {path.name}"] = wrong
    assert complaints == {}


def test_status_of_each_node_is_all_well(private: PrivateCluster) -> None:
    for name in private.nodes:
        result = private.machine(name).run("status")
        assert result.returncode == 0, result.stdout
        assert private.host(name).address in result.stdout
    assert {node["state"] for node in private.node_list().values()} == {"running"}


def test_audit_of_each_node_finds_nothing(private: PrivateCluster) -> None:
    for name in private.nodes:
        result = private.machine(name).run("audit")
        assert result.returncode == 0, result.stdout + result.stderr
