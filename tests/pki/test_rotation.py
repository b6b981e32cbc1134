"""A root is replaced step by step; how far it has come is read from the files alone."""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509

from secure_ray.base.errors import FailedError
from secure_ray.base.files import write_private
from secure_ray.pki.authority import Stage
from secure_ray.pki.credentials import LeafWish
from secure_ray.pki.rotation_facts import trusted_pins
from secure_ray.pki.trust import is_believed, read_pins, root_pin

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pki.conftest import Node

DAY = timedelta(days=1)
WAY = {
    Stage.STEADY: (),
    Stage.BRIDGED: ("begin_root",),
    Stage.SWITCHED: ("begin_root", "switch_root"),
    Stage.RETURNING: ("begin_root", "abandon_root"),
}
STEPS = {
    "begin_root": ({Stage.STEADY, Stage.BRIDGED, Stage.RETURNING}, Stage.BRIDGED),
    "switch_root": ({Stage.BRIDGED, Stage.SWITCHED}, Stage.SWITCHED),
    "retire_root": ({Stage.SWITCHED, Stage.STEADY}, Stage.STEADY),
    "switch_back": ({Stage.SWITCHED, Stage.BRIDGED}, Stage.BRIDGED),
    "abandon_root": ({Stage.BRIDGED, Stage.RETURNING}, Stage.RETURNING),
    "forget_new_root": ({Stage.RETURNING, Stage.STEADY}, Stage.STEADY),
    "renew_issuing": ({Stage.STEADY}, Stage.STEADY),
    "replace_root": (set(Stage), Stage.STEADY),
}


def chain_of(node: Node) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(node.paths.leaf.certificate.read_bytes())


def trusted_by(node: Node) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(node.paths.leaf.authority.read_bytes())


@pytest.mark.parametrize(("stage", "step"), list(itertools.product(Stage, STEPS)))
def test_each_step_is_taken_where_it_belongs_and_refused_elsewhere(
    born: Node, stage: Stage, step: str
) -> None:
    allowed, then = STEPS[step]
    born.turn(*WAY[stage])
    before = born.content()

    if stage not in allowed:
        with pytest.raises(FailedError, match="SR-PKI-015"):
            born.turn(step)
        assert born.content() == before
    else:
        assert born.turn(step).stage is then


@pytest.mark.parametrize(
    "way",
    [
        ("begin_root",),
        ("begin_root", "switch_root"),
        ("begin_root", "switch_root", "retire_root"),
        ("begin_root", "switch_root", "switch_back"),
        ("begin_root", "abandon_root"),
        ("begin_root", "abandon_root", "forget_new_root"),
    ],
    ids=lambda way: way[-1],
)
def test_a_step_that_was_taken_changes_nothing_when_it_is_asked_for_again(
    born: Node, way: tuple[str, ...]
) -> None:
    born.turn(*way)
    before = born.content()

    born.turn(way[-1])

    assert born.content() == before


def test_the_whole_way_ends_with_the_new_root_alone(born: Node) -> None:
    old = born.rotation().old

    begun = born.turn("begin_root")
    assert begun.old == old
    assert begun.new is not None
    ended = born.turn("switch_root", "retire_root")

    assert ended.stage is Stage.STEADY
    assert ended.old.pin == begun.new.pin != old.pin
    assert ended.new is None
    kept = {entry.name for entry in born.paths.authorities.directory.iterdir()}
    assert kept == {"a0002", "current"}
    assert not born.paths.authority.bridge.exists()
    born.ensure()
    assert trusted_by(born) == [born.authorities.current.root]


def test_the_way_back_ends_with_the_old_root_alone(born: Node) -> None:
    before = born.content()

    born.turn("begin_root", "switch_root", "switch_back", "abandon_root", "forget_new_root")

    assert born.content() == before


def test_a_second_rotation_follows_the_first(born: Node) -> None:
    born.turn("begin_root", "switch_root", "retire_root")
    second = born.turn("begin_root")
    third = born.turn("switch_root", "retire_root")

    assert second.new is not None
    assert third.old.pin == second.new.pin


@pytest.mark.parametrize("stage", Stage)
def test_the_heads_own_leaf_follows_the_stage(born: Node, stage: Stage) -> None:
    born.turn(*WAY[stage])

    changes = born.ensure().changes

    found, (leaf, shown) = born.authorities, chain_of(born)
    old, new = found.old, found.new
    assert bool(changes) == (stage in {Stage.BRIDGED, Stage.SWITCHED})
    if stage in {Stage.STEADY, Stage.RETURNING}:
        assert (shown, trusted_by(born)) == (old.issuing_certificate, [old.root])
    elif new is not None and stage is Stage.BRIDGED:
        assert (shown, trusted_by(born)) == (new.bridge, [old.root, new.root])
    elif new is not None:
        expected = [new.root, new.issuing_certificate]
        assert (shown, trusted_by(born)) == (new.issuing_certificate, expected)
    assert is_believed([leaf, shown], trusted_by(born))
    assert born.ensure().changes == ()


def test_the_leaf_follows_back_and_forth(born: Node) -> None:
    for step in ("begin_root", "switch_root", "switch_back", "switch_root", "retire_root"):
        born.turn(step)
        assert len(born.ensure().changes) == 1, step
    assert born.ensure().changes == ()


@pytest.mark.parametrize(
    ("stage", "names"),
    [
        (Stage.STEADY, ["old"]),
        (Stage.BRIDGED, ["old", "new"]),
        (Stage.SWITCHED, ["new", "old"]),
        (Stage.RETURNING, ["old"]),
    ],
)
def test_join_strings_carry_the_pins_of_all_roots_that_are_trusted(
    born: Node, stage: Stage, names: list[str]
) -> None:
    facts = born.turn(*WAY[stage])

    pins = [getattr(facts, name).pin for name in names]
    assert [pin.hex() for pin in trusted_pins(born.paths, "default")] == pins


def test_an_issuing_ca_in_the_trusted_file_has_no_pin(born: Node) -> None:
    born.turn(*WAY[Stage.SWITCHED])
    born.ensure()

    assert read_pins(born.paths.leaf.authority) == (root_pin(born.authorities.current.root),)


def test_a_new_issuing_ca_comes_under_the_same_root_before_it_is_due(born: Node) -> None:
    before = born.rotation().old

    after = born.turn("renew_issuing").old

    assert after.root == before.root
    assert after.issuing != before.issuing
    assert born.ensure().changes == ("leaf renewed: it was not issued by the issuing CA here",)
    assert len(born.paths.authorities.numbers()) == 1


def test_a_renewed_issuing_ca_takes_no_root_key_along_that_is_not_here(born: Node) -> None:
    sealed = born.paths.authority.root_key
    kept = sealed.read_bytes()
    born.turn("renew_issuing")
    assert born.paths.authority.root_key.read_bytes() == kept
    born.paths.authority.root_key.unlink()

    with pytest.raises(FailedError, match="SR-PKI-006"):
        born.turn("renew_issuing")
    assert not born.rotation().old.root_key


def test_without_the_old_root_key_there_is_no_bridge(born: Node) -> None:
    born.paths.authority.root_key.unlink()
    before = born.content()

    with pytest.raises(FailedError, match="SR-PKI-006") as caught:
        born.turn("begin_root")
    assert str(born.authorities.current.files.root_key) in caught.value.fix
    assert born.content() == before


def test_a_root_in_wrong_hands_is_gone_at_once_without_its_key(born: Node) -> None:
    old = born.authorities.current.root
    born.paths.authority.root_key.unlink()

    born.turn("replace_root")
    born.ensure()

    assert trusted_by(born) == [born.authorities.current.root] != [old]
    assert not is_believed(chain_of(born), [old])
    assert len(born.paths.authorities.numbers()) == 1


def test_what_was_abandoned_can_be_taken_up_again_without_the_root_key(born: Node) -> None:
    first = born.turn("begin_root").new
    born.turn("abandon_root")
    born.paths.authority.root_key.unlink()

    assert born.turn("begin_root").new == first


class TestBridge:
    def damage(self, path: Path) -> None:
        write_private(path, path.read_bytes()[:-40])

    def of_another(self, path: Path) -> None:
        write_private(path, path.with_name("issuing.crt").read_bytes())

    @pytest.mark.parametrize("spoil", [damage, of_another], ids=["cut off", "another's"])
    def test_one_that_cannot_be_used_stops_all_but_the_way_back_and_the_mending(
        self, born: Node, spoil: Callable[[TestBridge, Path], None]
    ) -> None:
        born.turn("begin_root")
        new = born.authorities.beside
        assert new is not None
        spoil(self, new.files.bridge)

        for attempt in (born.ensure, lambda: born.turn("switch_root")):
            with pytest.raises(FailedError, match="SR-PKI-014"):
                attempt()
        assert born.turn("abandon_root").stage is Stage.RETURNING
        assert born.turn("begin_root", "switch_root").stage is Stage.SWITCHED

    def test_a_damaged_one_does_not_retire_the_old_root_by_itself(self, born: Node) -> None:
        born.turn("begin_root", "switch_root")
        self.damage(born.paths.authority.bridge)

        assert born.ensure().warnings == ()
        assert born.stage is Stage.SWITCHED
        with pytest.raises(FailedError, match="SR-PKI-014"):
            born.turn("switch_back")
        assert born.turn("retire_root").stage is Stage.STEADY

    def test_one_past_half_of_its_life_is_made_again(self, born: Node) -> None:
        born.turn("begin_root")
        fresh = born.turn("begin_root", after=190 * DAY).new

        assert fresh is not None
        assert fresh.bridge is not None
        assert fresh.bridge.not_before > born.birth + 180 * DAY

    def test_it_never_outlives_the_old_root(self, born: Node) -> None:
        new = born.turn("begin_root", after=3600 * DAY).new

        assert new is not None
        assert new.bridge is not None
        assert new.issuing is not None
        assert new.bridge.not_after == born.rotation().old.root.not_after < new.issuing.not_after


def test_a_damaged_new_root_is_told_and_not_swept_away(born: Node) -> None:
    born.turn("begin_root")
    new = born.authorities.beside
    assert new is not None
    write_private(new.files.root_certificate, b"")

    with pytest.raises(FailedError, match="SR-PKI-005"):
        born.ensure()
    assert new.files.issuing_key.exists()


def test_a_new_authority_that_the_disk_spoils_does_not_count(
    born: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    from secure_ray.pki import generations

    def spoiled(path: Path, content: bytes) -> None:
        write_private(path, content[:-30] if path.name == "issuing.key" else content)

    monkeypatch.setattr(generations, "write_private", spoiled)
    before = born.content()

    with pytest.raises(FailedError, match="SR-PKI-016"):
        born.turn("begin_root")
    assert born.content() == before


def test_what_is_due_is_told(born: Node) -> None:
    assert not born.rotation().old.issuing_due
    assert born.rotation(200 * DAY).old.issuing_due
    born.paths.authority.issuing_key.unlink()
    assert born.rotation().old.issuing_due


def test_a_fresh_leaf_can_be_asked_for(born: Node) -> None:
    key = born.paths.leaf.key.read_bytes()

    made = born.ensure(wish=LeafWish(fresh=True))

    assert made.changes == ("leaf renewed: a new one was asked for",)
    assert born.paths.leaf.key.read_bytes() != key
