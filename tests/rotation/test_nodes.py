"""What is known of each node: said by itself, and seen at its ports."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from secure_ray.gateway.nodes.members import add_member, revoke_member
from secure_ray.node.identity import renew_head
from secure_ray.node.place import DRAIN, HOLD, head_at
from secure_ray.pki.dress import read_worn
from secure_ray.rotation.nodes import cluster_facts, find_worker, head_facts
from support.fleet import Fleet, utc_now
from support.plans import free_base, private_plan

if TYPE_CHECKING:
    from pathlib import Path

    from secure_ray.rotation.nodes import NodeFacts


def facts(fleet: Fleet, ahead: timedelta = timedelta(0)) -> dict[str, NodeFacts]:
    return {one.name: one for one in cluster_facts(fleet.plan, now=utc_now() + ahead)}


def test_workers_by_name_then_the_head(fleet: Fleet) -> None:
    assert [*facts(fleet)] == ["w1", "w2", "head"]
    assert [one.is_head for one in facts(fleet).values()] == [False, False, True]


def test_head_without_workers(home: Path) -> None:
    place = head_at("127.0.0.9")
    plan = private_plan(home, place=place, base=free_base(place.address))
    plan.paths.directory.mkdir(parents=True, mode=0o700)
    renew_head(plan, now=utc_now())

    (head,) = cluster_facts(plan, now=utc_now())

    assert head.is_head
    assert head.live == {}
    assert {port.why for port in head.ports} != {""}


def test_disk_and_ports_agree_after_a_start(fleet: Fleet) -> None:
    for name, node in (("w1", fleet.workers[0]), ("head", fleet.head)):
        one, worn = facts(fleet)[name], read_worn(node.files)
        assert one.disk is not None
        assert (one.disk.serial, one.disk.issuer) == (worn.shown.leaf.serial, worn.shown.issuer)
        assert one.disk.trusts == worn.trusted
        assert {port.serial for port in one.ports} == {worn.shown.leaf.serial}
        assert {port.issuer for port in one.ports} == {worn.shown.issuer}
        assert one.live == {worn.shown.leaf.serial: worn.shown.leaf.not_after}
        assert not one.restart_due


def test_renewed_node_whose_ray_runs_is_due(fleet: Fleet) -> None:
    renew_head(fleet.plan, now=utc_now(), fresh=True)
    fleet.workers[0].renew(fleet)
    fleet.turn()

    assert {name: one.restart_due for name, one in facts(fleet).items()} == {
        "w1": True,
        "w2": False,
        "head": True,
    }


@pytest.mark.parametrize(("seconds", "state"), [(34, "running"), (36, "silent")])
def test_node_that_says_nothing_for_a_while_is_silent(
    fleet: Fleet, seconds: int, state: str
) -> None:
    assert facts(fleet, timedelta(seconds=seconds))["w1"].state == state
    assert facts(fleet, timedelta(seconds=seconds))["head"].state == "running"


def say(fleet: Fleet, **changes: Any) -> None:
    """Change what the first worker has said last."""
    import json

    with fleet.register.changing() as database:
        (state,) = database.execute("SELECT state FROM nodes WHERE id = 'id-w1'").fetchone()
        said = json.dumps(json.loads(state) | changes)
        database.execute("UPDATE nodes SET state = ? WHERE id = 'id-w1'", (said,))


LIVE = [{"serial": "ee", "expires": "2030-01-01T00:00:00Z", "ports": 2}]


def test_what_a_node_sees_at_its_other_ports_counts_while_it_speaks(fleet: Fleet) -> None:
    """The last word of a node that is off must not pass for what runs."""
    say(fleet, live=LIVE)

    assert "ee" in facts(fleet)["w1"].live
    assert facts(fleet)["w1"].restart_due
    fleet.workers[0].end()
    assert facts(fleet, timedelta(hours=1))["w1"].live == {}


@pytest.mark.parametrize(
    "live", [None, "x", 7, [None], [{"serial": "ee"}], [{"serial": "ee", "expires": "soon"}], {}]
)
def test_words_that_an_older_version_would_not_say_are_passed_over(
    fleet: Fleet, live: object
) -> None:
    say(fleet, live=live, trusts=live)

    one = facts(fleet)["w1"]

    assert set(one.live) == {fleet.workers[0].serial()}


@pytest.mark.parametrize("expires", [None, "", "soon", 7])
def test_disk_of_a_node_that_does_not_say_is_not_known(fleet: Fleet, expires: object) -> None:
    say(fleet, expires=expires)

    assert facts(fleet)["w1"].disk is None


def test_time_without_a_zone_is_taken_for_utc(fleet: Fleet) -> None:
    say(fleet, expires="2030-01-01T00:00:00")

    disk = facts(fleet)["w1"].disk
    assert disk is not None
    assert disk.expires.utcoffset() == timedelta(0)


def test_node_that_has_only_joined_is_silent(fleet: Fleet) -> None:
    with fleet.register.changing() as database:
        add_member(database, id_="id3", name="w3", address="127.0.0.9", key=b"k", now=utc_now())

    one = facts(fleet)["w3"]

    assert (one.state, one.disk, one.seen, one.live) == ("silent", None, None, {})


def test_node_that_was_revoked_is_not_asked(fleet: Fleet) -> None:
    assert find_worker(fleet.plan, "id-w1", now=utc_now()) is not None
    with fleet.register.changing() as database:
        revoke_member(database, "w1", utc_now())

    assert "w1" not in facts(fleet)
    assert find_worker(fleet.plan, "id-w1", now=utc_now()) is None
    assert find_worker(fleet.plan, "id-w9", now=utc_now()) is None


@pytest.mark.parametrize(
    ("orders", "runs", "rests"),
    [((), True, False), ((DRAIN,), True, False), ((DRAIN,), False, True), ((HOLD,), False, False)],
    ids=str,
)
def test_node_rests_when_a_person_has_drained_it_and_its_ray_is_gone(
    fleet: Fleet, orders: tuple[str, ...], *, runs: bool, rests: bool
) -> None:
    worker = fleet.workers[0]
    fleet.order(worker, *orders)
    if not runs:
        worker.end()
    fleet.turn()

    assert facts(fleet)["w1"].rests == rests


def test_head_alone(fleet: Fleet) -> None:
    assert head_facts(fleet.plan) == facts(fleet)["head"]
