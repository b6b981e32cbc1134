"""The choice of the address on real hosts: one family, several networks, a public interface."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.root

_ASK = """
import json, sys
from secure_ray.base.errors import SecureRayError
from secure_ray.network import interfaces
answers = []
for function, wish in json.loads(sys.argv[1]):
    try:
        answers.append(getattr(interfaces, function)(wish))
    except SecureRayError as error:
        answers.append(error.code)
        print(error.cause, error.fix, file=sys.stderr)
print(json.dumps(answers))
"""


class Host:
    """A network namespace with interfaces that lead nowhere."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.said = ""

    def ip(self, words: str) -> None:
        _run("ip", "-n", self.name, *words.split())

    def interface(self, name: str, *addresses: str) -> None:
        self.ip(f"link add {name} type veth peer name far-{name}")
        for end in (name, f"far-{name}"):
            self.ip(f"link set {end} addrgenmode none")
        self.ip(f"link set far-{name} up")
        for address in addresses:
            self.ip(f"address add {address} dev {name}{' nodad' if ':' in address else ''}")
        self.ip(f"link set {name} up")

    def ask(self, *questions: tuple[str, str]) -> list[str]:
        command = ["ip", "netns", "exec", self.name, sys.executable, "-c", _ASK]
        done = _run(*command, json.dumps(questions))
        self.said = done.stderr
        answers: list[str] = json.loads(done.stdout)
        return answers

    def bind(self, wish: str) -> str:
        (answer,) = self.ask(("bind_address", wish))
        return answer


@pytest.fixture
def host() -> Iterator[Host]:
    with _namespace() as name:
        yield Host(name)


@contextmanager
def _namespace() -> Iterator[str]:
    name = f"sraddr{os.getpid()}"
    _run("ip", "netns", "add", name)
    try:
        _run("ip", "-n", name, "link", "set", "lo", "up")
        yield name
    finally:
        _run("ip", "netns", "delete", name)


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)


def test_host_with_a_public_interface_takes_the_private_one(host: Host) -> None:
    host.interface("eth0", "8.8.4.4/24")
    host.interface("eth1", "10.7.0.5/24")
    host.interface("docker0", "172.17.0.1/16")
    host.ip("route add default via 8.8.4.1")

    assert host.bind("private") == "10.7.0.5"
    assert host.bind("8.8.4.4") == "SR-BIND-001"
    assert host.bind("10.7.0.6") == "SR-BIND-006"
    assert "default via 8.8.4.1" in host.said
    host.ip("link set eth1 down")
    assert host.bind("private") == "SR-BIND-005"
    assert host.bind("10.7.0.5") == "SR-BIND-006"


def test_host_with_two_private_networks_is_asked_and_a_worker_follows_the_route(host: Host) -> None:
    host.interface("eth0", "10.7.0.5/24")
    host.interface("eth1", "192.168.9.5/24", "fd77::5/64")
    host.ip("route add 10.9.0.0/16 via 192.168.9.1")

    assert host.bind("private") == "SR-BIND-004"
    assert "--bind 10.7.0.5 or --bind 192.168.9.5 or --bind fd77::5" in host.said
    heads = ("10.7.0.1", "10.9.3.3", "fd77::1", "10.10.0.1", "127.0.0.1")
    assert host.ask(*[("bind_address_towards", head) for head in heads]) == [
        *("10.7.0.5", "192.168.9.5", "fd77::5", "SR-BIND-008", "SR-BIND-003")
    ]


def test_host_with_ipv6_only(host: Host) -> None:
    host.interface("eth0", "2606:4700::5/64", "fe80::5/64")
    host.ip("-6 route add default via fe80::1 dev eth0")

    assert host.bind("private") == "SR-BIND-005"
    assert host.bind("2606:4700::5") == "SR-BIND-001"
    assert "RFC 4193" in host.said
    assert host.bind("fe80::5%eth0") == "SR-BIND-010"
    host.ip("address add fd77::5/64 dev eth0 nodad")
    assert host.bind("private") == "fd77::5"
    assert host.ask(("bind_address_towards", "fd77::1")) == ["fd77::5"]
    host.interface("eth1", "fe80::5/64")
    assert host.bind("fe80::5") == "SR-BIND-010"
