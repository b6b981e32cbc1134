"""Proof that a node holds a join token, and proof that it holds the key it wants certified.

The token's secret never crosses the wire. Both sides know a signing key that follows from it:

    secret -> HKDF-SHA256 (RFC 5869) -> seed -> Ed25519 (RFC 8032)

The head keeps the public half only, so that a copy of its register of tokens joins nobody.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from secure_ray.pki.keys import PrivateKey, PublicKey, hash_for, is_accepted_key, key_digest

if TYPE_CHECKING:
    from secure_ray.base.secrets import Secret

_PURPOSE = b"secure-ray join 1"
_LONGEST_REQUEST = 8192


class UnusableRequestError(ValueError):
    """A certificate request that nothing is issued for; the text says why, without its content."""


@dataclass(frozen=True)
class KeyRequest:
    """What is taken from a certificate request: the key, proven to be the sender's. No names.

    Attributes:
        key: What gets certified.
        digest: SHA-256 of its SubjectPublicKeyInfo; names the key.
    """

    key: PublicKey = field(repr=False)
    digest: bytes


@dataclass(frozen=True)
class Claim:
    """What the token's key signs, so that no part of it can be replaced on the way.

    Attributes:
        token: The token's id.
        cluster_id: The cluster to join.
        nonce: The head's, fresh.
        key: SHA-256 of the SubjectPublicKeyInfo that is to be certified.
        name: The node's name.
    """

    token: str
    cluster_id: str
    nonce: bytes
    key: bytes
    name: str

    def message(self) -> bytes:
        """The bytes to sign; each part after its length, so that none runs into the next."""
        parts = (
            _PURPOSE,
            self.token.encode(),
            self.cluster_id.encode(),
            self.nonce,
            self.key,
            self.name.encode(),
        )
        return b"".join(struct.pack(">I", len(part)) + part for part in parts)


def public_token_key(secret: Secret, *, token: str, cluster_id: str) -> bytes:
    """The 32 bytes that the head keeps of a token."""
    key = _token_key(secret, token, cluster_id).public_key()
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw)


def sign_claim(secret: Secret, claim: Claim) -> bytes:
    """The signature by the token's key."""
    return _token_key(secret, claim.token, claim.cluster_id).sign(claim.message())


def proves(public_key: bytes, claim: Claim, signature: bytes) -> bool:
    """Whether `signature` was made by the token of `public_key` for exactly this claim."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, claim.message())
    except (InvalidSignature, ValueError):
        return False
    return True


def make_request(key: PrivateKey) -> bytes:
    """A certificate request (PKCS #10, RFC 2986) in PEM; the head decides about names."""
    empty = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return empty.sign(key, hash_for(key)).public_bytes(Encoding.PEM)


def read_request(pem: bytes) -> KeyRequest:
    """The key in a certificate request, whose sender has its private half.

    Subject, extensions and attributes that it asks for are not looked at.

    Raises:
        UnusableRequestError: it is none, not signed by its own key, or its key is of a kind that
            is not accepted.
    """
    if len(pem) > _LONGEST_REQUEST:
        raise UnusableRequestError("it is too long")
    try:
        request = x509.load_pem_x509_csr(pem)
        key = request.public_key()
        accepted = is_accepted_key(key)
        # Only then: the signature of a huge RSA key takes long to check.
        signed = accepted and request.is_signature_valid
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise UnusableRequestError("it cannot be parsed") from None
    if not accepted:
        raise UnusableRequestError("its key is neither on P-256 or P-384 nor RSA of 3072 bits")
    if not signed:
        raise UnusableRequestError("it is not signed by its own key")
    public = cast("PublicKey", key)
    return KeyRequest(public, key_digest(public))


def _token_key(secret: Secret, token: str, cluster_id: str) -> Ed25519PrivateKey:
    derived = HKDF(
        algorithm=SHA256(),
        length=32,
        salt=cluster_id.encode(),
        info=_PURPOSE + b" token " + token.encode(),
    ).derive(bytes.fromhex(secret.reveal()))
    return Ed25519PrivateKey.from_private_bytes(derived)
