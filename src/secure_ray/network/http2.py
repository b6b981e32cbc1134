"""The few HTTP/2 frames (RFC 9113) and HPACK strings (RFC 7541) of one call to a gRPC server."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket

    from secure_ray.base.secrets import Secret

_DATA, _HEADERS, _SETTINGS = 0x0, 0x1, 0x4
_END_STREAM, _END_HEADERS = 0x1, 0x4
_FRAME_HEADER = 9
_STREAM = 1
_MOST_BYTES = 1 << 20
_EMPTY_MESSAGE = bytes(5)  # not compressed, length 0: the gRPC framing of an empty protobuf
# gRPC's C core writes this header as a plain literal, never Huffman-coded, and so do its bindings.
_STATUS = re.compile(rb"\x0bgrpc-status(?:\x01(\d)|\x02(\d\d))", re.DOTALL)


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    length = len(payload).to_bytes(3, "big")
    return length + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


# What a client says first: the preface of RFC 9113 section 3.4 and an empty SETTINGS.
GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(_SETTINGS, 0, 0, b"")


def request(method: str, *, host: str, token: Secret | None) -> bytes:
    """The frames of a call to `method` with an empty message."""
    headers = {
        ":method": "POST",
        ":scheme": "https",
        ":path": method,
        ":authority": host,
        "te": "trailers",
        "content-type": "application/grpc",
    }
    if token is not None:
        headers["authorization"] = f"Bearer {token.reveal()}"
    block = b"".join(b"\x00" + _string(name) + _string(value) for name, value in headers.items())
    return _frame(_HEADERS, _END_HEADERS, _STREAM, block) + _frame(
        _DATA, _END_STREAM, _STREAM, _EMPTY_MESSAGE
    )


def read_status(connection: socket.socket, received: bytes) -> int | None:
    """The `grpc-status` of the call, reading on after `received`; None when the server gave none."""
    while len(received) < _MOST_BYTES:
        for block in _header_blocks(received):
            found = _STATUS.search(block)
            if found:
                return int(found[1] or found[2])
        more = connection.recv(65536)
        if not more:
            return None
        received += more
    return None


def _header_blocks(received: bytes) -> list[bytes]:
    """The complete HEADERS payloads of our stream."""
    blocks, at = [], 0
    while at + _FRAME_HEADER <= len(received):
        end = at + _FRAME_HEADER + int.from_bytes(received[at : at + 3], "big")
        stream = int.from_bytes(received[at + 5 : at + _FRAME_HEADER], "big")
        if received[at + 3] == _HEADERS and stream == _STREAM and end <= len(received):
            blocks.append(received[at + _FRAME_HEADER : end])
        at = end
    return blocks


def _string(text: str) -> bytes:
    """An HPACK string without Huffman coding (RFC 7541 section 5.2)."""
    data = text.encode()
    length, prefix = len(data), 0x7F
    if length < prefix:
        return bytes((length,)) + data
    rest, digits = length - prefix, bytearray((prefix,))
    while rest >= 0x80:  # noqa: PLR2004  # seven bits a byte, RFC 7541 section 5.1
        digits.append(rest % 0x80 + 0x80)
        rest //= 0x80
    digits.append(rest)
    return bytes(digits) + data
