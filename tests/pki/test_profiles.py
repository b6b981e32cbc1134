"""Every field and extension of every kind of certificate is as it should be."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID
from hypothesis import given
from hypothesis import strategies as st

from secure_ray.pki.keys import new_key, new_root_key
from secure_ray.pki.profiles import (
    Owner,
    Signer,
    issuing_certificate,
    leaf_certificate,
    root_certificate,
)

NOW = datetime(2030, 1, 1, 12, 30, 15, 999, tzinfo=timezone.utc)
SKEW = timedelta(minutes=5)
DAY = timedelta(days=1)
OWNER = Owner("team-a", "c1d2e3f4")
SANS = ("10.0.0.5", "::1", "head.example.com")

ROOT_KEY, ISSUING_KEY, LEAF_KEY = new_root_key(), new_key(), new_key()
ROOT = Signer(root_certificate(OWNER, ROOT_KEY, now=NOW, life=3650 * DAY), ROOT_KEY)


def make_issuing(now: datetime = NOW, life: timedelta = 365 * DAY, root: Signer = ROOT) -> Signer:
    certificate = issuing_certificate(
        OWNER, ISSUING_KEY.public_key(), root=root, now=now, life=life
    )
    return Signer(certificate, ISSUING_KEY)


ISSUING = make_issuing()


def make_leaf(
    now: datetime = NOW, life: timedelta = 90 * DAY, by: Signer = ISSUING
) -> x509.Certificate:
    return leaf_certificate(OWNER, LEAF_KEY.public_key(), issuer=by, sans=SANS, now=now, life=life)


LEAF = make_leaf()

SIGN_CERTIFICATES = {"key_cert_sign", "crl_sign"}
SIGN_HANDSHAKES = {"digital_signature"}


def usages(certificate: x509.Certificate) -> set[str]:
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    names = [
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
    ]
    return {name for name in names if getattr(usage, name)}


def assert_has_exactly(
    certificate: x509.Certificate, critical: dict[x509.ObjectIdentifier, bool]
) -> None:
    assert {e.oid: e.critical for e in certificate.extensions} == critical


def assert_is_authority(certificate: x509.Certificate, *, path_length: int) -> None:
    assert_has_exactly(
        certificate,
        {
            ExtensionOID.BASIC_CONSTRAINTS: True,
            ExtensionOID.KEY_USAGE: True,
            ExtensionOID.SUBJECT_KEY_IDENTIFIER: False,
            ExtensionOID.AUTHORITY_KEY_IDENTIFIER: False,
        },
    )
    basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert (basic.ca, basic.path_length) == (True, path_length)
    assert usages(certificate) == SIGN_CERTIFICATES


def test_the_root_is_an_authority_for_authorities() -> None:
    assert_is_authority(ROOT.certificate, path_length=1)


def test_the_issuing_ca_is_an_authority_for_leaves_only() -> None:
    assert_is_authority(ISSUING.certificate, path_length=0)


def test_the_leaf_is_no_authority_and_serves_both_ends() -> None:
    assert_has_exactly(
        LEAF,
        {
            ExtensionOID.BASIC_CONSTRAINTS: True,
            ExtensionOID.KEY_USAGE: True,
            ExtensionOID.EXTENDED_KEY_USAGE: False,
            ExtensionOID.SUBJECT_ALTERNATIVE_NAME: False,
            ExtensionOID.SUBJECT_KEY_IDENTIFIER: False,
            ExtensionOID.AUTHORITY_KEY_IDENTIFIER: False,
        },
    )
    basic = LEAF.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert (basic.ca, basic.path_length) == (False, None)
    assert usages(LEAF) == SIGN_HANDSHAKES
    extended = LEAF.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(extended) == [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]


def test_the_leaf_stands_for_its_addresses_as_addresses_and_its_names_as_names() -> None:
    sans = LEAF.extensions.get_extension_for_class(x509.SubjectAlternativeName).value

    assert list(sans) == [
        x509.IPAddress(ip_address("10.0.0.5")),
        x509.IPAddress(ip_address("::1")),
        x509.DNSName("head.example.com"),
    ]


@pytest.mark.parametrize(
    ("certificate", "issuer"),
    [
        (ROOT.certificate, ROOT.certificate),
        (ISSUING.certificate, ROOT.certificate),
        (LEAF, ISSUING.certificate),
    ],
    ids=["root", "issuing", "leaf"],
)
def test_each_names_its_issuer_by_name_and_key(
    certificate: x509.Certificate, issuer: x509.Certificate
) -> None:
    authority = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    subject = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value

    assert authority.key_identifier == subject.digest
    assert certificate.issuer == issuer.subject
    certificate.verify_directly_issued_by(issuer)


@pytest.mark.parametrize(
    ("certificate", "curve", "signature"),
    [
        (ROOT.certificate, ec.SECP384R1, SHA384),
        (ISSUING.certificate, ec.SECP256R1, SHA384),
        (LEAF, ec.SECP256R1, SHA256),
    ],
    ids=["root", "issuing", "leaf"],
)
def test_each_has_its_curve_and_is_signed_with_the_hash_of_its_issuers(
    certificate: x509.Certificate, curve: type, signature: type
) -> None:
    key = certificate.public_key()

    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert isinstance(key.curve, curve)
    assert isinstance(certificate.signature_hash_algorithm, signature)
    assert certificate.version is x509.Version.v3


def test_names_carry_the_cluster_and_its_id() -> None:
    assert LEAF.subject.rfc4514_string() == "CN=secure-ray node,OU=c1d2e3f4,O=team-a"
    assert ROOT.certificate.subject.rfc4514_string().endswith(",OU=c1d2e3f4,O=team-a")


def test_two_authorities_of_one_cluster_have_two_names_and_serial_numbers() -> None:
    other = make_issuing().certificate

    assert other.subject != ISSUING.certificate.subject
    assert other.serial_number != ISSUING.certificate.serial_number
    assert ISSUING.certificate.subject != ROOT.certificate.subject


@pytest.mark.parametrize(
    ("certificate", "life"),
    [(ROOT.certificate, 3650 * DAY), (ISSUING.certificate, 365 * DAY), (LEAF, 90 * DAY)],
    ids=["root", "issuing", "leaf"],
)
def test_a_life_begins_five_minutes_ago(certificate: x509.Certificate, life: timedelta) -> None:
    whole_second = NOW.replace(microsecond=0)

    assert certificate.not_valid_before_utc == whole_second - SKEW
    assert certificate.not_valid_after_utc == whole_second + life


@given(
    later=st.timedeltas(timedelta(0), 365 * DAY - timedelta(seconds=1)),
    life=st.timedeltas(timedelta(minutes=1), 20_000 * DAY),
)
def test_nothing_outlives_its_issuer(later: timedelta, life: timedelta) -> None:
    issuing = make_issuing(NOW + later, life)
    leaf = make_leaf(NOW + later, life, issuing)

    assert issuing.certificate.not_valid_after_utc <= ROOT.certificate.not_valid_after_utc
    assert leaf.not_valid_after_utc <= issuing.certificate.not_valid_after_utc


def test_a_time_in_another_zone_is_the_same_time() -> None:
    there = NOW.astimezone(timezone(timedelta(hours=9)))

    assert make_leaf(there).not_valid_after_utc == LEAF.not_valid_after_utc


def test_a_time_without_a_zone_is_a_bug() -> None:
    with pytest.raises(ValueError, match="time zone"):
        make_leaf(NOW.replace(tzinfo=None))


def test_a_signer_does_not_show_its_key() -> None:
    assert "key" not in repr(ROOT).lower().replace("secure-ray", "")
