"""Whether an instance lives is what the kernel says of a lock, not what a record says."""

from __future__ import annotations

import json
import stat
from typing import TYPE_CHECKING

import pytest

from secure_ray.base.errors import FailedError
from secure_ray.base.locks import lock
from secure_ray.node.instance import (
    Phase,
    read_instance,
    require_running,
    supervisor_lives,
    write_instance,
)
from support.plans import instance_of, make_directories, plan_of

if TYPE_CHECKING:
    from pathlib import Path

    from secure_ray.node.plan import LaunchPlan


@pytest.fixture
def plan(home: Path) -> LaunchPlan:
    return make_directories(plan_of(home))


def test_record_comes_back_as_it_was(plan: LaunchPlan) -> None:
    instance = instance_of(plan, Phase.DEGRADED, reason="dashboard ended: ü")

    write_instance(instance)

    assert read_instance(plan.paths) == instance
    assert stat.S_IMODE(plan.paths.instance.stat().st_mode) == 0o600


def test_no_record_is_no_instance(plan: LaunchPlan) -> None:
    assert read_instance(plan.paths) is None


@pytest.mark.parametrize("damage", ["text", "phase", "field"])
def test_record_of_another_version_is_no_instance(plan: LaunchPlan, damage: str) -> None:
    write_instance(instance_of(plan))
    record = json.loads(plan.paths.instance.read_text())
    if damage == "phase":
        record["phase"] = "dancing"
    elif damage == "field":
        del record["plan"]["argv"]
    plan.paths.instance.write_text("{" if damage == "text" else json.dumps(record))

    assert read_instance(plan.paths) is None


@pytest.mark.parametrize("broken", [False, True])
def test_record_that_is_a_link_is_refused(plan: LaunchPlan, home: Path, *, broken: bool) -> None:
    write_instance(instance_of(plan))
    plan.paths.instance.rename(home / "elsewhere")
    plan.paths.instance.symlink_to(home / ("gone" if broken else "elsewhere"))

    with pytest.raises(FailedError):
        read_instance(plan.paths)


def test_supervisor_lives_as_long_as_its_lock_is_held(plan: LaunchPlan) -> None:
    assert not supervisor_lives(plan.paths)
    with lock(plan.paths.supervisor_lock, wait=0):
        assert supervisor_lives(plan.paths)
    assert plan.paths.supervisor_lock.exists()
    assert not supervisor_lives(plan.paths)


def test_record_that_says_running_is_not_believed(plan: LaunchPlan) -> None:
    """Its supervisor's process (this one) is alive too, but holds no lock."""
    write_instance(instance_of(plan, Phase.RUNNING))

    with pytest.raises(FailedError) as caught:
        require_running(plan.paths)

    assert caught.value.code == "SR-STATE-004"


@pytest.mark.parametrize("phase", list(Phase))
def test_only_what_runs_is_running(plan: LaunchPlan, phase: Phase) -> None:
    instance = instance_of(plan, phase)
    write_instance(instance)
    with lock(plan.paths.supervisor_lock, wait=0):
        if phase in {Phase.RUNNING, Phase.DEGRADED}:
            assert require_running(plan.paths) == instance
        else:
            with pytest.raises(FailedError):
                require_running(plan.paths)


@pytest.mark.parametrize("text", ["{", '{"version": "another"}'])
def test_running_cluster_of_another_version_is_told_apart(plan: LaunchPlan, text: str) -> None:
    plan.paths.instance.write_text(text)
    plan.paths.instance.chmod(0o600)

    with lock(plan.paths.supervisor_lock, wait=0), pytest.raises(FailedError) as caught:
        require_running(plan.paths)

    assert caught.value.code == "SR-STATE-010"
    assert caught.value.fix == "secure-ray down, then secure-ray up --head"

    # Without a supervisor it is not running, whoever wrote that.
    with pytest.raises(FailedError) as caught:
        require_running(plan.paths)
    assert caught.value.code == "SR-STATE-004"


@pytest.mark.parametrize(
    ("name", "fix"),
    [("default", "secure-ray up --head"), ("b", "secure-ray up --head --cluster b")],
)
def test_what_is_down_says_how_to_start_it(home: Path, name: str, fix: str) -> None:
    from secure_ray.node.paths import ClusterPaths

    with pytest.raises(FailedError) as caught:
        require_running(ClusterPaths(home, name))

    assert caught.value.fix == fix
