"""What `up` and `status` tell of a cluster, from its record and from the kernel."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import replace
from typing import TYPE_CHECKING

import psutil
import pytest

from secure_ray.base.errors import FailedError
from secure_ray.base.locks import lock
from secure_ray.cli import summary as module
from secure_ray.cli.summary import print_plan, print_status, print_summary, summary
from secure_ray.node.instance import Phase, write_instance
from secure_ray.node.paths import ClusterPaths
from secure_ray.node.plan import ActiveOverride
from support.plans import (
    BASE,
    HEAD,
    ID,
    WORKER,
    instance_of,
    make_directories,
    plan_of,
    private_plan,
)

if TYPE_CHECKING:
    from pathlib import Path

    from secure_ray.node.place import Place
    from secure_ray.node.plan import LaunchPlan


@pytest.fixture
def plan(home: Path) -> LaunchPlan:
    plan = make_directories(plan_of(home))
    return replace(plan, overrides=(ActiveOverride("SR-RAY-001", "2099-01-01", "a test"),))


def test_cluster_that_never_was(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = summary(ClusterPaths(home, "a"))

    assert facts == {
        "cluster": "a",
        "state": "none",
        "directory": str(home / "clusters" / "a"),
        "start": "secure-ray up --head --cluster a",
    }
    print_status(facts)
    assert (
        capsys.readouterr().out == "cluster a: never started (secure-ray up --head --cluster a)\n"
    )


@pytest.mark.parametrize("phase", list(Phase))
@pytest.mark.parametrize("alive", [True, False])
def test_state_is_the_recorded_one_while_the_supervisor_lives(
    plan: LaunchPlan, phase: Phase, *, alive: bool
) -> None:
    write_instance(instance_of(plan, phase, reason="the reason"))
    ended = {Phase.STOPPED, Phase.FAILED}

    if alive:
        with lock(plan.paths.supervisor_lock, wait=0):
            facts = summary(plan.paths)
    else:
        facts = summary(plan.paths)

    if alive or phase in ended:
        assert (facts["state"], facts["reason"]) == (phase.value, "the reason")
    else:
        assert facts["state"] == "died"
        assert "killed" in facts["reason"]
    assert ("ports" in facts) == alive


def test_facts_of_a_running_cluster(plan: LaunchPlan) -> None:
    write_instance(instance_of(plan, certificate_expires="2099-01-01T00:00:00+00:00"))
    with lock(plan.paths.supervisor_lock, wait=0), socket.socket() as gcs:
        gcs.bind(("127.0.0.1", 0))
        gcs.listen()
        facts = summary(plan.paths)

    assert facts["versions"] == plan.versions
    assert facts["limits"]["num_cpus"] == plan.limits.num_cpus
    assert facts["overrides"] == [{"rule": "SR-RAY-001", "until": "2099-01-01", "reason": "a test"}]
    assert facts["certificate"]["days_left"] > 20_000
    assert facts["supervisor"]["pid"] == os.getpid()
    assert facts["logs"] == f"{plan.run.directory}/ray/session_latest/logs"
    assert [entry["port"] for entry in facts["ports"]] == [entry.port for entry in plan.ports.ports]
    assert facts["worker_ports"] == f"{BASE + 32}-{BASE + 1023}"


def test_each_port_is_shown_with_who_has_it(
    plan: LaunchPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    holders = {BASE: "gcs_server (pid 1)", BASE + 40: "ray::IDLE (pid 2)", 80: "nginx (pid 3)"}
    monkeypatch.setattr(module, "_holders", lambda: holders)
    write_instance(instance_of(plan))

    with lock(plan.paths.supervisor_lock, wait=0):
        facts = summary(plan.paths)

    by_name = {entry["component"]: entry["holder"] for entry in facts["ports"]}
    assert by_name["gcs"] == "gcs_server (pid 1)"
    assert by_name["dashboard"] == "nobody"
    assert facts["workers"] == [{"port": BASE + 40, "holder": "ray::IDLE (pid 2)"}]


def test_holder_of_a_real_listener_is_this_process() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        holders = module._holders()

        assert holders[server.getsockname()[1]].endswith(f"(pid {os.getpid()})")


def test_holder_that_is_gone_or_of_another_user(monkeypatch: pytest.MonkeyPatch) -> None:
    assert module._holder(None) == "another user's process"

    def gone(pid: int) -> None:
        raise psutil.NoSuchProcess(pid)

    monkeypatch.setattr(psutil, "Process", gone)
    assert module._holder(7) == "pid 7"


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"phase": "running"}', "null"])
def test_record_of_another_version_is_told(
    plan: LaunchPlan, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    plan.paths.instance.write_text(text)
    plan.paths.instance.chmod(0o600)

    facts = summary(plan.paths)

    assert facts["state"] == "unreadable"
    print_status(facts)
    assert "written by another version" in capsys.readouterr().out


def test_record_that_was_planted_is_not_read(plan: LaunchPlan, home: Path) -> None:
    write_instance(instance_of(plan))
    plan.paths.instance.rename(home / "elsewhere")
    plan.paths.instance.symlink_to(home / "elsewhere")

    with pytest.raises(FailedError):
        summary(plan.paths)


def shown(plan: LaunchPlan, phase: Phase = Phase.RUNNING) -> dict[str, object]:
    write_instance(instance_of(plan, phase, reason="9 checks passed"))
    with lock(plan.paths.supervisor_lock, wait=0):
        return summary(plan.paths)


def test_status_says_all_that_matters(plan: LaunchPlan, capsys: pytest.CaptureFixture[str]) -> None:
    print_status(shown(plan, Phase.DEGRADED))

    out = capsys.readouterr().out
    assert out.startswith("cluster default: degraded, 9 checks passed\n")
    for text in (
        "ray 2.60.0",
        "8 CPUs, 0 GPUs",
        "supervisor pid",
        "OVERRIDE     SR-RAY-001 until 2099-01-01: a test",
        "control store (GCS)",
        f"{BASE}",
        str(plan.paths.log),
        "isolation    on",
    ):
        assert text in out


@pytest.mark.parametrize(
    ("place", "texts"),
    [
        (
            HEAD,
            (
                "10 services, 9 checks passed\n",
                "node         head at 10.77.0.1; what is plain HTTP stays on 127.0.0.1\n",
                f"for nodes    door at 10.77.0.1:{BASE + 10}, relay at 10.77.0.1:{BASE + 11}; ",
                f"dashboard    http://127.0.0.1:{BASE + 1}\n",
                "secure-ray join-token create ",
            ),
        ),
        (
            WORKER,
            (
                "8 services, 9 checks passed\n",
                "node         worker w1 at 10.77.0.2, of the head at 10.77.0.1; ",
                f"for nodes    relay at 10.77.0.2:{BASE + 11}; ",
                "secure-ray run -- python",
            ),
        ),
    ],
    ids=["head", "worker"],
)
def test_summary_of_private_mode(
    home: Path, capsys: pytest.CaptureFixture[str], place: Place, texts: tuple[str, ...]
) -> None:
    print_summary(shown(make_directories(private_plan(home, place=place))))

    out = capsys.readouterr().out
    for text in texts:
        assert text in out
    assert "services on" not in out
    assert "up --head" not in out
    assert ("join-token" in out) == place.is_head


def test_status_in_private_mode_says_where_each_service_is(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    print_status(shown(make_directories(private_plan(home))))

    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    where = {line[1]: line[0] for line in lines if line[0].endswith(tuple("0123456789"))}
    assert where["control"] == f"10.77.0.1:{BASE}"
    assert where["dashboard"] == f"127.0.0.1:{BASE + 1}"
    assert where["relay"] == f"10.77.0.1:{BASE + 11}"
    assert ["node", "head", "at", "10.77.0.1,", "supervisor", "pid", str(os.getpid())] in lines


def test_status_of_a_worker_that_waits_for_its_head(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = make_directories(private_plan(home, place=WORKER))

    print_status(shown(plan, Phase.WAITING))

    out = capsys.readouterr().out
    assert out.startswith("cluster default: waiting, 9 checks passed\n")
    assert "node         worker w1 at 10.77.0.2, of the head at 10.77.0.1, supervisor pid" in out
    assert "next         on the head at 10.77.0.1: secure-ray status\n" in out


@pytest.mark.parametrize(
    ("place", "start", "renew"),
    [
        (HEAD, "secure-ray up --head --bind 10.77.0.1", "secure-ray up --head --bind 10.77.0.1,"),
        (WORKER, "secure-ray up", "join again, with a string from secure-ray join-token create"),
    ],
    ids=["head", "worker"],
)
def test_what_starts_a_node_of_private_mode_again(
    home: Path, capsys: pytest.CaptureFixture[str], place: Place, start: str, renew: str
) -> None:
    plan = make_directories(private_plan(home, place=place))
    write_instance(
        instance_of(plan, Phase.STOPPED, certificate_expires="2020-01-01T00:00:00+00:00")
    )

    print_status(summary(plan.paths))

    out = capsys.readouterr().out
    assert f"next         {start}\n" in out
    assert f"EXPIRED on 2020-01-01: {renew}" in out.replace("secure-ray down, then ", "")


def test_plan_of_private_mode_says_where_each_port_is(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    print_plan(private_plan(home, place=WORKER))

    out = capsys.readouterr().out
    assert f"#   10.77.0.2:{BASE + 2}  raylet\n" in out
    assert f"#   127.0.0.1:{BASE + 6}  runtime environments\n" in out
    assert f"#   10.77.0.2:{BASE + 32}-{BASE + 1023} workers and drivers\n" in out


@pytest.mark.parametrize("phase", [Phase.STOPPED, Phase.FAILED])
def test_status_of_what_has_ended_says_how_to_start_it(
    plan: LaunchPlan, capsys: pytest.CaptureFixture[str], phase: Phase
) -> None:
    write_instance(instance_of(plan, phase))

    print_status(summary(plan.paths))

    out = capsys.readouterr().out
    assert "next         secure-ray up --head\n" in out
    assert "supervisor pid" not in out


def test_status_says_why_isolation_is_off(
    plan: LaunchPlan, capsys: pytest.CaptureFixture[str]
) -> None:
    limits = replace(plan.limits, isolation=False, isolation_note="version 1")

    print_status(shown(replace(plan, limits=limits)))

    assert "isolation    off: version 1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "option"), [("default", " "), ("b", " --cluster b ")], ids=["default", "named"]
)
def test_summary_says_what_to_do_next(
    home: Path, capsys: pytest.CaptureFixture[str], name: str, option: str
) -> None:
    plan = make_directories(plan_of(home, paths=ClusterPaths(home, name)))

    print_summary(shown(plan))

    out = capsys.readouterr().out
    assert f"cluster {name} is up: 7 services on 127.0.0.1, 9 checks passed" in out
    assert f"secure-ray run{option}-- python script.py" in out
    assert f"http://127.0.0.1:{BASE + 1}" in out
    assert ('cluster="b"' in out) == (name == "b")


def test_what_is_told_to_run_is_for_this_cluster(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = make_directories(plan_of(home, paths=ClusterPaths(home, "b")))
    write_instance(instance_of(plan, certificate_expires="2020-01-01T00:00:00+00:00"))
    print_status(summary(plan.paths))
    plan.paths.instance.write_text("{}")
    print_status(summary(plan.paths))

    out = capsys.readouterr().out
    assert out.count("secure-ray down --cluster b") == 3  # killed, expired, unreadable
    assert out.count("secure-ray up --head --cluster b, renews it") == 2


def test_plan_is_shown_as_a_command_that_could_be_typed(
    plan: LaunchPlan, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = replace(plan, environment=plan.environment | {"ODD": "a b; rm -rf /"})

    print_plan(odd)

    out = capsys.readouterr().out
    assert "ODD='a b; rm -rf /'" in out
    assert f"SECURE_RAY_INSTANCE={ID}" in out
    assert f"--port={BASE}" in out
    assert f"127.0.0.1:{BASE + 32}-{BASE + 1023} workers" in out


def test_reading_the_status_needs_nothing_heavy(plan: LaunchPlan) -> None:
    import subprocess
    import sys

    from support.plans import SOURCE

    write_instance(instance_of(plan, Phase.STOPPED))
    script = "from secure_ray.cli.main import main; import sys; main(['status', '--json']); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": str(SOURCE), "SECURE_RAY_HOME": str(plan.paths.home)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert json.loads(done.stdout)["state"] == "stopped"
    heavy = {"cryptography", "pydantic", "ray", "rich", "jinja2", "asyncio"}
    assert set(done.stderr.split()) & heavy == set()
