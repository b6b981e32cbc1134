"""`up`: from options to a wish, what it says, and what it does not do."""

from __future__ import annotations

import json
import os
import socket
from contextlib import ExitStack
from dataclasses import replace
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any

import pytest

from secure_ray.base.errors import FailedError
from secure_ray.base.locks import lock
from secure_ray.cli import up as module
from secure_ray.cli.main import main
from secure_ray.node.cluster import Cluster, Membership, read_cluster, write_cluster
from secure_ray.node.decide import Wish
from secure_ray.node.instance import Phase, write_instance
from secure_ray.node.paths import ClusterPaths
from secure_ray.node.prepare import Prepared
from support.doors import Head
from support.plans import (
    BASE,
    EXPIRES,
    HOST,
    VERSIONS,
    WORKER,
    instance_of,
    make_directories,
    plan_of,
    private_plan,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from secure_ray.node.plan import LaunchPlan

    Seen = list[tuple[str, Any]]


@pytest.fixture(autouse=True)
def machine(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user on a host that is the same everywhere, with Ray 2.60.0."""
    for name in [name for name in os.environ if name.startswith(("RAY_", "SECURE_RAY_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SECURE_RAY_HOME", str(home / "state"))
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(home)
    monkeypatch.setattr("secure_ray.node.decide.read_host", lambda _environ: HOST)
    monkeypatch.setattr("secure_ray.node.decide.read_versions", lambda: dict(VERSIONS))


@pytest.fixture
def paths(home: Path) -> ClusterPaths:
    return ClusterPaths(home / "state", "default")


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch, paths: ClusterPaths) -> Iterator[Seen]:
    """What would be started; all that comes of it is what a running cluster leaves on disk."""
    calls: Seen = []
    alive = ExitStack()

    def start(prepared: Prepared, on_event: Callable[[dict[str, Any]], None]) -> None:
        calls.append(("background", prepared.plan))
        on_event({"event": "starting"})
        prepared.reservation.close()
        alive.enter_context(lock(prepared.plan.paths.supervisor_lock, wait=0))
        write_instance(instance_of(prepared.plan, reason="9 checks passed"))

    def become(prepared: Prepared, cluster_lock: int) -> None:
        os.fstat(cluster_lock)
        calls.append(("foreground", prepared.plan))
        prepared.reservation.close()
        raise SystemExit(0)

    monkeypatch.setattr("secure_ray.node.bring_up.bring_up", start)
    monkeypatch.setattr("secure_ray.node.bring_up.become_supervisor", become)
    del paths
    with alive:
        yield calls


def test_nothing_is_started_before_head_or_worker_is_chosen(
    capsys: pytest.CaptureFixture[str], home: Path
) -> None:
    assert main(["up"]) == 2

    assert "SR-CFG-012" in capsys.readouterr().err
    assert list(home.iterdir()) == []


def test_options_become_the_plan(seen: Seen, capsys: pytest.CaptureFixture[str]) -> None:
    options = {
        "--num-cpus": "2",
        "--num-gpus": "0",
        "--memory": "1GiB",
        "--object-store-memory": "100MiB",
        "--resources": '{"slots": 3}',
        "--bind": "local",
    }
    words = [word for option in options.items() for word in option]

    assert main(["up", "--head", *words, "--", "--labels=team=a"]) == 0

    ((way, plan),) = seen
    assert way == "background"
    assert plan.limits.num_cpus == 2
    assert plan.limits.num_gpus == 0
    assert plan.limits.memory == 1 << 30
    assert plan.limits.object_store_memory == 100 << 20
    assert plan.limits.resources == {"slots": 3}
    assert plan.argv[-1] == "--labels=team=a"
    out, err = capsys.readouterr()
    assert "cluster token made" in err
    assert "cluster default is up" in out


def test_settings_file_is_recorded(seen: Seen, home: Path) -> None:
    (home / "own.toml").write_text("")

    assert main(["up", "--head", "--config", "own.toml"]) == 0

    assert seen[0][1].settings_file == home / "own.toml"


def test_json_is_the_summary(seen: Seen, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["up", "--head", "--json", "--cluster", "b"]) == 0

    facts = json.loads(capsys.readouterr().out)
    assert facts["schema"] == "secure-ray/up/1"
    assert facts["cluster"] == "b"
    assert seen[0][1].paths.name == "b"


def test_block_becomes_the_supervisor(seen: Seen) -> None:
    with pytest.raises(SystemExit):
        main(["up", "--head", "--block"])

    assert [way for way, _ in seen] == ["foreground"]


def test_dry_run_prints_the_plan_and_changes_nothing(
    seen: Seen, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["up", "--head", "--dry-run", "--num-cpus", "3"]) == 0

    out = capsys.readouterr().out
    assert out.startswith("# cluster default: nothing was changed\n")
    assert "--num-cpus=3" in out
    assert "RAY_AUTH_MODE=token" in out

    assert main(["up", "--head", "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["environment"]["RAY_USE_TLS"] == "1"
    assert list(home.iterdir()) == []
    assert seen == []


@pytest.mark.parametrize(
    ("arguments", "environment", "code", "says"),
    [
        (["--", "--dashboard-host=0.0.0.0"], {}, 3, "flag --dashboard-host"),
        (["--", "--unknown"], {}, 3, "flag --unknown"),
        (["--num-cpus", "9"], {}, 3, "SR-LIMIT-001"),
        ([], {"RAY_AUTH_MODE": "tokn"}, 3, "RAY_AUTH_MODE"),
        (["--resources", "[]"], {}, 2, "SR-CFG-013"),
        (["--resources", "{"], {}, 2, "SR-CFG-013"),
        (["--resources", '{"CPU": 1}'], {}, 2, "SR-CFG-002"),
        (["--memory", "many"], {}, 2, "SR-CFG-002"),
        (["--bind", "0.0.0.0"], {}, 3, "SR-NET-001: the cluster would listen on 0.0.0.0 (flag"),
        (["--bind", "a b"], {}, 2, "SR-CFG-002"),
        (["--cluster", ".."], {}, 2, "SR-CFG-011"),
        (["--cluster", ""], {}, 2, "SR-CFG-011"),
        (["--config", "none.toml"], {}, 2, "SR-CFG-004"),
        ([], {"SECURE_RAY_HOME": "relative"}, 2, "SR-CFG-010"),
    ],
)
@pytest.mark.parametrize("dry_run", [[], ["--dry-run"]], ids=["", "dry"])
def test_what_is_wrong_is_told_before_anything_is_made(
    seen: Seen,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *,
    arguments: list[str],
    environment: dict[str, str],
    code: int,
    says: str,
    dry_run: list[str],
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    assert main(["up", "--head", *dry_run, *arguments]) == code

    assert says in capsys.readouterr().err
    assert seen == []
    assert list(home.iterdir()) == []


def test_what_is_not_passed_on_is_named(
    seen: Seen, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RAY_BRAND_NEW", "1")

    told = "unknown to secure-ray, so not passed on: RAY_BRAND_NEW"

    assert main(["up", "--head"]) == 0
    assert told in capsys.readouterr().out
    assert "RAY_BRAND_NEW" not in seen[0][1].environment

    assert main(["up", "--head", "--json", "--cluster", "b"]) == 0
    assert told in json.loads(capsys.readouterr().out)["notices"]

    with pytest.raises(SystemExit):
        main(["up", "--head", "--block", "--cluster", "c"])
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("phase", [Phase.RUNNING, Phase.FAILED], ids=["killed", "failed"])
def test_cluster_that_ends_at_once_is_not_said_to_be_up(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], phase: Phase
) -> None:
    def start(prepared: Prepared, _on_event: object) -> None:
        prepared.reservation.close()
        write_instance(instance_of(prepared.plan, phase, reason="Ray died"))

    monkeypatch.setattr("secure_ray.node.bring_up.bring_up", start)

    assert main(["up", "--head", "--cluster", "b"]) == 4
    out, err = capsys.readouterr()
    assert out == ""
    assert "SR-STATE-004: cluster b was up, and is not running any more" in err
    assert "fix: secure-ray up --head --cluster b;" in err


def test_cluster_of_another_version_is_not_waited_for(
    paths: ClusterPaths, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = make_directories(plan_of(paths.home, paths=paths))
    write_instance(instance_of(plan))
    plan.paths.instance.write_text("{}")

    with lock(paths.supervisor_lock, wait=0):
        assert main(["up", "--head"]) == 4

    assert "fix: secure-ray down, then secure-ray up --head\n" in capsys.readouterr().err


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_up_again_says_that_it_is_up(
    seen: Seen, paths: ClusterPaths, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    write_instance(instance_of(make_directories(plan_of(paths.home, paths=paths))))

    with lock(paths.supervisor_lock, wait=0):
        assert main(["up", "--head", *options]) == 0

    out, err = capsys.readouterr()
    assert seen == []
    if options:
        assert json.loads(out)["state"] == "running"
    else:
        assert err == "cluster default is already up; secure-ray status shows it\n"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--num-cpus", "2"], "limits.num_cpus is 8, asked for is 2 (flag --num-cpus)"),
        (["--resources", '{"slots": 3}'], "limits.resources is {}, asked for is {'slots': 3.0}"),
        (["--", "--labels=team=a"], "--labels=team=a was not given"),
    ],
)
def test_up_again_with_other_wishes_is_not_done(
    seen: Seen,
    paths: ClusterPaths,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    told: str,
) -> None:
    write_instance(instance_of(make_directories(plan_of(paths.home, paths=paths))))

    with lock(paths.supervisor_lock, wait=0):
        assert main(["up", "--head", *options]) == 5

    err = capsys.readouterr().err
    assert "SR-STATE-014" in err
    assert told in err
    assert "secure-ray down" in err
    assert seen == []


def test_up_again_with_the_same_wishes_is_done(seen: Seen, paths: ClusterPaths) -> None:
    plan = plan_of(paths.home, "[limits]\nnum_cpus = 2", paths=paths)
    write_instance(instance_of(make_directories(plan)))

    with lock(paths.supervisor_lock, wait=0):
        assert main(["up", "--head", "--num-cpus", "2", "--bind", "local"]) == 0

    assert seen == []


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_degraded_cluster_is_no_success(
    seen: Seen, paths: ClusterPaths, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    plan = make_directories(plan_of(paths.home, paths=paths))
    write_instance(instance_of(plan, Phase.DEGRADED, reason="dashboard ended"))

    with lock(paths.supervisor_lock, wait=0):
        assert main(["up", "--head", *options]) == 1

    assert "cluster default is degraded: dashboard ended" in capsys.readouterr().err
    assert seen == []


def test_cluster_that_is_degraded_at_once_is_told(
    paths: ClusterPaths, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    alive = ExitStack()

    def start(prepared: Prepared, _on_event: object) -> None:
        prepared.reservation.close()
        alive.enter_context(lock(paths.supervisor_lock, wait=0))
        write_instance(instance_of(prepared.plan, Phase.DEGRADED, reason="dashboard ended"))

    monkeypatch.setattr("secure_ray.node.bring_up.bring_up", start)

    with alive:
        assert main(["up", "--head"]) == 1

    assert "cluster default is up, degraded: " in capsys.readouterr().out


def test_cluster_that_is_starting_is_told(
    seen: Seen, paths: ClusterPaths, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = make_directories(plan_of(paths.home, paths=paths))
    write_instance(instance_of(plan, Phase.STARTING))

    with lock(paths.supervisor_lock, wait=0):
        assert main(["up", "--head"]) == 5

    assert "which is starting" in capsys.readouterr().err
    assert seen == []


def test_cluster_that_somebody_started_meanwhile_is_not_started_twice(
    seen: Seen, paths: ClusterPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_instance(instance_of(make_directories(plan_of(paths.home, paths=paths))))
    looks = chain([False], repeat(1))
    monkeypatch.setattr("secure_ray.node.instance.supervisor_lives", lambda _paths: next(looks))

    with lock(paths.supervisor_lock, wait=0):
        assert main(["up", "--head"]) == 0

    assert seen == []


def test_what_a_killed_supervisor_left_is_stopped_first(
    seen: Seen, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("secure_ray.node.bring_down.clean_up", lambda _paths: ["raylet (pid 7)"])

    assert main(["up", "--head"]) == 0

    assert "left behind by a supervisor that was killed, now stopped: raylet (pid 7)" in (
        capsys.readouterr().err
    )
    assert len(seen) == 1


def test_failed_start_has_its_exit_code_and_no_summary(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(prepared: Prepared, _on_event: object) -> None:
        prepared.reservation.close()
        raise FailedError("SR-AUDIT-000", "Ray is not as planned", fix="look")

    monkeypatch.setattr("secure_ray.node.bring_up.bring_up", fail)

    assert main(["up", "--head"]) == 4

    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[-1] == "error SR-AUDIT-000: Ray is not as planned   fix: look"


def test_lock_is_held_while_it_starts(paths: ClusterPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[bool] = []

    def start(prepared: Prepared, _on_event: object) -> None:
        prepared.reservation.close()
        try:
            with lock(paths.lock, wait=0):
                held.append(False)
        except BlockingIOError:
            held.append(True)

    monkeypatch.setattr("secure_ray.node.bring_up.bring_up", start)

    main(["up", "--head"])

    assert held == [True]


def test_warnings_are_told(
    seen: Seen,
    paths: ClusterPaths,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    plan = make_directories(plan_of(paths.home, paths=paths))

    def prepare(*_arguments: object, **_options: object) -> Prepared:
        return Prepared(plan, socket.socket(), ("a change",), ("a warning",), EXPIRES)

    monkeypatch.setattr("secure_ray.node.prepare.prepare", prepare)

    assert main(["up", "--head"]) == 0

    err = capsys.readouterr().err
    assert "a change\n" in err
    assert "warning: a warning\n" in err
    assert seen[0][1].ports.base == BASE


def write_string(directory: Path, head: Head) -> Path:
    file = directory / "join"
    file.write_text(head.invite().text().reveal())
    file.chmod(0o600)
    return file


@pytest.fixture
def worker(paths: ClusterPaths, monkeypatch: pytest.MonkeyPatch) -> LaunchPlan:
    """This host has joined, and reaches its head from the address that it joined with."""
    plan = make_directories(private_plan(paths.home, place=WORKER, paths=paths))
    ports = private_plan(paths.home).ports
    membership = Membership("node", WORKER.name, WORKER.address, WORKER.head, 20490, ports)
    write_cluster(paths, Cluster("default", "id", str(plan.run.directory), 0, membership))
    monkeypatch.setattr(
        "secure_ray.network.interfaces.bind_address_towards",
        lambda head, permitted: {WORKER.head: WORKER.address}[head],  # noqa: ARG005
    )
    return plan


def test_worker_is_no_head(
    worker: LaunchPlan, seen: Seen, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["up", "--head"]) == 2

    assert "SR-CFG-017" in capsys.readouterr().err
    assert not worker.paths.instance.exists()
    assert seen == []


@pytest.mark.parametrize("options", [["--head", "--join", "-"], []])
def test_node_is_head_or_worker(
    options: list[str], seen: Seen, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["up", *options]) == 2

    err = capsys.readouterr().err
    assert "SR-CFG-012" in err
    assert "secure-ray up --head" in err
    assert "secure-ray up --join -" in err
    assert seen == []


def test_worker_joins_again_towards_the_head_of_its_new_string(
    worker: LaunchPlan, tmp_path: Path
) -> None:
    file = write_string(tmp_path, Head(tmp_path / "head", host="10.77.0.9", port=20490))

    wish, joining = module._role(Wish(), worker.paths, head=False, join=str(file), name=None)

    assert wish.towards == "10.77.0.9"
    assert joining is not None
    assert joining.name == WORKER.name


def test_dry_run_of_a_join_is_refused_and_reads_no_string(
    seen: Seen, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["up", "--join", "no-such-file", "--dry-run"]) == 2

    err = capsys.readouterr().err
    assert "SR-CFG-019" in err
    assert "the head's to give" in err
    assert list(home.iterdir()) == []
    assert seen == []


def test_worker_that_waits_for_its_head_is_told(
    worker: LaunchPlan, seen: Seen, capsys: pytest.CaptureFixture[str]
) -> None:
    write_instance(instance_of(worker, Phase.WAITING, reason="Ray died"))

    with lock(worker.paths.supervisor_lock, wait=0):
        assert main(["up"]) == 5

    err = capsys.readouterr().err
    assert "node w1 is up and waits: Ray died" in err
    assert "see on the head at 10.77.0.1: secure-ray status" in err
    assert seen == []


def test_string_of_another_cluster_is_not_taken_for_done_while_this_one_runs(
    worker: LaunchPlan, tmp_path: Path, seen: Seen, capsys: pytest.CaptureFixture[str]
) -> None:
    write_instance(instance_of(worker))
    file = write_string(tmp_path, Head(tmp_path / "head", host=WORKER.head, port=20490))

    with lock(worker.paths.supervisor_lock, wait=0):
        assert main(["up", "--join", str(file)]) == 4

    assert "SR-JOIN-047" in capsys.readouterr().err
    assert seen == []


@pytest.mark.parametrize("door", [20490, 20491])
def test_string_of_the_same_cluster_is_done_unless_the_head_has_moved(
    worker: LaunchPlan,
    tmp_path: Path,
    seen: Seen,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    door: int,
) -> None:
    from secure_ray.node import membership

    monkeypatch.setattr(membership, "_is_old", lambda *_: False)
    head = Head(tmp_path / "head", host=WORKER.head, port=door)
    known = read_cluster(worker.paths)
    assert known is not None
    write_cluster(worker.paths, replace(known, id=head.facts.cluster_id))
    write_instance(instance_of(worker))

    with lock(worker.paths.supervisor_lock, wait=0):
        code = main(["up", "--join", str(write_string(tmp_path, head))])

    err = capsys.readouterr().err
    assert (code, "SR-JOIN-052" in err) == ((0, False) if door == 20490 else (5, True))
    assert seen == []


def test_worker_that_runs_is_up_already(
    worker: LaunchPlan, seen: Seen, capsys: pytest.CaptureFixture[str]
) -> None:
    write_instance(instance_of(worker))

    with lock(worker.paths.supervisor_lock, wait=0):
        assert main(["up"]) == 0

    assert "is already up" in capsys.readouterr().err
    assert seen == []
