"""Private keys as PEM."""

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from secure_ray.base.secrets import Secret
from secure_ray.pki.keys import (
    KeyKind,
    UnusableKeyError,
    is_accepted_key,
    key_digest,
    key_from_pem,
    key_to_pem,
    key_to_sealed_pem,
    new_key,
    new_leaf_key,
    new_root_key,
)

PASSPHRASE = Secret.random_hex(256)
KEY = new_key()
OTHER_KIND = rsa.generate_private_key(65537, 2048).private_bytes(
    Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
)


def test_a_key_comes_back_from_its_pem() -> None:
    assert key_from_pem(key_to_pem(KEY)).private_numbers() == KEY.private_numbers()


def test_a_sealed_key_comes_back_with_its_passphrase() -> None:
    key = new_root_key()
    sealed = key_to_sealed_pem(key, PASSPHRASE)

    assert sealed.startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n")
    assert key_from_pem(sealed, PASSPHRASE).private_numbers() == key.private_numbers()


@pytest.mark.parametrize(
    ("pem", "passphrase"),
    [
        (key_to_sealed_pem(KEY, PASSPHRASE), None),
        (key_to_sealed_pem(KEY, PASSPHRASE), Secret("another")),
        (key_to_pem(KEY), PASSPHRASE),
        (key_to_pem(KEY)[:-60], None),
        (b"", None),
        (OTHER_KIND, None),
    ],
    ids=["no passphrase", "wrong passphrase", "not sealed", "cut off", "empty", "RSA"],
)
def test_anything_else_is_unusable(pem: bytes, passphrase: Secret | None) -> None:
    with pytest.raises(UnusableKeyError):
        key_from_pem(pem, passphrase)


@pytest.mark.parametrize("kind", ["p256", "p384", "rsa3072"])
def test_a_key_of_every_kind_comes_back_and_is_accepted(kind: KeyKind) -> None:
    key = new_leaf_key(kind)

    assert is_accepted_key(key.public_key())
    assert key_digest(key_from_pem(key_to_pem(key)).public_key()) == key_digest(key.public_key())


@pytest.mark.parametrize(
    "key",
    [
        rsa.generate_private_key(65537, 2048),
        ec.generate_private_key(ec.SECP521R1()),
        ed25519.Ed25519PrivateKey.generate(),
    ],
    ids=["RSA-2048", "P-521", "Ed25519"],
)
def test_no_other_kind_is_accepted(key: Any) -> None:
    assert not is_accepted_key(key.public_key())
