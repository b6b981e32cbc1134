"""Private keys as PEM: read, written, and the root's encrypted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

if TYPE_CHECKING:
    from secure_ray.base.secrets import Secret

PASSPHRASE_BITS = 256


class UnusableKeyError(ValueError):
    """A PEM file holds no private key of ours, or the passphrase does not open it."""


def key_to_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """A key as PKCS #8 in clear; whoever can read the file has the key."""
    return _pem(key, NoEncryption())


def key_to_sealed_pem(key: ec.EllipticCurvePrivateKey, passphrase: Secret) -> bytes:
    """A key as PKCS #8, encrypted.

    The key derivation is a quick one (PBKDF2 with 2048 rounds, OpenSSL's default), which only a
    passphrase of full strength makes up for: 256 random bits, not words from a person.
    """
    return _pem(key, BestAvailableEncryption(passphrase.reveal().encode()))


def key_from_pem(pem: bytes, passphrase: Secret | None = None) -> ec.EllipticCurvePrivateKey:
    """The elliptic-curve key in `pem`.

    Raises:
        UnusableKeyError: there is none, or the passphrase does not open it.
    """
    password = passphrase.reveal().encode() if passphrase else None
    try:
        key = load_pem_private_key(pem, password)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # The cause is dropped: it could quote what it failed to parse.
        raise UnusableKeyError from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise UnusableKeyError
    return key


def _pem(key: ec.EllipticCurvePrivateKey, encryption: KeySerializationEncryption) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
