from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secure_ray.base.secrets import Secret
from secure_ray.network import http2


def _headers(payload: bytes, *, stream: int = 1) -> bytes:
    return len(payload).to_bytes(3, "big") + b"\x01\x05" + stream.to_bytes(4, "big") + payload


def _read(*chunks: bytes) -> int | None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        for chunk in chunks[1:]:
            theirs.sendall(chunk)
        theirs.shutdown(socket.SHUT_WR)
        return http2.read_status(ours, chunks[0])


@pytest.mark.parametrize(
    ("value", "status"), [(b"\x010", 0), (b"\x012", 2), (b"\x0216", 16), (b"\x0212", 12)]
)
def test_status_of_the_trailers(value: bytes, status: int) -> None:
    assert _read(_headers(b"\x88\x40\x0bgrpc-status" + value)) == status


def test_status_split_over_reads() -> None:
    answer = _headers(b"\x00\x0bgrpc-status\x0216")
    assert _read(answer[:5], answer[5:20], answer[20:]) == 16


def test_status_of_another_stream_is_not_ours() -> None:
    assert _read(_headers(b"\x00\x0bgrpc-status\x010", stream=3)) is None


def test_text_that_only_looks_like_a_status_in_data() -> None:
    data = b"\x00\x0bgrpc-status\x010"
    frame = len(data).to_bytes(3, "big") + b"\x00\x00" + (1).to_bytes(4, "big") + data
    assert _read(frame) is None


def test_no_status_when_the_server_just_closes() -> None:
    assert _read(b"\x00\x00\x00\x04\x00\x00\x00\x00\x00") is None


@given(st.text(alphabet=st.characters(codec="ascii"), max_size=20000))
def test_string_of_any_length_reads_back(text: str) -> None:
    encoded = http2._string(text)
    length, at = encoded[0], 1
    if length == 0x7F:
        shift = 0
        while True:
            digit = encoded[at]
            length += (digit & 0x7F) << shift
            shift, at = shift + 7, at + 1
            if digit < 0x80:
                break
    assert (length, encoded[at:]) == (len(text), text.encode())


def test_token_is_sent_as_bearer_only_when_given() -> None:
    assert b"Bearer abc" in http2.request("/m", host="h", token=Secret("abc"))
    assert b"authorization" not in http2.request("/m", host="h", token=None)
