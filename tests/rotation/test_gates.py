"""Nothing goes on before every port has been asked whom it trusts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import pytest

from secure_ray.base.errors import FailedError, IncompleteError
from secure_ray.node.place import DRAIN
from secure_ray.pki import rotation as steps
from secure_ray.rotation.gates import require_settled, require_trust
from secure_ray.rotation.nodes import cluster_facts
from support.fleet import Fleet, utc_now

if TYPE_CHECKING:
    from secure_ray.rotation.nodes import NodeFacts


def nodes(fleet: Fleet) -> tuple[NodeFacts, ...]:
    return cluster_facts(fleet.plan, now=utc_now())


def require(fleet: Fleet, side: Literal["old", "new"], *, trusted: bool) -> None:
    require_trust(fleet.plan, nodes(fleet), side=side, trusted=trusted, now=utc_now())


def test_nodes_trust_the_root_there_is(fleet: Fleet) -> None:
    require(fleet, "old", trusted=True)

    with pytest.raises(IncompleteError, match="SR-ROT-004") as caught:
        require(fleet, "old", trusted=False)
    assert "the rotation waits at 4 places" in caught.value.cause
    assert "a certificate of the old root is accepted" in caught.value.cause
    assert "--rollback" in caught.value.fix


def test_root_that_nobody_has_yet(fleet: Fleet) -> None:
    steps.begin_root(fleet.pki, fleet.owner, now=utc_now())

    require(fleet, "new", trusted=False)
    with pytest.raises(IncompleteError, match="is refused"):
        require(fleet, "new", trusted=True)


def test_root_that_there_is_none_of(fleet: Fleet) -> None:
    with pytest.raises(FailedError, match="SR-PKI-014"):
        require(fleet, "new", trusted=False)


@pytest.mark.parametrize("trusted", [True, False])
def test_port_that_does_not_answer_has_said_neither(fleet: Fleet, *, trusted: bool) -> None:
    """A node that is down may trust anything when it is up again."""
    steps.begin_root(fleet.pki, fleet.owner, now=utc_now())
    fleet.workers[0].end()
    side: Literal["old", "new"] = "old" if trusted else "new"

    with pytest.raises(IncompleteError, match="waits at 1 place") as caught:
        require(fleet, side, trusted=trusted)

    assert f"w1 {fleet.workers[0].address}:" in caught.value.cause
    assert f"a certificate of the {side} root is dead" in caught.value.cause


def test_node_that_rests_is_not_waited_for(fleet: Fleet) -> None:
    fleet.order(fleet.workers[0], DRAIN)
    fleet.workers[0].end()
    fleet.turn()

    require(fleet, "old", trusted=True)
    require_settled(nodes(fleet))


@pytest.mark.parametrize("trusted", [True, False])
def test_canaries_leave_nothing(fleet: Fleet, *, trusted: bool) -> None:
    before = sorted(fleet.plan.run.temporary.rglob("*"))
    try:
        require(fleet, "old", trusted=trusted)
    except IncompleteError:
        assert not trusted

    assert sorted(fleet.plan.run.temporary.rglob("*")) == before


def test_port_that_shows_another_leaf_is_not_settled(fleet: Fleet) -> None:
    require_settled(nodes(fleet))
    fleet.workers[1].renew(fleet)
    fleet.turn()

    with pytest.raises(IncompleteError, match=r"SR-ROT-004: .*w2 still shows another certificate"):
        require_settled(nodes(fleet))


def test_no_more_places_are_told_than_can_be_read(home: object, fleet: Fleet) -> None:
    assert home is not None
    many = nodes(fleet) * 3

    with pytest.raises(IncompleteError, match="waits at 12 places") as caught:
        require_trust(fleet.plan, many, side="old", trusted=False, now=utc_now())

    assert caught.value.cause.count("is accepted") == 5
