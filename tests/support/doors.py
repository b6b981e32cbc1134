"""A head's node door on loopback, in a thread of its own, and workers that join it."""

from __future__ import annotations

import asyncio
import http.client
import json
import logging
import socket
import ssl
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, TypeVar

from secure_ray.base.secrets import Secret
from secure_ray.gateway.nodes.door import NodeDoor
from secure_ray.gateway.nodes.enrolment import HeadFacts
from secure_ray.gateway.nodes.register import open_register
from secure_ray.gateway.nodes.tokens import TokenOrder, make_token
from secure_ray.node.joining import Joined, Newcomer, join_cluster
from secure_ray.pki.credentials import PkiPaths, ensure_credentials
from secure_ray.pki.join_string import Endpoint, JoinString
from secure_ray.pki.trust import read_pins
from secure_ray.policy.rate_limit import Limits
from support.loops import settled

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator
    from pathlib import Path

LOOPBACK = "127.0.0.1"
CLUSTER_ID = "c1d2e3f4a5b60718"
CLUSTER_TOKEN = "0123456789abcdef" * 4
VERSIONS = {"ray": "2.60.0", "python": "3.11.7", "secure-ray": "0.1.0"}
OPEN_LIMITS = Limits(per_source=1e6, burst=10**6, joins=1e6, joins_burst=10**6)
_Value = TypeVar("_Value")


def utc_now() -> datetime:
    return datetime.now(timezone.utc)


@dataclass
class Clock:
    """The time, moved by `ahead`."""

    ahead: timedelta = timedelta(0)

    def __call__(self) -> datetime:
        return utc_now() + self.ahead


def pki_in(directory: Path) -> PkiPaths:
    return PkiPaths(directory / "pki", directory / "passphrase-of" / "default")


@dataclass
class Head:
    """A head without Ray: keys, register, and a door that can be opened and closed.

    The leaf is for `names`; with others than the door's address it is no head's.
    """

    directory: Path
    names: tuple[str, ...] = (LOOPBACK, "::1", "localhost")
    limits: Limits = OPEN_LIMITS
    clock: Clock = field(default_factory=Clock)
    records: list[str] = field(default_factory=list)
    port: int = 0
    host: str = LOOPBACK

    def __post_init__(self) -> None:
        self.directory.mkdir(mode=0o700, exist_ok=True)
        self.pki = pki_in(self.directory)
        ensure_credentials(
            self.pki, cluster="default", cluster_id=CLUSTER_ID, sans=self.names, now=utc_now()
        )
        self.register = open_register(self.directory)
        self.facts = HeadFacts(
            cluster="default",
            cluster_id=CLUSTER_ID,
            address="10.0.0.5",
            ports='{"base": 10240}',
            versions=VERSIONS,
            pki=self.pki,
            leaf_life=timedelta(days=90),
            token=lambda: Secret(CLUSTER_TOKEN),
        )

    def log(self) -> logging.Logger:
        """A logger whose lines land in `records`."""
        log = logging.getLogger(f"test-door-{id(self)}")
        log.setLevel(logging.DEBUG)
        log.propagate = False
        log.handlers = [_Keeping(self.records)]
        return log

    @contextmanager
    def open(self) -> Iterator[Running]:
        """The door, open; at the same port as the last time."""
        door = NodeDoor(
            self.facts, self.register, log=self.log(), clock=self.clock, limits=self.limits
        )
        with running(door) as run:
            self.port = run.run(door.start(self.host, self.port))
            try:
                yield run
            finally:
                run.run(door.stop())

    def invite(
        self,
        *,
        ttl: timedelta = timedelta(minutes=30),
        uses: int = 1,
        node: str = "",
        heads: tuple[Endpoint, ...] = (),
    ) -> JoinString:
        order = TokenOrder(ttl=ttl, uses=uses, node=node, maker="alice")
        with self.register.changing() as database:
            return make_token(
                database,
                order,
                cluster_id=CLUSTER_ID,
                pins=read_pins(self.pki.leaf.authority),
                heads=heads or (Endpoint(self.host, self.port),),
                now=self.clock(),
            )


class Running:
    """A door in an event loop of its own, in a thread."""

    def __init__(self, door: NodeDoor, loop: asyncio.AbstractEventLoop) -> None:
        self.door = door
        self._loop = loop

    def run(self, work: Coroutine[object, object, _Value]) -> _Value:
        """Run `work` where the door runs."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)


@contextmanager
def running(door: NodeDoor) -> Iterator[Running]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    run = Running(door, loop)
    try:
        yield run
        run.run(settled())
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@dataclass
class Worker:
    """A node that has not joined yet."""

    directory: Path
    name: str = "w1"
    versions: dict[str, str] = field(default_factory=lambda: dict(VERSIONS))
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self.directory.mkdir(mode=0o700, exist_ok=True)
        self.pki = pki_in(self.directory)

    def join(self, string: JoinString, *, limit: float = 30.0) -> Joined:
        newcomer = Newcomer(self.name, self.versions, self.pki)
        return join_cluster(string, newcomer, clock=self.clock, limit=limit)

    def left(self) -> set[str]:
        """The files that a join left here."""
        return {
            str(path.relative_to(self.directory))
            for path in self.directory.rglob("*")
            if not path.is_dir()
        }


@dataclass
class Answer:
    """What a door answered; `said` is empty when that is no JSON."""

    status: int
    said: dict[str, Any]
    headers: dict[str, str]


def call(
    port: int,
    method: str,
    path: str,
    body: bytes | dict[str, Any] = b"",
    *,
    context: ssl.SSLContext,
) -> Answer:
    """One request to the door, on a connection of its own."""
    connection = http.client.HTTPSConnection(LOOPBACK, port, context=context, timeout=20)
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    try:
        connection.request(method, path, content)
        response = connection.getresponse()
        text = response.read()
    finally:
        connection.close()
    try:
        said = json.loads(text)
    except ValueError:
        said = {}
    return Answer(response.status, said, dict(response.headers))


class Impostor:
    """A TLS server that sends a chain of its choosing, and remembers what it was sent."""

    def __init__(self, chain: Path, key: Path, *, answer: bytes = b"") -> None:
        self._answer = answer
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(chain, key)
        self.received = bytearray()

    @contextmanager
    def open(self) -> Iterator[Endpoint]:
        with socket.create_server((LOOPBACK, 0)) as listener:
            thread = threading.Thread(target=self._serve, args=(listener,))
            thread.start()
            try:
                yield Endpoint(LOOPBACK, listener.getsockname()[1])
            finally:
                listener.shutdown(socket.SHUT_RDWR)
                thread.join()

    def _serve(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connection.settimeout(5)
            with suppress(OSError), self._context.wrap_socket(connection, server_side=True) as tls:
                while content := tls.recv(65536):
                    self.received += content
                    tls.sendall(self._answer)
                    if self._answer:
                        break


class _Keeping(logging.Handler):
    def __init__(self, records: list[str]) -> None:
        super().__init__()
        self._records = records

    def emit(self, record: logging.LogRecord) -> None:
        self._records.append(self.format(record))
