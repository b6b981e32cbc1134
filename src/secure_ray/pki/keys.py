"""Private keys: of which kinds, made, and as PEM; the root's encrypted.

Which kinds Ray's gRPC takes was measured (grpcio 1.85.3): ECDSA on P-256 and P-384 and RSA work at
both ends; with an Ed25519 leaf BoringSSL fails every handshake, so there is no such kind.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Literal

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

    from secure_ray.base.secrets import Secret

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey
KeyKind = Literal["p256", "p384", "rsa3072"]

PASSPHRASE_BITS = 256
_CURVES = ("secp256r1", "secp384r1")
# From what is as strong as P-256 (NIST SP 800-57 part 1, table 2) to what does not slow the head
# down when it checks the signature of a stranger's request.
_RSA_BITS = range(3072, 4097)
_RSA_EXPONENT = 65537


class UnusableKeyError(ValueError):
    """A PEM file holds no private key of ours, or the passphrase does not open it."""


def new_root_key() -> ec.EllipticCurvePrivateKey:
    """A P-384 key: it has to last ten years."""
    return ec.generate_private_key(ec.SECP384R1())


def new_key() -> ec.EllipticCurvePrivateKey:
    """A P-256 key, for an issuing CA: quick in handshakes, and replaced soon."""
    return ec.generate_private_key(ec.SECP256R1())


def new_leaf_key(kind: KeyKind) -> PrivateKey:
    """A key of the kind that was chosen for leaves."""
    if kind == "rsa3072":
        return rsa.generate_private_key(_RSA_EXPONENT, 3072)
    return ec.generate_private_key(ec.SECP384R1() if kind == "p384" else ec.SECP256R1())


def is_accepted_key(key: object) -> bool:
    """Whether a public key is of a kind that gets certified."""
    if isinstance(key, ec.EllipticCurvePublicKey):
        return key.curve.name in _CURVES
    return isinstance(key, rsa.RSAPublicKey) and key.key_size in _RSA_BITS


def hash_for(key: PrivateKey) -> SHA256 | SHA384:
    """What a key signs with: a hash no weaker than itself (RFC 5480 section 4)."""
    large = isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP384R1)
    return SHA384() if large else SHA256()


def key_digest(key: CertificatePublicKeyTypes) -> bytes:
    """SHA-256 of the key's SubjectPublicKeyInfo (RFC 5280 section 4.1); names the key."""
    encoded = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(encoded).digest()


def key_to_pem(key: PrivateKey) -> bytes:
    """A key as PKCS #8 in clear; whoever can read the file has the key."""
    return _pem(key, NoEncryption())


def key_to_sealed_pem(key: PrivateKey, passphrase: Secret) -> bytes:
    """A key as PKCS #8, encrypted.

    The key derivation is a quick one (PBKDF2 with 2048 rounds, OpenSSL's default), which only a
    passphrase of full strength makes up for: 256 random bits, not words from a person.
    """
    return _pem(key, BestAvailableEncryption(passphrase.reveal().encode()))


def key_from_pem(pem: bytes, passphrase: Secret | None = None) -> PrivateKey:
    """The key in `pem`.

    Raises:
        UnusableKeyError: there is none of a kind that we make, or the passphrase does not open it.
    """
    password = passphrase.reveal().encode() if passphrase else None
    try:
        key = load_pem_private_key(pem, password)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # The cause is dropped: it could quote what it failed to parse.
        raise UnusableKeyError from None
    if isinstance(key, (ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey)) and is_accepted_key(
        key.public_key()
    ):
        return key
    raise UnusableKeyError


def _pem(key: PrivateKey, encryption: KeySerializationEncryption) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
