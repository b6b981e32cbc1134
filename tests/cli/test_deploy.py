import stat
from dataclasses import replace
from pathlib import Path

import pytest

from secure_ray.cli.main import main
from secure_ray.node.cluster import Membership, ensure_cluster, write_cluster
from secure_ray.node.instance import write_instance
from secure_ray.node.paths import ClusterPaths
from support.plans import (
    HEAD,
    WORKER,
    instance_of,
    make_directories,
    plan_of,
    ports_of,
    private_plan,
    settings_of,
)


@pytest.fixture(autouse=True)
def in_a_home_of_its_own(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECURE_RAY_HOME", str(home))
    monkeypatch.setattr("getpass.getuser", lambda: "ray")


def become_worker(home: Path) -> None:
    """What joining leaves behind."""
    paths = ClusterPaths(home, "default")
    make_directories(plan_of(home))
    ports = ports_of(settings_of(), private=True)
    membership = Membership("n1", WORKER.name, WORKER.address, HEAD.address, 10250, ports)
    write_cluster(paths, replace(ensure_cluster(paths), membership=membership))


def start_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What the unit runs, after the program's name."""
    assert main(["deploy", "systemd", *arguments]) == 0
    lines = capsys.readouterr().out.splitlines()
    line = next(line for line in lines if line.startswith("ExecStart="))
    return line.partition(" ")[2]


def test_the_unit_is_printed_and_where_to_put_it_is_said(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["deploy", "systemd", "--user", "ray", "--cluster", "team-a"]) == 0
    out, err = capsys.readouterr()
    assert "User=ray\n" in out
    assert "up --head --block --cluster team-a\n" in out
    assert "/etc/systemd/system/secure-ray-team-a.service" in err


def test_the_unit_is_written_where_wanted(tmp_path: Path) -> None:
    arguments = ["deploy", "systemd", "--user", "ray", "--name", "mine", "--output", str(tmp_path)]
    assert main(arguments) == 0
    unit = tmp_path / "mine.service"
    assert stat.S_IMODE(unit.stat().st_mode) == 0o644
    before = unit.read_text()
    assert main([*arguments, "--cluster", "other"]) == 2
    assert before == unit.read_text()


def test_a_host_that_never_started_one_gets_a_head(capsys: pytest.CaptureFixture[str]) -> None:
    assert start_of(capsys) == "up --head --block"
    assert start_of(capsys, "--worker") == "up --block"
    assert start_of(capsys, "--bind", "private") == "up --head --block --bind private"


def test_a_host_that_has_joined_gets_a_worker(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    become_worker(home)

    assert start_of(capsys) == "up --block"
    assert start_of(capsys, "--cluster", "other") == "up --head --block --cluster other"


def test_the_state_is_looked_for_where_the_unit_has_it(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    become_worker(home)
    monkeypatch.setenv("SECURE_RAY_HOME", str(home / "elsewhere"))

    assert start_of(capsys) == "up --head --block"
    assert start_of(capsys, "--home", str(home)) == "up --block"


def test_the_state_of_another_user_is_not_ours_to_know(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    become_worker(home)

    assert start_of(capsys, "--user", "other") == "up --head --block"
    assert start_of(capsys, "--user", "other", "--worker") == "up --block"


def test_a_head_that_others_reach_stays_one(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_instance(instance_of(make_directories(private_plan(home))))

    assert start_of(capsys) == f"up --head --block --bind {HEAD.address}"
    assert start_of(capsys, "--bind", "local") == "up --head --block --bind local"


def test_a_head_for_this_machine_stays_one(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_instance(instance_of(make_directories(plan_of(home))))

    assert start_of(capsys) == "up --head --block"


@pytest.mark.parametrize("error", [KeyError, OSError], ids=["before 3.13", "3.13"])
def test_a_user_without_a_name_is_told_to_give_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def fail() -> str:
        raise error

    monkeypatch.setattr("getpass.getuser", fail)

    assert main(["deploy", "systemd"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "SR-DEPLOY-003" in err
    assert main(["deploy", "systemd", "--user", "ray"]) == 0


def test_a_bad_value_exits_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["deploy", "systemd", "--user", "ray\nExecStartPre=/bin/sh"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "SR-DEPLOY-001" in err
