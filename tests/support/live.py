"""A running cluster as somebody meets it who wants to break in: doors, requests, credentials."""

from __future__ import annotations

import http.client
import json
import os
import select
import socket
import time
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from secure_ray.base.secrets import Secret
from secure_ray.network.listeners import Kind, Listener, listeners_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from support.clusters import Machine

HERE = "127.0.0.1"
_TIMEOUT = 20


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes

    @property
    def data(self) -> Any:
        return json.loads(self.body)


def ask(
    port: int,
    method: str,
    path: str,
    *,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
) -> Answer:
    """One HTTP request, as it stands."""
    connection = http.client.HTTPConnection(HERE, port, timeout=_TIMEOUT)
    try:
        connection.request(method, path, body=body, headers=dict(headers or {}))
        response = connection.getresponse()
        return Answer(response.status, response.read())
    finally:
        connection.close()


def ask_raw(port: int, target: str, *, headers: Mapping[str, str] | None = None) -> Answer:
    """GET `target` as it stands: a client's library would tidy the path up first."""
    lines = [f"GET {target} HTTP/1.1", "Host: localhost", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    with socket.create_connection((HERE, port), _TIMEOUT) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        received = b""
        while more := connection.recv(65536):
            received += more
    head, _, body = received.partition(b"\r\n\r\n")
    return Answer(int(head.split(b" ", 2)[1]), body)


def until(holds: Callable[[], bool], what: str, *, seconds: float = 60) -> None:
    """Wait for an outside event that nothing announces."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.1)


def wait_for_word(pipe: int, *, seconds: float = 60) -> bytes:
    """What a process writes into the named pipe that `pipe` has open."""
    ready, _, _ = select.select([pipe], [], [], seconds)
    assert ready, f"nothing was written for {seconds} seconds"
    return os.read(pipe, 4096)


@dataclass(frozen=True)
class Live:
    """The doors and the secrets of a running cluster."""

    machine: Machine
    facts: dict[str, Any] = field(repr=False)

    @classmethod
    def of(cls, machine: Machine) -> Live:
        return cls(machine, machine.status())

    @cached_property
    def ports(self) -> dict[str, int]:
        return {entry["component"]: entry["port"] for entry in self.facts["ports"]}

    def port(self, component: str) -> int:
        """Its port; where this Ray's component is kept closed, there is nothing to attack."""
        if component not in self.ports:
            assert component == "agent_http"
            pytest.skip("secure-ray keeps this Ray's agent closed")
        return self.ports[component]

    @cached_property
    def token(self) -> Secret:
        return Secret((self.directory / "token").read_text().strip())

    @property
    def authorized(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token.reveal()}"}

    @property
    def ray_version(self) -> tuple[int, ...]:
        return tuple(int(part) for part in self.facts["versions"]["ray"].split(".")[:3])

    @property
    def directory(self) -> Path:
        return self.machine.cluster_directory()

    @property
    def certificates(self) -> Path:
        return self.directory / "pki" / "node" / "current"

    @cached_property
    def run_directory(self) -> Path:
        return Path(self.machine.identity()["run"])

    @cached_property
    def node_id(self) -> str:
        answer = ask(self.ports["dashboard"], "GET", "/nodes?view=summary", headers=self.authorized)
        node: str = answer.data["data"]["summary"][0]["raylet"]["nodeId"]
        return node

    def pids(self) -> list[int]:
        """The supervisor and everything that it started."""
        supervisor = psutil.Process(self.facts["supervisor"]["pid"])
        return [process.pid for process in (supervisor, *supervisor.children(recursive=True))]

    def listeners(self) -> list[Listener]:
        return [entry for entry in listeners_of(self.pids()) if entry.kind is Kind.TCP]
