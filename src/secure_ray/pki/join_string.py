"""The join string: all that a new node needs to find and recognise the head, in one pasted line.

    SRJ1-<id>-<payload>-<check>

    id       8 letters: the token's public name, for lists and logs
    payload  base64url, without padding, of

             cluster id   8 bytes
             kind         1 byte: 0 for a worker
             counts       1 byte: pins in the high half, addresses in the low half
             pins         32 bytes each, 1 or 2: SHA-256 of the root CA's SubjectPublicKeyInfo
             secret       20 bytes
             expiry       4 bytes, seconds since 1970
             addresses    1 to 4: 1 byte for the family (4 or 6), 4 or 16 bytes, 2 bytes port

    check    6 hexadecimal digits: the low 24 bits of the CRC-32 of all before the last hyphen

Numbers are big-endian. The check finds slips of copying; it protects from nobody.
"""

from __future__ import annotations

import base64
import binascii
import re
import struct
import zlib
from dataclasses import dataclass
from datetime import datetime, timezone
from ipaddress import IPv4Address, IPv6Address, ip_address

from secure_ray.base.errors import UsageError
from secure_ray.base.secrets import Secret
from secure_ray.policy.addresses import host_port

PREFIX = "SRJ1"
SECRET_BITS = 160
CLUSTER_ID_DIGITS = 16
PIN_BYTES = 32
MOST_PINS = 2
MOST_ADDRESSES = 4
_ID = re.compile(r"[a-z2-7]{8}")
_HEAD = struct.Struct(">8sBB")
_LONGEST_TEXT = 1024
_AGAIN = "copy the whole string once more, or on the head: secure-ray join-token create"
_OTHER_KINDS = {
    "SRU1": "a user's token: it opens the gateway to a person and lets no node join",
    "SRR1": "a recovery string: it is for a node that was in the cluster before",
}


@dataclass(frozen=True)
class Endpoint:
    """An address in canonical spelling, without scope, and a TCP port."""

    address: str
    port: int

    def __str__(self) -> str:
        return host_port(self.address, self.port)


@dataclass(frozen=True)
class JoinString:
    """What a join string says.

    Attributes:
        id: The token's public name.
        cluster_id: Of the cluster to join, 16 hexadecimal digits.
        pins: SHA-256 of the root CA's public key; two while the root is being replaced.
        secret: 160 bits as hexadecimal digits. It never leaves the node.
        expires: Until when it can be used, in UTC.
        heads: Where the head may be reached, in the order to try.
    """

    id: str
    cluster_id: str
    pins: tuple[bytes, ...]
    secret: Secret
    expires: datetime
    heads: tuple[Endpoint, ...]

    def text(self) -> Secret:
        """The string to paste.

        Raises:
            ValueError: a field does not fit the format.
        """
        return Secret(_with_check(f"{PREFIX}-{self.id}-{_to_text(_pack(self))}"))


def parse_join_string(text: str) -> JoinString:
    """The join string in `text`; what a terminal or a mail broke into lines is put together.

    Raises:
        UsageError: it is none, is one of another kind, or was damaged on its way.
    """
    compact = _compact(text)
    _require_kind(compact)
    if not compact.isascii():
        raise UsageError(
            "SR-JOIN-003", "the join string was altered: it holds what is no letter", fix=_AGAIN
        )
    if len(compact) > _LONGEST_TEXT:
        raise UsageError(
            "SR-JOIN-002", f"the join string is too long ({len(compact)} characters)", fix=_AGAIN
        )
    # By place and not by hyphen: base64url has hyphens of its own.
    id_, payload, check = compact[5:13], compact[14:-7], compact[-6:]
    if not _ID.fullmatch(id_) or compact[13:14] != "-" or len(compact) < len(PREFIX) + 17:
        raise UsageError("SR-JOIN-002", "the join string is cut short", fix=_AGAIN)
    _require_check(compact, check)
    try:
        return _unpack(id_, _from_text(payload))
    except (ValueError, struct.error):
        raise UsageError(
            "SR-JOIN-005",
            "the join string is whole, but this version cannot read what it says",
            fix="install the version that the head has: pip install secure-ray==VERSION",
        ) from None


def is_whole(text: str) -> bool:
    """Whether `text` is a join string from its beginning to its check."""
    compact = _compact(text)
    return compact.isascii() and compact[-7:-6] == "-" and compact == _with_check(compact[:-7])


def _compact(text: str) -> str:
    return "".join(text.split()).strip("\"'`")


def _require_kind(compact: str) -> None:
    prefix, hyphen, _ = compact.partition("-")
    if hyphen and prefix == PREFIX:
        return
    if prefix in _OTHER_KINDS:
        raise UsageError(
            "SR-JOIN-004",
            f"this is {_OTHER_KINDS[prefix]}",
            fix="on the head: secure-ray join-token create",
        )
    if hyphen and re.fullmatch(r"SRJ\d", prefix):
        raise UsageError(
            "SR-JOIN-005",
            f"this version reads join strings that begin with {PREFIX}, not with {prefix}",
            fix="install the version that the head has: pip install secure-ray==VERSION",
        )
    what = "nothing was given" if not compact else f"it does not begin with {PREFIX}-"
    raise UsageError("SR-JOIN-001", f"this is no join string: {what}", fix=_AGAIN)


def _require_check(compact: str, check: str) -> None:
    if compact[-7] == "-" and compact == _with_check(compact[:-7]):
        return
    # A whole string has its last hyphen before six digits; otherwise the end is missing.
    whole = compact[-7] == "-" and re.fullmatch(r"[0-9a-f]{6}", check)
    if whole:
        raise UsageError(
            "SR-JOIN-003", "the join string was altered: its check does not fit", fix=_AGAIN
        )
    raise UsageError("SR-JOIN-002", "the join string is cut short", fix=_AGAIN)


def _with_check(body: str) -> str:
    return f"{body}-{zlib.crc32(body.encode()) & 0xFFFFFF:06x}"


def _pack(string: JoinString) -> bytes:
    fits = (
        _ID.fullmatch(string.id)
        and 1 <= len(string.pins) <= MOST_PINS
        and all(len(pin) == PIN_BYTES for pin in string.pins)
        and 1 <= len(string.heads) <= MOST_ADDRESSES
        and len(string.secret.reveal()) == SECRET_BITS // 4
        and len(string.cluster_id) == CLUSTER_ID_DIGITS
    )
    if not fits:
        raise ValueError("a field does not fit into a join string")
    counts = len(string.pins) << 4 | len(string.heads)
    try:
        return b"".join(
            [
                _HEAD.pack(bytes.fromhex(string.cluster_id), 0, counts),
                *string.pins,
                bytes.fromhex(string.secret.reveal()),
                struct.pack(">I", int(string.expires.timestamp())),
                *map(_pack_endpoint, string.heads),
            ]
        )
    except struct.error as error:
        raise ValueError(str(error)) from None


def _pack_endpoint(endpoint: Endpoint) -> bytes:
    address = ip_address(endpoint.address)
    return bytes([address.version]) + address.packed + struct.pack(">H", endpoint.port)


def _unpack(id_: str, payload: bytes) -> JoinString:
    reader = _Reader(payload)
    cluster_id, kind, counts = _HEAD.unpack(reader.take(_HEAD.size))
    pins, addresses = counts >> 4, counts & 0xF
    if kind != 0 or not 1 <= pins <= MOST_PINS or not 1 <= addresses <= MOST_ADDRESSES:
        raise ValueError("of a later format")
    string = JoinString(
        id=id_,
        cluster_id=cluster_id.hex(),
        pins=tuple(reader.take(PIN_BYTES) for _ in range(pins)),
        secret=Secret(reader.take(SECRET_BITS // 8).hex()),
        expires=datetime.fromtimestamp(reader.number(4), timezone.utc),
        heads=tuple(_unpack_endpoint(reader) for _ in range(addresses)),
    )
    reader.require_end()
    return string


def _unpack_endpoint(reader: _Reader) -> Endpoint:
    family = reader.number(1)
    if family == 4:  # noqa: PLR2004  # the names of the families are numbers
        address = str(IPv4Address(reader.take(4)))
    elif family == 6:  # noqa: PLR2004
        address = str(IPv6Address(reader.take(16)))
    else:
        raise ValueError("neither IPv4 nor IPv6")
    return Endpoint(address, reader.number(2))


class _Reader:
    """Takes bytes from the front; asking for more than there are is an error."""

    def __init__(self, content: bytes) -> None:
        self._rest = content

    def take(self, count: int) -> bytes:
        taken, self._rest = self._rest[:count], self._rest[count:]
        if len(taken) != count:
            raise ValueError("too short")
        return taken

    def number(self, count: int) -> int:
        return int.from_bytes(self.take(count), "big")

    def require_end(self) -> None:
        if self._rest:
            raise ValueError("too long")


def _to_text(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def _from_text(text: str) -> bytes:
    try:
        content = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("not base64url") from None
    if _to_text(content) != text:
        raise ValueError("not the one spelling of its bytes")
    return content
