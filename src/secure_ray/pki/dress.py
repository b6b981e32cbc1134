"""What a node shows and trusts, as plain values: on disk, and as a live port sends it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509

from secure_ray.pki.facts import CertificateFacts, facts_of
from secure_ray.pki.trust import pins_of, read_certificates

if TYPE_CHECKING:
    from collections.abc import Sequence

    from secure_ray.pki.store import LeafFiles


@dataclass(frozen=True)
class Shown:
    """A chain that a node shows. Two that are equal come from one file.

    Attributes:
        leaf: The node's certificate: serial, from when, until when, names.
        issuer: SHA-256 of the issuing CA's certificate that is sent along, hexadecimal; a bridge
            has another one than the certificate of the same CA under the new root. Empty without.
    """

    leaf: CertificateFacts
    issuer: str


@dataclass(frozen=True)
class Worn:
    """What a directory of a leaf holds.

    Attributes:
        shown: The chain.
        pins: Of the roots that are trusted, hexadecimal, in the order of the file.
        trusted: SHA-256 of every certificate in the file, hexadecimal; an issuing CA may be among
            them, which has no pin.
    """

    shown: Shown
    pins: tuple[str, ...]
    trusted: tuple[str, ...]


def read_worn(files: LeafFiles) -> Worn:
    """What is on disk for the processes that start from now on.

    Raises:
        FailedError: a file is missing, not ours alone, or holds no certificate.
    """
    chain, trusted = read_certificates(files.certificate), read_certificates(files.authority)
    return Worn(
        _shown(chain),
        tuple(pin.hex() for pin in pins_of(trusted)),
        tuple(facts_of(one).fingerprint for one in trusted),
    )


def read_shown(chain: Sequence[bytes]) -> Shown | None:
    """What a live port sent (DER, leaf first); None when it cannot be read."""
    try:
        parsed = [x509.load_der_x509_certificate(one) for one in chain]
        return _shown(parsed) if parsed else None
    except ValueError:
        return None


def _shown(chain: Sequence[x509.Certificate]) -> Shown:
    issuer = facts_of(chain[1]).fingerprint if len(chain) > 1 else ""
    return Shown(facts_of(chain[0]), issuer)
