"""Nonces that cost no memory until they are spent: each carries its time and a seal of ours.

Whoever asks for a million of them fills nothing. Only those that come back with a valid proof are
remembered, until they would have run out anyway.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
import struct

LIFE = 60.0  # seconds
_SEAL_BYTES = 16
_RANDOM_BYTES = 16


class Nonces:
    """Makes nonces and takes each back once. A new object knows none of another's.

    Times are seconds of a clock that is not set back.
    """

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        self._spent: dict[str, float] = {}

    def make(self, now: float) -> str:
        """A nonce that can be spent for `LIFE` seconds."""
        body = struct.pack(">d", now) + secrets.token_bytes(_RANDOM_BYTES)
        return base64.urlsafe_b64encode(body + self._seal(body)).decode()

    def is_fresh(self, nonce: str, now: float) -> bool:
        """Whether it is one of ours, not too old and not spent."""
        try:
            content = base64.b64decode(nonce, altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            return False
        # Other letters may spell the same bytes: it would be spent once for each spelling.
        if base64.urlsafe_b64encode(content).decode() != nonce:
            return False
        body, seal = content[:-_SEAL_BYTES], content[-_SEAL_BYTES:]
        if not hmac.compare_digest(seal, self._seal(body)):
            return False
        (made,) = struct.unpack_from(">d", body)
        return 0 <= now - made <= LIFE and nonce not in self._spent

    def spend(self, nonce: str, now: float) -> bool:
        """Take it back; False when it cannot be spent (any more)."""
        if not self.is_fresh(nonce, now):
            return False
        self._spent = {old: end for old, end in self._spent.items() if end >= now}
        self._spent[nonce] = now + LIFE
        return True

    def _seal(self, body: bytes) -> bytes:
        return hmac.new(self._key, body, hashlib.sha256).digest()[:_SEAL_BYTES]
