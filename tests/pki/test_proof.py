"""A token is proven without being shown, and a request proves its key and nothing else."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from secure_ray.base.secrets import Secret
from secure_ray.pki.keys import key_digest
from secure_ray.pki.proof import (
    Claim,
    UnusableRequestError,
    make_request,
    proves,
    public_token_key,
    read_request,
    sign_claim,
)

SECRET = Secret("ab" * 20)
CLAIM = Claim("abcdefgh", "c1d2e3f4a5b60718", b"nonce", b"k" * 32, "w1")


def public(secret: Secret = SECRET, token: str = CLAIM.token, cluster: str = "") -> bytes:
    return public_token_key(secret, token=token, cluster_id=cluster or CLAIM.cluster_id)


def test_the_holder_of_the_secret_proves_it() -> None:
    assert proves(public(), CLAIM, sign_claim(SECRET, CLAIM))


@pytest.mark.parametrize("name", [field.name for field in fields(Claim)])
def test_no_part_of_a_claim_can_be_replaced(name: str) -> None:
    value = getattr(CLAIM, name)
    other = replace(CLAIM, **{name: value[:-1] + (b"x" if isinstance(value, bytes) else "x")})

    assert not proves(public(), other, sign_claim(SECRET, CLAIM))


def test_parts_do_not_run_into_each_other() -> None:
    assert replace(CLAIM, nonce=b"noncek", key=b"k" * 31).message() != CLAIM.message()


def test_keys_differ_by_secret_token_and_cluster() -> None:
    keys = {public(), public(Secret("cd" * 20)), public(token="bbcdefgh"), public(cluster="aa")}

    assert len(keys) == 4


@given(st.binary(max_size=80), st.binary(max_size=80))
def test_anything_else_proves_nothing(key: bytes, signature: bytes) -> None:
    assert not proves(public(), CLAIM, signature)
    assert not proves(key, CLAIM, sign_claim(SECRET, CLAIM))


def test_what_is_kept_is_not_the_secret() -> None:
    assert SECRET.reveal() not in public().hex()
    assert len(public()) == 32


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1()], ids=lambda curve: curve.name)
def test_a_request_proves_its_key(curve: ec.EllipticCurve) -> None:
    key = ec.generate_private_key(curve)

    found = read_request(make_request(key))

    assert found.key == key.public_key()
    assert found.digest == key_digest(key.public_key())


def request_for(key: object, *, names: bool = False) -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "root")] if names else [])
    )
    if names:
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), True)  # noqa: FBT003
    digest = None if isinstance(key, ed25519.Ed25519PrivateKey) else SHA256()
    return builder.sign(key, digest).public_bytes(Encoding.PEM)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "key",
    [
        rsa.generate_private_key(65537, 2048),
        ed25519.Ed25519PrivateKey.generate(),
        ec.generate_private_key(ec.SECP521R1()),
        ec.generate_private_key(ec.SECP256K1()),
    ],
    ids=lambda key: type(key).__name__,
)
def test_other_kinds_of_keys_are_not_accepted(key: object) -> None:
    with pytest.raises(UnusableRequestError, match="P-256"):
        read_request(request_for(key))


def test_names_and_extensions_that_are_asked_for_are_not_looked_at() -> None:
    found = read_request(request_for(ec.generate_private_key(ec.SECP256R1()), names=True))

    assert {field.name for field in fields(found)} == {"key", "digest"}


def test_a_request_that_somebody_else_signed_is_refused() -> None:
    """A key that was seen elsewhere cannot be certified by who does not have it."""
    mine, theirs = (request_for(ec.generate_private_key(ec.SECP256R1())) for _ in range(2))
    der = bytearray(x509.load_pem_x509_csr(mine).public_bytes(Encoding.DER))
    # The signature is last in PKCS #10; any other of the same length will do.
    other = x509.load_pem_x509_csr(theirs).public_bytes(Encoding.DER)
    der[-8:] = other[-8:]
    spoilt = x509.load_der_x509_csr(bytes(der)).public_bytes(Encoding.PEM)

    with pytest.raises(UnusableRequestError, match="its own key"):
        read_request(spoilt)


@given(st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)))
def test_anything_else_is_no_request(content: bytes) -> None:
    wrapped = b"-----BEGIN CERTIFICATE REQUEST-----\n" + content
    for pem in (content, wrapped + b"\n-----END CERTIFICATE REQUEST-----\n", content * 9000):
        with pytest.raises(UnusableRequestError):
            read_request(pem)
