"""Nodes one step of a rotation apart talk to each other; the old root is refused at the end.

Measured with what Ray speaks (grpcio, BoringSSL) and with OpenSSL; and `trust.is_believed` says
the same beforehand.
"""

from __future__ import annotations

import ssl
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509

from pki import test_handshakes as handshakes
from pki.conftest import OWNER, SANS
from pki.test_handshakes import HELLO, now, talk
from secure_ray.base.files import make_private_directory
from secure_ray.pki.canary import make_canary
from secure_ray.pki.credentials import LeafFiles, LeafWish
from secure_ray.pki.dress import read_shown, read_worn
from secure_ray.pki.enrolment import issue
from secure_ray.pki.keys import key_to_pem, new_leaf_key
from secure_ray.pki.trust import certificates_to_pem, is_believed

if TYPE_CHECKING:
    from pathlib import Path

    from pki.conftest import Node
    from secure_ray.pki.keys import KeyKind

grpc = pytest.importorskip("grpc")

ORDER = ("old", "bridge", "new", "retired")
NEIGHBOURS = [(a, b) for a in ORDER for b in ORDER if abs(ORDER.index(a) - ORDER.index(b)) <= 1]
STRANGERS = [("old", "new"), ("new", "old"), ("old", "retired"), ("retired", "old")]
KINDS: list[KeyKind] = ["p256", "p384", "rsa3072"]


@pytest.fixture
def head(node: Node) -> Node:
    """Made now: TLS looks at the clock of the machine."""
    made = replace(node, birth=now())
    made.ensure()
    return made


def dressed(head: Node, directory: Path, kind: KeyKind = "p256") -> LeafFiles:
    """A leaf in the dress of the stage, for a node."""
    key = new_leaf_key(kind)
    issued = issue(
        head.paths,
        key.public_key(),
        cluster=OWNER.cluster,
        cluster_id=OWNER.cluster_id,
        names=SANS,
        now=now(),
        life=timedelta(hours=1),
    )
    make_private_directory(directory)
    files = LeafFiles.within(directory)
    files.write(
        certificate=issued.chain.encode(), key=key_to_pem(key), authority=issued.roots.encode()
    )
    return files


@pytest.fixture
def wardrobe(head: Node, tmp_path: Path) -> dict[str, LeafFiles]:
    made = {"old": dressed(head, tmp_path / "old")}
    for name, step in zip(ORDER[1:], ("begin_root", "switch_root", "retire_root"), strict=True):
        head.turn(step)
        made[name] = dressed(head, tmp_path / name)
    return made


def speaks(server: LeafFiles, client: LeafFiles) -> tuple[bool, bool]:
    """Whether a byte came over OpenSSL's TLS 1.3, and over gRPC."""
    try:
        openssl = talk(server, client) == HELLO
    except (ssl.SSLError, ConnectionError):
        openssl = False
    try:
        answer = handshakes.TestGrpc.call(server, client) == HELLO
    except grpc.RpcError as error:
        assert error.code() is grpc.StatusCode.UNAVAILABLE  # noqa: PT017
        answer = False
    return openssl, answer


def believes(one: LeafFiles, other: LeafFiles) -> bool:
    chain = x509.load_pem_x509_certificates(other.certificate.read_bytes())
    return is_believed(chain, x509.load_pem_x509_certificates(one.authority.read_bytes()))


def predicted(server: LeafFiles, client: LeafFiles) -> tuple[bool, bool]:
    said = believes(server, client) and believes(client, server)
    return said, said


def test_all_dresses_by_pairs(wardrobe: dict[str, LeafFiles]) -> None:
    for server in ORDER:
        for client in ORDER:
            pair = wardrobe[server], wardrobe[client]
            heard = speaks(*pair)
            assert heard == predicted(*pair), (server, client)
            if (server, client) in STRANGERS:
                assert heard == (False, False), (server, client)
            # `bridge` and `retired` are two steps apart: every node wears `new` in between.
            if {server, client} != {"bridge", "retired"} and (server, client) in NEIGHBOURS:
                assert heard == (True, True), (server, client)


def test_a_fresh_leaf_of_the_old_root_is_refused_by_the_new_dress(
    head: Node, tmp_path: Path
) -> None:
    """Even one whose owner trusts everything: the refusal is the other end's."""
    head.turn("begin_root", "switch_root")
    new = dressed(head, tmp_path / "new")
    canary = make_canary(head.paths, OWNER, tmp_path / "canary", side="old", now=now())

    assert speaks(new, canary) == speaks(canary, new) == (False, False)


@pytest.mark.parametrize(
    ("steps", "side", "taken"),
    [
        ((), "old", True),
        (("begin_root",), "old", True),
        (("begin_root",), "new", True),
        (("begin_root", "switch_root"), "new", True),
        (("begin_root", "switch_root"), "old", False),
        (("begin_root", "abandon_root"), "new", False),
        (("begin_root", "abandon_root"), "old", True),
    ],
)
def test_a_canary_tells_what_a_process_trusts(
    head: Node, tmp_path: Path, steps: tuple[str, ...], side: str, *, taken: bool
) -> None:
    head.turn(*steps)
    server = dressed(head, tmp_path / "server")

    canary = make_canary(
        head.paths, OWNER, tmp_path / "canary", side="new" if side == "new" else "old", now=now()
    )

    assert speaks(server, canary) == (taken, taken)


def test_a_canary_of_the_new_root_alone_does_not_reach_who_trusts_the_old(
    head: Node, tmp_path: Path
) -> None:
    """Its chain has no bridge; a node that has not been restarted yet refuses it."""
    old = dressed(head, tmp_path / "old")
    head.turn("begin_root")

    canary = make_canary(head.paths, OWNER, tmp_path / "canary", side="new", now=now())

    assert speaks(old, canary) == (False, False)


@pytest.mark.parametrize("kind", KINDS)
def test_leaf_keys_of_every_kind_speak_with_each_other(
    head: Node, tmp_path: Path, kind: KeyKind
) -> None:
    files = dressed(head, tmp_path / kind, kind)
    head.ensure(wish=LeafWish(kind, fresh=True))

    assert speaks(files, head.paths.leaf) == speaks(head.paths.leaf, files) == (True, True)


def test_grpc_takes_no_ed25519_leaf(head: Node, tmp_path: Path) -> None:
    """Why there is no such kind of key. When this fails, there can be one."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    from secure_ray.pki.profiles import leaf_certificate

    key = Ed25519PrivateKey.generate()
    dress = head.authorities.dress()
    assert dress is not None
    leaf = leaf_certificate(
        OWNER,
        key.public_key(),  # type: ignore[arg-type]
        issuer=dress.issuer,
        sans=SANS,
        now=now(),
        life=timedelta(hours=1),
    )
    make_private_directory(tmp_path / "ed")
    files = LeafFiles.within(tmp_path / "ed")
    files.write(
        certificate=certificates_to_pem(leaf, dress.issuer.certificate),
        key=key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        authority=certificates_to_pem(*dress.trusted),
    )

    assert speaks(files, head.paths.leaf) == speaks(head.paths.leaf, files) == (True, False)


def test_a_leaf_of_a_minute_speaks(head: Node, tmp_path: Path) -> None:
    from secure_ray.pki.lifetimes import Lifetimes

    made = head.ensure(lifetimes=Lifetimes(leaf=timedelta(minutes=1)), wish=LeafWish(fresh=True))

    assert made.leaf.not_after - made.leaf.not_before <= timedelta(seconds=91)
    assert speaks(head.paths.leaf, dressed(head, tmp_path / "x")) == (True, True)


def test_what_is_live_compares_with_what_is_on_disk(wardrobe: dict[str, LeafFiles]) -> None:
    worn = {name: read_worn(files) for name, files in wardrobe.items()}
    bridge, new, retired = worn["bridge"], worn["new"], worn["retired"]

    assert bridge.shown.leaf.issuer == new.shown.leaf.issuer
    assert bridge.shown.issuer != new.shown.issuer == retired.shown.issuer
    assert bridge.pins == (*worn["old"].pins, *new.pins)
    assert new.pins == retired.pins
    assert new.trusted == (*retired.trusted, new.shown.issuer)
    sent = [
        ssl.PEM_cert_to_DER_cert(certificates_to_pem(one).decode())
        for one in x509.load_pem_x509_certificates(wardrobe["new"].certificate.read_bytes())
    ]
    assert read_shown(sent) == new.shown
    assert read_shown([b"x"]) is read_shown([]) is None
