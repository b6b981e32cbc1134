"""A rotation of a whole cluster, and each place where it may be cut off."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from secure_ray.base.errors import FailedError, IncompleteError
from secure_ray.gateway.nodes.members import revoke_member
from secure_ray.network.grpc_probe import Outcome
from secure_ray.node.place import DRAIN, HALT, HOLD
from secure_ray.pki import rotation as steps
from secure_ray.pki.authority import Stage
from secure_ray.pki.store import PkiPaths
from secure_ray.rotation.nodes import cluster_facts
from secure_ray.rotation.roll import Roller, is_settled
from support.fleet import Fleet, Node, utc_now

if TYPE_CHECKING:
    from collections.abc import Callable

    from secure_ray.rotation.nodes import NodeFacts

REFUSED, ACCEPTED = {Outcome.REFUSED}, {Outcome.ACCEPTED}


def nodes_of(fleet: Fleet) -> list[Node]:
    return [*fleet.workers, fleet.head]


def require_sound(fleet: Fleet) -> None:
    """All nodes run, show what is on their disks, trust the root in use alone, and are free."""
    assert fleet.stage is Stage.STEADY
    assert all(node.runs for node in nodes_of(fleet))
    assert all(is_settled(node) for node in cluster_facts(fleet.plan, now=utc_now()))
    assert {node.roots() for node in nodes_of(fleet)} == {(fleet.root,)}
    assert all(not {HOLD, HALT} & set(orders) for orders in fleet.orders())


def test_every_node_gets_a_new_leaf_and_shows_it(fleet: Fleet) -> None:
    before, root = [node.serial() for node in nodes_of(fleet)], fleet.root

    fleet.rotation().leaves()

    require_sound(fleet)
    assert not set(before) & {node.serial() for node in nodes_of(fleet)}
    assert [node.starts for node in nodes_of(fleet)] == [2, 2, 2]
    assert fleet.root == root
    assert fleet.first_root_at_ports() == ACCEPTED


def test_workers_are_emptied_first_and_the_head_comes_last(fleet: Fleet) -> None:
    fleet.rotation().leaves()

    assert fleet.drained == [worker.address for worker in fleet.workers]
    assert fleet.told[-2:] == ["head: Ray starts again", "head: done"]


def test_issuing_ca_is_new_and_trust_is_as_it_was(fleet: Fleet) -> None:
    root = fleet.root
    before = {one.disk.issuer for one in cluster_facts(fleet.plan, now=utc_now()) if one.disk}

    fleet.rotation().issuing()

    require_sound(fleet)
    after = {one.disk.issuer for one in cluster_facts(fleet.plan, now=utc_now()) if one.disk}
    assert (len(after), after & before) == (1, set())
    assert fleet.root == root
    assert [node.starts for node in nodes_of(fleet)] == [2, 2, 2]


def test_root_that_was_retired_is_refused_at_every_port(fleet: Fleet) -> None:
    root = fleet.root

    fleet.rotation().root()

    require_sound(fleet)
    assert fleet.root != root
    assert fleet.first_root_at_ports() == REFUSED
    assert [node.starts for node in nodes_of(fleet)] == [3, 3, 3]  # twice, and no oftener


def test_root_is_not_retired_while_a_port_believes_it(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What lies on the disks, and even what ports show, is no proof of whom they trust."""
    monkeypatch.setattr("secure_ray.rotation.rotate.restart", lambda *_: show_but_trust_all(fleet))

    with pytest.raises(IncompleteError, match="SR-ROT-004") as caught:
        fleet.rotation().root()

    assert f"head {fleet.head.address}:" in caught.value.cause
    assert "a certificate of the old root is accepted" in caught.value.cause
    assert fleet.stage is Stage.SWITCHED


def show_but_trust_all(fleet: Fleet) -> None:
    """A head that shows its new leaf, and trusts every root that it has ever had."""
    fleet.head.end()
    fleet.head.start()
    assert fleet.head._ray is not None
    for generation in fleet.pki.node.glob("g*/ca.crt"):
        fleet.head._ray._context.load_verify_locations(generation)


@pytest.mark.parametrize("stage", [Stage.BRIDGED, Stage.SWITCHED, Stage.RETURNING])
def test_rollback_leads_back_to_the_root_there_was(
    fleet: Fleet, cut: Callable[..., None], stage: Stage
) -> None:
    root = fleet.root
    where = {
        Stage.BRIDGED: ("restart", 2, "after"),
        Stage.SWITCHED: ("retire_root", 1, "before"),
        Stage.RETURNING: ("switch_root", 1, "before"),
    }
    cut(fleet, "root", *where[stage])
    if stage is Stage.RETURNING:
        steps.abandon_root(fleet.pki, fleet.owner, now=utc_now())
    assert fleet.stage is stage

    fleet.rotation().rollback()

    require_sound(fleet)
    assert fleet.root == root
    assert fleet.first_root_at_ports() == ACCEPTED


def test_nothing_to_roll_back(fleet: Fleet) -> None:
    with pytest.raises(FailedError, match="SR-ROT-005"):
        fleet.rotation().rollback()

    assert [node.starts for node in nodes_of(fleet)] == [1, 1, 1]


@pytest.mark.parametrize("act", ["leaves", "issuing"])
def test_one_rotation_is_finished_before_another_begins(fleet: Fleet, act: str) -> None:
    steps.begin_root(fleet.pki, fleet.owner, now=utc_now())

    with pytest.raises(IncompleteError, match="SR-ROT-006"):
        getattr(fleet.rotation(), act)()

    assert fleet.drained == []


# Cut off anywhere.


class CutOffError(Exception):
    """As `kill -9`, as far as what is on disk goes."""


class Scissors:
    """Cuts at one call of a name, before it has an effect or after."""

    def __init__(self, name: str, nth: int, when: str) -> None:
        self.wanted = (name, nth)
        self.when = when
        self.calls: list[str] = []
        self.done = False

    def around(self, name: str, act: Callable[..., Any]) -> Callable[..., Any]:
        def acting(*given: Any, **more: Any) -> Any:
            self.calls.append(name)
            hit = (name, self.calls.count(name)) == self.wanted
            if hit and self.when == "before":
                self._cut()
            result = act(*given, **more)
            if hit:
                self._cut()
            return result

        return acting

    def _cut(self) -> None:
        self.done = True
        raise CutOffError


@pytest.fixture
def cut(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Runs a rotation and cuts it off."""
    from secure_ray.rotation import rotate

    def run(fleet: Fleet, act: str, name: str, nth: int, when: str) -> None:
        scissors = Scissors(name, nth, when)

        class Cut(Roller):
            def renew(self, node: NodeFacts) -> NodeFacts:
                found: NodeFacts = scissors.around("renew", super().renew)(node)
                return found

            def restart(self, node: NodeFacts) -> NodeFacts:
                found: NodeFacts = scissors.around("restart", super().restart)(node)
                return found

        names = [one for one in vars(steps) if one.endswith(("_root", "_issuing", "_back"))]
        with monkeypatch.context() as patched:
            patched.setattr(
                rotate,
                "steps",
                SimpleNamespace(
                    **{one: scissors.around(one, getattr(steps, one)) for one in names}
                ),
            )
            patched.setattr(rotate, "restart", scissors.around("head", rotate.restart))  # type: ignore[attr-defined]
            patched.setattr(rotate, "renew_head", scissors.around("renew_head", rotate.renew_head))  # type: ignore[attr-defined]
            with pytest.raises(CutOffError):
                getattr(fleet.rotation(roller=fleet.roller(Cut)), act)()
        assert scissors.done

    return run


_SETTLING = [
    ("renew_head", 1),
    ("renew", 1),
    ("renew", 2),
    ("restart", 1),
    ("restart", 2),
    ("head", 1),
]
_AGAIN = [
    ("renew_head", 2),
    ("renew", 3),
    ("renew", 4),
    ("restart", 3),
    ("restart", 4),
    ("head", 2),
]
CUTS = {
    "leaves": _SETTLING,
    "issuing": [("renew_issuing", 1), *_SETTLING],
    "root": [("begin_root", 1), *_SETTLING, ("switch_root", 1), *_AGAIN, ("retire_root", 1)],
}
_TABLE = [
    (act, name, nth, when)
    for act, cuts in CUTS.items()
    for name, nth in cuts
    for when in ("before", "after")
]


@pytest.mark.parametrize(("act", "name", "nth", "when"), _TABLE)
def test_rotation_cut_off_anywhere_is_resumed(
    fleet: Fleet, cut: Callable[..., None], act: str, name: str, nth: int, when: str
) -> None:
    first, before = fleet.root, [node.serial() for node in nodes_of(fleet)]
    cut(fleet, act, name, nth, when)
    begun = fleet.stage is not Stage.STEADY or (name, when) == ("retire_root", "after")

    fleet.rotation().resume()

    require_sound(fleet)
    assert (fleet.root != first) == begun
    if begun:
        assert fleet.first_root_at_ports() == REFUSED
    elif (name, nth, when) not in {(CUTS[act][0][0], 1, "before"), ("begin_root", 1, "before")}:
        assert not set(before) & {node.serial() for node in nodes_of(fleet)}
    # What was done is not done again. After the end there is one more leaf: without the issuing CA
    # among what is trusted, which nobody needs any more.
    most = (3 if act == "root" else 2) + ((name, when) == ("retire_root", "after"))
    assert max(node.starts for node in nodes_of(fleet)) <= most


@pytest.mark.parametrize(("name", "nth"), CUTS["root"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_rotation_of_the_root_cut_off_anywhere_is_rolled_back(
    fleet: Fleet, cut: Callable[..., None], name: str, nth: int, when: str
) -> None:
    first = fleet.root
    cut(fleet, "root", name, nth, when)
    if fleet.stage is Stage.STEADY:
        with pytest.raises(FailedError, match="SR-ROT-005"):
            fleet.rotation().rollback()
        return

    fleet.rotation().rollback()

    require_sound(fleet)
    assert fleet.root == first
    assert fleet.first_root_at_ports() == ACCEPTED


@pytest.mark.parametrize(
    ("name", "nth"),
    [
        ("switch_back", 1),
        ("restart", 1),
        ("head", 1),
        ("abandon_root", 1),
        ("renew", 3),
        ("restart", 4),
        ("head", 2),
        ("forget_new_root", 1),
    ],
)
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("then", ["resume", "rollback"])
def test_rollback_cut_off_anywhere_goes_on(
    fleet: Fleet, cut: Callable[..., None], name: str, nth: int, when: str, then: str
) -> None:
    first = fleet.root
    cut(fleet, "root", "retire_root", 1, "before")
    cut(fleet, "rollback", name, nth, when)
    stage = fleet.stage
    if stage is Stage.STEADY:
        then = "resume"

    getattr(fleet.rotation(), then)()

    require_sound(fleet)
    # To resume a rollback that could still be a rotation finishes the rotation.
    onwards = then == "resume" and stage in {Stage.BRIDGED, Stage.SWITCHED}
    assert (fleet.root != first) == onwards
    assert fleet.first_root_at_ports() == (REFUSED if onwards else ACCEPTED)


@pytest.mark.parametrize("left", ["held", "halted", "renewed"])
def test_orders_that_a_killed_run_left_are_no_obstacle(fleet: Fleet, left: str) -> None:
    worker = fleet.workers[0]
    orders = {"held": [HOLD], "halted": [HOLD, HALT], "renewed": [f"renew:{worker.serial()}"]}
    fleet.order(worker, *orders[left])
    fleet.turn()

    fleet.rotation().leaves()
    fleet.rotation().leaves()

    require_sound(fleet)


# Nodes that are not as they should be.


def test_node_that_is_silent_stops_it_before_anything_is_done(fleet: Fleet) -> None:
    silence(fleet)

    with pytest.raises(IncompleteError, match="SR-ROT-001") as caught:
        fleet.rotation().leaves()

    assert "w2" in caught.value.cause
    assert "--exclude w2" in caught.value.fix
    assert [node.starts for node in nodes_of(fleet)] == [1, 1, 1]


def silence(fleet: Fleet) -> None:
    """The second worker was last heard of a minute ago."""
    fleet.workers[1].away = True
    with fleet.register.changing() as database:
        database.execute(
            "UPDATE nodes SET seen = ? WHERE id = ?",
            (utc_now().timestamp() - 60, fleet.workers[1].id),
        )


@pytest.mark.parametrize("silent", [False, True])
def test_node_that_is_left_out_is_left_as_it_is(fleet: Fleet, *, silent: bool) -> None:
    if silent:
        silence(fleet)
    other = fleet.workers[1]
    before = other.serial()

    fleet.rotation(excluded=frozenset({"w2"})).root()

    assert fleet.stage is Stage.STEADY
    assert (other.serial(), other.starts) == (before, 1)
    assert fleet.workers[0].roots() == (fleet.root,)


def test_node_that_was_revoked_is_no_matter(fleet: Fleet) -> None:
    with fleet.register.changing() as database:
        revoke_member(database, "w2", utc_now())

    fleet.rotation().leaves()

    assert [node.starts for node in nodes_of(fleet)] == [2, 1, 2]


def test_node_that_a_person_has_drained_stays_so_and_is_no_obstacle(fleet: Fleet) -> None:
    drained = fleet.workers[0]
    fleet.order(drained, DRAIN)
    drained.end()
    fleet.turn()
    before = drained.serial()

    fleet.rotation().root()

    assert fleet.stage is Stage.STEADY
    assert fleet.orders()[0] == (DRAIN,)
    assert not drained.runs
    assert drained.serial() != before
    assert drained.roots() == (fleet.root,)
    fleet.order(drained)
    fleet.turn()
    require_sound(fleet)
    assert fleet.first_root_at_ports() == REFUSED


def test_node_that_is_being_drained_by_a_person_is_drained_after_it(fleet: Fleet) -> None:
    fleet.order(fleet.workers[0], DRAIN)
    fleet.turn()

    fleet.rotation().leaves()

    assert fleet.orders() == [(DRAIN,), ()]
    assert [worker.runs for worker in fleet.workers] == [False, True]


def test_several_may_be_away_at_once(fleet: Fleet) -> None:
    fleet.rotation(at_once=2).root()

    require_sound(fleet)
    assert fleet.first_root_at_ports() == REFUSED


# The head.


def test_head_restarts_with_consent_only_and_goes_on_with_it(fleet: Fleet) -> None:
    with pytest.raises(IncompleteError, match="SR-ROT-003") as caught:
        fleet.rotation(consent=lambda: False).leaves()
    assert "--accept-head-restart" in caught.value.fix
    assert [node.starts for node in nodes_of(fleet)] == [2, 2, 1]
    worn = [node.serial() for node in nodes_of(fleet)]

    fleet.rotation().resume()

    require_sound(fleet)
    assert [node.serial() for node in nodes_of(fleet)] == worn
    assert [node.starts for node in nodes_of(fleet)] == [2, 2, 2]


def test_nobody_is_asked_about_a_head_that_is_done(fleet: Fleet) -> None:
    def consent() -> bool:
        raise AssertionError

    fleet.rotation(consent=consent).resume()

    require_sound(fleet)
    assert isinstance(fleet.pki, PkiPaths)
