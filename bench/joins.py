"""Many nodes join one head's door; each part of it in a process of its own.

    python -m bench.joins head DIRECTORY NUMBER     prints two join strings, then serves
    python -m bench.joins nodes DIRECTORY NUMBER    the nodes; the join string comes in a line

The door has no limits here: as it is shipped it lets in a few nodes at once and then some in a
minute (policy/rate_limit.py), whatever it could do.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import psutil

from secure_ray.node.door_client import DoorClient, connected, node_context
from secure_ray.node.joining import Joined, Newcomer, join
from secure_ray.node.messages import Heartbeat
from secure_ray.pki.enrolment import pending_key
from secure_ray.pki.join_string import JoinString, parse_join_string
from secure_ray.pki.store import LeafFiles
from support.doors import VERSIONS, Head, Worker, pki_in, utc_now

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

_AT_ONCE = 32
_LIMIT = 120.0
_BEAT_SECONDS = 0.05
_source: ContextVar[str] = ContextVar("_source")


@dataclass(frozen=True)
class Figures:
    """What was seen.

    Attributes:
        joins: How many nodes joined.
        seconds: In which time.
        grown: Bytes of memory that the head's process had more afterwards.
        beat: The median of a heartbeat's seconds meanwhile.
        worst_beat: The longest.
        quiet_beat: The median before.
    """

    joins: int
    seconds: float
    grown: int
    beat: float
    worst_beat: float
    quiet_beat: float

    def __str__(self) -> str:
        return (
            f"{self.joins} nodes join one head, {_AT_ONCE} at a time: {self.joins / self.seconds:.0f}"
            f" joins/s; the head's process grows by {self.grown / 1e6:.0f} MB; a heartbeat meanwhile"
            f" takes {self.beat * 1000:.0f} ms in the median and {self.worst_beat * 1000:.0f} ms at"
            f" worst ({self.quiet_beat * 1000:.0f} ms before)."
        )


def simulate(directory: Path, number: int) -> Figures:
    """Have `number` nodes join a head while one that has joined sends heartbeats."""
    directory.mkdir()
    with _part("head", directory, number) as head, _part("nodes", directory, number) as nodes:
        witness = Worker(directory / "witness", "witness")
        joined = witness.join(parse_join_string(_line(head.stdout)))
        text = _line(head.stdout)
        _line(nodes.stdout)  # their keys are made: that is theirs to do, not the head's
        return asyncio.run(_watch(witness, joined, text, head, nodes))


async def _watch(
    witness: Worker,
    joined: Joined,
    text: str,
    head: subprocess.Popen[str],
    nodes: subprocess.Popen[str],
) -> Figures:
    files = LeafFiles.within(witness.pki.current)
    loop, memory = asyncio.get_running_loop(), psutil.Process(head.pid).memory_info
    async with connected(joined.door, node_context(files)) as client:
        quiet = [await _beat(client, joined) for _ in range(20)]
        before = memory().rss
        _say(nodes.stdin, text)
        all_in = loop.run_in_executor(None, _line, nodes.stdout)
        busy = []
        while not all_in.done():
            busy.append(await _beat(client, joined))
        seconds, number = (await all_in).split()
        grown = memory().rss - before
    middle = sorted(busy)[len(busy) // 2]
    return Figures(int(number), float(seconds), grown, middle, max(busy), sorted(quiet)[10])


async def _beat(client: DoorClient, joined: Joined) -> float:
    """Seconds of one heartbeat; rests before it."""
    await asyncio.sleep(_BEAT_SECONDS)
    now = utc_now()
    serial, expires = joined.leaf.serial, joined.leaf.not_after
    began = time.monotonic()
    await client.heartbeat(Heartbeat("running", "", True, serial, expires, now))  # noqa: FBT003
    return time.monotonic() - began


def _serve(directory: Path, number: int) -> None:
    head = Head(directory / "head")
    with head.open():
        for uses in (1, number):  # the one that sends heartbeats; the others
            print(head.invite(uses=uses).text().reveal(), flush=True)
        sys.stdin.read()


class _Loop(asyncio.SelectorEventLoop):
    """Connects from the address in `_source`: to the head, two nodes at one are one too many."""

    async def sock_connect(self, sock: socket.socket, address: Any) -> None:
        sock.bind((_source.get(), 0))
        await super().sock_connect(sock, address)


async def _join_all(directory: Path, number: int) -> None:
    nodes = [Newcomer(f"n{n}", VERSIONS, pki_in(directory / f"n{n}")) for n in range(number)]
    for n, node in enumerate(nodes):
        (directory / f"n{n}").mkdir(mode=0o700)
        pending_key(node.pki)
    print("ready", flush=True)
    string = parse_join_string(sys.stdin.readline())
    places = asyncio.Semaphore(_AT_ONCE)
    began = time.monotonic()
    sources = (f"127.1.{n // 250}.{1 + n % 250}" for n in range(number))
    await asyncio.gather(
        *(_join(node, string, source, places) for node, source in zip(nodes, sources, strict=True))
    )
    print(time.monotonic() - began, number, flush=True)


async def _join(node: Newcomer, string: JoinString, source: str, places: asyncio.Semaphore) -> None:
    async with places:
        _source.set(source)
        await join(string, node, clock=utc_now, limit=_LIMIT)


@contextmanager
def _part(name: str, directory: Path, number: int) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "bench.joins", name, str(directory), str(number)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def _say(stream: IO[str] | None, text: str) -> None:
    assert stream is not None  # noqa: S101  # a pipe
    stream.write(f"{text}\n")
    stream.flush()


def _line(stream: IO[str] | None) -> str:
    assert stream is not None  # noqa: S101  # a pipe
    line = stream.readline()
    if not line:
        raise RuntimeError("a part of the simulated joins has ended")
    return line.strip()


def main() -> None:
    """Be one part of it."""
    name, directory, number = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    if name == "head":
        _serve(directory, number)
    else:
        _Loop().run_until_complete(_join_all(directory, number))


if __name__ == "__main__":
    main()
