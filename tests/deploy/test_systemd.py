import configparser
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from secure_ray.base.errors import RefusedError, RejectedError, UsageError
from secure_ray.deploy.systemd import UnitRequest, render_unit

PLAIN = UnitRequest(user="ray", executable="/opt/ray/bin/secure-ray")
WORKER = replace(PLAIN, worker=True)
# Ray or what it runs needs what these take away (the template says what for).
BREAK_RAY = {
    "DevicePolicy",
    "IPAddressDeny",
    "MemoryDenyWriteExecute",
    "PrivateDevices",
    "PrivateNetwork",
    "PrivateTmp",
    "ProcSubset",
    "ProtectClock",
    "ProtectControlGroups",
    "ProtectHome",
    "RestrictNamespaces",
    "SystemCallFilter",
}


def parse(text: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, strict=True)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(text)
    return parser


def test_the_unit_runs_up_in_the_foreground() -> None:
    service = parse(render_unit(PLAIN))["Service"]
    assert service["User"] == "ray"
    assert service["ExecStart"] == '"/opt/ray/bin/secure-ray" up --head --block'
    assert service["ExecStopPost"] == '-"/opt/ray/bin/secure-ray" down --keep'
    assert "Environment" not in service


def test_every_wish_is_in_the_unit() -> None:
    request = replace(PLAIN, cluster="team-a", config="/etc/a b.toml", home="/srv/100%")
    service = parse(render_unit(request))["Service"]
    assert service["ExecStart"].endswith(
        ' up --head --block --cluster team-a --config "/etc/a b.toml"'
    )
    assert service["ExecStopPost"].endswith(" down --keep --cluster team-a")
    assert service["Environment"] == '"SECURE_RAY_HOME=/srv/100%%"'


def test_a_head_that_others_reach_is_told_where_to_listen() -> None:
    unit = parse(render_unit(replace(PLAIN, bind="fe80::1%eth0")))
    assert unit["Service"]["ExecStart"].endswith(" up --head --block --bind fe80::1%%eth0")
    assert unit["Unit"]["After"] == unit["Unit"]["Wants"] == "network-online.target"


@pytest.mark.parametrize("bind", ["", "local"])
def test_a_head_for_this_machine_waits_for_no_network(bind: str) -> None:
    unit = parse(render_unit(replace(PLAIN, bind=bind)))["Unit"]
    assert unit["After"] == "network.target"
    assert "Wants" not in unit


def test_a_worker_starts_as_what_it_has_joined_as() -> None:
    unit = parse(render_unit(replace(WORKER, cluster="team-a")))
    assert unit["Service"]["ExecStart"] == '"/opt/ray/bin/secure-ray" up --block --cluster team-a'
    assert unit["Unit"]["After"] == unit["Unit"]["Wants"] == "network-online.target"


def test_a_worker_waits_for_its_head_as_long_as_it_takes() -> None:
    unit = parse(render_unit(WORKER))
    assert unit["Unit"]["StartLimitIntervalSec"] == "0"
    assert "StartLimitBurst" not in unit["Unit"]
    assert unit["Service"]["Restart"] == "on-failure"


@pytest.mark.parametrize("request_", [PLAIN, WORKER], ids=["head", "worker"])
def test_what_does_not_get_better_is_not_tried_again(request_: UnitRequest) -> None:
    kinds = (UsageError, RefusedError, RejectedError)
    codes = parse(render_unit(request_))["Service"]["RestartPreventExitStatus"]
    assert codes.split() == [str(kind.exit_code) for kind in kinds]


def test_a_worker_is_not_told_where_to_listen() -> None:
    with pytest.raises(UsageError, match="--bind does not go with --worker"):
        render_unit(replace(WORKER, bind="10.0.0.5"))


@pytest.mark.parametrize(
    ("request_", "file_name"),
    [
        (PLAIN, "secure-ray.service"),
        (replace(PLAIN, cluster="team-a"), "secure-ray-team-a.service"),
        (replace(PLAIN, cluster="team-a", name="mine"), "mine.service"),
    ],
)
def test_the_file_is_named_after_the_cluster(request_: UnitRequest, file_name: str) -> None:
    assert file_name == request_.file_name


def test_the_unit_is_hardened_and_ray_still_runs() -> None:
    service = parse(render_unit(PLAIN))["Service"]
    assert service["NoNewPrivileges"] == "yes"
    assert service["CapabilityBoundingSet"] == ""
    assert service["UMask"] == "0077"
    assert service["LimitCORE"] == "0"
    assert set(service) & BREAK_RAY == set()


@pytest.mark.parametrize(
    "change",
    [
        {"user": ""},
        {"user": "ray\nExecStartPre=/bin/sh"},
        {"user": "ray user"},
        {"user": "%u"},
        {"user": "Ray"},
        {"cluster": "a\nb"},
        {"cluster": "A"},
        {"cluster": "a --bind 0.0.0.0"},
        {"cluster": "-a"},
        {"bind": "10.0.0.5 --config /x"},
        {"bind": "--config"},
        {"bind": "10.0.0.5\n"},
        {"bind": "%h"},
        {"name": "../x"},
        {"name": "a/b"},
        {"name": "a@b"},
        {"name": "a\n"},
        {"executable": "secure-ray"},
        {"executable": '/a"b'},
        {"executable": "/a\nb"},
        {"executable": "/a\\b"},
        {"executable": "/a$HOME"},
        {"config": "relative.toml"},
        {"config": "/a\u2028b"},
        {"home": "/a\0b"},
        {"home": "/a'b"},
    ],
)
def test_a_value_that_would_change_the_unit_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as caught:
        render_unit(replace(PLAIN, **change))
    assert caught.value.code == "SR-DEPLOY-001"


def test_ray_does_not_run_as_root() -> None:
    with pytest.raises(UsageError) as caught:
        render_unit(replace(PLAIN, user="root"))
    assert caught.value.code == "SR-DEPLOY-002"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
@pytest.mark.parametrize("role", [{}, {"bind": "fe80::1%eth0"}, {"worker": True}], ids=str)
@pytest.mark.parametrize("directory", ["plain", "with space", "ünï 100%d"])
def test_systemd_finds_nothing_wrong(tmp_path: Path, directory: str, role: dict[str, Any]) -> None:
    place = tmp_path / directory
    place.mkdir()
    program = place / "secure-ray"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    request = UnitRequest(
        user="ray",
        executable=str(program),
        cluster="team-a",
        config=str(place / "secure-ray.toml"),
        home=str(place),
        **role,
    )
    unit = tmp_path / request.file_name
    unit.write_text(render_unit(request))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)],
        capture_output=True,
        text=True,
        check=False,
    )
    about_ours = [line for line in done.stderr.splitlines() if request.file_name in line]
    assert (done.returncode, about_ours) == (0, [])
