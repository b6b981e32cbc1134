from __future__ import annotations

import os
import socket
import sys

import pytest

from secure_ray.network.linux_sockets import (
    WaitingSocket,
    decode_address,
    parse_table,
    socket_inodes,
    waiting_sockets,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the kernel's own tables")

_HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"


def _line(local: str, remote: str, state: str, inode: int) -> str:
    return f"   0: {local} {remote} {state} 00000000:00000000 00:00000000 00000000  1000  0 {inode} 1 0"


def test_only_listening_tcp_sockets_wait() -> None:
    text = _HEAD + "\n".join(
        (
            _line("0100007F:7148", "00000000:0000", "0A", 11),
            _line("0100007F:7149", "0100007F:1000", "01", 12),
            _line("0100007F:714A", "0100007F:1000", "06", 0),
        )
    )
    assert dict(parse_table("tcp", text)) == {"11": WaitingSocket("tcp", "127.0.0.1", 29000)}


def test_only_unconnected_udp_sockets_wait() -> None:
    text = _HEAD + "\n".join(
        (
            _line("00000000:0035", "00000000:0000", "07", 21),
            _line("0100007F:0036", "0100007F:0035", "01", 22),
        )
    )
    assert dict(parse_table("udp", text)) == {"21": WaitingSocket("udp", "0.0.0.0", 53)}


@pytest.mark.skipif(sys.byteorder != "little", reason="the examples are little-endian")
@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("0100007F", "127.0.0.1"),
        ("00000000", "0.0.0.0"),
        ("0" * 32, "::"),
        ("00000000000000000000000001000000", "::1"),
        ("0000000000000000FFFF00000100007F", "::ffff:127.0.0.1"),
    ],
)
def test_decoded_address(text: str, address: str) -> None:
    assert decode_address(text) == address


def test_socket_of_this_process_is_in_the_table() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        table = waiting_sockets()
        ours = [table[inode] for inode in socket_inodes(os.getpid()) if inode in table]
        assert WaitingSocket("tcp", *server.getsockname()) in ours


def test_ended_process_has_no_entry() -> None:
    with pytest.raises(FileNotFoundError):
        list(socket_inodes(2**22 + 1))
