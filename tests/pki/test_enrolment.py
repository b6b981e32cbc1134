"""A leaf for another node: issued by the head, checked and kept by the node."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from pki.conftest import OWNER
from secure_ray.base.errors import FailedError, UsageError
from secure_ray.pki import rotation
from secure_ray.pki.credentials import PkiPaths, ensure_credentials
from secure_ray.pki.enrolment import (
    IssuedLeaf,
    UnusableLeafError,
    give_up,
    issue,
    keep,
    keep_renewal,
    pending_key,
    renewal_request,
)
from secure_ray.pki.keys import key_from_pem
from secure_ray.pki.proof import read_request
from secure_ray.pki.store import current_generation
from secure_ray.pki.trust import (
    chain_with_root,
    last_pin,
    pinned_root,
    read_pins,
    shown_life,
)
from support.power import fits, survives

if TYPE_CHECKING:
    from collections.abc import Callable

    from secure_ray.pki.keys import KeyKind

NAMES = ("10.0.0.7", "w1", "localhost", "127.0.0.1", "::1")
LIFE = timedelta(days=90)
BIRTH = datetime.fromisoformat("2030-01-01T12:00:00+00:00")


@dataclass
class Pair:
    """A head with all of its keys, and a node with none."""

    head: PkiPaths
    node: PkiPaths

    def issue(self, now: datetime = BIRTH, names: tuple[str, ...] = NAMES) -> IssuedLeaf:
        request, _ = pending_key(self.node)
        return issue(
            self.head,
            read_request(request).key,
            cluster="default",
            cluster_id="c1d2e3f4",
            names=names,
            now=now,
            life=LIFE,
        )

    @property
    def pins(self) -> tuple[bytes, ...]:
        return read_pins(self.head.leaf.authority)

    def keep(self, leaf: IssuedLeaf, now: datetime = BIRTH) -> None:
        keep(self.node, chain=leaf.chain, roots=leaf.roots, pins=self.pins, now=now)


def pki(directory: Path) -> PkiPaths:
    return PkiPaths(directory / "pki", directory / "passphrase" / "default")


def head_at(directory: Path) -> PkiPaths:
    paths = pki(directory)
    ensure_credentials(
        paths, cluster="default", cluster_id="c1d2e3f4", sans=("10.0.0.5",), now=BIRTH
    )
    return paths


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair(head_at(tmp_path / "head"), pki(tmp_path / "node"))


def der(pem: str | bytes) -> list[bytes]:
    content = pem if isinstance(pem, bytes) else pem.encode()
    return [one.public_bytes(Encoding.DER) for one in x509.load_pem_x509_certificates(content)]


def test_the_head_decides_what_is_in_a_leaf(pair: Pair) -> None:
    issued = pair.issue()
    leaf, issuing = x509.load_pem_x509_certificates(issued.chain.encode())

    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {str(name.value) for name in names} == set(NAMES)
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert leaf.not_valid_after_utc == issued.expires == BIRTH + LIFE
    assert f"{leaf.serial_number:x}" == issued.serial
    leaf.verify_directly_issued_by(issuing)


def test_a_leaf_is_kept_where_the_rest_looks_for_it(pair: Pair) -> None:
    pair.keep(pair.issue())

    assert current_generation(pair.node) == pair.node.node / "g0001"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.node.leaf.certificate, pair.node.leaf.key)
    assert (
        pair.node.leaf.authority.read_bytes() == pair.head.authority.root_certificate.read_bytes()
    )
    assert not (pair.node.directory / "join.key").exists()
    assert all(
        oct(path.stat().st_mode)[-3:] == "600"
        for path in pair.node.node.rglob("*")
        if path.is_file()
    )


def test_a_second_leaf_is_the_next_generation(pair: Pair) -> None:
    pair.keep(pair.issue())
    pair.keep(pair.issue())

    assert current_generation(pair.node) == pair.node.node / "g0002"


def test_the_key_stays_the_same_until_it_is_used_or_given_up(pair: Pair) -> None:
    _, first = pending_key(pair.node)
    assert pending_key(pair.node)[1] == first

    give_up(pair.node)
    assert pending_key(pair.node)[1] != first


def test_a_damaged_key_is_replaced(pair: Pair) -> None:
    pending_key(pair.node)
    (pair.node.directory / "join.key").write_bytes(b"half")

    assert pending_key(pair.node)[1]


def test_a_key_that_others_can_read_is_not_used(pair: Pair) -> None:
    pending_key(pair.node)
    (pair.node.directory / "join.key").chmod(0o644)

    with pytest.raises(FailedError, match="SR-FILE-002"):
        pending_key(pair.node)


def _other_key(pair: Pair, tmp_path: Path) -> tuple[IssuedLeaf, datetime]:
    other = Pair(pair.head, pki(tmp_path / "other"))
    pending_key(pair.node)
    return other.issue(), BIRTH


def _other_root(pair: Pair, tmp_path: Path) -> tuple[IssuedLeaf, datetime]:
    return Pair(head_at(tmp_path / "foreign"), pair.node).issue(), BIRTH


def _root_with_foreign_leaf(pair: Pair, tmp_path: Path) -> tuple[IssuedLeaf, datetime]:
    foreign, _ = _other_root(pair, tmp_path)
    roots = pair.head.authority.root_certificate.read_text()
    return IssuedLeaf(foreign.chain, roots, foreign.serial, foreign.expires), BIRTH


def _foreign_leaf_under_our_ca(pair: Pair, tmp_path: Path) -> tuple[IssuedLeaf, datetime]:
    ours, (theirs, _) = pair.issue(), _other_root(pair, tmp_path)
    chain = _first(theirs.chain) + ours.chain.removeprefix(_first(ours.chain))
    return IssuedLeaf(chain, ours.roots, theirs.serial, theirs.expires), BIRTH


def _first(chain: str) -> str:
    end = "-----END CERTIFICATE-----\n"
    return chain[: chain.index(end) + len(end)]


def _no_chain(pair: Pair, _: Path) -> tuple[IssuedLeaf, datetime]:
    leaf = pair.issue()
    return IssuedLeaf("hello", leaf.roots, leaf.serial, leaf.expires), BIRTH


def _leaf_alone(pair: Pair, _: Path) -> tuple[IssuedLeaf, datetime]:
    leaf = pair.issue()
    return IssuedLeaf(_first(leaf.chain), leaf.roots, leaf.serial, leaf.expires), BIRTH


def _too_old(pair: Pair, _: Path) -> tuple[IssuedLeaf, datetime]:
    return pair.issue(), BIRTH + LIFE


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (_other_key, "another key"),
        (_other_root, "root CA"),
        (_root_with_foreign_leaf, "root CA"),
        (_foreign_leaf_under_our_ca, "root CA"),
        (_no_chain, "no chain"),
        (_leaf_alone, "no chain"),
        (_too_old, "clock"),
    ],
)
def test_what_was_not_asked_for_is_not_kept(
    pair: Pair,
    tmp_path: Path,
    make: Callable[[Pair, Path], tuple[IssuedLeaf, datetime]],
    why: str,
) -> None:
    leaf, now = make(pair, tmp_path)

    with pytest.raises(UnusableLeafError, match=why):
        pair.keep(leaf, now)
    assert not pair.node.node.exists()


@pytest.mark.parametrize("name", ["*.example", "a b", ""])
def test_names_that_are_none_are_not_issued(pair: Pair, name: str) -> None:
    with pytest.raises(UsageError, match="SR-PKI-010"):
        pair.issue(names=(name,))


@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: path.write_bytes(b"x")])
def test_without_an_issuing_ca_nothing_is_issued(
    pair: Pair, spoil: Callable[[Path], object]
) -> None:
    spoil(pair.head.authority.issuing_key)

    with pytest.raises(FailedError, match="SR-JOIN-025"):
        pair.issue()


def test_an_expired_issuing_ca_issues_nothing(pair: Pair) -> None:
    with pytest.raises(FailedError, match="SR-JOIN-025"):
        pair.issue(now=BIRTH + timedelta(days=366))


def test_the_pinned_root_is_found_in_a_chain(pair: Pair, tmp_path: Path) -> None:
    chain = der(chain_with_root(pair.head.leaf))
    root = pair.head.authority.root_certificate.read_text()
    foreign = der(chain_with_root(head_at(tmp_path / "foreign").leaf))

    assert len(chain) == 3
    assert pinned_root(chain, pair.pins) == root
    assert pinned_root(foreign + chain, (bytes(32), *pair.pins)) == root
    assert pinned_root(foreign, pair.pins) is None
    assert pinned_root([b"x"], pair.pins) is None
    assert pinned_root(chain, ()) is None
    assert last_pin(chain) == pair.pins[0].hex()


def test_what_cannot_be_read_has_no_pin_and_no_life(pair: Pair) -> None:
    assert (last_pin([]), last_pin([b"x"])) == ("", "")
    assert (shown_life([]), shown_life([b"x"])) == (None, None)
    life = shown_life(der(chain_with_root(pair.head.leaf)))
    assert life is not None
    assert life[0] < BIRTH < life[1]


def test_pins_of_a_file_without_certificates(pair: Pair) -> None:
    pair.head.authority.root_key.chmod(0o600)

    with pytest.raises(FailedError, match="SR-PKI-011"):
        read_pins(pair.head.authority.root_key)


class TestRenewal:
    """A member asks for a new leaf with a new key, and takes only what it may."""

    @pytest.fixture
    def member(self, pair: Pair) -> Pair:
        pair.keep(pair.issue())
        return pair

    def answer(self, member: Pair, now: datetime = BIRTH) -> IssuedLeaf:
        request, _ = renewal_request(member.node)
        key = read_request(request).key
        whose = {"cluster": OWNER.cluster, "cluster_id": OWNER.cluster_id}
        return issue(member.head, key, names=NAMES, now=now, life=LIFE, **whose)

    def take(self, member: Pair, leaf: IssuedLeaf, now: datetime = BIRTH) -> None:
        keep_renewal(member.node, chain=leaf.chain, roots=leaf.roots, now=now)

    def turn(self, member: Pair, *verbs: str) -> None:
        for verb in verbs:
            getattr(rotation, verb)(member.head, OWNER, now=BIRTH)

    def test_the_key_is_new_and_the_pair_in_use_stays_until_then(self, member: Pair) -> None:
        before = {path: path.read_bytes() for path in member.node.current.iterdir()}

        answer = self.answer(member)

        assert {path: path.read_bytes() for path in member.node.current.iterdir()} == before
        self.take(member, answer)
        assert member.node.leaf.key.read_bytes() not in before.values()
        assert not (member.node.directory / "renewal.key").exists()

    def test_a_lost_reply_can_be_asked_for_again(self, member: Pair) -> None:
        first, second = self.answer(member), self.answer(member)

        self.take(member, second)
        self.take(member, first)  # the late one is for the key in use by now

    def test_only_the_last_two_generations_stay(self, member: Pair) -> None:
        for _ in range(4):
            self.take(member, self.answer(member))

        assert len(member.node.leaves.numbers()) == 2

    def test_the_way_of_a_rotation_there_and_back(self, member: Pair) -> None:
        steps = ("begin_root", "switch_root", "switch_back", "switch_root", "retire_root")
        for step in steps:
            self.turn(member, step)
            self.take(member, self.answer(member))
        assert member.node.leaf.authority.read_bytes() == (
            member.head.authority.root_certificate.read_bytes()
        )

    def test_the_way_back_to_the_old_root(self, member: Pair) -> None:
        for step in ("begin_root", "abandon_root"):
            self.turn(member, step)
            self.take(member, self.answer(member))

    def test_the_same_leaf_with_another_trust(self, member: Pair) -> None:
        self.turn(member, "begin_root", "switch_root")
        self.turn(member, "switch_back")
        self.take(member, self.answer(member))
        self.turn(member, "switch_root")
        self.take(member, last := self.answer(member))
        key = member.node.leaf.key.read_bytes()
        self.turn(member, "retire_root")

        roots = member.head.authority.root_certificate.read_text()
        keep_renewal(member.node, chain=last.chain, roots=roots, now=BIRTH)

        assert member.node.leaf.authority.read_text() == roots
        assert member.node.leaf.key.read_bytes() == key

    def test_two_steps_at_once_are_refused(self, member: Pair) -> None:
        """The peers in the dress of the old root would be cut off."""
        self.turn(member, "begin_root", "switch_root")

        with pytest.raises(UnusableLeafError, match="this node trusts"):
            self.take(member, self.answer(member))

    def test_another_root_is_refused(self, member: Pair, tmp_path: Path) -> None:
        foreign = Pair(head_at(tmp_path / "foreign"), member.node)

        with pytest.raises(UnusableLeafError, match="this node trusts"):
            self.take(foreign, self.answer(foreign))

    def test_a_trust_that_does_not_fit_the_leaf_is_refused(
        self, member: Pair, tmp_path: Path
    ) -> None:
        """It would cut the node off from all that are like it."""
        answer = self.answer(member)
        roots = head_at(tmp_path / "foreign").authority.root_certificate.read_text()

        with pytest.raises(UnusableLeafError, match="came with it"):
            keep_renewal(member.node, chain=answer.chain, roots=roots, now=BIRTH)

    def test_a_leaf_for_somebody_elses_key_is_refused(self, member: Pair, tmp_path: Path) -> None:
        other = Pair(member.head, pki(tmp_path / "other"))
        renewal_request(member.node)

        with pytest.raises(UnusableLeafError, match="another key"):
            self.take(member, self.answer(other))

    def test_an_expired_leaf_is_refused(self, member: Pair) -> None:
        with pytest.raises(UnusableLeafError, match="clock"):
            self.take(member, self.answer(member), BIRTH + LIFE)

    @pytest.mark.parametrize("cut", [survives, fits], ids=["power cut", "disk full"])
    def test_cut_off_anywhere_it_can_be_asked_for_again(
        self, member: Pair, cut: Callable[[Callable[[], object], int], bool]
    ) -> None:
        cuts = 0
        while not cut(lambda: self.take(member, self.answer(member)), cuts):
            chain = x509.load_pem_x509_certificates(member.node.leaf.certificate.read_bytes())
            key = key_from_pem(member.node.leaf.key.read_bytes())
            assert key.public_key() == chain[0].public_key()
            cuts += 1
        assert cuts > 8
        self.take(member, self.answer(member))
        assert {path.name for path in member.node.directory.iterdir()} == {"node", "lock"}

    @pytest.mark.parametrize("kind", ["p256", "p384", "rsa3072"])
    def test_keys_of_every_kind_are_certified(self, member: Pair, kind: KeyKind) -> None:
        request, digest = renewal_request(member.node, kind)

        assert read_request(request).digest == digest
        self.take(member, self.answer(member))
