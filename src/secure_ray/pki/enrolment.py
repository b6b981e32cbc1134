"""A node's leaf under the head's issuing CA: issued there, checked and kept here.

    head     read_request (proof), then `issue`
    worker   `pending_key`, then `keep`: the leaf becomes a generation like any other

The worker has neither CA's key: of its PKI directory only `node/` is in use, and `join.key` while
a join is on its way. That key outlives a failed join, so that a lost reply can be asked for again;
nothing else does.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from secure_ray.base.errors import FailedError
from secure_ray.base.files import is_there, make_private_directory, read_private, write_private
from secure_ray.pki.facts import CertificateFacts, facts_of
from secure_ray.pki.inspection import inspect
from secure_ray.pki.issuance import certificates_to_pem
from secure_ray.pki.keys import UnusableKeyError, key_from_pem, key_to_pem
from secure_ray.pki.profiles import Owner, leaf_certificate, new_key
from secure_ray.pki.proof import key_digest, make_request
from secure_ray.pki.sans import parse_sans
from secure_ray.pki.store import LeafFiles, PkiPaths, add_generation

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime, timedelta
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.ec import (
        EllipticCurvePrivateKey,
        EllipticCurvePublicKey,
    )

_SUBJECT_KEY = PublicFormat.SubjectPublicKeyInfo


@dataclass(frozen=True)
class IssuedLeaf:
    """What the head hands to a new node; nothing in it is secret.

    Attributes:
        chain: Leaf, then issuing CA, in PEM.
        roots: What the node is to trust, in PEM.
        serial: The leaf's, lower-case hexadecimal.
        expires: When the leaf ends.
    """

    chain: str
    roots: str
    serial: str
    expires: datetime


class UnusableLeafError(ValueError):
    """What came back is not the leaf that was asked for; the text says why."""


def issue(
    paths: PkiPaths,
    key: EllipticCurvePublicKey,
    *,
    cluster: str,
    cluster_id: str,
    names: tuple[str, ...],
    now: datetime,
    life: timedelta,
) -> IssuedLeaf:
    """A leaf for another node's key, by the issuing CA that is here.

    Args:
        paths: The head's PKI.
        key: What is certified.
        cluster: The cluster's name, for the subject.
        cluster_id: The cluster's id, for the subject.
        names: The node's addresses and DNS names.
        now: The time, with a time zone.
        life: Of the leaf; it never outlives its issuer.

    Raises:
        UsageError: a name is none.
        FailedError: the issuing CA is missing, damaged or has expired.
    """
    state = inspect(paths, cluster)
    issuer = state.issuing
    if issuer is None or issuer.certificate.not_valid_after_utc <= now:
        raise FailedError(
            "SR-JOIN-025",
            "the head cannot issue certificates: its issuing CA is missing, damaged or expired",
            fix="on the head: secure-ray down, then secure-ray up --head makes a new one",
        )
    leaf = leaf_certificate(
        Owner(cluster, cluster_id),
        key,
        issuer=issuer,
        sans=parse_sans(names),
        now=now,
        life=life,
    )
    facts = facts_of(leaf)
    return IssuedLeaf(
        chain=certificates_to_pem(leaf, issuer.certificate).decode(),
        roots=read_private(paths.leaf.authority).decode(),
        serial=facts.serial,
        expires=facts.not_after,
    )


def root_pin(certificate: x509.Certificate) -> bytes:
    """SHA-256 of the certificate's SubjectPublicKeyInfo (as in RFC 7469 section 2.4)."""
    encoded = certificate.public_key().public_bytes(Encoding.DER, _SUBJECT_KEY)
    return hashlib.sha256(encoded).digest()


def read_pins(authority: Path) -> tuple[bytes, ...]:
    """The pins of the root CAs in the PEM file `authority`.

    Raises:
        FailedError: the file is not ours alone, or holds no certificate.
    """
    try:
        roots = x509.load_pem_x509_certificates(read_private(authority))
    except ValueError:
        raise FailedError(
            "SR-PKI-011",
            f"{authority} holds no certificate",
            fix="start the cluster again: that makes a new one where it can",
        ) from None
    return tuple(root_pin(root) for root in roots)


def pinned_root(chain: Sequence[bytes], pins: Sequence[bytes]) -> str | None:
    """The certificate, in PEM, whose key is pinned, among those (DER) that a server sent.

    That it was sent proves nothing yet: whoever has seen it can send it.
    """
    for encoded in chain:
        try:
            certificate = x509.load_der_x509_certificate(encoded)
            pin = root_pin(certificate)
        except ValueError:
            continue
        if any(hmac.compare_digest(pin, wanted) for wanted in pins):
            return certificates_to_pem(certificate).decode()
    return None


def last_pin(chain: Sequence[bytes]) -> str:
    """The pin of the last certificate that a server sent, for a message; empty when unreadable."""
    try:
        return root_pin(x509.load_der_x509_certificate(chain[-1])).hex()
    except (ValueError, IndexError):
        return ""


def shown_life(chain: Sequence[bytes]) -> tuple[datetime, datetime] | None:
    """From when to when the leaf that a server sent (DER, first) is valid; None if unreadable."""
    try:
        leaf = x509.load_der_x509_certificate(chain[0])
    except (ValueError, IndexError):
        return None
    return leaf.not_valid_before_utc, leaf.not_valid_after_utc


def chain_with_root(files: LeafFiles) -> bytes:
    """The node's chain up to and including the root, in PEM.

    TLS leaves the root out (RFC 8446 section 4.4.2 allows both); a node that knows no more of the
    cluster than the pin of its root needs to see it.

    Raises:
        FailedError: a file is not ours alone.
        ValueError: a file holds no certificate.
    """
    chain = x509.load_pem_x509_certificates(read_private(files.certificate))
    roots = x509.load_pem_x509_certificates(read_private(files.authority))
    above = [root for root in roots if _issued_by(chain[-1], root)]
    return certificates_to_pem(*chain, *above)


def pending_key(paths: PkiPaths) -> tuple[bytes, bytes]:
    """The key that this node joins with, made if there is none: a request for it, and its digest.

    A node that has a leaf joins again with its key: to the head it stays the same node, and a
    token that it has spent before the join came to its end is still good for it.

    Raises:
        FailedError: it cannot be read or written, or is not ours alone.
    """
    make_private_directory(paths.directory)
    place = _pending(paths)
    key = _key_at(place)
    if key is None:
        key = _key_at(paths.leaf.key) or new_key()
        write_private(place, key_to_pem(key))
    return make_request(key), key_digest(key.public_key())


def _key_at(place: Path) -> EllipticCurvePrivateKey | None:
    try:
        return key_from_pem(read_private(place)) if is_there(place) else None
    except UnusableKeyError:
        return None


def keep(
    paths: PkiPaths, *, chain: str, roots: str, pins: Sequence[bytes], now: datetime
) -> CertificateFacts:
    """Check the leaf that came for the pending key, and make it this node's.

    Raises:
        UnusableLeafError: it is not for that key, not valid now, or not under a pinned root.
        FailedError: it cannot be written; the leaf in use is as it was.
    """
    key = read_private(_pending(paths))
    leaf = _check(chain, roots, pins, now)
    if key_digest(key_from_pem(key).public_key()) != root_pin(leaf):
        raise UnusableLeafError("it is for another key")
    facts = facts_of(leaf)
    make_private_directory(paths.node)
    add_generation(paths, certificate=chain.encode(), key=key, authority=roots.encode())
    give_up(paths)
    return facts


def give_up(paths: PkiPaths) -> None:
    """Forget the key of a join that will not be tried again."""
    _pending(paths).unlink(missing_ok=True)


def _pending(paths: PkiPaths) -> Path:
    return paths.directory / "join.key"


def _check(chain: str, roots: str, pins: Sequence[bytes], now: datetime) -> x509.Certificate:
    try:
        leaf, issuing = x509.load_pem_x509_certificates(chain.encode())
        trusted = x509.load_pem_x509_certificates(roots.encode())
        pinned = [root for root in trusted if root_pin(root) in pins]
    except ValueError:
        raise UnusableLeafError("it is no chain of a leaf and an issuing CA") from None
    if not any(_issued_by(issuing, root) for root in pinned) or not _issued_by(leaf, issuing):
        raise UnusableLeafError("it does not come from the root CA that the join string names")
    if not leaf.not_valid_before_utc <= now < leaf.not_valid_after_utc:
        raise UnusableLeafError("it is not valid by this node's clock")
    return leaf


def _issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True
