"""Whatever is found on disk, a run ends in usable credentials or in an error that says why."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store

from secure_ray.base.errors import FailedError, UsageError
from secure_ray.base.files import make_private_directory, write_private
from secure_ray.base.locks import lock
from secure_ray.base.secrets import Secret
from secure_ray.pki import store
from secure_ray.pki.credentials import (
    Credentials,
    LeafFiles,
    ensure_credentials,
    make_ephemeral_credentials,
    make_foreign_pair,
)
from secure_ray.pki.keys import UnusableKeyError, key_from_pem, key_to_pem, new_key
from secure_ray.pki.lifetimes import Lifetimes

if TYPE_CHECKING:
    from collections.abc import Callable

    from pki.conftest import Node

DAY = timedelta(days=1)
NOW = datetime(2030, 1, 1, tzinfo=timezone.utc)


def assert_usable(files: LeafFiles, *, at: datetime) -> None:
    """The three files fit together, and a peer that trusts the root alone accepts the leaf."""
    leaf, *chain = x509.load_pem_x509_certificates(files.certificate.read_bytes())
    [root] = x509.load_pem_x509_certificates(files.authority.read_bytes())
    policy = PolicyBuilder().store(Store([root])).time(at)
    policy.build_server_verifier(x509.IPAddress(ip_address("127.0.0.1"))).verify(leaf, chain)
    assert key_from_pem(files.key.read_bytes()).public_key() == leaf.public_key()


def changed(result: Credentials) -> list[str]:
    """What was made: the first word of each sentence."""
    return [change.split()[0] for change in result.changes]


class TestFirstRun:
    def test_all_is_made_and_told(self, node: Node) -> None:
        made = node.ensure()

        assert made.changes == (
            "root CA made: there was none",
            "issuing CA made: there was none",
            "leaf made: there was none",
        )
        assert made.warnings == ()
        assert made.files == node.paths.leaf
        assert made.leaf.issuer == made.issuing.subject
        assert made.issuing.issuer == made.root.subject == made.root.issuer
        assert_usable(made.files, at=node.birth)

    def test_every_file_is_0600_and_every_directory_0700(self, born: Node) -> None:
        for root in (born.paths.directory, born.paths.passphrase.parent):
            for path in [root, *root.rglob("*")]:
                if not path.is_symlink():
                    expected = 0o700 if path.is_dir() else 0o600
                    assert stat.S_IMODE(path.stat().st_mode) == expected, path

    def test_a_copy_of_the_directory_alone_does_not_open_the_root_key(self, born: Node) -> None:
        sealed = born.paths.authority.root_key.read_bytes()

        with pytest.raises(UnusableKeyError):
            key_from_pem(sealed)
        assert key_from_pem(sealed, Secret(born.paths.passphrase.read_text())).key_size == 384
        assert len(bytes.fromhex(born.paths.passphrase.read_text())) == 32

    def test_a_passphrase_that_is_there_is_used_and_not_replaced(self, node: Node) -> None:
        """It may open a root key that is elsewhere."""
        make_private_directory(node.paths.passphrase.parent)
        write_private(node.paths.passphrase, b"kept for another key\n")

        node.ensure()

        assert node.paths.passphrase.read_bytes() == b"kept for another key\n"
        key_from_pem(node.paths.authority.root_key.read_bytes(), Secret("kept for another key"))

    def test_an_empty_passphrase_seals_nothing(self, node: Node) -> None:
        make_private_directory(node.paths.passphrase.parent)
        write_private(node.paths.passphrase, b"\n")

        with pytest.raises(FailedError, match=r"SR-PKI-007.*is empty"):
            node.ensure()
        assert not node.paths.authority.root_key.exists()

    def test_what_ray_is_given_holds_the_chain_but_the_root_and_trusts_the_root_only(
        self, born: Node
    ) -> None:
        files = born.paths.leaf

        assert files.certificate.read_bytes().count(b"BEGIN CERTIFICATE") == 2
        assert files.certificate.read_bytes().endswith(
            born.paths.authority.issuing_certificate.read_bytes()
        )
        assert files.authority.read_bytes() == born.paths.authority.root_certificate.read_bytes()

    def test_every_key_is_another(self, born: Node) -> None:
        paths = born.paths
        chain = (
            paths.authority.root_certificate,
            paths.authority.issuing_certificate,
            paths.leaf.certificate,
        )
        keys = [x509.load_pem_x509_certificate(p.read_bytes()).public_key() for p in chain]

        assert keys[0] != keys[1] != keys[2] != keys[0]

    def test_a_name_that_is_none_is_refused_before_anything_is_made(self, node: Node) -> None:
        with pytest.raises(UsageError, match="SR-PKI-010"):
            node.ensure(sans=("*.example.com",))
        assert not node.paths.directory.exists()

    def test_lifetimes_are_the_callers(self, node: Node) -> None:
        made = ensure_credentials(
            node.paths,
            cluster="default",
            cluster_id="x",
            sans=("127.0.0.1",),
            now=NOW,
            lifetimes=Lifetimes(root=3 * DAY, issuing=2 * DAY, leaf=DAY),
        )

        ends = [facts.not_after - NOW for facts in (made.root, made.issuing, made.leaf)]
        assert ends == [3 * DAY, 2 * DAY, DAY]


class TestLaterRuns:
    def test_nothing_changes_when_all_is_well(self, born: Node) -> None:
        before = born.content()

        assert born.ensure(44 * DAY).changes == ()
        assert born.content() == before

    def test_a_leaf_past_half_of_its_life_gets_a_new_key(self, born: Node) -> None:
        key = born.paths.leaf.key.read_bytes()

        renewed = born.ensure(45 * DAY)

        assert renewed.changes == ("leaf renewed: past half of its life, 45 days left",)
        assert born.paths.leaf.key.read_bytes() != key
        assert_usable(renewed.files, at=born.birth + 45 * DAY)

    def test_an_expired_leaf_is_renewed(self, born: Node) -> None:
        renewed = born.ensure(93 * DAY)

        assert renewed.changes == ("leaf renewed: it had expired 3 days ago",)
        assert_usable(renewed.files, at=born.birth + 93 * DAY)

    @pytest.mark.parametrize("days", [183, 366, 1000], ids=["half", "expired", "long expired"])
    def test_an_issuing_ca_that_is_due_comes_with_a_new_leaf(self, born: Node, days: int) -> None:
        root = born.paths.authority.root_certificate.read_bytes()

        renewed = born.ensure(days * DAY)

        assert changed(renewed) == ["issuing", "leaf"]
        assert born.paths.authority.root_certificate.read_bytes() == root
        assert_usable(renewed.files, at=born.birth + days * DAY)
        assert born.ensure(days * DAY).changes == ()

    def test_names_that_changed_bring_a_new_leaf(self, born: Node) -> None:
        renewed = born.ensure(sans=("127.0.0.1", "10.0.0.5"))

        assert renewed.changes == ("leaf renewed: its names changed (+10.0.0.5 -::1 -localhost)",)
        assert renewed.leaf.sans == ("10.0.0.5", "127.0.0.1")

    def test_a_clock_that_was_ahead_and_is_right_again_heals(self, node: Node) -> None:
        node.ensure()
        node.ensure(400 * DAY)

        renewed = node.ensure()

        assert changed(renewed) == ["issuing", "leaf"]
        assert_usable(renewed.files, at=node.birth)

    def test_a_clock_that_is_four_minutes_behind_changes_nothing(self, born: Node) -> None:
        assert born.ensure(-timedelta(minutes=4)).changes == ()

    def test_a_clock_before_the_root_is_told_with_both_times(self, born: Node) -> None:
        before = born.content()

        with pytest.raises(FailedError, match="SR-PKI-001") as caught:
            born.ensure(-DAY)
        assert "2030-01-01 11:55:00 UTC" in caught.value.cause
        assert "2029-12-31 12:00:00 UTC" in caught.value.cause
        assert "clock" in caught.value.fix
        assert born.content() == before

    def test_the_leaf_before_stays_for_whoever_is_reading_it(self, born: Node) -> None:
        before = born.paths.current.resolve()

        born.ensure(45 * DAY)

        assert LeafFiles.within(before).key.exists()
        assert born.paths.current.resolve() != before

    def test_leaves_older_than_that_are_removed_at_once(self, born: Node) -> None:
        for name in ("a", "b", "c"):
            born.ensure(sans=("localhost", name))

        generations = {entry.name for entry in born.paths.node.iterdir()}
        assert generations == {"g0003", "g0004", "current"}


def cut(path: Path) -> None:
    write_private(path, path.read_bytes()[:-40])


def empty(path: Path) -> None:
    write_private(path, b"")


def swap_key(path: Path) -> None:
    write_private(path, key_to_pem(new_key()))


LEAF = ["leaf"]
BOTH = ["issuing", "leaf"]


@pytest.mark.parametrize(
    ("name", "damage", "made"),
    [
        ("authority/current/issuing.key", Path.unlink, BOTH),
        ("authority/current/issuing.key", empty, BOTH),
        ("authority/current/issuing.key", swap_key, BOTH),
        ("authority/current/issuing.crt", Path.unlink, BOTH),
        ("authority/current/issuing.crt", cut, BOTH),
        ("node/current", Path.unlink, LEAF),
        ("node/current/node.key", Path.unlink, LEAF),
        ("node/current/node.key", cut, LEAF),
        ("node/current/node.key", swap_key, LEAF),
        ("node/current/node.crt", Path.unlink, LEAF),
        ("node/current/node.crt", empty, LEAF),
        ("node/current/node.crt", cut, LEAF),
        ("node/current/ca.crt", Path.unlink, LEAF),
        ("node/current/ca.crt", cut, LEAF),
    ],
)
def test_a_damaged_pair_is_made_again_and_the_root_stays(
    born: Node, name: str, damage: Callable[[Path], None], made: list[str]
) -> None:
    root = (
        born.paths.authority.root_certificate.read_bytes(),
        born.paths.authority.root_key.read_bytes(),
    )
    damage(born.paths.directory / name)

    mended = born.ensure()

    assert changed(mended) == made
    assert_usable(mended.files, at=born.birth)
    assert (
        born.paths.authority.root_certificate.read_bytes(),
        born.paths.authority.root_key.read_bytes(),
    ) == root
    assert born.ensure().changes == ()


class TestFilesOfAnotherCluster:
    @pytest.fixture
    def other(self, born: Node, tmp_path: Path) -> Node:
        there = tmp_path / "other"
        paths = replace(born.paths, directory=there / "pki", passphrase=there / "passphrase")
        other = replace(born, paths=paths)
        other.ensure()
        return other

    def copy(self, source: Node, target: Node, *names: str) -> None:
        for name in names:
            content = (source.paths.directory / name).read_bytes()
            write_private(target.paths.directory / name, content)

    def test_an_issuing_ca_of_another_root_is_made_again(self, born: Node, other: Node) -> None:
        self.copy(other, born, "authority/current/issuing.crt", "authority/current/issuing.key")

        mended = born.ensure()

        assert mended.changes[0] == "issuing CA renewed: it was not issued by the root CA here"
        assert_usable(mended.files, at=born.birth)

    def test_a_leaf_of_another_issuing_ca_is_made_again(self, born: Node, other: Node) -> None:
        self.copy(other, born, "node/current/node.crt", "node/current/node.key")

        mended = born.ensure()

        assert mended.changes == ("leaf renewed: it was not issued by the issuing CA here",)
        assert_usable(mended.files, at=born.birth)

    def test_a_leaf_of_another_issuing_ca_with_ours_behind_it_is_made_again(
        self, born: Node, other: Node
    ) -> None:
        ours, theirs = born.paths.leaf, other.paths.leaf
        end = b"-----END CERTIFICATE-----\n"
        forged = theirs.certificate.read_bytes().split(end)[0] + end
        write_private(
            ours.certificate, forged + born.paths.authority.issuing_certificate.read_bytes()
        )
        write_private(ours.key, theirs.key.read_bytes())

        assert changed(born.ensure()) == ["leaf"]
        assert_usable(born.paths.leaf, at=born.birth)

    def test_a_leaf_that_trusts_another_root_is_made_again(self, born: Node, other: Node) -> None:
        self.copy(other, born, "node/current/ca.crt")

        assert changed(born.ensure()) == ["leaf"]
        assert_usable(born.paths.leaf, at=born.birth)

    def test_the_key_of_another_root_issues_nothing(self, born: Node, other: Node) -> None:
        self.copy(other, born, "authority/current/root.key")
        write_private(born.paths.passphrase, other.paths.passphrase.read_bytes())

        with pytest.raises(FailedError, match=r"SR-PKI-007.*is not the key of"):
            born.ensure(366 * DAY)

    def test_another_clusters_directory_is_refused(self, born: Node) -> None:
        before = born.content()

        with pytest.raises(FailedError, match="SR-PKI-004"):
            born.ensure(cluster_id="another")
        assert born.content() == before


class TestRoot:
    """A root that is there is never replaced, whatever else is missing."""

    @pytest.mark.parametrize("damage", [empty, cut], ids=["empty", "cut off"])
    def test_a_damaged_certificate_stops_the_run(
        self, born: Node, damage: Callable[[Path], None]
    ) -> None:
        damage(born.paths.authority.root_certificate)
        before = born.content()

        with pytest.raises(FailedError, match="SR-PKI-005"):
            born.ensure()
        assert born.content() == before

    def test_what_is_told_to_run_is_for_this_cluster(self, node: Node) -> None:
        node.ensure(cluster="team-a")
        empty(node.paths.authority.root_certificate)

        with pytest.raises(FailedError, match="SR-PKI-005") as caught:
            node.ensure(cluster="team-a")
        assert "secure-ray reset --cluster team-a" in caught.value.fix

    def test_a_certificate_that_is_no_roots_stops_the_run(self, born: Node) -> None:
        write_private(
            born.paths.authority.root_certificate,
            born.paths.authority.issuing_certificate.read_bytes(),
        )

        with pytest.raises(FailedError, match="SR-PKI-005"):
            born.ensure()

    @pytest.mark.parametrize("key", [True, False], ids=["key there", "key gone"])
    def test_a_lost_certificate_stops_the_run(self, born: Node, *, key: bool) -> None:
        born.paths.authority.root_certificate.unlink()
        if not key:
            born.paths.authority.root_key.unlink()
        before = born.content()

        with pytest.raises(FailedError, match="SR-PKI-003"):
            born.ensure()
        assert born.content() == before

    def test_an_expired_one_stops_the_run(self, born: Node) -> None:
        before = born.content()

        with pytest.raises(FailedError, match="SR-PKI-002"):
            born.ensure(3650 * DAY)
        assert born.content() == before


def remove_key(node: Node) -> None:
    node.paths.authority.root_key.unlink()


def remove_passphrase(node: Node) -> None:
    node.paths.passphrase.unlink()


def empty_passphrase(node: Node) -> None:
    write_private(node.paths.passphrase, b"\n")


def change_passphrase(node: Node) -> None:
    write_private(node.paths.passphrase, b"another one")


def damage_key(node: Node) -> None:
    cut(node.paths.authority.root_key)


ROOT_KEY_LOST = pytest.mark.parametrize(
    ("lose", "code"),
    [
        (remove_key, "SR-PKI-006"),
        (remove_passphrase, "SR-PKI-007"),
        (empty_passphrase, "SR-PKI-007"),
        (change_passphrase, "SR-PKI-007"),
        (damage_key, "SR-PKI-007"),
    ],
)


class TestRootKey:
    """It is needed only where an issuing CA has to be made."""

    @ROOT_KEY_LOST
    def test_a_leaf_is_renewed_without_it(
        self, born: Node, lose: Callable[[Node], None], code: str
    ) -> None:
        del code
        lose(born)

        assert changed(born.ensure(93 * DAY)) == ["leaf"]

    @ROOT_KEY_LOST
    def test_without_it_an_issuing_ca_that_is_due_serves_on_with_a_warning(
        self, born: Node, lose: Callable[[Node], None], code: str
    ) -> None:
        del code
        lose(born)

        result = born.ensure(200 * DAY)

        assert changed(result) == ["leaf"]
        [warning] = result.warnings
        assert warning.startswith("issuing CA is due (past half of its life, 165 days left), but ")
        assert_usable(result.files, at=born.birth + 200 * DAY)

    @ROOT_KEY_LOST
    def test_without_it_an_expired_issuing_ca_stops_the_run(
        self, born: Node, lose: Callable[[Node], None], code: str
    ) -> None:
        lose(born)
        before = born.content()

        with pytest.raises(FailedError, match=code) as caught:
            born.ensure(366 * DAY, cluster="team-a")
        assert born.content() == before
        reset = "secure-ray reset --cluster team-a"
        assert (reset in caught.value.fix) == (code == "SR-PKI-007")

    def test_the_passphrase_is_never_told(self, born: Node) -> None:
        write_private(born.paths.passphrase, b"very private words")

        with pytest.raises(FailedError) as caught:
            born.ensure(366 * DAY)
        assert "very private words" not in f"{caught.value} {caught.value.fix}"
        assert caught.value.__cause__ is None


EVERY_FILE = pytest.mark.parametrize(
    "name",
    [
        "authority/current/root.crt",
        "authority/current/issuing.crt",
        "authority/current/issuing.key",
        "node/current/node.crt",
        "node/current/node.key",
        "node/current/ca.crt",
        "lock",
    ],
)


@EVERY_FILE
def test_a_file_open_to_others_is_refused(born: Node, name: str) -> None:
    (born.paths.directory / name).chmod(0o640)

    with pytest.raises(FailedError, match="SR-FILE-002"):
        born.ensure()


@EVERY_FILE
def test_a_link_in_the_place_of_a_file_is_refused(born: Node, name: str) -> None:
    path = born.paths.directory / name
    path.rename(born.paths.directory / "moved")
    path.symlink_to(born.paths.directory / "moved")

    with pytest.raises(FailedError, match="SR-FILE-001"):
        born.ensure()


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a file to somebody else")
@EVERY_FILE
def test_a_file_of_somebody_else_is_refused(born: Node, name: str) -> None:
    os.chown(born.paths.directory / name, 65534, -1)

    with pytest.raises(FailedError, match="SR-FILE-002"):
        born.ensure()


@pytest.mark.parametrize("name", ["root.key", "passphrase"])
def test_a_root_key_or_passphrase_open_to_others_is_refused_and_no_reason_to_wait(
    born: Node, name: str
) -> None:
    path = born.paths.authority.root_key if name == "root.key" else born.paths.passphrase
    path.chmod(0o644)

    with pytest.raises(FailedError, match="SR-FILE-002"):
        born.ensure(200 * DAY)


@pytest.mark.parametrize(
    "name",
    [".", "node", "node/g0001", "authority", "authority/a0001", "../../passphrases"],
)
def test_a_directory_open_to_others_is_refused(born: Node, name: str) -> None:
    (born.paths.directory / name).chmod(0o755)

    with pytest.raises(FailedError, match="SR-FILE-002"):
        born.ensure()


def test_two_runs_at_once_are_told_apart(born: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_LOCK_WAIT", 0)

    with lock(born.paths.lock, wait=0), pytest.raises(FailedError, match="SR-PKI-013"):
        born.ensure()


class TestEphemeral:
    def test_the_chain_is_the_same_and_no_ca_key_is_written(self, tmp_path: Path) -> None:
        made = make_ephemeral_credentials(
            tmp_path / "e", sans=("127.0.0.1", "localhost"), now=NOW, lifetime=DAY
        )

        assert_usable(made.files, at=NOW)
        assert {path.name for path in (tmp_path / "e").iterdir()} == {
            "node.crt",
            "node.key",
            "ca.crt",
        }
        assert made.leaf.issuer == made.issuing.subject
        assert made.issuing.issuer == made.root.subject
        assert made.leaf.sans == ("127.0.0.1", "localhost")
        assert {f.not_after for f in (made.root, made.issuing, made.leaf)} == {NOW + DAY}

    def test_each_is_a_cluster_of_its_own(self, tmp_path: Path) -> None:
        first, second = (
            make_ephemeral_credentials(tmp_path / n, sans=("::1",), now=NOW, lifetime=DAY)
            for n in "ab"
        )

        assert first.root.subject != second.root.subject
        assert first.root.fingerprint != second.root.fingerprint


def test_a_foreign_pair_is_a_leaf_as_ours_of_ten_minutes(born: Node, tmp_path: Path) -> None:
    certificate, key = make_foreign_pair(tmp_path / "foreign", now=born.birth)
    ours = x509.load_pem_x509_certificate(born.paths.leaf.certificate.read_bytes())
    foreign = x509.load_pem_x509_certificate(certificate.read_bytes())

    assert {e.oid for e in foreign.extensions} == {e.oid for e in ours.extensions}
    assert foreign.not_valid_after_utc == born.birth + timedelta(minutes=10)
    assert key_from_pem(key.read_bytes()).public_key() == foreign.public_key()
    assert {path.name for path in (tmp_path / "foreign").iterdir()} == {certificate.name, key.name}
