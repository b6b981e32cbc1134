"""Making keys and certificates; what is written is a generation, all of it or nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from secure_ray.base.errors import FailedError
from secure_ray.base.files import is_there, read_private
from secure_ray.pki.inspection import read_authority
from secure_ray.pki.keys import (
    KeyKind,
    PublicKey,
    key_to_pem,
    key_to_sealed_pem,
    new_key,
    new_leaf_key,
    new_root_key,
)
from secure_ray.pki.profiles import (
    Owner,
    Signer,
    bridge_certificate,
    issuing_certificate,
    leaf_certificate,
    root_certificate,
)
from secure_ray.pki.renewal import ABSENT, Renewal
from secure_ray.pki.root_key import RootKeyError, ensure_passphrase, open_root
from secure_ray.pki.store import AuthorityFiles, PkiPaths, add_generation
from secure_ray.pki.trust import certificates_to_pem, is_believed

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime, timedelta
    from pathlib import Path

    from cryptography.x509 import Certificate

    from secure_ray.pki.authority import Authority, Dress
    from secure_ray.pki.lifetimes import Lifetimes


@dataclass
class Issuance:
    """One run that makes what the judge says; keeps account of what it did."""

    paths: PkiPaths
    owner: Owner
    now: datetime
    lifetimes: Lifetimes
    changes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def first_authority(self, renewal: Renewal) -> None:
        """A root CA and an issuing CA, in use when this returns.

        Raises:
            FailedError: the passphrase that is there is empty, or nothing can be written.
        """
        self.paths.authorities.use(self.new_authority())
        self.changes += [f"root CA made: {renewal.reason}", f"issuing CA made: {renewal.reason}"]

    def new_authority(self, *, bridge_from: Signer | None = None) -> int:
        """A new root CA and an issuing CA under it; the number of their generation.

        It is read back and tried before it gets its number.

        Args:
            bridge_from: The root that certifies the new issuing CA, too.

        Raises:
            FailedError: it does not stand the test, or cannot be written.
        """
        root_key, key = new_root_key(), new_key()
        passphrase = ensure_passphrase(self.paths.passphrase, cluster=self.owner.cluster)
        root = root_certificate(self.owner, root_key, now=self.now, life=self.lifetimes.root)
        issuing = self._issuing(Signer(root, root_key), key.public_key())
        files = {
            "root.key": key_to_sealed_pem(root_key, passphrase),
            "root.crt": certificates_to_pem(root),
            "issuing.key": key_to_pem(key),
            "issuing.crt": certificates_to_pem(issuing),
        }
        if bridge_from is not None:
            bridge = bridge_certificate(Signer(issuing, key), root=bridge_from, now=self.now)
            files["bridge.crt"] = certificates_to_pem(bridge)
        old = bridge_from.certificate if bridge_from else None
        return self.add_authority(files, bridged_under=old)

    def add_authority(
        self, files: Mapping[str, bytes], *, bridged_under: Certificate | None = None
    ) -> int:
        """An authority that is tried before it gets its number; it is not in use yet.

        Raises:
            FailedError: it does not stand the test, or cannot be written.
        """
        return self.paths.authorities.add(
            files, check=lambda place: self._try(place, bridged_under)
        )

    def renew_issuing(self, authority: Authority, renewal: Renewal) -> bool:
        """A new issuing CA under the same root, in use when this returns; whether it was made.

        Raises:
            FailedError: it has to be, and the root key is not here or cannot be opened, or
                nothing can be written.
        """
        files = authority.files
        try:
            root = open_root(
                authority.root, files, self.paths.passphrase, cluster=self.owner.cluster
            )
        except RootKeyError as error:
            if authority.issuing is None or not renewal.can_wait:
                raise
            self.warnings.append(f"issuing CA is due ({renewal.reason}), but {error.cause}")
            return False
        key = new_key()
        issuing = self._issuing(root, key.public_key())
        self.add_issuing(authority.files, issuing=certificates_to_pem(issuing), key=key_to_pem(key))
        self._account("issuing CA", renewal)
        return True

    def add_issuing(self, same_root: AuthorityFiles, *, issuing: bytes, key: bytes) -> None:
        """Take another issuing CA into use, under the root that is here.

        Raises:
            FailedError: it does not stand the test, or cannot be written.
        """
        content = {"issuing.key": key, "issuing.crt": issuing}
        for path in (same_root.root_certificate, same_root.root_key):
            if is_there(path):
                content[path.name] = read_private(path)
        self.paths.authorities.use(self.add_authority(content))

    def leaf(self, renewal: Renewal, *, sans: tuple[str, ...], dress: Dress, kind: KeyKind) -> None:
        """A new key and leaf in a generation of their own.

        Raises:
            FailedError: nothing can be written; the generation in use is as it was.
        """
        leaf = new_leaf(
            self.owner, dress.issuer, sans=sans, now=self.now, life=self.lifetimes.leaf, kind=kind
        )
        add_generation(
            self.paths,
            certificate=certificates_to_pem(leaf.certificate, dress.issuer.certificate),
            key=key_to_pem(leaf.key),
            authority=certificates_to_pem(*dress.trusted),
        )
        self._account("leaf", renewal)

    def _issuing(self, root: Signer, key: PublicKey) -> Certificate:
        life = self.lifetimes.issuing
        return issuing_certificate(self.owner, key, root=root, now=self.now, life=life)

    def _try(self, place: Path, old: Certificate | None) -> None:
        """Read an authority back and issue with it, before anything depends on it."""
        made = read_authority(place, 0, self.owner.cluster, under=old)
        if made is None or made.issuing is None or (old is not None and made.bridge is None):
            raise _fails_test(made.defect if made else "a certificate cannot be read")
        if is_there(made.files.root_key):
            open_root(made.root, made.files, self.paths.passphrase, cluster=self.owner.cluster)
        life = self.lifetimes.leaf
        leaf = new_leaf(self.owner, made.issuing, sans=("localhost",), now=self.now, life=life)
        issuing = made.issuing.certificate
        believed = is_believed([leaf.certificate, issuing], [made.root])
        if old is not None and made.bridge is not None:
            bridged = [leaf.certificate, made.bridge]
            believed = (
                believed
                and is_believed(bridged, [old])
                and is_believed(bridged, [made.root, issuing])
                and not is_believed([leaf.certificate, issuing], [old])
            )
        if not believed:
            raise _fails_test("a leaf that it issued is not believed where it should be")

    def _account(self, what: str, renewal: Renewal) -> None:
        verb = "made" if renewal.reason == ABSENT else "renewed"
        self.changes.append(f"{what} {verb}: {renewal.reason}")


def _fails_test(cause: str) -> FailedError:
    return FailedError(
        "SR-PKI-016",
        f"the new authority does not stand its test: {cause or 'its issuing CA is missing'}",
        fix="nothing has changed; check the disk (dmesg, df) and run this again",
    )


@dataclass(frozen=True)
class Chain:
    """Root CA, issuing CA and leaf; of the keys only the leaf's."""

    root: Certificate
    issuing: Certificate
    leaf: Signer


def throw_away_chain(
    owner: Owner, *, sans: tuple[str, ...], now: datetime, life: timedelta
) -> Chain:
    """A chain in memory, all of one life; the keys of its CAs are gone when this returns."""
    root_key, issuing_key = new_root_key(), new_key()
    root = Signer(root_certificate(owner, root_key, now=now, life=life), root_key)
    issuing = Signer(
        issuing_certificate(owner, issuing_key.public_key(), root=root, now=now, life=life),
        issuing_key,
    )
    leaf = new_leaf(owner, issuing, sans=sans, now=now, life=life)
    return Chain(root.certificate, issuing.certificate, leaf)


def new_leaf(
    owner: Owner,
    issuer: Signer,
    *,
    sans: tuple[str, ...],
    now: datetime,
    life: timedelta,
    kind: KeyKind = "p256",
) -> Signer:
    """A leaf with a new key of its own."""
    key = new_leaf_key(kind)
    made = leaf_certificate(owner, key.public_key(), issuer=issuer, sans=sans, now=now, life=life)
    return Signer(made, key)
