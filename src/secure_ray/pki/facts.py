"""What a certificate says, as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING

from secure_ray.base.errors import FailedError
from secure_ray.base.files import read_private
from secure_ray.pki.lifetimes import made_at

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from cryptography.x509 import Certificate


@dataclass(frozen=True)
class CertificateFacts:
    """What is worth telling about a certificate; nothing in it is secret.

    Attributes:
        subject: The subject's name as in RFC 4514.
        issuer: The issuer's name as in RFC 4514.
        serial: The serial number, lower-case hexadecimal.
        not_before: Start of its life, in UTC.
        not_after: End of its life, in UTC.
        fingerprint: SHA-256 of the whole certificate, lower-case hexadecimal.
        sans: Addresses and DNS names it stands for, sorted.
    """

    subject: str
    issuer: str
    serial: str
    not_before: datetime
    not_after: datetime
    fingerprint: str
    sans: tuple[str, ...]

    def life_used(self, now: datetime) -> float:
        """The share of its life that has gone since it was made: 1 and above expired.

        The start does not count, which lies before that: of a leaf of one minute, back-dated by
        half of it, a third would have gone as it was born.
        """
        made = made_at(self.not_before, self.not_after)
        return (now - made) / (self.not_after - made)


def read_facts(path: Path) -> CertificateFacts:
    """The facts of the first certificate in the PEM file `path`.

    Raises:
        FailedError: the file is not ours alone, or holds no certificate.
    """
    from cryptography import x509

    try:
        first = x509.load_pem_x509_certificates(read_private(path))[0]
        return facts_of(first)
    except ValueError:
        raise FailedError(
            "SR-PKI-011",
            f"{path} holds no certificate",
            fix="start the cluster again: that makes a new one where it can",
        ) from None


def facts_of(certificate: Certificate) -> CertificateFacts:
    """The facts of a certificate.

    Raises:
        ValueError: an extension of it cannot be parsed.
    """
    from cryptography.hazmat.primitives.hashes import SHA256

    return CertificateFacts(
        subject=certificate.subject.rfc4514_string(),
        issuer=certificate.issuer.rfc4514_string(),
        serial=f"{certificate.serial_number:x}",
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        fingerprint=certificate.fingerprint(SHA256()).hex(),
        sans=_sans_of(certificate),
    )


def _sans_of(certificate: Certificate) -> tuple[str, ...]:
    from cryptography import x509

    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return ()
    addresses = extension.value.get_values_for_type(x509.IPAddress)
    hosts = [str(a) for a in addresses if isinstance(a, (IPv4Address, IPv6Address))]
    return tuple(sorted({*hosts, *extension.value.get_values_for_type(x509.DNSName)}))
