"""A host becomes a worker, over real TLS; and stays one, whenever it is killed on the way."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secure_ray.base.errors import FailedError, RejectedError, UsageError
from secure_ray.base.plain import plain_json
from secure_ray.gateway.nodes.members import list_members, revoke_member
from secure_ray.node import membership as module
from secure_ray.node.cluster import Membership, ensure_cluster, read_cluster, write_cluster
from secure_ray.node.membership import (
    become_member,
    is_member,
    node_name,
    require_can_join,
    require_head_here,
)
from secure_ray.node.paths import ClusterPaths
from secure_ray.pki.facts import read_facts
from secure_ray.pki.join_string import Endpoint
from secure_ray.pki.store import LeafFiles
from secure_ray.policy.admission import is_node_name
from support.doors import CLUSTER_ID, CLUSTER_TOKEN, LOOPBACK, VERSIONS, Clock, Head, utc_now
from support.plans import ports_of, settings_of
from support.power import survives

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from secure_ray.node.cluster import Cluster
    from secure_ray.pki.join_string import JoinString

PORTS = ports_of(settings_of(), private=True)


@pytest.fixture
def head(tmp_path: Path) -> Iterator[Head]:
    """A head with its door open."""
    head = Head(tmp_path / "head")
    head.facts = replace(head.facts, ports=plain_json(PORTS))
    with head.open():
        yield head


@pytest.fixture
def paths(home: Path) -> ClusterPaths:
    return ClusterPaths(home, "default")


def join(paths: ClusterPaths, string: JoinString, **more: Any) -> Cluster:
    given: dict[str, Any] = {
        "name": "w1",
        "address": LOOPBACK,
        "versions": VERSIONS,
        "clock": utc_now,
    }
    return become_member(paths, string, **(given | more))


def can_join(paths: ClusterPaths, string: JoinString, **more: Any) -> bool:
    given: dict[str, Any] = {"address": LOOPBACK, "now": utc_now()}
    return require_can_join(paths, string, **(given | more))


def at_home(head: Head, string: JoinString) -> JoinString:
    """The string as the head gives it out: with the address that it tells its nodes."""
    return replace(string, heads=(Endpoint("10.0.0.5", head.port),))


def revoke(head: Head, name: str) -> None:
    with head.register.changing() as database:
        revoke_member(database, name, utc_now())


def nodes(head: Head) -> list[str]:
    with head.register.changing() as database:
        return [member.name for member in list_members(database)]


def test_host_becomes_a_member(head: Head, paths: ClusterPaths) -> None:
    cluster = join(paths, head.invite())

    assert cluster == read_cluster(paths)
    assert (cluster.id, cluster.base) == (CLUSTER_ID, 0)
    assert cluster.membership is not None
    assert cluster.membership == Membership(
        node=cluster.mark,
        name="w1",
        address=LOOPBACK,
        head="10.0.0.5",
        door=head.port,
        ports=PORTS,
    )
    assert paths.token.read_text() == CLUSTER_TOKEN
    assert is_member(paths)
    assert nodes(head) == ["w1"]
    assert not list(paths.pki.glob("*.key"))  # neither a CA nor what it joined with


def test_killed_at_any_step_the_next_try_goes_on_with_the_same_string(
    head: Head, home: Path
) -> None:
    """The string lets one node in, once; each kill is at another step of another host."""
    steps, done = 0, False
    while not done:
        paths = ClusterPaths(home / str(steps), "default")
        string, name = head.invite(), f"w{steps}"
        done = survives(lambda: join(paths, string, name=name), steps)  # noqa: B023  # runs here
        if not is_member(paths):
            assert not done
            join(paths, string, name=name)

        cluster = read_cluster(paths)
        assert cluster is not None
        assert cluster.membership is not None
        assert cluster.membership.name == name
        leaf = read_facts(LeafFiles.within(paths.pki / "node" / "current").certificate)
        assert name in leaf.sans
        revoke(head, name)  # the next one comes from the same address
        assert paths.token.read_text() == CLUSTER_TOKEN
        steps += 1
    assert steps > 15
    assert sorted(nodes(head)) == sorted(f"w{step}" for step in range(steps))


def test_member_of_the_same_cluster_does_not_spend_the_string(
    head: Head, paths: ClusterPaths
) -> None:
    join(paths, head.invite())
    string = head.invite()

    assert can_join(paths, at_home(head, string))

    assert not can_join(ClusterPaths(paths.home, "other"), at_home(head, string))
    revoke(head, "w1")
    join(ClusterPaths(paths.home, "other"), string, name="w2")  # it is good still


@pytest.mark.parametrize(
    "change",
    [
        {"address": "10.77.0.3"},
        {"now": utc_now() + timedelta(days=91)},
        {"now": utc_now() + timedelta(days=61)},
    ],
    ids=["address", "expired", "last third"],
)
def test_member_with_another_address_or_an_old_leaf_joins_again_as_the_same_node(
    head: Head, paths: ClusterPaths, change: dict[str, Any]
) -> None:
    first = join(paths, head.invite())
    string = head.invite()
    assert can_join(paths, at_home(head, string))

    assert not can_join(paths, at_home(head, string), **change)

    assert join(paths, string).mark == first.mark
    assert nodes(head) == ["w1"]


def test_member_joins_again_when_its_head_has_moved(head: Head, paths: ClusterPaths) -> None:
    first = join(paths, head.invite())
    string = at_home(head, head.invite())
    for moved in (Endpoint("10.77.0.9", head.port), Endpoint("10.0.0.5", head.port + 1)):
        assert not can_join(paths, replace(string, heads=(moved,)))
        assert can_join(paths, replace(string, heads=(moved, *string.heads)))

    head.port = 0
    head.facts = replace(head.facts, address="10.77.0.9")
    with head.open():
        again = join(paths, head.invite())

    assert first.membership is not None
    assert again.membership == replace(first.membership, head="10.77.0.9", door=head.port)


def test_member_of_another_cluster_joins_none(head: Head, paths: ClusterPaths) -> None:
    cluster = join(paths, head.invite())
    write_cluster(paths, replace(cluster, id="another"))

    with pytest.raises(FailedError) as caught:
        can_join(paths, head.invite())

    assert caught.value.code == "SR-JOIN-047"
    assert "node w1 of another cluster, whose head is 10.0.0.5" in caught.value.cause


def test_head_is_not_taken_over(head: Head, paths: ClusterPaths) -> None:
    ensure_cluster(paths)
    paths.pki.mkdir(mode=0o700)
    (paths.pki / "authority").mkdir(mode=0o700)
    (paths.pki / "authority" / "current").symlink_to("a0001")

    with pytest.raises(FailedError) as caught:
        can_join(paths, head.invite())

    assert caught.value.code == "SR-JOIN-047"
    assert "is a head" in caught.value.cause


def test_empty_cluster_stands_against_nothing(head: Head, paths: ClusterPaths) -> None:
    assert not can_join(paths, head.invite())
    ensure_cluster(paths)
    assert not can_join(paths, head.invite())


def test_port_plan_of_another_version_is_told(head: Head, paths: ClusterPaths) -> None:
    head.facts = replace(head.facts, ports='{"base": "of another kind"}')
    head.port = 0
    with head.open(), pytest.raises(FailedError) as caught:
        join(paths, head.invite())

    assert caught.value.code == "SR-JOIN-036"
    assert "runs secure-ray 0.1.0" in caught.value.cause
    assert not is_member(paths)


def test_translated_address_is_told_and_makes_no_member(head: Head, paths: ClusterPaths) -> None:
    with pytest.raises(FailedError) as caught:
        join(paths, head.invite(), address="10.77.0.2")

    assert caught.value.code == "SR-JOIN-048"
    assert not is_member(paths)


def test_address_with_its_interface_is_the_same() -> None:
    joined: Any = SimpleNamespace(address="fe80::1")

    module._require_seen_as(joined, "fe80::1%eth0")


def test_worker_does_not_become_a_head(head: Head, paths: ClusterPaths) -> None:
    require_head_here(paths)
    ensure_cluster(paths)
    require_head_here(paths)
    join(paths, head.invite())

    with pytest.raises(UsageError) as caught:
        require_head_here(paths)

    assert caught.value.code == "SR-CFG-017"
    assert caught.value.fix.startswith("secure-ray up starts it")


def test_rejected_host_is_no_member(head: Head, paths: ClusterPaths) -> None:
    head.clock = Clock(timedelta(0))
    string = head.invite()
    head.clock.ahead = timedelta(hours=1)

    with pytest.raises(RejectedError):
        join(paths, replace(string, secret=head.invite().secret))

    assert not is_member(paths)
    assert not paths.token.exists()


@pytest.mark.parametrize(
    ("hostname", "expected"),
    [
        ("w1", "w1"),
        ("W1.example.org", "w1"),
        ("ip-10-0-0-1.eu-west-1.compute.internal", "ip-10-0-0-1"),
        ("my_host", "my-host"),
        ("-a-", "a"),
        ("", "node"),
        ("...", "node"),
        ("ä", "node"),
        ("a" * 80, "a" * 63),
        ("a" * 62 + "-b", "a" * 62),
        ("17", "node-17"),
        ("9" * 70, "node-" + "9" * 58),
        ("head", "node-head"),
    ],
)
def test_node_is_named_after_its_host(hostname: str, expected: str) -> None:
    assert node_name(hostname) == expected


@given(st.text(max_size=100))
def test_name_of_any_host_can_be_one_of_a_node(hostname: str) -> None:
    assert is_node_name(node_name(hostname))
