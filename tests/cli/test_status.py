"""The exit code and the JSON of `status`."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from secure_ray.base.clock import utc_now
from secure_ray.base.locks import lock
from secure_ray.cli.main import main
from secure_ray.node.instance import Phase, write_instance
from support.plans import instance_of, make_directories, plan_of

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def state(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECURE_RAY_HOME", str(home))
    monkeypatch.delenv("SECURE_RAY_CLUSTER", raising=False)


@pytest.mark.parametrize("phase", list(Phase))
def test_exit_code_is_0_only_for_what_runs_well(
    home: Path, capsys: pytest.CaptureFixture[str], phase: Phase
) -> None:
    plan = make_directories(plan_of(home))
    write_instance(instance_of(plan, phase))

    with lock(plan.paths.supervisor_lock, wait=0):
        code = main(["status"])

    assert code == (0 if phase is Phase.RUNNING else 1)
    assert phase.value in capsys.readouterr().out


def test_killed_supervisor_is_no_success(home: Path) -> None:
    write_instance(instance_of(make_directories(plan_of(home))))

    assert main(["status"]) == 1


@pytest.mark.parametrize(("left", "code"), [(timedelta(hours=1), 0), (timedelta(hours=-1), 1)])
def test_expired_certificate_is_no_success(
    home: Path, capsys: pytest.CaptureFixture[str], left: timedelta, code: int
) -> None:
    plan = make_directories(plan_of(home))
    expires = (utc_now() + left).isoformat()
    write_instance(instance_of(plan, certificate_expires=expires))

    with lock(plan.paths.supervisor_lock, wait=0):
        assert main(["status"]) == code

    assert ("EXPIRED" in capsys.readouterr().out) == bool(code)


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--json"]) == 1

    facts = json.loads(capsys.readouterr().out)
    assert (facts["schema"], facts["state"]) == ("secure-ray/status/1", "none")


def test_nothing_is_made_by_looking(home: Path) -> None:
    main(["status"])

    assert list(home.iterdir()) == []


@pytest.mark.parametrize("name", ["", "../x"])
def test_wrong_name_is_a_usage_error(capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert main(["status", "--cluster", name]) == 2
    assert "SR-CFG-011" in capsys.readouterr().err
