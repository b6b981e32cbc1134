"""Which command starts what is here, also where the records say nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from secure_ray.base.errors import FailedError
from secure_ray.base.locks import lock
from secure_ray.node.cluster import Cluster, Membership, ensure_directories, write_cluster
from secure_ray.node.instance import Phase, require_running, write_instance
from secure_ray.node.paths import ClusterPaths
from secure_ray.node.start_again import start_again
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

if TYPE_CHECKING:
    from pathlib import Path

PORTS = ports_of(settings_of(), private=True)
MEMBER = Membership("node", WORKER.name, WORKER.address, WORKER.head, 1, PORTS)


@pytest.fixture
def paths(home: Path) -> ClusterPaths:
    paths = ClusterPaths(home, "default")
    ensure_directories(paths)
    return paths


def test_what_never_ran_is_a_head(home: Path) -> None:
    assert start_again(ClusterPaths(home, "default")) == "secure-ray up --head"
    assert start_again(ClusterPaths(home, "b")) == "secure-ray up --head --cluster b"


def test_what_has_joined_is_a_worker_before_it_ever_ran(paths: ClusterPaths) -> None:
    write_cluster(paths, Cluster("default", "id", "/run", 0, MEMBER))

    assert start_again(paths) == "secure-ray up"


def test_head_starts_where_it_was(home: Path) -> None:
    for plan, words in (
        (plan_of(home), "secure-ray up --head"),
        (private_plan(home, place=HEAD), "secure-ray up --head --bind 10.77.0.1"),
        (private_plan(home, place=WORKER), "secure-ray up"),
    ):
        write_instance(instance_of(make_directories(plan)))
        assert start_again(plan.paths) == words


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "{}", '{"plan": 1}', '{"plan": {"place": {"name": "w1"}}}']
)
def test_record_that_is_none_changes_nothing(paths: ClusterPaths, text: str) -> None:
    for path in (paths.identity, paths.instance):
        path.write_text(text)
        path.chmod(0o600)

    assert start_again(paths) == "secure-ray up --head"


def test_record_that_others_could_have_written_is_not_read(paths: ClusterPaths) -> None:
    write_cluster(paths, Cluster("default", "id", "/run", 0, MEMBER))
    paths.identity.chmod(0o666)

    assert start_again(paths) == "secure-ray up --head"


@pytest.mark.parametrize("readable", [True, False])
def test_worker_that_does_not_run_is_told_how_a_worker_starts(
    home: Path, *, readable: bool
) -> None:
    plan = make_directories(private_plan(home, place=WORKER))
    write_cluster(plan.paths, Cluster("default", "id", "/run", 0, MEMBER))
    write_instance(instance_of(plan, Phase.STARTING))
    if not readable:
        plan.paths.instance.write_text("{}")

    with lock(plan.paths.supervisor_lock, wait=0), pytest.raises(FailedError) as caught:
        require_running(plan.paths)

    assert caught.value.code == ("SR-STATE-004" if readable else "SR-STATE-010")
    assert caught.value.fix.endswith("secure-ray up")


def test_worker_that_waits_for_its_head_says_so(home: Path) -> None:
    plan = make_directories(private_plan(home, place=WORKER))
    write_instance(instance_of(plan, Phase.WAITING, reason="Ray died: no head"))

    with lock(plan.paths.supervisor_lock, wait=0), pytest.raises(FailedError) as caught:
        require_running(plan.paths)

    assert caught.value.code == "SR-STATE-004"
    assert caught.value.cause == "node w1 waits: Ray died: no head"
    assert caught.value.fix == "see on the head at 10.77.0.1: secure-ray status"
