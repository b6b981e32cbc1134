"""What is in each certificate: the root CA, the issuing CA, the leaf of a node.

All by RFC 5280, and strict enough for OpenSSL's X509_V_FLAG_X509_STRICT (the default of Python's
`ssl.create_default_context` since 3.13). Keys and time are parameters; nothing is read or written.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from ipaddress import ip_address
from typing import TypeVar

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from secure_ray.pki.keys import PrivateKey, PublicKey, hash_for
from secure_ray.pki.lifetimes import Lifetimes, backdating

_Builder = TypeVar("_Builder", x509.CertificateBuilder, x509.CertificateSigningRequestBuilder)

__all__ = [
    "Lifetimes",
    "Owner",
    "Signer",
    "as_authority",
    "authority_name",
    "bridge_certificate",
    "issuing_certificate",
    "leaf_certificate",
    "root_certificate",
]


@dataclass(frozen=True)
class Owner:
    """Whose certificates these are; stands in every subject.

    Attributes:
        cluster: The cluster's name, at most 64 characters (RFC 5280, ub-organization-name).
        cluster_id: What tells it from another cluster of that name, at most 64 characters.
    """

    cluster: str
    cluster_id: str

    def subject(self, common_name: str) -> x509.Name:
        """The distinguished name of one certificate of this cluster."""
        return x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, self.cluster),
                x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, self.cluster_id),
                x509.NameAttribute(NameOID.COMMON_NAME, common_name),
            ]
        )


@dataclass(frozen=True)
class Signer:
    """A CA that can sign: its certificate and its private key."""

    certificate: x509.Certificate
    key: PrivateKey = field(repr=False)


def root_certificate(
    owner: Owner, key: PrivateKey, *, now: datetime, life: timedelta
) -> x509.Certificate:
    """The self-signed root: signs issuing CAs, and these sign leaves only (pathlen 1)."""
    serial = x509.random_serial_number()
    subject = owner.subject(authority_name("root", _digits(serial)))
    builder = _builder(subject, subject, serial, key.public_key())
    builder = _valid(builder, now, life, issuer=None)
    builder = as_authority(builder, path_length=1)
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
    return builder.add_extension(identifier, critical=False).sign(key, hash_for(key))


def issuing_certificate(
    owner: Owner, key: PublicKey, *, root: Signer, now: datetime, life: timedelta
) -> x509.Certificate:
    """A CA under the root that signs leaves and no further CA (pathlen 0)."""
    serial = x509.random_serial_number()
    subject = owner.subject(authority_name("issuing", _digits(serial)))
    builder = _builder(subject, root.certificate.subject, serial, key)
    builder = _valid(builder, now, life, issuer=root.certificate)
    builder = as_authority(builder, path_length=0)
    return _identify_issuer(builder, root.certificate).sign(root.key, hash_for(root.key))


def bridge_certificate(issuing: Signer, *, root: Signer, now: datetime) -> x509.Certificate:
    """The same issuing CA, name and key, once more: under another root (RFC 4158 section 1.5).

    So a leaf of that CA has two chains, and the one who sends it chooses which root it leads to.
    """
    serial = x509.random_serial_number()
    subject, key = issuing.certificate.subject, issuing.key.public_key()
    builder = _builder(subject, root.certificate.subject, serial, key)
    life = issuing.certificate.not_valid_after_utc - now
    builder = _valid(builder, now, life, issuer=root.certificate)
    builder = as_authority(builder, path_length=0)
    return _identify_issuer(builder, root.certificate).sign(root.key, hash_for(root.key))


def leaf_certificate(
    owner: Owner,
    key: PublicKey,
    *,
    issuer: Signer,
    sans: tuple[str, ...],
    now: datetime,
    life: timedelta,
) -> x509.Certificate:
    """A node's certificate, for both ends: Ray's processes are server and client with one file.

    `sans` are parsed ones (`secure_ray.pki.sans`); peers look at these and never at the subject
    (RFC 6125 section 6.4.4).
    """
    serial = x509.random_serial_number()
    subject = owner.subject("secure-ray node")
    builder = _builder(subject, issuer.certificate.subject, serial, key)
    builder = _valid(builder, now, life, issuer=issuer.certificate)
    builder = (
        builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        # Keys sign the handshake and encrypt nothing, RSA included (RFC 8446 section 4.4.2.2).
        .add_extension(_key_usage(digital_signature=True), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage(
                [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
            ),
            critical=False,
        )
        .add_extension(
            x509.SubjectAlternativeName([_general_name(n) for n in sans]), critical=False
        )
    )
    return _identify_issuer(builder, issuer.certificate).sign(issuer.key, hash_for(issuer.key))


def authority_name(kind: str, digits: str) -> str:
    """The common name of a CA; `digits` tell it from the others of its kind.

    Two CAs of one cluster must not share a name (RFC 5280 section 4.1.2.6): while they are rotated
    both are around, and a verifier looks for an issuer by its name first.
    """
    return f"secure-ray {kind} CA {digits[:12]}"


def _digits(serial: int) -> str:
    return f"{serial:040x}"


def _builder(
    subject: x509.Name, issuer: x509.Name, serial: int, key: PublicKey
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .serial_number(serial)
        .public_key(key)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _valid(
    builder: x509.CertificateBuilder,
    now: datetime,
    life: timedelta,
    *,
    issuer: x509.Certificate | None,
) -> x509.CertificateBuilder:
    if now.tzinfo is None:
        raise ValueError("the time must have a time zone")
    now = now.astimezone(timezone.utc).replace(microsecond=0)
    end = (now + life).replace(microsecond=0)
    if issuer is not None:
        # A leaf that outlives its issuer looks good in every listing and fails every handshake.
        end = min(end, issuer.not_valid_after_utc)
    start = (now - backdating(end - now)).replace(microsecond=0)
    return builder.not_valid_before(start).not_valid_after(end)


def as_authority(builder: _Builder, *, path_length: int) -> _Builder:
    """Make a CA of what is built: a certificate, or a request for one."""
    # RFC 5280 sections 4.2.1.9 and 4.2.1.3: both critical in a CA.
    return builder.add_extension(
        x509.BasicConstraints(ca=True, path_length=path_length), critical=True
    ).add_extension(_key_usage(key_cert_sign=True, crl_sign=True), critical=True)


def _identify_issuer(
    builder: x509.CertificateBuilder, issuer: x509.Certificate
) -> x509.CertificateBuilder:
    # Copied from the issuer's own identifier instead of computed anew: RFC 5280 section 4.2.1.1
    # asks for the same value, however the issuer came to it.
    identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return builder.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False
    )


def _key_usage(
    *, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)
