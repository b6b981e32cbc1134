"""A node's leaf under the head's issuing CA: issued there, checked and kept here.

    head     read_request (proof), then `issue`
    worker   to join: `pending_key`, then `keep`; the leaf becomes a generation like any other
             later on: `renewal_request`, then `keep_renewal`

The worker has neither CA's key: of its PKI directory only `node/` is in use, and `join.key` or
`renewal.key` while a request is on its way. That key outlives a failed attempt, so that a lost reply
can be asked for again; nothing else does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509

from secure_ray.base.errors import FailedError
from secure_ray.base.files import is_there, make_private_directory, read_private, write_private
from secure_ray.pki.facts import CertificateFacts, facts_of
from secure_ray.pki.inspection import read_authorities
from secure_ray.pki.keys import (
    KeyKind,
    PrivateKey,
    PublicKey,
    UnusableKeyError,
    key_digest,
    key_from_pem,
    key_to_pem,
    new_leaf_key,
)
from secure_ray.pki.profiles import Owner, leaf_certificate
from secure_ray.pki.proof import make_request
from secure_ray.pki.sans import parse_sans
from secure_ray.pki.store import PkiPaths, add_generation, alone, sweep_leaves
from secure_ray.pki.trust import certificates_to_pem, is_believed, read_certificates, root_pin

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime, timedelta
    from pathlib import Path


@dataclass(frozen=True)
class IssuedLeaf:
    """What the head hands to a node; nothing in it is secret.

    Attributes:
        chain: Leaf, then issuing CA, in PEM.
        roots: What the node is to trust, in PEM; beside roots an issuing CA may be in it.
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
    key: PublicKey,
    *,
    cluster: str,
    cluster_id: str,
    names: tuple[str, ...],
    now: datetime,
    life: timedelta,
) -> IssuedLeaf:
    """A leaf for another node's key, in the dress of the stage that a rotation has come to.

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
    with alone(paths):  # else a renewal could remove the authority while it is being read
        authorities = read_authorities(paths, cluster)
    dress = authorities.dress() if authorities else None
    if dress is None or dress.issuer.certificate.not_valid_after_utc <= now:
        raise FailedError(
            "SR-JOIN-025",
            "the head cannot issue certificates: its issuing CA is missing, damaged or expired",
            fix="on the head: secure-ray down, then secure-ray up --head makes a new one",
        )
    leaf = leaf_certificate(
        Owner(cluster, cluster_id),
        key,
        issuer=dress.issuer,
        sans=parse_sans(names),
        now=now,
        life=life,
    )
    facts = facts_of(leaf)
    return IssuedLeaf(
        chain=certificates_to_pem(leaf, dress.issuer.certificate).decode(),
        roots=certificates_to_pem(*dress.trusted).decode(),
        serial=facts.serial,
        expires=facts.not_after,
    )


def pending_key(paths: PkiPaths, kind: KeyKind = "p256") -> tuple[bytes, bytes]:
    """The key that this node joins with, made if there is none: a request for it, and its digest.

    A node that has a leaf joins again with its key: to the head it stays the same node, and a
    token that it has spent before the join came to its end is still good for it.

    Raises:
        FailedError: it cannot be read or written, or is not ours alone.
    """
    make_private_directory(paths.directory)
    return _request(_joining(paths), kind, otherwise=_key_at(paths.leaf.key))


def keep(
    paths: PkiPaths, *, chain: str, roots: str, pins: Sequence[bytes], now: datetime
) -> CertificateFacts:
    """Check the leaf that came for the pending key, and make it this node's.

    Raises:
        UnusableLeafError: it is not for that key, not valid now, or not under a pinned root.
        FailedError: it cannot be written; the leaf in use is as it was.
    """
    key = read_private(_joining(paths))
    answer = _Answer.parse(chain, roots)
    pinned = [root for root in answer.trusted if root_pin(root) in pins]
    if not is_believed(answer.chain, pinned):
        raise UnusableLeafError("it does not come from the root CA that the join string names")
    answer.require_usable(now)
    if not answer.is_for(key):
        raise UnusableLeafError("it is for another key")
    make_private_directory(paths.node)
    add_generation(paths, certificate=chain.encode(), key=key, authority=roots.encode())
    give_up(paths)
    return answer.facts


def give_up(paths: PkiPaths) -> None:
    """Forget the key of a join that will not be tried again."""
    _joining(paths).unlink(missing_ok=True)


def renewal_request(paths: PkiPaths, kind: KeyKind = "p256") -> tuple[bytes, bytes]:
    """A request for a leaf with a new key, and the key's digest. The pair in use is not touched.

    Asked for again before the answer was kept, it is for the same key.

    Raises:
        FailedError: the key cannot be read or written, or is not ours alone.
    """
    make_private_directory(paths.directory)
    return _request(_renewing(paths), kind)


def keep_renewal(paths: PkiPaths, *, chain: str, roots: str, now: datetime) -> CertificateFacts:
    """Check the leaf that came for the new key, and make it this node's.

    It may be for the key in use, too: then only the chain or the trust changes, as at the end of a
    rotation, when the new issuing CA leaves `ca.crt`.

    It has to be believed both by those who trust what it brings along and by those who trust what
    this node trusts now. So neither is the node cut off from its peers, nor can an answer lead it
    further than one step of a rotation.

    Raises:
        UnusableLeafError: it is for neither key, not valid now, or not believed as it has to be.
        FailedError: it cannot be written; the leaf in use is as it was.
    """
    answer = _Answer.parse(chain, roots)
    answer.require_usable(now)
    with alone(paths):
        if not is_believed(answer.chain, answer.trusted):
            raise UnusableLeafError("it does not come from a root CA that came with it")
        if not is_believed(answer.chain, read_certificates(paths.leaf.authority)):
            raise UnusableLeafError("it does not come from a root CA that this node trusts")
        key = _key_for(answer, _renewing(paths), paths.leaf.key)
        add_generation(paths, certificate=chain.encode(), key=key, authority=roots.encode())
        # A key that waits for another answer stays; this one has come.
        if answer.is_for_key_at(_renewing(paths)):
            _renewing(paths).unlink(missing_ok=True)
        sweep_leaves(paths)
    return answer.facts


def _joining(paths: PkiPaths) -> Path:
    return paths.directory / "join.key"


def _renewing(paths: PkiPaths) -> Path:
    return paths.directory / "renewal.key"


def _request(
    place: Path, kind: KeyKind, *, otherwise: PrivateKey | None = None
) -> tuple[bytes, bytes]:
    key = _key_at(place)
    if key is None:
        key = otherwise or new_leaf_key(kind)
        write_private(place, key_to_pem(key))
    return make_request(key), key_digest(key.public_key())


def _key_at(place: Path) -> PrivateKey | None:
    try:
        return key_from_pem(read_private(place)) if is_there(place) else None
    except UnusableKeyError:
        return None


def _key_for(answer: _Answer, *places: Path) -> bytes:
    for place in places:
        if answer.is_for_key_at(place):
            return read_private(place)
    raise UnusableLeafError("it is for another key")


@dataclass(frozen=True)
class _Answer:
    """A leaf with its chain, and what is to be trusted with it."""

    chain: tuple[x509.Certificate, ...]
    trusted: tuple[x509.Certificate, ...]

    @classmethod
    def parse(cls, chain: str, roots: str) -> _Answer:
        try:
            leaf, issuing = x509.load_pem_x509_certificates(chain.encode())
            trusted = x509.load_pem_x509_certificates(roots.encode())
            for certificate in (leaf, issuing, *trusted):
                facts_of(certificate)
                root_pin(certificate)  # extensions and keys are parsed only when asked for
        except ValueError:
            raise UnusableLeafError("it is no chain of a leaf and an issuing CA") from None
        return cls((leaf, issuing), tuple(trusted))

    @property
    def facts(self) -> CertificateFacts:
        return facts_of(self.chain[0])

    def require_usable(self, now: datetime) -> None:
        if not self.facts.not_before <= now < self.facts.not_after:
            raise UnusableLeafError("it is not valid by this node's clock")

    def is_for(self, key: bytes) -> bool:
        return key_digest(key_from_pem(key).public_key()) == root_pin(self.chain[0])

    def is_for_key_at(self, place: Path) -> bool:
        key = _key_at(place)
        return key is not None and key_digest(key.public_key()) == root_pin(self.chain[0])
