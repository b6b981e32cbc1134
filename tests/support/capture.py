"""All that passes a bridge, as raw frames: what a listener on the cluster's network would have.

    python capture.py DEVICE... > FILE    until standard input ends; needs root

The file is a pcap file, which Wireshark opens. Frames are taken where they enter the bridge, so
each is there once.
"""

from __future__ import annotations

import json
import os
import select
import socket
import struct
import subprocess
import sys
import time
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from support.fabric import CLUSTER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.fabric import Fabric

# linux/if_packet.h, linux/if_ether.h, asm-generic/socket.h
_ETH_P_ALL, _PACKET_OUTGOING, _PACKET_STATISTICS = 3, 4, 6
_SOL_PACKET, _SO_RCVBUFFORCE = 263, 33
_BUFFER = 256 << 20
_MOST_BYTES = 256 << 10  # segmentation is left to a device that is none, so frames are long
_PCAP_HEAD = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, _MOST_BYTES, 1)
_ETHERNET, _IPV4, _IPV6, _TCP = 14, 0x0800, 0x86DD, 6
# Content type and major version of a TLS record (RFC 8446 section 5.1).
_TLS_STARTS = (b"\x16\x03", b"\x15\x03")


@dataclass(frozen=True)
class End:
    """One end of a connection."""

    address: str
    port: int


@dataclass
class Flow:
    """One direction of one connection."""

    source: End
    target: End
    chunks: list[tuple[int, bytes]] = field(default_factory=list)

    @property
    def data(self) -> bytes:
        """What was sent, in order and once, as far as it was seen."""
        first = self.chunks[0][0]
        found = bytearray()
        for number, chunk in sorted(
            (_after(first, number), chunk) for number, chunk in self.chunks
        ):
            found += chunk[max(0, len(found) - number) :]
        return bytes(found)

    @property
    def is_tls(self) -> bool:
        return self.data.startswith(_TLS_STARTS)


def _after(first: int, number: int) -> int:
    """How far the sequence number lies behind the first one; they wrap (RFC 9293 section 3.4)."""
    return (number - first + 2**31) % 2**32 - 2**31


@dataclass
class Capture:
    """A capture that runs."""

    path: Path
    process: subprocess.Popen[bytes]

    def frames(self) -> list[bytes]:
        """What was captured until now."""
        text = self.path.read_bytes()
        at, found = len(_PCAP_HEAD), []
        while at + 16 <= len(text):
            (length,) = struct.unpack_from("<I", text, at + 8)
            frame = text[at + 16 : at + 16 + length]
            if len(frame) < length:
                break
            found.append(frame)
            at += 16 + length
        return found

    def lost(self) -> int:
        """How many frames were not taken since this was asked last."""
        assert self.process.stdin is not None
        assert self.process.stderr is not None
        self.process.stdin.write(b"?")
        lost: int = json.loads(self.process.stderr.readline())
        return lost


@contextmanager
def capturing(fabric: Fabric, path: Path) -> Iterator[Capture]:
    """Capture on the cluster's network, into `path`, as long as this lasts."""
    devices = [f"{CLUSTER}{host.port}" for host in fabric.hosts.values()]
    command = ["ip", "netns", "exec", fabric.switch, sys.executable, "-m", "support.capture"]
    with (
        path.open("wb") as file,
        subprocess.Popen(
            [*command, *devices],
            stdin=subprocess.PIPE,
            stdout=file,
            stderr=subprocess.PIPE,
            bufsize=0,
            cwd=Path(__file__).parents[1],
        ) as process,
    ):
        assert process.stdin is not None
        assert process.stderr is not None
        assert process.stderr.readline() == b"ready\n"
        try:
            yield Capture(path, process)
        finally:
            process.stdin.close()
            process.wait(60)


def flows(frames: list[bytes]) -> list[Flow]:
    """The directions of TCP connections in which something was sent."""
    found: dict[tuple[End, End], list[Flow]] = defaultdict(list)
    for frame in frames:
        segment = _tcp_segment(frame)
        if segment is None:
            continue
        source, target, number, starts, data = segment
        known = found[source, target]
        if starts or not known:
            known.append(Flow(source, target))
        if data:
            known[-1].chunks.append((number, data))
    return [flow for known in found.values() for flow in known if flow.chunks]


def _tcp_segment(frame: bytes) -> tuple[End, End, int, bool, bytes] | None:
    """Source, target, sequence number, whether it opens the connection, data."""
    (kind,) = struct.unpack_from("!H", frame, 12)
    if kind == _IPV4:
        packet = frame[_ETHERNET : _ETHERNET + struct.unpack_from("!H", frame, 16)[0]]
        protocol, addresses, segment = packet[9], packet[12:20], packet[(packet[0] & 15) * 4 :]
    elif kind == _IPV6:
        packet = frame[_ETHERNET:]
        protocol, addresses, segment = packet[6], packet[8:40], packet[40:]
    else:
        return None
    if protocol != _TCP:
        return None
    half = len(addresses) // 2
    ports = struct.unpack_from("!HH", segment)
    source, target = (
        End(str(ip_address(part)), port)
        for part, port in zip((addresses[:half], addresses[half:]), ports, strict=True)
    )
    (number,) = struct.unpack_from("!I", segment, 4)
    starts = bool(segment[13] & 2)  # SYN
    return source, target, number + starts, starts, segment[(segment[12] >> 4) * 4 :]


def capture(devices: list[str], output: BinaryIO) -> None:
    """Write what enters by `devices` to `output`, until standard input ends."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL)) as tap:
        tap.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
        output.write(_PCAP_HEAD)
        _tell("ready")
        sources: list[socket.socket | int] = [tap, 0]
        while True:
            ready, _, _ = select.select(sources, [], [])
            if tap in ready:
                frame, (device, _, kind, *_) = tap.recvfrom(_MOST_BYTES)
                if device in devices and kind != _PACKET_OUTGOING:
                    _write(output, frame)
            elif not os.read(0, 1):
                return
            else:
                output.flush()
                _tell(
                    json.dumps(
                        struct.unpack("II", tap.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8))[1]
                    )
                )


def _write(output: BinaryIO, frame: bytes) -> None:
    now = time.time_ns() // 1000
    output.write(struct.pack("<IIII", *divmod(now, 10**6), len(frame), len(frame)) + frame)


def _tell(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    capture(sys.argv[1:], sys.stdout.buffer)
