"""Who issued what, and whom a node believes: as TLS does, and by pins."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding

from secure_ray.base.errors import FailedError
from secure_ray.base.files import read_private
from secure_ray.pki.keys import key_digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime
    from pathlib import Path

    from secure_ray.pki.store import LeafFiles


def certificates_to_pem(*certificates: x509.Certificate) -> bytes:
    """A PEM file of certificates, in the order given (RFC 8446 section 4.4.2: leaf first)."""
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)


def is_issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Whether `issuer` bears the name and the key that `certificate` says it comes from."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def is_root(certificate: x509.Certificate) -> bool:
    """Whether it is signed by its own key."""
    return is_issued_by(certificate, certificate)


def is_authority(certificate: x509.Certificate) -> bool:
    """Whether it may sign certificates (RFC 5280 section 4.2.1.9).

    Raises:
        ValueError: its extensions cannot be parsed.
    """
    try:
        basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    except x509.ExtensionNotFound:
        return False
    return basic.value.ca


def is_believed(chain: Sequence[x509.Certificate], trusted: Sequence[x509.Certificate]) -> bool:
    """Whether a peer that trusts `trusted` takes `chain` (leaf, then issuing CA), time apart.

    As OpenSSL and BoringSSL do it (X509_V_FLAG_TRUSTED_FIRST, on in both): the leaf's issuer is
    looked for among the trusted first, then in the chain; the first one found decides; and a chain
    must end in a root that is trusted. The tests compare this with both libraries.

    Raises:
        ValueError: an extension cannot be parsed.
    """
    leaf, *sent = chain
    for issuer in (*trusted, *sent):
        if is_issued_by(leaf, issuer) and is_authority(issuer):
            return any(is_root(root) and is_issued_by(issuer, root) for root in trusted)
    return False


def root_pin(certificate: x509.Certificate) -> bytes:
    """SHA-256 of the certificate's SubjectPublicKeyInfo (as in RFC 7469 section 2.4).

    Raises:
        ValueError: its key is of no kind that is known.
    """
    return key_digest(certificate.public_key())


def pins_of(trusted: Iterable[x509.Certificate]) -> tuple[bytes, ...]:
    """The pins of the roots among the certificates that a node trusts."""
    return tuple(root_pin(certificate) for certificate in trusted if is_root(certificate))


def read_pins(authority: Path) -> tuple[bytes, ...]:
    """The pins of the root CAs in the PEM file `authority`.

    Raises:
        FailedError: the file is not ours alone, or holds no certificate.
    """
    return pins_of(read_certificates(authority))


def read_certificates(path: Path) -> list[x509.Certificate]:
    """The certificates in a PEM file.

    Raises:
        FailedError: the file is not ours alone, or holds none.
    """
    try:
        return x509.load_pem_x509_certificates(read_private(path))
    except ValueError:
        raise FailedError(
            "SR-PKI-011",
            f"{path} holds no certificate",
            fix="start the cluster again: that makes a new one where it can",
        ) from None


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
    above = [root for root in roots if is_issued_by(chain[-1], root)]
    return certificates_to_pem(*chain, *above)
