"""Making keys and certificates, and writing them in the order that survives a kill."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.serialization import Encoding

from secure_ray.base.commands import new_keys
from secure_ray.base.errors import FailedError
from secure_ray.base.files import read_private, write_private
from secure_ray.base.secrets import Secret
from secure_ray.pki.keys import (
    PASSPHRASE_BITS,
    UnusableKeyError,
    key_from_pem,
    key_to_pem,
    key_to_sealed_pem,
)
from secure_ray.pki.profiles import (
    Owner,
    Signer,
    issuing_certificate,
    leaf_certificate,
    new_key,
    new_root_key,
    root_certificate,
)
from secure_ray.pki.renewal import ABSENT, Renewal
from secure_ray.pki.store import PkiPaths, add_generation

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.x509 import Certificate

    from secure_ray.pki.lifetimes import Lifetimes


class RootKeyError(FailedError):
    """The root key is needed, and is not here or cannot be opened."""


@dataclass
class Issuance:
    """One run that makes what the judge says; keeps account of what it did."""

    paths: PkiPaths
    owner: Owner
    now: datetime
    lifetimes: Lifetimes
    changes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def root(self, found: Certificate | None, renewal: Renewal | None) -> Certificate:
        """The root CA's certificate, made if there is none.

        Raises:
            FailedError: an earlier run's key cannot be opened, or nothing can be written.
        """
        if found is not None:
            return found
        key = self._root_key_for_new_root()
        made = root_certificate(self.owner, key, now=self.now, life=self.lifetimes.root)
        write_private(self.paths.root_certificate, certificates_to_pem(made))
        self.changes.append(f"root CA made: {renewal.reason if renewal else ABSENT}")
        return made

    def issuing(
        self, found: Signer | None, renewal: Renewal | None, *, root: Certificate
    ) -> tuple[Signer, bool]:
        """The issuing CA, made if it has to be; and whether it was.

        Raises:
            FailedError: it has to be, and the root key is not here or cannot be opened, or
                nothing can be written.
        """
        if renewal is None and found is not None:
            return found, False
        try:
            root_signer = self._open_root(root)
        except RootKeyError as error:
            if found is None or renewal is None or not renewal.can_wait:
                raise
            self.warnings.append(f"issuing CA is due ({renewal.reason}), but {error.cause}")
            return found, False
        key = new_key()
        made = issuing_certificate(
            self.owner,
            key.public_key(),
            root=root_signer,
            now=self.now,
            life=self.lifetimes.issuing,
        )
        write_private(self.paths.issuing_key, key_to_pem(key))
        write_private(self.paths.issuing_certificate, certificates_to_pem(made))
        self._account("issuing CA", renewal)
        return Signer(made, key), True

    def leaf(
        self, renewal: Renewal, *, sans: tuple[str, ...], issuing: Signer, root: Certificate
    ) -> None:
        """A new key and leaf in a generation of their own.

        Raises:
            FailedError: nothing can be written; the generation in use is as it was.
        """
        leaf = _new_leaf(self.owner, issuing, sans=sans, now=self.now, life=self.lifetimes.leaf)
        add_generation(
            self.paths,
            certificate=certificates_to_pem(leaf.certificate, issuing.certificate),
            key=key_to_pem(leaf.key),
            authority=certificates_to_pem(root),
        )
        self._account("leaf", renewal)

    def _root_key_for_new_root(self) -> EllipticCurvePrivateKey:
        if os.path.lexists(self.paths.root_key):
            return self._open_root_key()
        if not os.path.lexists(self.paths.passphrase):
            fresh = Secret.random_hex(PASSPHRASE_BITS)
            write_private(self.paths.passphrase, fresh.reveal().encode())
        key = new_root_key()
        write_private(self.paths.root_key, key_to_sealed_pem(key, self._passphrase()))
        return key

    def _open_root(self, certificate: Certificate) -> Signer:
        key = self._open_root_key()
        if key.public_key() != certificate.public_key():
            raise self._unusable_root_key(
                f"{self.paths.root_key} is not the key of {self.paths.root_certificate}"
            )
        return Signer(certificate, key)

    def _open_root_key(self) -> EllipticCurvePrivateKey:
        sealed = self.paths.root_key
        if not os.path.lexists(sealed):
            raise RootKeyError(
                "SR-PKI-006",
                f"the root key {sealed} is not here, and a new issuing CA needs it",
                fix="put it back for this run, then take it off the machine again",
            )
        passphrase = self._passphrase()
        try:
            return key_from_pem(read_private(sealed), passphrase)
        except UnusableKeyError:
            raise self._unusable_root_key(
                f"the passphrase in {self.paths.passphrase} does not open {sealed}"
            ) from None

    def _passphrase(self) -> Secret:
        file = self.paths.passphrase
        if not os.path.lexists(file):
            raise self._unusable_root_key(f"{file}, which opens the root key, is missing")
        passphrase = read_private(file).decode(errors="replace").strip()
        if not passphrase:
            raise self._unusable_root_key(f"{file}, which opens the root key, is empty")
        return Secret(passphrase)

    def _unusable_root_key(self, cause: str) -> RootKeyError:
        fix = f"put both back from one copy, or for new keys: {new_keys(self.owner.cluster)}"
        return RootKeyError("SR-PKI-007", cause, fix=fix)

    def _account(self, what: str, renewal: Renewal | None) -> None:
        reason = renewal.reason if renewal else ABSENT
        verb = "made" if reason == ABSENT else "renewed"
        self.changes.append(f"{what} {verb}: {reason}")


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
    leaf = _new_leaf(owner, issuing, sans=sans, now=now, life=life)
    return Chain(root.certificate, issuing.certificate, leaf)


def certificates_to_pem(*certificates: Certificate) -> bytes:
    """A PEM file of certificates, in the order given (RFC 8446 section 4.4.2: leaf first)."""
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)


def _new_leaf(
    owner: Owner, issuing: Signer, *, sans: tuple[str, ...], now: datetime, life: timedelta
) -> Signer:
    key = new_key()
    made = leaf_certificate(owner, key.public_key(), issuer=issuing, sans=sans, now=now, life=life)
    return Signer(made, key)
